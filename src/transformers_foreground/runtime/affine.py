"""sharp's bilinear `affine`, bit for bit that of libvips 8.18: what Transformers.js resizes by in Node."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from transformers_foreground.errors import UnsupportedOptionError

PRODUCT: Final = 1 << 18  # multiplications in a matrix product: few enough for OpenBLAS not to start threads


def affine_bilinear(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Resize as Transformers.js does in Node: sharp's `affine([w/W, 0, 0, h/H], {interpolator: 'bilinear'})`.

    Corner aligned (output column x looks at input position x·W/w), not antialiased, and black outside the image:
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
        UnsupportedOptionError: A size below 1, or not such an image.
    """
    check_image(image, width, height, np.uint8)
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

    runs, lengths = _runs(iy, max(1, PRODUCT // (12 * size)))
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


def check_image(image: NDArray[Any], width: int, height: int, *dtypes: DTypeLike) -> None:
    """Refuse what cannot be resized.

    Raises:
        UnsupportedOptionError: A size below 1, or an array that is no such image.
    """
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
