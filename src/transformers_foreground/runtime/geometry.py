"""Sizes, crops and padding of a model's input, with Transformers.js' arithmetic."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from transformers_foreground.errors import ImageError
from transformers_foreground.runtime.preprocessor_config import LARGEST_AREA

if TYPE_CHECKING:
    from transformers_foreground.runtime.processing import Processing


def target_size(height: int, width: int, processing: Processing) -> tuple[int, int]:
    """Return the size, (height, width), that an image of this size is resized to, before it is cropped or padded.

    Sides are floored after rounding to 1/100, and divisibility rounds down but never to zero, as
    Transformers.js' `get_resize_output_image_size` does.
    """
    size, step = processing.size, processing.size_divisibility
    if not processing.do_resize or (size is None and not step):
        return height, width
    if size is None:
        return _divisible(height, width, step or 1)
    if processing.do_thumbnail:
        size = {"shortest_edge": min(size["width"], size["height"])}
    if "width" in size:
        if processing.ensure_multiple_of:
            return _nearly(height, width, size, processing.ensure_multiple_of)
        return size["height"], size["width"]
    short, long = size.get("shortest_edge"), size.get("longest_edge")
    factor = 1.0 if short is None else max(short / width, short / height)
    scaled_width, scaled_height = width * factor, height * factor
    limit = 1.0 if long is None else min(long / scaled_width, long / scaled_height)
    new_width = max(1, math.floor(round(scaled_width * limit, 2)))
    new_height = max(1, math.floor(round(scaled_height * limit, 2)))
    return _divisible(new_height, new_width, step) if step else (new_height, new_width)


def _divisible(height: int, width: int, step: int) -> tuple[int, int]:
    """Round both sides down to a multiple, but never to zero."""
    return max(height // step, 1) * step, max(width // step, 1) * step


def _nearly(height: int, width: int, size: Mapping[str, int], step: int) -> tuple[int, int]:
    """Scale by the one of both factors that changes less, and round to a multiple, halves to even ones."""
    down, along = size["height"] / height, size["width"] / width
    scale = along if abs(1 - along) < abs(1 - down) else down
    return max(round(scale * height / step), 1) * step, max(round(scale * width / step), 1) * step


def thumbnail_size(height: int, width: int, processing: Processing) -> tuple[int, int]:
    """Return the size, (height, width), to which `do_thumbnail` shrinks what was resized.

    As in Transformers.js, one of both sides is cut to its limit, and only the shorter one follows the ratio.
    """
    size = processing.size
    if not processing.do_thumbnail or size is None or "width" not in size:
        return height, width
    new_height, new_width = min(height, size["height"]), min(width, size["width"])
    if (new_height, new_width) == (height, width):
        return height, width
    if height > width:
        new_width = max(1, width * new_height // height)
    elif width > height:
        new_height = max(1, height * new_width // width)
    return new_height, new_width


def cropped_margin(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Leave off the bright margin: keep the box around all that is darker than 200/255 of the image's own range.

    Args:
        rgb: uint8, shape (H, W, 3).

    Returns:
        uint8, shape (h, w, 3): a view. An image of one gray level is returned as it is.
    """
    red, green, blue = np.moveaxis(rgb.astype(np.float64), -1, 0)
    gray = np.floor(0.2989 * red + 0.587 * green + 0.114 * blue + 0.5)  # in this order, as in Transformers.js
    low, high = gray.min(), gray.max()
    if low == high:
        return rgb
    dark = (gray - low) / (high - low) < 200 / 255
    rows, columns = np.flatnonzero(dark.any(axis=1)), np.flatnonzero(dark.any(axis=0))
    return rgb[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def cropped_centre(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Keep the centre; where the image is smaller, black is added around it. Odd pixels go to the right and below.

    Args:
        image: uint8, shape (H, W, C).
        height: New height.
        width: New width.

    Returns:
        uint8, shape (height, width, C).
    """
    kept, borders = [], []
    for before, after in zip(image.shape[:2], (height, width), strict=True):
        start, margin = max(0, (before - after) // 2), max(0, (after - before) // 2)
        kept.append(slice(start, start + after))
        borders.append((margin, max(0, after - before - margin)))
    part = image[tuple(kept)]
    return np.pad(part, [*borders, (0, 0)]) if any(map(any, borders)) else part


def padded(values: NDArray[np.float32], processing: Processing) -> NDArray[np.float32]:
    """Add zeros on the right and below, as `do_pad` says.

    Args:
        values: float32, shape (3, h, w).
        processing: Its `do_pad`, `pad_size`, `size` and `size_divisibility` are used.

    Returns:
        float32, shape (3, h', w').

    Raises:
        ImageError: The image is larger than the padding, or that is too large.
    """
    height, width = values.shape[1:]
    size = processing.pad_size
    if not processing.do_pad:
        return values
    if size == "square":
        new_height = new_width = max(height, width)
    elif size is not None or (not processing.size_divisibility and "width" in (processing.size or {})):
        chosen: Any = size or processing.size
        new_height, new_width = chosen["height"], chosen["width"]
    else:
        step = processing.size_divisibility or 1
        new_height, new_width = -(-height // step) * step, -(-width // step) * step
    check_area(new_height, new_width, (height, width))
    if new_height < height or new_width < width:
        raise ImageError(
            f"It is {width}×{height} pixels when resized, and does not fit the preprocessor's pad_size of "
            f"{new_width}×{new_height}."
        )
    return np.pad(values, ((0, 0), (0, new_height - height), (0, new_width - width)))


def check_area(height: int, width: int, before: tuple[int, ...]) -> None:
    """Refuse to make a model's input of more than 8192² pixels.

    Args:
        height: Height that it would have.
        width: Width that it would have.
        before: Shape of what it would be made of: height and width come first.

    Raises:
        ImageError: It would have more.
    """
    if height * width > LARGEST_AREA:
        raise ImageError(
            f"An image of {before[1]}×{before[0]} pixels would be given to the model as {width}×{height}: more than "
            f"{LARGEST_AREA:,} pixels. Crop or shrink it, or change the preprocessor's size."
        )
