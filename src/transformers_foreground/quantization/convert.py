"""Insert QuantizeLinear and DequantizeLinear into a float graph, by ONNX Runtime's QDQQuantizer."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

OPERATORS: Final = (
    "Conv", "Relu", "LeakyRelu", "Clip", "Add", "Concat", "MaxPool", "AveragePool", "GlobalAveragePool", "Resize"
)  # fmt: skip


def to_int8(model: Any, ranges: Mapping[str, tuple[float, float]], keep_float: Sequence[str]) -> Any:
    """Quantise a graph statically: per-channel symmetric int8 weights, asymmetric uint8 activations, int32 biases.

    Args:
        model: A simplified `onnx.ModelProto`; it is not changed.
        ranges: Name of each activation to its smallest and largest value.
        keep_float: Names of the nodes that stay float.

    Returns:
        The QDQ graph. Source of the scheme: Jacob et al., "Quantization and Training of Neural Networks for Efficient
        Integer-Arithmetic-Only Inference", CVPR 2018, section 2.1; per-channel weights: Krishnamoorthi,
        "Quantizing deep convolutional networks for efficient inference", 2018, section 3.1.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import TensorData, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    data = {name: TensorData(lowest=np.float32(low), highest=np.float32(high)) for name, (low, high) in ranges.items()}
    copy = onnx.ModelProto()
    copy.CopyFrom(model)  # the quantizer changes what it is given
    with _quiet():
        quantizer = QDQQuantizer(
            model=copy,
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=TensorsData(CalibrationMethod.MinMax, data),
            nodes_to_quantize=[],
            nodes_to_exclude=list(keep_float),
            op_types_to_quantize=list(OPERATORS),
            extra_options={"WeightSymmetric": True, "ActivationSymmetric": False},
        )
        quantizer.quantize_model()
    quantizer.model.topological_sort()
    return quantizer.model.model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide the advice that ONNX Runtime logs about preprocessing, which `simplify` has done."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
