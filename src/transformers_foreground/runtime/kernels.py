"""The filters of sharp beside bilinear: nearest, bicubic and Lanczos, bit for bit those of libvips 8.18.

Transformers.js calls sharp's `affine` for nearest and bicubic, which looks at corner-aligned positions, does not
antialias and is black outside the image, and its `resize` with `fit: "fill"` for Lanczos, which averages while it
shrinks and takes a bicubic `affine` where it enlarges. libvips cuts the fraction of a position to 64ths and weights to
4096ths (affine.c, bicubic.cpp, reducev.cpp, reduceh.cpp, shrinkv.c). All of it is whole numbers here too.

Images are uint8 of shape (H, W) or (H, W, C) and stay so. No function changes its input.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from transformers_foreground.runtime.affine import PRODUCT

_STEPS: Final = 64  # fractions of a position that make a difference
_BITS: Final = 12  # of a weight
_BLOCK: Final = 1 << 20  # output values handled at a time
_SUMS: Final = 16  # rows of a matrix product

_Positions = NDArray[np.float64]


def nearest(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Resize as sharp's `affine` with `interpolator: "nearest"`: the pixel at the cut position x·W/width.

    Args:
        image: uint8, shape (H, W) or (H, W, C).
        width: New width.
        height: New height.

    Returns:
        uint8, shape (height, width) or (height, width, C).
    """
    x, y = _corner_aligned(image, width, height, margin=1)
    rows, columns = (np.minimum(at.astype(np.intp) - 1, n - 1) for at, n in zip((y, x), image.shape[:2], strict=True))
    out: NDArray[np.uint8] = image.take(rows, axis=0).take(columns, axis=1)
    return out


def bicubic(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Resize as sharp's `affine` with `interpolator: "bicubic"`: Catmull-Rom over 4×4 pixels, black outside.

    Args:
        image: uint8, shape (H, W) or (H, W, C).
        width: New width.
        height: New height.

    Returns:
        uint8, shape (height, width) or (height, width, C).
    """
    return _interpolate(image, *_corner_aligned(image, width, height, margin=2), edge=False)


def lanczos3(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Resize as sharp's `resize` with `kernel: "lanczos3"` and `fit: "fill"`: first down, then across, then up.

    Args:
        image: uint8, shape (H, W) or (H, W, C).
        width: New width.
        height: New height.

    Returns:
        uint8, shape (height, width) or (height, width, C).
    """
    along, down = 1 / (image.shape[1] / width), 1 / (image.shape[0] / height)
    if down < 1:
        image = _reduce(image, 1 / down, accumulate=False)
    if along < 1:
        image = _reduce(image.swapaxes(0, 1), 1 / along, accumulate=True).swapaxes(0, 1)
    if along > 1 or down > 1:
        x, y = _corner_aligned(image, width, height, margin=1.5, along=max(along, 1.0), down=max(down, 1.0))
        image = _interpolate(image, x, y, edge=True)
    return np.ascontiguousarray(image)


def _corner_aligned(
    image: NDArray[np.uint8], width: int, height: int, *, margin: float, along: float = 0.0, down: float = 0.0
) -> tuple[_Positions, _Positions]:
    """Return the input columns and rows that the output looks at, with libvips' order of operations.

    Args:
        image: The input.
        width: New width.
        height: New height.
        margin: Where the first output pixel looks at. libvips adds pixels on the left and above, one for nearest and
            two for bicubic, and rounds positions in that larger image.
        along: Scale of the width; by default the one of the sizes.
        down: Scale of the height.
    """
    along, down = along or width / image.shape[1], down or height / image.shape[0]
    inverse = 1 / (along * down)
    x = np.add.accumulate(np.r_[float(margin), np.full(width - 1, inverse * down)])
    return x, np.arange(height, dtype=np.float64) * (inverse * along) + margin


def _split(positions: _Positions) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the whole part of positions, and their fraction rounded to 64ths: 0 to 64."""
    twice = (positions * (2 * _STEPS)).astype(np.intp)
    return positions.astype(np.intp), ((twice & (2 * _STEPS - 1)) + 1) >> 1


def _interpolate(image: NDArray[np.uint8], x: _Positions, y: _Positions, *, edge: bool) -> NDArray[np.uint8]:
    """Weight 4×4 pixels; outside the image is black, or its edge goes on."""
    (columns, dx), (rows, dy) = _split(x), _split(y)
    columns, rows = columns - 3, rows - 3  # the first of four, without the two that libvips adds
    table = _catmull_rom()
    width, height = len(x), len(y)
    out = np.empty((height, width, *image.shape[2:]), np.uint8)
    block = max(1, _BLOCK // max(1, out[0].size))
    for first in range(0, height, block):
        now = slice(first, first + block)
        low = min(max(0, int(rows[now].min())), len(image) - 1)
        part = image[low : int(rows[now].max()) + 4]
        across = _weighted(part.swapaxes(0, 1), columns, table[dx], edge=edge).swapaxes(0, 1)
        down = _weighted(across, rows[now] - low, table[dy[now]], edge=edge)
        out[now] = down.clip(0, 255)
    return out


def _weighted(
    values: NDArray[Any], first: NDArray[np.intp], weights: NDArray[np.int32], *, edge: bool
) -> NDArray[np.int32]:
    """Sum rows `first`, `first + 1`, … with weights of 4096ths, rounded: a few sums at a time, as a matrix product.

    All products and sums are whole numbers below 2**24, and so float32 is exact, in any order.

    Args:
        values: Whole numbers, shape (n, ...).
        first: The first row of each sum, also outside 0..n; shape (m,).
        weights: Shape (m, taps).
        edge: Whether rows outside are those at the edge; else they count as 0.

    Returns:
        Shape (m, ...).
    """
    n, m, taps = len(values), *weights.shape
    rows = first[:, None] + np.arange(taps)
    if not edge:
        weights = np.where((rows >= 0) & (rows < n), weights, 0)
    rows = rows.clip(0, n - 1)
    total = np.empty((m, *values.shape[1:]), np.int32)
    for start in range(0, m, _SUMS):
        now = slice(start, start + _SUMS)
        low, high = int(rows[now].min()), int(rows[now].max()) + 1
        matrix = np.zeros((len(rows[now]), high - low), np.float32)
        np.add.at(matrix, (np.arange(len(matrix))[:, None], rows[now] - low), weights[now])
        part = values[low:high].reshape(high - low, -1)
        sums = total[now].reshape(len(matrix), -1)
        step = max(1, PRODUCT // matrix.size)
        for column in range(0, part.shape[1], step):
            some = slice(column, column + step)
            sums[:, some] = matrix @ part[:, some].astype(np.float32)
    total += 1 << (_BITS - 1)
    total >>= _BITS
    return total


def _catmull_rom() -> NDArray[np.int32]:
    """Return the weights of four pixels for each 64th, shape (65, 4)."""
    x = np.arange(_STEPS + 1) / _STEPS
    rest = 1 - x
    inner = rest * (-0.5 * x)
    first, last = rest * inner, x * inner
    lean = last - first
    return np.asarray(np.stack([first, rest - first + lean, x - last - lean, last], axis=1) * (1 << _BITS), np.int32)


def _lanczos(points: int, shrink: float) -> NDArray[np.int32]:
    """Return the weights of `points` pixels for each 64th, shape (65, points)."""
    middle = np.arange(_STEPS + 1)[:, None] / _STEPS + points / 2 - 1
    x = (np.arange(points) - middle) * (1 / shrink)
    weights = np.where(np.abs(x) <= 3, _sinc(x) * _sinc(x / 3), 0.0)
    total = np.zeros(_STEPS + 1)
    for column in weights.T:  # in this order, as floats
        total = total + column
    return np.asarray(weights / total[:, None] * (1 << _BITS), np.int32)


def _sinc(x: NDArray[np.float64]) -> NDArray[np.float64]:
    turned = np.where(x == 0, 1.0, x * np.pi)
    return np.where(x == 0, 1.0, np.sin(turned) / turned)


def _reduce(image: NDArray[np.uint8], shrink: float, *, accumulate: bool) -> NDArray[np.uint8]:
    """Shrink along the first axis: by averages to less than four times the size, then by Lanczos.

    Args:
        image: uint8, shape (n, ...).
        shrink: How many input rows an output row stands for, at least 1.
        accumulate: Whether positions are found by adding up, as libvips does for columns.
    """
    n = len(image)
    size = int(n / shrink + 0.5)
    invented = size * shrink - n  # rows
    whole = max(1, math.floor(n / size / 2))
    if whole > 1:
        image = _average(image, whole)
        shrink, invented = shrink / whole, invented / whole
    if shrink == 1:
        return image
    points = 2 * round(3 * shrink) + 1
    start = (1 + invented) / 2 - 1
    if accumulate:
        positions = np.add.accumulate(np.r_[0.5 * shrink - 0.5 - start, np.full(size - 1, shrink)])
    else:
        positions = (np.arange(size) + 0.5) * shrink - 0.5 - start
    rows, fraction = _split(positions)
    weights = _lanczos(points, shrink)[fraction]
    out = np.empty((size, *image.shape[1:]), np.uint8)
    block = max(1, _BLOCK // max(1, out[0].size))
    for first in range(0, size, block):
        now = slice(first, first + block)
        low = rows[now] + 1 - math.ceil(points / 2)
        out[now] = _weighted(image, low, weights[now], edge=True).clip(0, 255)
    return out


def _average(image: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """Average each `count` rows; the last row is repeated to fill the last average."""
    n, factor = len(image), (1 << 32) // (256 * count)
    size = -(-n // count)
    total = np.full((size, *image.shape[1:]), count // 2, np.uint32)
    for offset in range(count):
        total += image.take(np.minimum(np.arange(size) * count + offset, n - 1), axis=0)
    total *= np.uint32(factor)  # wraps at 2³², as in libvips
    return (total >> 24).astype(np.uint8)
