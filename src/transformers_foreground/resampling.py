"""Resizing as Transformers.js does it, in numpy, and the other ways that one may want to compare with.

Transformers.js resizes the picture to the model's size and the mask back to the picture's size. What its
`RawImage.resize` gives depends on where it runs, and neither place does what Pillow does:

- Node calls sharp, so libvips' `affine` with its bilinear interpolator: `affine_bilinear`, bit for bit.
- Browsers draw on a canvas: `canvas_bilinear`, as Chromium's software rasteriser (Skia) does it.

Pictures are uint8 arrays of shape (H, W) or (H, W, C), any C >= 1; every channel is treated alike, so alpha is not
premultiplied. No function changes its input.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from transformers_foreground.errors import UnsupportedOptionError

RESAMPLINGS: Final = ("transformers.js", "canvas", "antialias", "bria")

_BILINEAR: Final = 2  # Pillow's code
_FILTERS: Final = range(6)  # Pillow's codes: nearest, lanczos, bilinear, bicubic, box, hamming
_BLOCK: Final = 1 << 18  # output values handled at a time: large enough to amortise calls, small enough for caches


def resize(
    image: NDArray[Any],
    width: int,
    height: int,
    resampling: str = "transformers.js",
    *,
    filter: int = _BILINEAR,
) -> NDArray[Any]:
    """Resize by the resampling of that name.

    Args:
        image: uint8, shape (H, W) or (H, W, C); "bria" takes float32 too.
        width: New width, at least 1.
        height: New height, at least 1.
        resampling: "transformers.js" (`affine_bilinear`), "canvas" (`canvas_bilinear`), "antialias" (`antialias`) or
            "bria" (`half_pixel_bilinear`, which is what BRIA's own Python example of RMBG-1.4 does).
        filter: `resample` of preprocessor_config.json, a Pillow code: 0 nearest, 1 lanczos, 2 bilinear, 3 bicubic,
            4 box, 5 hamming. "antialias" honours it and "bria" ignores it. Only bilinear is emulated, so
            "transformers.js" and "canvas" use Pillow's filter for every other code, just as "antialias" does.

    Returns:
        Shape (height, width) or (height, width, C); float32 for "bria", else uint8.

    Raises:
        UnsupportedOptionError: unknown resampling or filter, or a size below 1.
    """
    if resampling not in RESAMPLINGS:
        raise UnsupportedOptionError(f"unknown resampling {resampling!r}: must be one of {', '.join(RESAMPLINGS)}")
    if resampling == "bria":
        return half_pixel_bilinear(image, width, height)
    if resampling == "antialias" or filter != _BILINEAR:
        return antialias(image, width, height, filter)
    return (affine_bilinear if resampling == "transformers.js" else canvas_bilinear)(image, width, height)


def affine_bilinear(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Resize as Transformers.js does in Node: sharp's `affine([w/W, 0, 0, h/H], {interpolator: 'bilinear'})`.

    Corner aligned (output pixel x looks at input position x·W/w), no antialiasing, and black beyond the picture: when
    enlarging, the last column and row fade towards black. From libvips' affine.c and interpolate.c (8.18), which cut
    the fractional position to X, Y in 0..4095 and compute, with a b / c d the four neighbours,

        c4 = Y·X >> 12,  c2 = (4096 - Y)·X >> 12,  c3 = Y - c4,  c1 = 4096 - Y - c2
        out = (c1·a + c2·b + c3·c + c4·d + 2048) >> 12

    Args:
        image: uint8, shape (H, W) or (H, W, C).
        width: New width, at least 1.
        height: New height, at least 1.

    Returns:
        uint8, shape (height, width) or (height, width, C); `image` itself if that is its size already.

    Raises:
        UnsupportedOptionError: a size below 1, or not such an image.
    """
    _check(image, width, height, np.uint8)
    if image.shape[:2] == (height, width):
        return image
    # With e = b - a, f = d - c and r = 1 except where 4096 divides X·Y (there r = 0), c2 = X - c4 - r, so that
    #     out = floor([a + 1/2 + (X-1)·e/4096] + Y/4096·(c - a) + c4·(f - e)/4096 + (1-r)·e/4096)
    # where only c4 has to be computed for every pixel. All terms are multiples of 2**-12 below 2**10: exact in
    # float32, whatever the order. e is taken as 0 where X = 0, whose c2 is 0.
    rows, columns = image.shape[:2]
    channels = image.shape[2] if image.ndim == 3 else 1
    source = np.ascontiguousarray(image).reshape(rows, columns * channels)
    along, down = width / columns, height / rows
    determinant = 1.0 / (along * down)  # libvips inverts the matrix; W/w would round differently
    ix, x12 = _libvips_axis(width, determinant * down, accumulate=True)
    iy, y12 = _libvips_axis(height, determinant * along, accumulate=False)
    pad = (columns + 2) * channels  # length of a row with one black pixel on either side
    left = np.minimum(ix[:, None] * channels + np.arange(channels), pad - 1).ravel()
    x12 = np.repeat(x12, channels)
    corrections = _exact_columns(x12)
    right_minus_left = np.where(x12 > 0, left, pad - 1) + pad  # the last one is always 0
    x = x12.astype(np.float32)
    x_less_1 = x - 1
    y = np.stack([np.ones(height), y12 / 4096], axis=1, dtype=np.float32)
    levels = _trailing_zeros(y12).tolist()

    size = width * channels
    out = np.empty((height, size), np.uint8)
    line = np.zeros(2 * pad, np.float32)  # a row, then what to add to each of its pixels to get the next, / 4096
    line[:pad] = 0.5
    pixels, steps = line[channels : pad - channels], line[pad : 2 * pad - channels]

    def fetch(row: int) -> NDArray[np.float32]:
        """a + 1/2 and e/4096 for every output column; `row` counts the black row above the picture."""
        pixels[:] = source[row - 1] if 1 <= row <= rows else 0
        pixels.__iadd__(0.5)
        np.subtract(line[channels:pad], line[: pad - channels], out=steps)
        steps.__imul__(np.float32(1 / 4096))
        return line.take(gather)

    gather = np.stack([left, right_minus_left])
    starts = np.flatnonzero(np.diff(iy, prepend=-1)).tolist()  # runs of output rows between the same two input rows
    stops = starts[1:] + [height]
    run = min(max(stop - start for start, stop in zip(starts, stops, strict=True)), max(1, _BLOCK // (4 * size)))
    flat, cross = np.empty((2, run, size), np.float32)
    terms = np.empty((2, size), np.float32)
    bottom, bottom_row = np.empty((2, 0), np.float32), -1
    for start, stop in zip(starts, stops, strict=True):
        row = int(iy[start])
        top = bottom if row == bottom_row else fetch(row)
        bottom, bottom_row = fetch(row + 1), row + 1
        delta, twist = bottom - top
        np.multiply(x_less_1, top[1], out=terms[0])
        terms[0] += top[0]
        terms[1] = delta
        for first in range(start, stop, run):
            last = min(first + run, stop)
            u, t = flat[: last - first], cross[: last - first]
            np.matmul(y[first:last], terms, out=u)
            np.multiply(x, y[first:last, 1:], out=t)
            np.floor(t, out=t)
            t *= twist
            t += u
            for line_out, level in zip(t, levels[first:last], strict=True):
                where = corrections[level]
                if where is not None:
                    line_out[where] += top[1][where]
            out[first:last] = t  # truncates
    return out.reshape(height, width, *image.shape[2:])
