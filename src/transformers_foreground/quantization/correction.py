"""Bias correction: rounded weights shift a convolution's mean; take the shift out of its bias."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transformers_foreground.quantization.calibration import ChannelHistogram
from transformers_foreground.quantization.channels import attribute
from transformers_foreground.quantization.rounding import balanced, nearest


def correct_biases(
    model: Any,
    histograms: Mapping[str, ChannelHistogram],
    factors: Mapping[str, NDArray[np.float64]],
    keep_float: Collection[str],
    balance: bool,
) -> Any:
    """Return a float model whose biases make up for what rounding its weights will shift.

    The shift of an output channel is `Σ (w̃ − w)·E[x]` over its inputs, borders aside. Source: Nagel et al., "Data-Free
    Quantization Through Weight Equalization and Bias Correction", ICCV 2019, section 4.2, equations 16 and 17, with
    E[x] measured in place of their estimate from batch normalisation. Clipping is left out of it: what is clipped is a
    few pixels of a few pictures, and a constant for all made IS-Net worse.

    Args:
        model: Simplified `onnx.ModelProto`, after equalisation.
        histograms: Statistics from before it.
        factors: What each channel was divided by.
        keep_float: Nodes that are not quantised.
        balance: Whether the weights will be rounded by `balanced`.
    """
    import onnx

    result = onnx.ModelProto()
    result.CopyFrom(model)
    tensors = {tensor.name: tensor for tensor in result.graph.initializer}
    means = {name: histogram.mean / factors[name] for name, histogram in histograms.items()}
    for node in result.graph.node:
        sources = [means[name] for name in node.input if name in means]
        if node.op_type == "Resize" and sources:  # linear: the mean stays
            means[node.output[0]] = sources[0]
        elif node.op_type == "Concat" and len(sources) == len(node.input):
            means[node.output[0]] = np.concatenate(sources)
        elif (
            node.op_type == "Conv"
            and node.name not in keep_float
            and len(node.input) == 3
            and {node.input[1], node.input[2]} <= tensors.keys()
            and node.input[0] in means
        ):
            _correct(node, tensors, means[node.input[0]], balance)
    return result


def _correct(node: Any, tensors: dict[str, Any], mean: NDArray[np.float64], balance: bool) -> None:
    """Change the bias of one convolution, given its inputs' means."""
    from onnx import numpy_helper

    weights = numpy_helper.to_array(tensors[node.input[1]]).astype(np.float64)
    groups = attribute(node, "group", 1)
    if mean.shape != (weights.shape[1] * groups,):
        return
    error = (balanced(weights) if balance else nearest(weights)) - weights
    per_output = np.repeat(mean.reshape(groups, -1), len(weights) // groups, axis=0)
    shift = (error.sum(axis=tuple(range(2, weights.ndim))) * per_output).sum(axis=1)
    bias = tensors[node.input[2]]
    values = numpy_helper.to_array(bias).astype(np.float64) - shift
    bias.CopyFrom(numpy_helper.from_array(values.astype(np.float32), bias.name))
