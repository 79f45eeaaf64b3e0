"""Postprocess: a model's alpha plane to a mask of the image's size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from transformers_foreground.runtime import resampling as rs
from transformers_foreground.runtime.processing import Processing


def min_max(alpha: NDArray[np.float32]) -> NDArray[np.float32]:
    """Stretch a plane to [0, 1]: `(a − min) / (max − min)`. A flat plane, which has no contrast, is returned as it is.

    Source: `normPRED` in U²-Net's `u2net_test.py`, and the postprocessing of RMBG-1.4's own pipeline.
    """
    low, high = alpha.min(), alpha.max()
    return alpha if high <= low else (alpha - low) / (high - low)


def postprocess(alpha: NDArray[np.float32], height: int, width: int, processing: Processing) -> NDArray[np.uint8]:
    """Turn a model's plane into a mask.

    Args:
        alpha: The plane, float32 in [0, 1], shape (h, w).
        height: Height of the image.
        width: Width of the image.
        processing: Its `resampling` and `min_max` are used. `"bria"` resizes in float and then stretches, as
            RMBG-1.4's own pipeline does; the others quantise first (× 255, truncated), as Transformers.js does.

    Returns:
        The mask, uint8, shape (height, width); 255 is foreground.
    """
    if processing.resampling == "bria":
        return _quantise(min_max(rs.half_pixel_bilinear(alpha, width, height)))
    if processing.min_max:
        alpha = min_max(alpha)
    mask: NDArray[np.uint8] = rs.resize(_quantise(alpha), width, height, processing.resampling)
    return mask


def _quantise(alpha: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Multiply by 255 in float32 and drop the fraction. Values a rounding error outside [0, 1] are clipped."""
    levels: NDArray[np.float32] = np.clip(alpha * np.float32(255), 0, 255)
    return levels.astype(np.uint8)
