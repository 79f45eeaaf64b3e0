"""A float16 graph in float32: the same weights, the same planes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from conftest import real_model
from onnx import TensorProto, helper, numpy_helper

from transformers_foreground.hub.float32 import as_float32


def _outputs(model: bytes | Path, pixels: np.ndarray) -> list[np.ndarray]:
    session = ort.InferenceSession(model)
    return session.run(None, {session.get_inputs()[0].name: pixels})


def _half_model_with_casts() -> bytes:
    """A convolution in float16 between casts, with a resize in float32 in the middle: as IS-Net's is laid out."""
    rng = np.random.default_rng(0)
    weights = numpy_helper.from_array(rng.normal(size=(1, 3, 3, 3)).astype(np.float16), "w")
    scales = numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales")
    bias = numpy_helper.from_array(np.array(0.25, np.float16), "")
    nodes = [
        helper.make_node("Cast", ["input"], ["half"], to=TensorProto.FLOAT16),
        helper.make_node("Conv", ["half", "w"], ["conv"], pads=[1, 1, 1, 1]),
        helper.make_node("Constant", [], ["bias"], value=bias),
        helper.make_node("Add", ["conv", "bias"], ["sum"]),
        helper.make_node("Cast", ["sum"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Resize", ["wide", "", "scales"], ["big"], mode="linear"),
        helper.make_node("Cast", ["big"], ["big16"], to=TensorProto.FLOAT16),
        helper.make_node("Sigmoid", ["big16"], ["alpha"]),
        helper.make_node("Cast", ["alpha"], ["output"], to=TensorProto.FLOAT),
    ]
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 8, 8])
    plane = helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 1, 16, 16])
    info = [helper.make_tensor_value_info("conv", TensorProto.FLOAT16, [1, 1, 8, 8])]
    graph = helper.make_graph(nodes, "g", [image], [plane], [weights, scales], value_info=info)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def test_float32_has_the_weights_of_float16(tmp_path: Path) -> None:
    half = _half_model_with_casts()
    (tmp_path / "half.onnx").write_bytes(half)
    full = as_float32(tmp_path / "half.onnx")
    model = onnx.load_from_string(full)
    onnx.checker.check_model(model, full_check=True)
    assert b"FLOAT16" not in str(model).encode()
    assert {t.data_type for t in model.graph.initializer} == {TensorProto.FLOAT}
    old, new = (numpy_helper.to_array(onnx.load_from_string(m).graph.initializer[0]) for m in (half, full))
    assert np.array_equal(old.astype(np.float32), new)
    pixels = np.random.default_rng(1).random((1, 3, 8, 8), np.float32)
    (expected,), (got,) = _outputs(half, pixels), _outputs(full, pixels)
    assert got.dtype == np.float32
    assert np.abs(got - expected).max() < 1e-3


@pytest.mark.model
def test_real_isnet_float32_equals_float16() -> None:
    folder = real_model("imgly/isnet-general-use") / "onnx"
    pixels = np.random.default_rng(0).random((1, 3, 1024, 1024), np.float32) - 0.5
    planes = []
    for name in ("model.onnx", "model_fp16.onnx"):
        session = ort.InferenceSession(folder / name)
        planes.append(session.run(["output"], {"input": pixels})[0])
    assert planes[0].shape == (1, 1, 1024, 1024)
    assert planes[0].dtype == planes[1].dtype == np.float32
    assert np.abs(planes[0] - planes[1]).max() < 1e-3
    assert planes[0].std() > 1e-4, "a flat plane compares nothing"
