"""The values that a mask's file holds, where decoding it as an image would change them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transformers_foreground.errors import ImageError
from transformers_foreground.images.decode import MAX_BYTES, MAX_PIXELS, TIMEOUT
from transformers_foreground.images.identify import Limits, open_image
from transformers_foreground.images.pixels import exif_of, upright
from transformers_foreground.images.sources import name_of, open_stream


def stored_values(image: Any) -> NDArray[Any] | None:
    """Return the indices of an image with a palette, or the values of one with 16 bits, upright.

    Args:
        image: What `decode` took before, but no file object, which is used up by then.

    Returns:
        Integers, (H, W); `None` of other images.
    """
    opened = _opened(image)
    if opened is None or not (opened.mode == "P" or opened.mode.startswith("I")):
        return None
    opened.load()  # Pillow turns a TIFF as it is loaded, and then its EXIF data has no orientation any more
    return np.asarray(upright(opened, exif_of(opened, own_file=opened is not image)))


def has_colours(pixels: NDArray[np.uint8]) -> bool:
    """Whether channels differ by more than one level, as far as lossy WebP makes those of a gray image differ.

    Args:
        pixels: uint8, (H, W, C).
    """
    red, green, blue = (pixels[..., min(channel, pixels.shape[2] - 1)] for channel in range(3))
    lowest, highest = np.minimum(np.minimum(red, green), blue), np.maximum(np.maximum(red, green), blue)
    return bool((highest - lowest > 1).any())


def without_profile(image: Any) -> Any:
    """Open an image without its colour profile, which is not meant for the values of a mask.

    Args:
        image: What `decode` takes, but no file object.

    Returns:
        A PIL image, not loaded, since its file may be damaged; what was given, where it cannot be opened.
    """
    opened = _opened(image)
    if opened is None:
        return image
    if "icc_profile" in opened.info:
        opened = opened.copy() if opened is image else opened
        del opened.info["icc_profile"]
    return opened


def _opened(image: Any) -> Image.Image | None:
    if isinstance(image, Image.Image):
        return image
    name = name_of(image)
    try:
        with open_stream(image, name, TIMEOUT, MAX_BYTES) as stream:
            return open_image(io.BytesIO(stream.read()), Limits(name, MAX_PIXELS))
    except ImageError:  # `decode` says what is wrong; or it is an array
        return None
