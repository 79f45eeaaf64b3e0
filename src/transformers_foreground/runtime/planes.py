"""A model's raw output to alpha planes."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from transformers_foreground.errors import InferenceError, InvalidModelError

_EPSILON: Final = 1e-5  # some kernels' Sigmoid leaves [0, 1] by this much (onnxruntime#22557)
_LEVELS: Final = 255.0
_LARGEST_LOGIT: Final = 64.0  # above it, in a plane without negative values, only levels of 0..255 make sense


def as_planes(raw: NDArray[Any], count: int, source: str) -> NDArray[np.float32]:
    """Turn what a graph gave into alpha.

    Args:
        raw: The output: floats, uint8 or bool, shape (B, h, w), (B, 1, h, w) or (B, h, w, 1), B being at least `count`.
        count: How many images went in.
        source: Names the model's file and output in messages.

    Returns:
        Alpha, float32 in [0, 1] up to a rounding error, shape (count, 1, h, w).

    Raises:
        InvalidModelError: That is not one plane an image.
        InferenceError: An image's plane has no number in it, or values that are neither alpha nor logits.
    """
    planes = np.asarray(raw)
    if planes.ndim == 4 and planes.shape[1] != 1 and planes.shape[3] == 1:
        planes = planes.transpose(0, 3, 1, 2)
    elif planes.ndim == 3:
        planes = planes[:, None]
    if planes.ndim != 4 or planes.shape[1] != 1 or planes.shape[0] < count or 0 in planes.shape:
        raise InvalidModelError(f"{source} has shape {np.shape(raw)}, not one plane for each of {count} images.")
    planes = planes[:count]
    if planes.dtype == np.bool_:
        return planes.astype(np.float32)
    if planes.dtype == np.uint8:
        return np.concatenate([_from_levels(plane[None]) for plane in planes])
    if not np.issubdtype(planes.dtype, np.floating):
        raise InvalidModelError(f"{source} is {planes.dtype}: class labels, not one plane of alpha an image.")
    floats = planes.astype(np.float32, copy=False)
    return (
        np.concatenate([to_alpha(plane[None], source) for plane in floats]) if count > 1 else to_alpha(floats, source)
    )


def to_alpha(plane: NDArray[np.float32], source: str = "The model's output") -> NDArray[np.float32]:
    """Return one image's plane as alpha, whatever form the model gives it in.

    A plane that leaves [−1e-5, 1 + 1e-5] holds logits and goes through a sigmoid, in double precision, as in
    Transformers.js. Levels of 0..255, which a sigmoid would make white, are recognised: a plane without negative values
    that has either whole numbers only, or some above 64. Single values that are no numbers (NaN) become 0, and infinite
    ones 0 or 1, whatever the others are.

    Args:
        plane: float32, any shape.
        source: Names the model's file and output in messages.

    Returns:
        float32 in [0, 1] up to a rounding error, the same shape.

    Raises:
        InferenceError: No value is a number, or there are no negative ones and some above 255.
    """
    low, high = float(plane.min()), float(plane.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        finite = plane[np.isfinite(plane)]
        if not finite.size:
            raise InferenceError(
                f"{source} holds no number (NaN or infinite throughout): the model's values left the range of its "
                "dtype. Load it with dtype='fp32'; if it is that already, try device='cpu', or another export of it."
            )
        low, high = float(finite.min()), float(finite.max())
        unit = high <= 1 + _EPSILON and low >= -_EPSILON
        plane = np.nan_to_num(plane, nan=0.0 if unit else -np.inf, posinf=1.0 if unit else np.inf, neginf=-np.inf)
        plane = np.maximum(plane, 0) if unit else plane
    if low >= -_EPSILON and high <= 1 + _EPSILON:
        return plane
    if low >= 0 and (high > _LARGEST_LOGIT or not np.any(np.mod(plane[np.isfinite(plane)], 1))):
        if high > _LEVELS + 0.5:
            raise InferenceError(f"{source} holds values from {low:g} to {high:g}: neither alpha, levels nor logits.")
        return np.clip(plane / np.float32(_LEVELS), 0, 1)
    with np.errstate(over="ignore"):  # exp(-x) of a large negative logit is inf, and 1 / inf the right answer
        return np.asarray(1 / (1 + np.exp(-plane.astype(np.float64))), np.float32)


def _from_levels(plane: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return a uint8 plane as alpha: levels of 0..255, or a mask of 0 and 1."""
    return plane.astype(np.float32) / np.float32(_LEVELS if plane.max() > 1 else 1)
