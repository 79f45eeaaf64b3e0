"""Geometry: sizes and boxes of images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def within(width: int, height: int, longest: int) -> tuple[int, int]:
    """Shrink a size, keeping its ratio, so that no side is longer than `longest`. A smaller size stays as it is.

    Args:
        width: In pixels.
        height: In pixels.
        longest: In pixels.

    Returns:
        Width and height, each at least 1.
    """
    scale = min(1, longest / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def shrunk(pixels: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    """Shrink an image as `within` says.

    Args:
        pixels: uint8, (H, W) or (H, W, 3).
        longest: In pixels.

    Returns:
        uint8; the array itself if it is small enough.
    """
    if max(pixels.shape[:2]) <= longest:
        return pixels
    image = Image.fromarray(pixels)
    return np.asarray(image.resize(within(*image.size, longest), Image.Resampling.LANCZOS, reducing_gap=3.0))


def bounds(where: NDArray[np.bool_]) -> tuple[slice, slice] | None:
    """Find the rows and columns that hold all pixels that are set.

    Args:
        where: bool, (H, W).

    Returns:
        Two slices; `None` if no pixel is set.
    """
    rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
    if not len(rows):
        return None
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
