"""Which tensors need statistics, which nodes stay float, and which range each activation gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transformers_foreground.quantization.calibration import ChannelHistogram
from transformers_foreground.quantization.clipping import thresholds
from transformers_foreground.quantization.convert import OPERATORS, to_int8
from transformers_foreground.quantization.equalization import Channels, rescale
from transformers_foreground.quantization.weight_rounding import round_weights

_DERIVED = ("Resize", "Concat")


@dataclass(frozen=True)
class Method:
    """How a graph is quantised.

    Attributes:
        clip: How activations are clipped, channel by channel: `"max"`, `"percentile"` or `"mse"`.
        percent: Which percentile, from 50 to 100.
        equalise: Exponent of the equalisation: 0 leaves channels as they are, 1 gives all the same range.
        balance: Whether weights are rounded so that the errors within each kernel cancel.
        float_ends: Whether the first convolution, the last one and all after it stay float.
        keep_float: Names of more nodes that stay float.
    """

    clip: str = "percentile"
    percent: float = 99.95
    equalise: float = 0.5
    balance: bool = True
    float_ends: bool = True
    keep_float: tuple[str, ...] = ()

    def __str__(self) -> str:
        clip = f"{self.clip} {self.percent:g}" if self.clip == "percentile" else self.clip
        parts = [clip, f"equalised^{self.equalise:g}" if self.equalise else "not equalised"]
        parts += ["balanced rounding"] if self.balance else []
        parts += ["ends float" if self.float_ends else "every operator"]
        parts += [f"{len(self.keep_float)} more float"] if self.keep_float else []
        return ", ".join(parts)


def ends(model: Any) -> list[str]:
    """Return the names of the convolutions that read the input, and of all nodes from the last convolution on.

    The first convolution has three input channels, so it costs little, and the 256 levels of its input do not match
    those of uint8. The last gives logits, whose range is far wider than the part around 0 that decides the mask.
    """
    graph = model.graph
    start = {value.name for value in graph.input}
    names = [node.name for node in graph.node if node.op_type == "Conv" and node.input[0] in start]
    weights = {tensor.name for tensor in graph.initializer}
    producer = {name: node for node in graph.node for name in node.output}
    name = graph.output[0].name
    while name in producer:
        node = producer[name]
        inputs = [n for n in node.input if n and n not in weights]
        names.append(node.name)
        if node.op_type == "Conv" or len(inputs) != 1:
            break
        name = inputs[0]
    return names


def watched(model: Any) -> list[str]:
    """Return the tensors that need statistics: float activations, except those whose range follows from others."""
    from onnx import TensorProto

    graph = model.graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.output)}
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    result = []
    for node in graph.node:
        for name in node.output:
            users = readers.get(name, [])
            into_relu = len(users) == 1 and users[0].op_type in ("Relu", "Clip")
            of_ours = node.op_type in OPERATORS or any(user.op_type in OPERATORS for user in users)
            derived = node.op_type in _DERIVED or (node.op_type == "Conv" and into_relu)
            if kinds.get(name) == TensorProto.FLOAT and of_ours and not derived:
                result.append(name)
    return result


def activation_ranges(
    model: Any,
    histograms: Mapping[str, ChannelHistogram],
    limits: Mapping[str, NDArray[np.float64]],
    factors: Mapping[str, NDArray[np.float64]],
    input_range: tuple[float, float],
) -> dict[str, tuple[float, float]]:
    """Return the range of every activation.

    Args:
        model: Simplified `onnx.ModelProto`.
        histograms: Statistics of the tensors in `watched`.
        limits: Name of each of these to the clipping points of its channels.
        factors: Name of each of these to the divisors of its channels since the statistics were taken.
        input_range: Range of the graph's input.

    Returns:
        Name to smallest and largest value. Inputs of a concatenation get the range of its output, so that values are
        only copied; so does the input of a ReLU, and a resized tensor gets the range of its source.
    """
    ranges = {value.name: input_range for value in model.graph.input}
    for name, histogram in histograms.items():
        high = np.minimum(histogram.highest, limits[name]) / factors[name]
        low = np.maximum(histogram.lowest, -limits[name]) / factors[name]
        ranges[name] = (float(low.min()), float(high.max()))
    for node in model.graph.node:
        sources = [ranges[name] for name in node.input if name in ranges]
        if node.op_type in _DERIVED and sources:
            ranges[node.output[0]] = (min(low for low, _ in sources), max(high for _, high in sources))
    for node in reversed(model.graph.node):
        if node.op_type in ("Concat", "Relu", "Clip", "MaxPool", "Resize") and node.output[0] in ranges:
            for name in node.input[: None if node.op_type == "Concat" else 1]:
                if node.op_type == "Concat" or name not in ranges:
                    ranges[name] = ranges[node.output[0]]
    return ranges


def apply(
    model: Any,
    histograms: Mapping[str, ChannelHistogram],
    method: Method,
    input_range: tuple[float, float],
) -> Any:
    """Quantise a simplified `onnx.ModelProto`.

    Args:
        model: The graph.
        histograms: Statistics of its `watched` tensors.
        method: How to quantise it.
        input_range: Smallest and largest value of its input.

    Returns:
        The QDQ graph, an `onnx.ModelProto`.
    """
    channels = Channels(model)
    limits = {name: thresholds(histogram, method.clip, method.percent) for name, histogram in histograms.items()}
    scale = np.ones(channels.count)
    if method.equalise:
        known = {name: limit for name, limit in limits.items() if name in channels.ids}
        largest = channels.combine(known)
        scale = np.where(largest > 0, largest, 1.0) ** method.equalise
        scale[list(channels.pinned)] = 1.0
    factors = {name: scale[channels.ids[name]] if name in channels.ids else np.ones(1) for name in histograms}
    scaled = rescale(model, channels, scale) if method.equalise else model
    keep = {*method.keep_float, *(ends(model) if method.float_ends else ())}
    if method.balance:
        scaled = round_weights(scaled, keep)
    return to_int8(scaled, activation_ranges(scaled, histograms, limits, factors, input_range), sorted(keep))
