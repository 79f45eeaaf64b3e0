"""Touch up a mask: strokes of a brush restore or erase parts of the object."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transformers_foreground.errors import ForegroundError
from transformers_foreground.server.decoding import Upload
from transformers_foreground.server.recompose import kept, on_side
from transformers_foreground.server.results import Result, gone
from transformers_foreground.server.service import Service

RESTORE, ERASE = "#16a34a", "#dc2626"
"""Colours of the brush: green restores, red erases."""
_FADED: Final = 0.25  # opacity of what is cut away, on the canvas

Mask = NDArray[np.uint8]


def painted(mask: Mask, strokes: Image.Image) -> Mask:
    """Apply strokes to a mask.

    Args:
        mask: uint8, (H, W).
        strokes: Mode "RGBA", of any size, stretched over the mask. Where a stroke is half transparent, as at its edge,
            the mask changes half the way.

    Returns:
        uint8, (H, W).
    """
    scaled = np.asarray(strokes.convert("RGBA").resize((mask.shape[1], mask.shape[0]), Image.Resampling.BILINEAR))
    opacity = scaled[..., 3].astype(np.float32) / 255
    restores = scaled[..., 1] > scaled[..., 0]
    target = np.where(restores, np.float32(255), np.float32(0))
    return np.rint(mask + (target - mask) * opacity).astype(np.uint8)


async def touch_up(service: Service, result: Result, strokes: Upload) -> Result:
    """Apply strokes to a result's mask, and keep the new mask beside the model's.

    Args:
        service: Where the masks are kept.
        result: The result.
        strokes: An image with strokes in `RESTORE` and `ERASE`, transparent elsewhere.

    Returns:
        The result with the new mask; its previews are still the old ones.

    Raises:
        ForegroundError: The image has been deleted, or the strokes are not an image with transparency.
    """
    drawn = await service.decode(strokes)

    def work() -> Result:
        mask = service.masks.get(result.key)
        if mask is None:
            raise ForegroundError(gone(result.name))
        if drawn.pixels.shape[-1] != 4:
            raise ForegroundError("The strokes have no transparency. Send a PNG that is transparent between them.")
        changed = replace(result, edit=secrets.token_hex(8))
        service.masks.keep(changed.key, painted(mask, Image.fromarray(drawn.pixels)), result.doubt)
        return changed

    return await on_side(service, work)


async def canvas(service: Service, result: Result) -> Image.Image:
    """Return the image to paint on: a result's preview, faded where the mask cuts it away. Mode "RGB".

    Raises:
        ForegroundError: The image has been deleted.
    """

    def work() -> Image.Image:
        before, mask = kept(service, result)
        image = before.convert("RGB")
        faded = Image.blend(Image.new("RGB", image.size, "white"), image, _FADED)
        return Image.composite(image, faded, mask)

    return await on_side(service, work)
