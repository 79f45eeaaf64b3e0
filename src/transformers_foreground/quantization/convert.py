"""From a float graph and ranges to a graph of QuantizeLinear and DequantizeLinear, by Optimum's ORTQuantizer."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

OPERATORS: Final = (
    "Conv", "Relu", "LeakyRelu", "Clip", "Add", "Concat", "MaxPool", "AveragePool", "GlobalAveragePool", "Resize"
)  # fmt: skip


def to_int8(model: Any, ranges: Mapping[str, tuple[float, float]], keep_float: Sequence[str]) -> Any:
    """Quantise a graph statically: per-channel symmetric int8 weights, asymmetric uint8 activations, int32 biases.

    Args:
        model: Simplified `onnx.ModelProto`.
        ranges: Smallest and largest value of each activation.
        keep_float: Names of the nodes that stay as they are.

    Returns:
        The QDQ graph. Source of the scheme: Jacob et al., "Quantization and Training of Neural Networks for Efficient
        Integer-Arithmetic-Only Inference", CVPR 2018, section 2.1; per-channel weights: Krishnamoorthi,
        "Quantizing deep convolutional networks for efficient inference", 2018, section 3.1.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantizationMode, QuantType
    from onnxruntime.quantization.calibrate import TensorData, TensorsData
    from optimum.onnxruntime import ORTQuantizer
    from optimum.onnxruntime.configuration import QuantizationConfig

    config = QuantizationConfig(
        is_static=True,
        format=QuantFormat.QDQ,
        mode=QuantizationMode.QLinearOps,
        activations_dtype=QuantType.QUInt8,
        activations_symmetric=False,
        weights_dtype=QuantType.QInt8,
        weights_symmetric=True,
        per_channel=True,
        reduce_range=False,
        nodes_to_exclude=list(keep_float),
        operators_to_quantize=list(OPERATORS),
    )
    data = {name: TensorData(lowest=np.float32(low), highest=np.float32(high)) for name, (low, high) in ranges.items()}
    with tempfile.TemporaryDirectory() as folder, _quiet():
        source = Path(folder) / "model.onnx"
        onnx.save(model, source)
        quantizer = ORTQuantizer(source)
        out = Path(folder) / "out"
        quantizer.quantize(config, out, calibration_tensors_range=TensorsData(CalibrationMethod.MinMax, data))
        return onnx.load(out / "model_quantized.onnx")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide the advice that ONNX Runtime and Optimum log about preprocessing, which `simplify` has done."""
    loggers = [logging.getLogger(), logging.getLogger("optimum")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
