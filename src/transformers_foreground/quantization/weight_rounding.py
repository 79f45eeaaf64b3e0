"""Rounding of weights so that the errors within each kernel cancel."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

LEVELS: Final = 127


def steps(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the step of each output channel: its largest weight / 127, and 1 for a channel of zeros."""
    largest = np.abs(weights).reshape(len(weights), -1).max(axis=1)
    return np.where(largest > 0, largest / LEVELS, 1.0)


def nearest(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round to the nearest level, as ONNX Runtime does: output channels first, symmetric, one step a channel."""
    step = steps(weights).reshape((-1,) + (1,) * (weights.ndim - 1))
    return np.asarray(np.round(weights / step) * step)


def balanced(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round so that each kernel's sum is off by half a step at most.

    Neighbouring pixels of an activation are much alike, so a kernel's errors act through their sum above all. Rounding
    to the nearest lets that sum wander by √(n/12) steps; here those weights that were rounded farthest in its direction
    are rounded the other way, as many as it takes. Source: Guo et al., "SQuant: On-the-Fly Data-Free Quantization via
    Diagonal Hessian Approximation", ICLR 2022, the kernel-wise flips of algorithm 1.

    Args:
        weights: Shape (O, I, ...).

    Returns:
        Multiples of each output channel's step. Its largest weights stay, so that the step can be found again.
    """
    step = steps(weights).reshape(-1, 1, 1)
    exact = weights.reshape(*weights.shape[:2], -1) / step
    rounded = np.round(exact)
    error = rounded - exact
    surplus = np.round(error.sum(axis=2))
    towards = np.sign(surplus)[..., None]
    gain = np.where(np.abs(rounded) < LEVELS, error * towards, -np.inf)
    order = np.argsort(-gain, axis=2, kind="stable")
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.arange(order.shape[2])[None, None], axis=2)
    flip = (place < np.abs(surplus)[..., None]) & (gain > 0)
    return np.asarray(((rounded - flip * towards) * step).reshape(weights.shape))


def round_weights(model: Any, keep_float: Collection[str]) -> Any:
    """Return a float model whose convolutions, but for those to keep, have balanced weights on int8's levels."""
    import onnx
    from onnx import numpy_helper

    result = onnx.ModelProto()
    result.CopyFrom(model)
    tensors = {tensor.name: tensor for tensor in result.graph.initializer}
    kept = {name for node in result.graph.node if node.name in keep_float for name in node.input}
    for node in result.graph.node:
        if node.op_type == "Conv" and node.input[1] in tensors and node.input[1] not in kept:
            tensor = tensors[node.input[1]]
            values = balanced(numpy_helper.to_array(tensor).astype(np.float64))
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), tensor.name))
            kept.add(tensor.name)
    return result
