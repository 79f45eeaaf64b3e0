"""Region of interest: a rectangle outside which a mask is empty."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from transformers_foreground.errors import ImageError, UnsupportedOptionError

Side: TypeAlias = int | float
Region: TypeAlias = tuple[Side, Side, Side, Side]


def region_of(roi: str | Sequence[Any]) -> Region:
    """Read a rectangle: its left, top, width and height.

    Args:
        roi: Four numbers, or a string of them with commas. Each is pixels (`12`), or a share of the image's width or
            height (`"10%"`, or as a float, 0.1).

    Returns:
        Pixels as ints, shares as floats.

    Raises:
        UnsupportedOptionError: It is none.
    """
    parts: list[Any] = roi.split(",") if isinstance(roi, str) else list(roi)
    values = [side for side in map(_side, parts) if side is not None]
    if len(parts) != 4 or len(values) != 4 or not values[2] or not values[3]:
        raise UnsupportedOptionError(
            f"roi={roi!r}: use x,y,width,height in pixels (10,20,300,400) or shares of the image (5%,5%,90%,90%)."
        )
    x, y, width, height = values
    return x, y, width, height


def pixels_or_share(text: str) -> Side | None:
    """Read `"12"` as 12 pixels, an int, and `"10%"` as the share 0.1, a float; return `None` for any other text."""
    match = re.fullmatch(r"(\d{1,9})|(\d{1,9}\.?\d*|\.\d+) ?%", text.strip(), re.ASCII)
    return match and (int(match[1]) if match[1] else float(match[2]) / 100)


def _side(value: Any) -> Side | None:
    if isinstance(value, str):
        value = pixels_or_share(value)
    if isinstance(value, (bool, np.bool_)):
        return None
    if isinstance(value, (int, np.integer)) and value >= 0:
        return int(value)
    return float(value) if isinstance(value, float) and 0 <= value <= 1 else None


def within_region(mask: NDArray[np.uint8], region: Region, name: str) -> NDArray[np.uint8]:
    """Empty a mask outside a rectangle.

    Args:
        mask: Alpha, uint8, (H, W).
        region: See `region_of`. What reaches beyond the image is cut off.
        name: How to call the image in messages.

    Raises:
        ImageError: The rectangle lies beside the image.
    """
    height, width = mask.shape
    x, y, across, down = (
        round(value * side) if isinstance(value, float) else value
        for value, side in zip(region, (width, height, width, height), strict=True)
    )
    if x >= width or y >= height:
        raise ImageError(f"{name}: roi={x},{y},{across},{down} lies outside its {width}x{height} pixels.")
    result = np.zeros_like(mask)
    there = slice(y, y + down), slice(x, x + across)
    result[there] = mask[there]
    return result
