"""The values that a mask's file holds, where decoding it as an image would change them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def stored_values(image: Any) -> NDArray[Any] | None:
    """Return the indices of an image with a palette, or the values of one with 16 bits.

    Args:
        image: A path, bytes, a binary file object, a PIL image, or a mapping with `bytes` or `path`.

    Returns:
        Integers, (H, W); `None` of other images, and of what is no PNG, BMP or TIFF file.
    """
    opened = _opened(image)
    if opened is None or not (opened.mode == "P" or opened.mode.startswith("I")):
        return None
    return np.asarray(opened)


def without_profile(image: Any) -> Any:
    """Return an image without its colour profile, which is not meant for the values of a mask.

    Args:
        image: As for `stored_values`.

    Returns:
        A PIL image; what was given, where it has no profile, or is no PNG, BMP, TIFF or JPEG file.
    """
    opened = _opened(image)
    if opened is None or "icc_profile" not in opened.info:
        return image
    plain = opened.copy() if opened is image else opened  # not loaded here: the file may be damaged
    del plain.info["icc_profile"]
    return plain


def _opened(image: Any) -> Image.Image | None:
    if isinstance(image, Mapping):
        image = image.get("bytes") or image.get("path")
    if isinstance(image, Image.Image):
        return image
    try:
        return Image.open(
            io.BytesIO(image) if isinstance(image, bytes) else image, formats=("PNG", "BMP", "TIFF", "JPEG")
        )
    except (OSError, AttributeError, TypeError):  # of another format, or not a file
        return None
