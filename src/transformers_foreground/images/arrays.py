"""Arrays and tensors that show an image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from transformers_foreground.images.reading import unreadable


def is_tensor(source: object) -> bool:
    """Whether this is a `torch.Tensor`; torch itself is never imported."""
    return hasattr(source, "detach") and hasattr(source, "cpu")


def from_tensor(tensor: Any, name: str) -> NDArray[Any]:
    """Bring a tensor to numpy, from whatever device and with whatever type.

    Raises:
        ImageError: It is sparse, quantised, or without values.
    """
    try:
        tensor = tensor.detach().cpu()
        if tensor.is_floating_point():
            tensor = tensor.float()  # numpy knows no bfloat16
        return np.asarray(tensor)
    except Exception as error:  # torch raises many kinds
        raise unreadable(name, f"the tensor cannot be turned into an array ({error})") from error


def from_array(array: NDArray[Any], name: str, *, channels_first: bool) -> NDArray[np.uint8]:
    """Bring (H, W), (H, W, C) or, if `channels_first`, (C, H, W) to uint8 (H, W, C).

    Raises:
        ImageError: It has another shape, or values that are neither uint8, bool nor floats in [0, 1].
    """
    shape = array.shape
    if array.size == 0:
        raise unreadable(name, f"it has no pixels (shape {shape})")
    if array.ndim == 2:
        array = array[..., None]
    elif channels_first and array.ndim == 3:
        array = np.moveaxis(array, 0, 2)
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        want, turn = ("(C, H, W)", "permute(2, 0, 1)") if channels_first else ("(H, W, C)", "transpose(1, 2, 0)")
        raise unreadable(name, f"its shape {shape} is not (H, W) or {want} with 1, 3 or 4 channels; {turn} may help")
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    elif np.issubdtype(array.dtype, np.floating):
        low, high = array.min(), array.max()
        if not (low >= 0 and high <= 1):  # this way round, NaN is refused too
            raise unreadable(name, f"its floats go from {low} to {high}; scale them to [0, 1], or pass uint8 (0..255)")
        array = np.rint(array * 255).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise unreadable(name, f"its dtype is {array.dtype}; pass uint8 (0..255), bool, or floats in [0, 1]")
    return np.ascontiguousarray(array)
