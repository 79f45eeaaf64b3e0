"""Touching a mask up: what strokes of a brush restore and erase."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transformers_foreground.errors import ForegroundError
from transformers_foreground.images.alpha import to_mask
from transformers_foreground.server.decoding import Upload
from transformers_foreground.server.results import Result, gone
from transformers_foreground.server.service import Service

RESTORE, ERASE = "#16a34a", "#dc2626"
"""Colours of the brush: green restores what a stroke covers, red erases it."""
_FADED: Final = 0.25  # how much is seen of what is cut away

Mask = NDArray[np.uint8]


def painted(mask: Mask, strokes: Image.Image) -> Mask:
    """Change a mask where somebody has painted.

    Args:
        mask: uint8, (H, W).
        strokes: Mode "RGBA", of any size; it covers the whole mask. Where a stroke is half transparent, as at its
            edge, the mask goes half the way.
    """
    scaled = np.asarray(strokes.convert("RGBA").resize((mask.shape[1], mask.shape[0]), Image.Resampling.BILINEAR))
    share = scaled[..., 3].astype(np.float32) / 255
    restores = scaled[..., 1] > scaled[..., 0]
    target = np.where(restores, np.float32(255), np.float32(0))
    return np.rint(mask + (target - mask) * share).astype(np.uint8)


async def touch_up(service: Service, result: Result, strokes: Upload) -> Result:
    """Change the mask of a result where somebody has painted, and keep it beside the model's.

    Args:
        service: What has the masks.
        result: The result.
        strokes: An image file with strokes in `RESTORE` and `ERASE`, transparent elsewhere.

    Returns:
        The result with the new mask; its previews are the old ones.

    Raises:
        ForegroundError: The image has left the server, or the strokes are no image.
    """
    drawn = await service.decode(strokes)

    def work() -> Result:
        mask = service.masks.get(result.key)
        if mask is None:
            raise ForegroundError(gone(result.name))
        if drawn.pixels.shape[-1] != 4:
            raise ForegroundError("The strokes have no transparency.")
        changed = replace(result, edit=secrets.token_hex(8))
        service.masks.keep(changed.key, painted(mask, Image.fromarray(drawn.pixels)), result.doubt)
        return changed

    return await asyncio.wrap_future(service.side.submit(work))


async def canvas(service: Service, result: Result) -> Image.Image:
    """Return what is painted on: the image, shrunk, in which all that is cut away is faded.

    Raises:
        ForegroundError: The image has left the server.
    """

    def work() -> Image.Image:
        mask = service.masks.preview(result.key)
        if mask is None or not result.source.is_file():
            raise ForegroundError(gone(result.name))
        with Image.open(result.source) as source:
            image = source.convert("RGB")
        faded = Image.blend(Image.new("RGB", image.size, "white"), image, _FADED)
        return Image.composite(image, faded, to_mask(mask))

    return await asyncio.wrap_future(service.side.submit(work))
