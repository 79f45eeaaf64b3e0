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
    if isinstance(image, Mapping):
        image = image.get("bytes") or image.get("path")
    opened = image
    if not isinstance(image, Image.Image):
        try:
            opened = Image.open(
                io.BytesIO(image) if isinstance(image, bytes) else image, formats=("PNG", "BMP", "TIFF")
            )
        except (OSError, AttributeError, TypeError):  # of another format, or not a file
            return None
    return np.asarray(opened) if opened.mode == "P" or opened.mode.startswith("I") else None
