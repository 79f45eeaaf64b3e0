"""Bias correction: quantised weights and clipped inputs shift a convolution's mean; take the shift out of its bias."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transformers_foreground.quantization.calibration import ChannelHistogram
from transformers_foreground.quantization.channels import attribute


def rounded_weights(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return weights, output channels first, as symmetric per-channel int8 keeps them: `s·round(w / s)`, s = max/127."""
    largest = np.abs(weights).reshape(len(weights), -1).max(axis=1)
    step = np.where(largest > 0, largest / 127, 1).reshape((-1,) + (1,) * (weights.ndim - 1))
    return np.asarray(np.round(weights / step) * step)


def clipped_mean(histogram: ChannelHistogram, limit: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each channel's mean after values above its limit have become the limit.

    Exact up to the width of a bin for channels without negative values; for the others only the mean is returned.
    """
    counts = histogram.counts
    middles = (np.arange(counts.shape[1]) + 0.5) / counts.shape[1] * histogram.upper[:, None]
    excess = (counts * np.maximum(middles - limit[:, None], 0)).sum(axis=1) / max(histogram.number, 1)
    return np.where(histogram.lowest < 0, histogram.mean, histogram.mean - excess)


def correct_biases(
    model: Any,
    histograms: Mapping[str, ChannelHistogram],
    limits: Mapping[str, NDArray[np.float64]],
    factors: Mapping[str, NDArray[np.float64]],
    keep_float: Collection[str],
) -> Any:
    """Return a float model whose biases make up for what quantisation will shift.

    The shift of an output channel is `Σ w̃·E[x̃] − Σ w·E[x]` over its inputs, borders aside. Source: Nagel et al.,
    "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, section 4.2, equations 16 and
    17, with E[x] measured in place of their estimate from batch normalisation, and with the clipped E[x̃].

    Args:
        model: Simplified `onnx.ModelProto`, after equalisation.
        histograms: Statistics from before it.
        limits: Where each channel is clipped, before it.
        factors: What each channel was divided by.
        keep_float: Nodes that are not quantised.
    """
    import onnx

    result = onnx.ModelProto()
    result.CopyFrom(model)
    tensors = {tensor.name: tensor for tensor in result.graph.initializer}
    means: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
    for name, histogram in histograms.items():
        means[name] = (histogram.mean / factors[name], clipped_mean(histogram, limits[name]) / factors[name])
    for node in result.graph.node:
        sources = [means[name] for name in node.input if name in means]
        if node.op_type == "Resize" and sources:  # linear: the mean stays
            means[node.output[0]] = sources[0]
        elif node.op_type == "Concat" and len(sources) == len(node.input):
            before, after = zip(*sources, strict=True)
            means[node.output[0]] = (np.concatenate(before), np.concatenate(after))
        elif (
            node.op_type == "Conv"
            and node.name not in keep_float
            and len(node.input) == 3
            and {node.input[1], node.input[2]} <= tensors.keys()
            and node.input[0] in means
        ):
            _correct(node, tensors, *means[node.input[0]])
    return result


def _correct(
    node: Any, tensors: dict[str, Any], before: NDArray[np.float64], after: NDArray[np.float64]
) -> None:
    """Change the bias of one convolution, given its inputs' means before and after clipping."""
    from onnx import numpy_helper

    weights = numpy_helper.to_array(tensors[node.input[1]]).astype(np.float64)
    groups = attribute(node, "group", 1)
    if before.shape != (weights.shape[1] * groups,):
        return
    spatial = tuple(range(2, weights.ndim))

    def response(kernel: NDArray[np.float64], mean: NDArray[np.float64]) -> NDArray[np.float64]:
        per_output = np.repeat(mean.reshape(groups, -1), len(kernel) // groups, axis=0)
        return np.asarray((kernel.sum(axis=spatial) * per_output).sum(axis=1))

    shift = response(rounded_weights(weights), after) - response(weights, before)
    bias = tensors[node.input[2]]
    values = numpy_helper.to_array(bias).astype(np.float64) - shift
    bias.CopyFrom(numpy_helper.from_array(values.astype(np.float32), bias.name))
