"""Resizing as Transformers.js does it, in numpy, and the other ways that one may want to compare with.

What its `RawImage.resize` gives depends on where it runs: Node calls sharp, that is libvips (`affine_bilinear` here and
`kernels`, bit for bit), and browsers draw on a canvas (`canvas_bilinear`, as Chromium). Neither antialiases.

Images are uint8 arrays of shape (H, W) or (H, W, C) with any C >= 1. Every channel is treated alike, so alpha is not
premultiplied. No function changes its input.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from transformers_foreground.errors import UnsupportedOptionError
from transformers_foreground.runtime import kernels
from transformers_foreground.runtime.affine import affine_bilinear, check_image

RESAMPLINGS: Final = ("transformers.js", "canvas", "antialias", "bria")

_BILINEAR: Final = 2  # Pillow's code
_SHARP: Final = {0: kernels.nearest, 1: kernels.lanczos3, 3: kernels.bicubic}  # beside it
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
            4 box, 5 hamming. "transformers.js" takes sharp's filter of that name, and bilinear for box and hamming;
            "antialias" takes Pillow's; "canvas" and "bria" know only their own.

    Returns:
        Shape (height, width) or (height, width, C); float32 for "bria", else uint8.

    Raises:
        UnsupportedOptionError: Unknown resampling or filter, a size below 1, or not such an image.
    """
    if resampling not in RESAMPLINGS:
        raise UnsupportedOptionError(f"Unknown resampling {resampling!r}. Should be one of: {', '.join(RESAMPLINGS)}.")
    if filter not in range(6):
        raise UnsupportedOptionError(f"Resampling method {filter!r} is not supported. Should be one of: 0 to 5.")
    if resampling == "bria":
        return half_pixel_bilinear(image, width, height)
    if resampling == "antialias":
        return antialias(image, width, height, filter)
    if resampling == "canvas":
        return canvas_bilinear(image, width, height)
    check_image(image, width, height, np.uint8)
    same = image.shape[:2] == (height, width)
    return image if same else _SHARP.get(filter, affine_bilinear)(image, width, height)


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
        UnsupportedOptionError: A size below 1, or not such an image.
    """
    check_image(image, width, height, np.uint8)
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
        UnsupportedOptionError: A size below 1, or not such an image.
    """
    from PIL import Image

    check_image(image, width, height, np.uint8)
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
        UnsupportedOptionError: A size below 1, or not such an image.
    """
    check_image(image, width, height, np.uint8, np.float32)

    def taps(before: int, after: int) -> _Taps:
        centres = np.arange(after, dtype=np.float32) + np.float32(0.5)
        position = np.maximum(centres * np.float32(before / after) - np.float32(0.5), np.float32(0))
        lower = np.minimum(position.astype(np.intp), before - 1)
        weight = np.minimum(position - lower.astype(np.float32), np.float32(1))
        return lower, np.minimum(lower + 1, before - 1), weight

    return _interpolate(image, taps(image.shape[1], width), taps(image.shape[0], height), 1, np.float32)


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
