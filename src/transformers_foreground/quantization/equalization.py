"""Cross-layer equalisation: scale wide channels down and the weights that read them up, so that one range fits all.

Conv, ReLU, max and average pooling, linear resizing and concatenation are positively homogeneous in each channel:
`f(s·x) = s·f(x)` for `s > 0`. So a convolution may divide a channel by `s` if the convolutions that read it multiply
it by `s`: the output of the graph is the same. Source: Nagel, van Baalen, Blankevoort, Welling, "Data-Free Quantization
Through Weight Equalization and Bias Correction", ICCV 2019, section 4.1, equations 7 to 9. Two things differ here:
scales come from calibrated activations, since it is these that have one range per tensor; and channels are followed
through concatenations and residual sums (channels that are added share a scale).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

HOMOGENEOUS: Final = {
    "Relu", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Resize", "Identity"
}  # fmt: skip


class Channels:
    """Which channels of which tensors must be scaled together.

    Attributes:
        ids: Name of each activation of shape (B, C, ...) to the group of each of its channels, int64, (C,).
        pinned: Groups that cannot be scaled: inputs and outputs of the graph, and what other operators read or write.
    """

    def __init__(self, model: Any) -> None:
        self._parent: list[int] = []
        self._raw: dict[str, NDArray[np.int64]] = {}
        self._pinned: set[int] = set()
        graph = model.graph
        self._weights = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
        shapes = {
            value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
            for value in (*graph.value_info, *graph.input, *graph.output)
        }
        for value in graph.input:
            self._pin(self._fresh(value.name, shapes))
        for node in graph.node:
            self._visit(node, shapes)
        for value in graph.output:
            self._pin(self._raw.get(value.name))
        self.ids: Mapping[str, NDArray[np.int64]] = {
            name: np.array([self._root(i) for i in raw], np.int64) for name, raw in self._raw.items()
        }
        self.pinned = {self._root(i) for i in self._pinned}
        self.count = len(self._parent)

    def _visit(self, node: Any, shapes: Mapping[str, list[int]]) -> None:
        inputs = [self._raw[name] for name in node.input if name in self._raw]
        known = len(inputs) == len([n for n in node.input if n and n not in self._weights])
        if node.op_type == "Conv" and node.input[1] in self._weights:
            self._fresh(node.output[0], shapes, self._weights[node.input[1]][0])
        elif node.op_type in HOMOGENEOUS and len(inputs) == 1 and known:
            self._raw[node.output[0]] = inputs[0]
        elif node.op_type == "Concat" and known and attribute(node, "axis", 1) in (1, -3) and inputs:
            self._raw[node.output[0]] = np.concatenate(inputs)
        elif node.op_type in ("Add", "Sum") and known and len({len(ids) for ids in inputs}) == 1 and len(inputs) > 1:
            for other in inputs[1:]:
                for a, b in zip(inputs[0], other, strict=True):
                    self._join(int(a), int(b))
            self._raw[node.output[0]] = inputs[0]
        else:
            for ids in inputs:
                self._pin(ids)
            for name in node.output:
                self._pin(self._fresh(name, shapes))

    def _fresh(self, name: str, shapes: Mapping[str, list[int]], count: int = 0) -> NDArray[np.int64]:
        shape = shapes.get(name, [])
        count = count or (shape[1] if len(shape) > 1 else 0)
        start = len(self._parent)
        self._parent += range(start, start + count)
        ids = np.arange(start, start + count)
        if count:
            self._raw[name] = ids
        return ids

    def _pin(self, ids: NDArray[np.int64] | None) -> None:
        self._pinned |= set() if ids is None else {int(i) for i in ids}

    def _root(self, i: int) -> int:
        while self._parent[i] != i:
            self._parent[i] = self._parent[self._parent[i]]
            i = self._parent[i]
        return i

    def _join(self, a: int, b: int) -> None:
        low, high = sorted((self._root(a), self._root(b)))
        self._parent[high] = low

    def combine(self, values: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """Return for each group the largest of its channels' values; 0 if there is none."""
        result = np.zeros(self.count)
        for name, value in values.items():
            np.maximum.at(result, self.ids[name], value)
        return result


def attribute(node: Any, name: str, default: Any = None) -> Any:
    """Return an attribute of a node."""
    from onnx import helper

    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)


def rescale(model: Any, channels: Channels, scale: NDArray[np.float64]) -> Any:
    """Divide each group of channels by its scale, by changing the weights of the convolutions around it.

    Args:
        model: A simplified `onnx.ModelProto`.
        channels: The groups of its channels.
        scale: Divisor of each group, > 0; pinned groups are left alone.

    Returns:
        A new model with the same output up to rounding.
    """
    import onnx
    from onnx import numpy_helper

    scale = scale.copy()
    scale[list(channels.pinned)] = 1
    result = onnx.ModelProto()
    result.CopyFrom(model)
    tensors = {tensor.name: tensor for tensor in result.graph.initializer}
    done: set[str] = set()
    for node in result.graph.node:
        if node.op_type != "Conv" or node.input[1] not in tensors:
            continue
        weight, *bias = node.input[1:]
        for name in [n for n in node.input[1:] if n in done]:  # shared by several convolutions: give each its own
            own = onnx.TensorProto()
            own.CopyFrom(tensors[name])
            own.name = f"{name}_{node.output[0]}"
            result.graph.initializer.append(own)
            tensors[own.name] = result.graph.initializer[-1]
            node.input[:] = [own.name if n == name else n for n in node.input]
            weight, *bias = node.input[1:]
        done |= {weight, *bias}
        out = scale[channels.ids[node.output[0]]]
        values = numpy_helper.to_array(tensors[weight]).astype(np.float64)
        per_group = values.shape[1]
        groups = attribute(node, "group", 1)
        source = channels.ids.get(node.input[0])
        into = np.ones(per_group * groups) if source is None else scale[source]
        into = np.repeat(into.reshape(groups, per_group), len(values) // groups, axis=0)
        shape = (-1, per_group) + (1,) * (values.ndim - 2)
        values = values * into.reshape(shape) / out.reshape((-1, 1) + (1,) * (values.ndim - 2))
        _store(tensors[weight], values)
        for name in bias:
            _store(tensors[name], numpy_helper.to_array(tensors[name]) / out)
    return result


def _store(tensor: Any, values: NDArray[Any]) -> None:
    from onnx import numpy_helper

    tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), tensor.name))
