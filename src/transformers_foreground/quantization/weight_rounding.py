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


def balanced(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round so that each kernel's sum is off by half a step at most.

    Neighbouring pixels of an activation are similar, so what matters most is the sum of a kernel's errors. Rounding to
    the nearest level leaves it at about √(n/12) steps. Here as many weights as needed, of those that were rounded
    farthest in its direction, are rounded the other way. Source: Guo et al., "SQuant: On-the-Fly Data-Free
    Quantization via Diagonal Hessian Approximation", ICLR 2022, the kernel-wise flips of algorithm 1.

    Args:
        weights: Shape (O, I, ...).

    Returns:
        Multiples of each output channel's step, in the same shape. The largest weights are kept, so that the step
        computed from the result is the same.
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
    """Return a float model with balanced weights, on int8's levels, in all convolutions but those to keep float."""
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
