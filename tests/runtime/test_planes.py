"""From what a graph gives to alpha: logits, levels, masks, values that are no numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import SessionOptions
from tiny_models import brightness_model

from transformers_foreground.errors import InferenceError, InvalidModelError
from transformers_foreground.runtime.graphs import graph_of
from transformers_foreground.runtime.planes import as_planes, to_alpha
from transformers_foreground.runtime.sessions import create_session, forward

shapes = st.tuples(st.integers(1, 9), st.integers(1, 9))
alphas = hnp.arrays(np.float32, shapes, elements=st.floats(0, 1, width=32))
logits = hnp.arrays(np.float32, shapes, elements=st.floats(-60, 60, width=32))


def sigmoid(plane: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-plane.astype(np.float64))), np.float32)


@given(alphas)
def test_alpha_is_left_as_it_is(plane: np.ndarray) -> None:
    assert np.array_equal(to_alpha(plane), plane)


@given(logits.filter(lambda plane: plane.min() < -1e-4))
def test_negative_values_mean_logits(plane: np.ndarray) -> None:
    """Also where none is above 1."""
    assert np.array_equal(to_alpha(plane), sigmoid(plane))
    below = np.minimum(plane, np.float32(0.9))
    assert np.array_equal(to_alpha(below), sigmoid(below))


@pytest.mark.parametrize(
    "values", [[0.0, 1.5], [2.25, 3.5], [0.0, 0.5, 63.5], [-1e-4, 0.5], [0.5, 1 + 2e-5], [-2e-5, 0.5], [-0.5, 200]]
)
def test_which_values_are_logits(values: list[float]) -> None:
    plane = np.array([values], np.float32)
    assert np.array_equal(to_alpha(plane), sigmoid(plane))


@pytest.mark.parametrize("values", [[-9e-6, 0.5], [0.5, 1 + 9e-6], [0, 1]])
def test_a_rounding_error_outside_is_no_logit(values: list[float]) -> None:
    plane = np.array([values], np.float32)
    assert np.array_equal(to_alpha(plane), plane)


@given(alphas | logits.filter(lambda plane: plane.min() < -1e-4), st.data())
def test_what_is_no_number_is_0_and_changes_nothing_else(plane: np.ndarray, data: st.DataObject) -> None:
    flat = np.r_[plane.ravel(), np.float32(np.nan), np.float32(np.inf), np.float32(-np.inf)]
    order = np.array(data.draw(st.permutations(range(flat.size))))
    got = np.empty_like(flat)
    got[order] = to_alpha(flat[order][None])[0]
    assert np.array_equal(got[:-3], to_alpha(plane).ravel())
    assert got[-3:].tolist() == [0, 1, 0]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_plane_without_any_number_is_an_error(value: float) -> None:
    with pytest.raises(InferenceError, match=r"model_fp16\.onnx holds no number.*left the range of its dtype.*'fp32'"):
        to_alpha(np.full((1, 1, 2, 2), value, np.float32), "model_fp16.onnx")


@given(hnp.arrays(np.uint8, shapes))
def test_levels_are_scaled_whether_floats_or_bytes(levels: np.ndarray) -> None:
    """Not put through a sigmoid, which makes white of all that is not black."""
    wanted = levels.astype(np.float32) / np.float32(255 if levels.max() > 1 else 1)
    raw = levels[None, None]
    assert np.array_equal(as_planes(raw, 1, "it")[0, 0], wanted)
    assert np.array_equal(as_planes(raw.astype(np.float32), 1, "it")[0, 0], wanted)
    assert np.array_equal((wanted * np.float32(255)).astype(np.uint8), levels if levels.max() > 1 else levels * 255)


@given(alphas.filter(lambda plane: plane.max() > 0.3))
def test_levels_with_fractions_are_scaled(plane: np.ndarray) -> None:
    assert np.allclose(to_alpha(plane * np.float32(255)), plane, atol=1e-6)


def test_values_of_no_known_meaning_are_an_error() -> None:
    with pytest.raises(InferenceError, match="from 0 to 65535: neither alpha, levels nor logits"):
        to_alpha(np.array([[0, 65535]], np.float32))
    with pytest.raises(InferenceError, match="from 0 to 256"):
        to_alpha(np.array([[0, 256]], np.float32))


@pytest.mark.parametrize(
    "shape", [(1, 2, 4, 4), (1, 3, 4, 4), (1, 4, 4, 3), (4, 4), (1, 0, 4), (1, 1, 0, 4), (0, 1, 4, 4), (1,)]
)
def test_shapes_that_are_no_planes(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidModelError, match=r"it has shape .*, not one plane for each of 1 images"):
        as_planes(np.zeros(shape, np.float32), 1, "it")


@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 1, 3, 5), (2, 3, 5, 1)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.uint8, np.bool_])
def test_shapes_and_types_that_are_planes(shape: tuple[int, ...], dtype: Any) -> None:
    raw = np.arange(30).reshape(shape) % 2
    planes = as_planes(raw.astype(dtype), 2, "it")
    assert planes.shape == (2, 1, 3, 5)
    assert planes.dtype == np.float32
    assert np.array_equal(planes.ravel(), raw.ravel())


def test_labels_of_classes_are_no_plane() -> None:
    with pytest.raises(InvalidModelError, match="it is int64: class labels"):
        as_planes(np.zeros((1, 4, 4), np.int64), 1, "it")


def test_each_image_of_a_batch_is_read_by_itself() -> None:
    wanted = {0.25: 0.25, -3: sigmoid(np.float32(-3)), 200: np.float32(200 / 255)}
    for values in ([0.25, -3], [0.25, -3, 200], [200, 0.25], [-3]):
        raw = np.stack([np.full((1, 2, 2), value, np.float32) for value in values])
        assert as_planes(raw, len(raw), "it")[:, 0, 0, 0].tolist() == [wanted[value] for value in values]


@pytest.mark.parametrize("plane", [[0.25, 0.75], [-4.0, 0.5], [2.0, 7.5]])
@pytest.mark.parametrize(("odd", "becomes"), [(np.nan, 0), (np.inf, 1), (-np.inf, 0)])
def test_one_odd_value_alone(plane: list[float], odd: float, becomes: float) -> None:
    wanted = to_alpha(np.array([plane], np.float32))[0].tolist()
    assert to_alpha(np.array([[*plane, odd]], np.float32))[0].tolist() == [*wanted, becomes]


# --- through a session ------------------------------------------------------------------------------------------------


def run(model: onnx.ModelProto, folder: Path, brightness: float = 0.25) -> np.ndarray:
    """Give a graph one image of this brightness."""
    path = folder / "model_fp16.onnx"
    onnx.save(model, path)
    graph = graph_of(create_session(path, ["CPUExecutionProvider"], [{}], SessionOptions()), path)
    size = graph.height or 16
    return forward(graph, np.full((1, 3, size, size), brightness - 0.5, np.float32))


def ending(kind: int, *nodes: onnx.NodeProto, **constants: float) -> onnx.ModelProto:
    """Make a brightness model whose `output` goes through more nodes, to `last`."""
    model = brightness_model(side_outputs=0)
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(numpy_helper.from_array(np.float32(v), k) for k, v in constants.items())
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("last", kind, [1, 1, 16, 16]))
    return model


def test_a_graph_that_gives_bytes(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Mul", ["output", "most"], ["levels"]),
        helper.make_node("Cast", ["levels"], ["last"], to=TensorProto.UINT8),
    ]
    assert np.unique(run(ending(TensorProto.UINT8, *nodes, most=255), tmp_path)) == np.float32(63 / 255)


def test_a_graph_that_overflows(tmp_path: Path) -> None:
    """As fp16 files do on some devices; the message names the file, which names the dtype."""
    model = ending(TensorProto.FLOAT, helper.make_node("Div", ["nothing", "nothing"], ["nan"]),
                   helper.make_node("Mul", ["output", "nan"], ["last"]), nothing=0)  # fmt: skip
    with pytest.raises(InferenceError, match=r"'last' of model_fp16\.onnx \(dtype fp16\) holds no number.*='fp32'"):
        run(model, tmp_path)
