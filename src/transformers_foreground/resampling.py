"""Resizing as Transformers.js does it, in numpy, and the other ways that one may want to compare with.

Transformers.js resizes the picture to the model's size, and the mask back to the picture's. What its `RawImage.resize`
gives depends on where it runs: Node calls sharp, that is libvips' `affine` (`affine_bilinear` here, bit for bit), and
browsers draw on a canvas (`canvas_bilinear`, as Chromium does it). Neither antialiases, as Pillow would.

Pictures are uint8 arrays of shape (H, W) or (H, W, C) with any C >= 1. Every channel is treated alike, so alpha is not
premultiplied. No function changes its input.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from transformers_foreground.errors import UnsupportedOptionError

RESAMPLINGS: Final = ("transformers.js", "canvas", "antialias", "bria")

_BILINEAR: Final = 2  # Pillow's code
_PRODUCT: Final = 1 << 18  # multiplications in a matrix product: few enough for OpenBLAS not to start threads
_BLOCK: Final = 1 << 16  # output values handled at a time: many enough to amortise calls, few enough for the caches

_Taps: TypeAlias = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[Any]]  # lower index, upper index, upper's weight


def resize(
    image: NDArray[Any], width: int, height: int, resampling: str = "transformers.js", *, filter: int = _BILINEAR
) -> NDArray[Any]:
    """Resize by the resampling of that name.

    Args:
        image: uint8 in 0..255, shape (H, W) or (H, W, C); "bria" takes float32 of any range too.
        width: New width, at least 1.
        height: New height, at least 1.
        resampling: "transformers.js" (`affine_bilinear`), "canvas" (`canvas_bilinear`), "antialias" (`antialias`) or
            "bria" (`half_pixel_bilinear`: F.interpolate, as in BRIA's own Python code for RMBG-1.4).
        filter: `resample` of preprocessor_config.json, a Pillow code: 0 nearest, 1 lanczos, 2 bilinear, 3 bicubic,
            4 box, 5 hamming. "antialias" honours it, "bria" ignores it. Since only bilinear is emulated,
            "transformers.js" and "canvas" fall to Pillow's filter, as "antialias", for any other code.

    Returns:
        Shape (height, width) or (height, width, C); float32 for "bria", else uint8.

    Raises:
        UnsupportedOptionError: unknown resampling or filter, a size below 1, or not such an image.
    """
    if resampling not in RESAMPLINGS:
        raise UnsupportedOptionError(f"Unknown resampling {resampling!r}. Should be one of: {', '.join(RESAMPLINGS)}.")
    if resampling == "bria":
        return half_pixel_bilinear(image, width, height)
    if resampling == "antialias" or filter != _BILINEAR:
        return antialias(image, width, height, filter)
    return (canvas_bilinear if resampling == "canvas" else affine_bilinear)(image, width, height)


def affine_bilinear(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Resize as Transformers.js does in Node: sharp's `affine([w/W, 0, 0, h/H], {interpolator: 'bilinear'})`.

    Corner aligned (output column x looks at input position x·W/w), not antialiased, and black outside the picture:
    when enlarging, the last column and row fade towards black. The formula is that of libvips 8.18 (affine.c and
    interpolate.c), which cuts the fractions of the position to 12 bits, X and Y, and takes of the neighbours a b / c d

        c4 = Y·X >> 12,  c2 = (4096 - Y)·X >> 12,  c3 = Y - c4,  c1 = 4096 - Y - c2
        out = (c1·a + c2·b + c3·c + c4·d + 2048) >> 12

    Args:
        image: uint8 in 0..255, shape (H, W) or (H, W, C).
        width: New width, at least 1.
        height: New height, at least 1.

    Returns:
        uint8, shape (height, width) or (height, width, C); `image` itself if it has that size already.

    Raises:
        UnsupportedOptionError: a size below 1, or not such an image.
    """
    _check(image, width, height, np.uint8)
    if image.shape[:2] == (height, width):
        return image
    # With steps e = b - a and f = d - c, and as c2 is X - 1 - c4, or X - c4 where 4096 divides X·Y,
    #     out = floor(((4096-Y)·a + Y·c + (X-1)·e + 2048 + c4·(f-e), plus e where 4096 divides X·Y) / 4096)
    # so that a pixel costs one cut product, c4. For the output rows between the same two input rows (a run), one
    # matrix product gives the terms before c4, summed, and f - e. All terms and sums are multiples of 2**-12 below
    # 2**11, once divided by 4096: float32 is exact, in any order.
    rows, columns, *rest = image.shape
    channels = rest[0] if rest else 1
    size, padded = width * channels, (columns + 2) * channels  # a row of the output; of the input, with black ends
    source = np.ascontiguousarray(image).reshape(rows, columns * channels)

    along, down = width / columns, height / rows
    inverse = 1 / (along * down)  # by way of the determinant, as libvips: W/w would round differently
    ix, x = _libvips_axis(np.add.accumulate(np.r_[1.0, np.full(width - 1, inverse * down)]))
    iy, y = _libvips_axis(inverse * along * np.arange(height) + 1.0)
    x = np.repeat(x, channels)
    exact = _where_exact(x)
    corrections = [exact[zeros] for zeros in _trailing_zeros(y).tolist()]
    pixel = np.minimum(ix[:, None] * channels + np.arange(channels), padded - 1).ravel()
    gather = np.stack([pixel, padded + np.where(x > 0, pixel, padded - 1)])  # X = 0 has c2 = 0: give it a step of 0
    xs, xs_less_1, fractions = x.astype(np.float32), (x - 1).astype(np.float32), (y / 4096).astype(np.float32)[:, None]

    line = np.zeros(2 * padded, np.float32)  # a row of pixels, then its steps, all divided by 4096
    inner, left, right = line[channels : padded - channels], line[: padded - channels], line[channels:padded]
    steps = line[padded : 2 * padded - channels]

    def fetch(row: int, out: NDArray[np.float32]) -> None:  # a and e of every output column; row 0 is black
        inner[:] = source[row - 1] if 1 <= row <= rows else 0
        np.multiply(inner, np.float32(1 / 4096), out=inner)
        np.subtract(right, left, out=steps)
        line.take(gather, out=out, mode="wrap")  # the quickest mode; nothing wraps

    runs, lengths = _runs(iy, max(1, _PRODUCT // (12 * size)))
    weights = _weights(y, lengths)
    swapped = np.ascontiguousarray(weights[:, [2, 3, 0, 1, 4, 5]])  # for when c and f come before a and e
    terms = np.full((6, size), 0.5, np.float32)  # a, e, c, f, (X-1)·e, 1/2
    pairs = terms[:4].reshape(2, 2, size)
    products, crossed = np.empty((2 * lengths.max(), size), np.float32), np.empty((lengths.max(), size), np.float32)
    out = np.empty((height, size), np.uint8)
    upper, upper_row = 0, -2
    for first, count, row in zip(runs.tolist(), lengths.tolist(), iy[runs].tolist(), strict=True):
        if row != upper_row:
            if row == upper_row + 1:
                upper = 1 - upper
            else:
                fetch(row, pairs[upper])
            upper_row = row
            fetch(row + 1, pairs[1 - upper])
            step = pairs[upper, 1]
            np.multiply(xs_less_1, step, out=terms[4])
        last = first + count
        product, t = products[: 2 * count], crossed[:count]
        np.matmul((swapped if upper else weights)[2 * first : 2 * last], terms, out=product)
        np.multiply(xs, fractions[first:last], out=t)
        np.floor(t, out=t)  # c4
        t *= product[count:]
        t += product[:count]
        for i, where in enumerate(corrections[first:last]):
            if where is not None:
                t[i][where] += step[where]
        out[first:last] = t  # truncates
    return out.reshape(height, width, *rest)


def canvas_bilinear(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Resize as Transformers.js does in a browser: `drawImage` in Chromium, rasterised on the CPU by Skia.

    Pixel centres are aligned (output column x looks at input position (x + 1/2)·W/w - 1/2), positions beyond the
    edges use the edge, and nothing is antialiased. Fractions are cut to 4 bits, and the sum of the four neighbours,
    weighted by 256ths, is truncated. Chromium differs now and then where a position falls on a whole 16th.

    Args:
        image: uint8 in 0..255, shape (H, W) or (H, W, C).
        width: New width, at least 1.
        height: New height, at least 1.

    Returns:
        uint8, shape (height, width) or (height, width, C); `image` itself if it has that size already.

    Raises:
        UnsupportedOptionError: a size below 1, or not such an image.
    """
    _check(image, width, height, np.uint8)
    if image.shape[:2] == (height, width):
        return image

    def taps(before: int, after: int) -> _Taps:
        sixteenths = np.floor(((np.arange(after) + 0.5) * (before / after) - 0.5) * 16).astype(np.intp)
        lower, weight = sixteenths >> 4, (sixteenths & 15).astype(np.uint16)  # 255·256 fits
        return lower.clip(0, before - 1), (lower + 1).clip(0, before - 1), weight

    return _interpolate(image, taps(image.shape[1], width), taps(image.shape[0], height), 16, np.uint8)


def antialias(image: NDArray[np.uint8], width: int, height: int, filter: int = _BILINEAR) -> NDArray[np.uint8]:
    """Resize by Pillow's `Image.resize`, which averages over all input pixels when it shrinks.

    Args:
        image: uint8 in 0..255, shape (H, W) or (H, W, C).
        width: New width, at least 1.
        height: New height, at least 1.
        filter: Pillow's code: 0 nearest, 1 lanczos, 2 bilinear, 3 bicubic, 4 box, 5 hamming.

    Returns:
        uint8, shape (height, width) or (height, width, C); `image` itself if it has that size already.

    Raises:
        UnsupportedOptionError: unknown filter, a size below 1, or not such an image.
    """
    from PIL import Image

    _check(image, width, height, np.uint8)
    if filter not in range(6):
        raise UnsupportedOptionError(f"Resampling method {filter!r} is not supported. Should be one of: 0 to 5.")
    if image.shape[:2] == (height, width):
        return image
    if image.ndim == 3 and image.shape[2] != 3:  # Pillow would premultiply two or four channels by their last one
        return np.stack([antialias(image[..., i], width, height, filter) for i in range(image.shape[2])], axis=2)
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling(filter)))


def half_pixel_bilinear(image: NDArray[Any], width: int, height: int) -> NDArray[np.float32]:
    """Resize as torch's `F.interpolate(mode="bilinear", align_corners=False)`, without antialiasing or rounding.

    Output column x looks at input position max(0, (x + 1/2)·W/w - 1/2), computed in float32 as torch does
    (`area_pixel_compute_source_index` in UpSample.h); beyond the last pixel its value is kept.

    Args:
        image: uint8 or float32 of any range, shape (H, W) or (H, W, C).
        width: New width, at least 1.
        height: New height, at least 1.

    Returns:
        float32 in the input's range, shape (height, width) or (height, width, C); always a new array.

    Raises:
        UnsupportedOptionError: a size below 1, or not such an image.
    """
    _check(image, width, height, np.uint8, np.float32)

    def taps(before: int, after: int) -> _Taps:
        centres = np.arange(after, dtype=np.float32) + np.float32(0.5)
        position = np.maximum(centres * np.float32(before / after) - np.float32(0.5), np.float32(0))
        lower = np.minimum(position.astype(np.intp), before - 1)
        weight = np.minimum(position - lower.astype(np.float32), np.float32(1))
        return lower, np.minimum(lower + 1, before - 1), weight

    return _interpolate(image, taps(image.shape[1], width), taps(image.shape[0], height), 1, np.float32)


def _check(image: NDArray[Any], width: int, height: int, *dtypes: DTypeLike) -> None:
    if width < 1 or height < 1:
        raise UnsupportedOptionError(f"Cannot resize to {width}x{height}: width and height must be at least 1.")
    if image.ndim not in (2, 3) or 0 in image.shape or image.dtype not in dtypes:
        need = " or ".join(np.dtype(dtype).name for dtype in dtypes) + ", (H, W) or (H, W, C)"
        raise UnsupportedOptionError(f"Cannot resize {image.dtype} of shape {image.shape}: must be {need}.")


def _libvips_axis(position: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Whole part, and fraction cut to 12 bits."""
    whole = position.astype(np.intp)
    return whole, ((position - whole) * 4096).astype(np.intp)


def _trailing_zeros(fraction: NDArray[np.intp]) -> NDArray[np.intp]:
    """How often 2 divides each number in 0..4095; 12 for 0."""
    marked = fraction | 4096
    zeros: NDArray[np.intp] = np.frexp(marked & -marked)[1].astype(np.intp) - 1
    return zeros


def _where_exact(x: NDArray[np.intp]) -> list[slice | NDArray[np.intp] | None]:
    """For Y with 0, 1 .. 12 trailing zeros, an index of those X > 0 for which 4096 divides X·Y, or None without any.

    Commonly a handful; but all of them for Y = 0, and for many more Y if the scale is a power of two.
    """
    exact = [(x > 0) & (_trailing_zeros(x) + zeros >= 12) for zeros in range(13)]
    # Where X = 0 the step is 0 and may be added as well
    return [None if not e.any() else slice(None) if (e | (x == 0)).all() else np.flatnonzero(e) for e in exact]


def _runs(iy: NDArray[np.intp], longest: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Starts and lengths of the runs of equal numbers in iy, those above `longest` cut up."""
    starts = np.flatnonzero(np.diff(iy, prepend=-1))
    since = np.arange(len(iy)) - np.repeat(starts, np.diff(starts, append=len(iy)))
    runs = np.flatnonzero(since % longest == 0)
    return runs, np.diff(runs, append=len(iy))


def _weights(y: NDArray[np.intp], lengths: NDArray[np.intp]) -> NDArray[np.float32]:
    """For each run of output rows, the weights of a, e, c, f, (X-1)·e, 1/2 in all its sums, then in all its f - e."""
    weights = np.zeros((2 * len(y), 6), np.float32)
    sums = np.arange(len(y)) + np.repeat(np.cumsum(lengths) - lengths, lengths)
    weights[sums, 0], weights[sums, 2], weights[sums, 4:] = 4096 - y, y, 1
    weights[sums + np.repeat(lengths, lengths)] = 0, -1, 0, 1, 0, 0
    return weights


def _interpolate(image: NDArray[Any], x: _Taps, y: _Taps, unit: int, dtype: DTypeLike) -> NDArray[Any]:
    """Interpolate along x, then along y, in the weights' type, where `unit` is the weight of a whole pixel.

    Works on a few output rows at a time, to need little memory. For uint8 divides by 16 * 16 and truncates.
    """
    (left, right, dx), (above, below, dy) = x, y
    out = np.empty((len(dy), len(dx), *image.shape[2:]), dtype)
    dx, dy = dx.reshape(-1, *[1] * (image.ndim - 2)), dy.reshape(-1, *[1] * (image.ndim - 1))
    block = max(1, _BLOCK // out[0].size)
    for first in range(0, len(out), block):
        now = slice(first, first + block)
        rows, where = np.unique(np.stack([above[now], below[now]]), return_inverse=True)
        part = image[rows]
        across = part.take(left, axis=1) * (unit - dx)
        across += part.take(right, axis=1) * dx
        top, bottom = where.reshape(2, -1)
        total = across[top] * (unit - dy[now])
        total += across[bottom] * dy[now]
        out[now] = total >> 8 if out.dtype == np.uint8 else total
    return out
