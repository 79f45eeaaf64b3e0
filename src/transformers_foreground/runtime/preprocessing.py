"""Preprocess: RGB pixels to the array that a model takes.

The arithmetic is Transformers.js' (`ImageProcessor.preprocess`), so that `pixel_values` is the same to the last bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from transformers_foreground.runtime import resampling as rs
from transformers_foreground.runtime.geometry import (
    check_area,
    cropped_centre,
    cropped_margin,
    padded,
    target_size,
    thumbnail_size,
)
from transformers_foreground.runtime.processing import Processing


def to_rgb(pixels: NDArray[np.uint8], resampling: str) -> NDArray[np.uint8]:
    """Return what a model sees of an image.

    Gray is repeated, alpha is dropped and not composited: the colours under it are seen, as in Node. A canvas keeps
    colours multiplied by alpha in 8 bits, so with `"canvas"` they are black where alpha is 0, and coarse where it is
    small.

    Args:
        pixels: uint8, shape (H, W, C), C being 1, 3 or 4.
        resampling: One of `resampling.RESAMPLINGS`.

    Returns:
        uint8, shape (H, W, 3).
    """
    channels = pixels.shape[2]
    if channels == 1:
        return np.repeat(pixels, 3, axis=2)
    if channels == 4 and resampling == "canvas":
        alpha = pixels[..., 3:].astype(np.float32)
        stored = np.rint(pixels[..., :3] * alpha / 255)
        return np.asarray(np.minimum(np.rint(stored * 255 / np.maximum(alpha, 1)), 255), np.uint8)
    return pixels[..., :3]


def preprocess(pixels: NDArray[np.uint8], processing: Processing) -> NDArray[np.float32]:
    """Turn an image into a model's input.

    Args:
        pixels: uint8, shape (H, W, C), C being 1 (gray), 3 (RGB) or 4 (RGBA).
        processing: Size, scale and resampling.

    Returns:
        `pixel_values`, float32, shape (3, h, w). With the default resampling each value is the one that
        Transformers.js computes: `float32(rescale_factor · v)`, then `float32((that − mean) / std)`, both in double
        precision before each rounding.

    Raises:
        ImageError: The image is so long or large that the model's input would have more than 8192² pixels, or it does
            not fit `pad_size`.
    """
    return to_values(reshape(pixels, processing), processing)


def reshape(pixels: NDArray[np.uint8], processing: Processing) -> NDArray[Any]:
    """Crop the margin, resize and crop the centre: what comes before a model's values.

    Args:
        pixels: uint8, shape (H, W, C), C being 1 (gray), 3 (RGB) or 4 (RGBA).
        processing: Size and resampling.

    Returns:
        RGB of 0..255, shape (h, w, 3): uint8, or a float with a resampling that does not round.

    Raises:
        ImageError: It would have more than 8192² pixels.
    """
    rgb = to_rgb(pixels, processing.resampling)
    if processing.do_crop_margin:
        rgb = cropped_margin(rgb)
    for size_of in (target_size, thumbnail_size):
        height, width = size_of(rgb.shape[0], rgb.shape[1], processing)
        check_area(height, width, rgb.shape)
        rgb = rs.resize(rgb, width, height, processing.resampling, filter=processing.resample)
    if processing.do_center_crop and processing.crop_size:
        rgb = cropped_centre(rgb, processing.crop_size["height"], processing.crop_size["width"])
    return rgb


def to_values(rgb: NDArray[Any], processing: Processing) -> NDArray[np.float32]:
    """Rescale, normalise and pad what `reshape` returns.

    Args:
        rgb: RGB of 0..255, shape (h, w, 3).
        processing: Scale and padding.

    Returns:
        `pixel_values`, float32, shape (3, h', w').

    Raises:
        ImageError: It does not fit `pad_size`, or would have more than 8192² pixels.
    """
    scale = processing.rescale_factor if processing.do_rescale else 1.0
    if processing.rescale_to_max:
        scale = 1.0 / max(float(rgb.max()), 1e-6)
    values = padded(_values(rgb, scale, processing), processing)
    return np.ascontiguousarray(values[::-1]) if processing.do_flip_channel_order else values


def _values(rgb: NDArray[Any], scale: float, processing: Processing) -> NDArray[np.float32]:
    """Rescale and normalise (h, w, 3) to float32 of shape (3, h, w); bytes by a table."""
    if rgb.dtype != np.uint8:
        return _normalise(np.moveaxis(rgb, -1, 0), scale, processing)
    table = _normalise(np.arange(256, dtype=np.float64)[None, :], scale, processing)
    return np.stack([np.take(channel, rgb[..., i]) for i, channel in enumerate(table)])


def _normalise(values: NDArray[Any], scale: float, processing: Processing) -> NDArray[np.float32]:
    """Rescale and normalise values of shape (1 or 3, ...) to float32 of shape (3, ...)."""
    scaled = np.multiply(values, scale, dtype=np.float64).astype(np.float32)
    if not processing.do_normalize:
        return np.broadcast_to(scaled, (3, *scaled.shape[1:])).astype(np.float32)
    shape = (3,) + (1,) * (values.ndim - 1)
    mean = np.asarray(processing.image_mean, np.float64).reshape(shape)
    std = np.asarray(processing.image_std, np.float64).reshape(shape)
    return np.asarray((scaled.astype(np.float64) - mean) / std, np.float32)
