"""Which graphs are foreground models: their shapes decide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper
from onnxruntime import InferenceSession

from transformers_foreground.errors import InvalidModelError
from transformers_foreground.runtime.graphs import graph_of, why_not_foreground

Shape = list[Any]
IMAGE: Shape = ["batch", 3, "height", "width"]
FIXED: Shape = [1, 3, 384, 512]


class Declared:
    """A session that only says what it takes and gives."""

    def __init__(self, inputs: list[Any], outputs: list[Any]) -> None:
        self._inputs, self._outputs = inputs, outputs

    def get_inputs(self) -> list[Any]:
        return [self._arg("in", i, x) for i, x in enumerate(self._inputs)]

    def get_outputs(self) -> list[Any]:
        return [self._arg("out", i, x) for i, x in enumerate(self._outputs)]

    def run(self, *arguments: Any) -> Any:
        raise RuntimeError("takes other sizes only")

    @staticmethod
    def _arg(prefix: str, i: int, what: Any) -> Any:
        shape, kind = what if isinstance(what, tuple) else (what, "tensor(float)")
        return type("Arg", (), {"name": f"{prefix}{i}", "shape": shape, "type": kind})()


FOREGROUND: list[tuple[str, Shape, list[Any]]] = [
    ("RMBG-1.4", [1, 3, 1024, 1024], [[1, 1, 1024, 1024]]),
    ("U2-Net, with side outputs", [1, 3, 320, 320], [[1, 1, 320, 320]] * 7),
    ("MODNet", IMAGE, [["batch", 1, "height", "width"]]),
    ("BiRefNet", IMAGE, [["batch", 1, "Convoutput_dim_2", "Convoutput_dim_3"]]),
    ("channels last", [1, 256, 256, 3], [[1, 256, 256, 1]]),
    ("no channel", IMAGE, [["batch", "h", "w"]]),
    ("no channel, fixed, half the size", FIXED, [[1, 192, 256]]),
    ("no channel and side outputs", FIXED, [[1, 384, 512], [1, 1, 192, 256]]),
    ("smaller than the image", FIXED, [[1, 1, 96, 128]]),
    ("bytes", FIXED, [([1, 1, 384, 512], "tensor(uint8)")]),
    ("half precision", FIXED, [([1, 1, 384, 512], "tensor(float16)")]),
    ("channels unknown, and no probe", IMAGE, [["batch", "channels", "h", "w"]]),
]
OTHERS: list[tuple[str, list[Any], list[Any], str]] = [
    ("MaskFormer", [IMAGE], [["b", 100, 134], ["b", 100, "h", "w"]], "'out1' .* beside 'out0'"),
    ("MaskFormer, masks not asked for", [IMAGE], [["b", 100, 134]], "no plane of it"),
    ("MaskFormer, of fixed size", [FIXED], [[1, 100, 134]], "no plane of it"),
    ("MaskFormer, queries free", [IMAGE], [["b", "queries", 134]], "no plane of it"),
    ("DETR", [IMAGE, (["b", 64, 64], "tensor(int64)")], [["b", 100, 92], ["b", 100, 4]], "one image"),
    ("YOLOS", [FIXED], [[1, 100, 92], [1, 100, 4]], "no plane of it"),
    ("SegFormer", [IMAGE], [["b", 150, "h", "w"]], "one alpha plane.*150"),
    ("two classes", [FIXED], [[1, 2, 384, 512]], "one alpha plane"),
    ("labels of classes", [FIXED], [([1, 384, 512], "tensor(int64)")], "one alpha plane.*int64"),
    ("ViT", [FIXED], [[1, 1000]], "one alpha plane"),
    ("text", [(["b", "n"], "tensor(int64)")], [["b", "n", 768]], "one image"),
    ("gray images", [[1, 1, 384, 512]], [[1, 1, 384, 512]], "RGB"),
    ("an empty plane", [FIXED], [[1, 1, 0, 512]], "one alpha plane"),
    ("a huge plane", [FIXED], [[1, 1, 100_000, 100_000]], "one alpha plane"),
    ("a huge input", [[1, 3, 100_000, 100_000]], [[1, 1, 384, 512]], "more than"),
    ("a huge batch", [[100_000, 3, 64, 64]], [[100_000, 1, 64, 64]], "more than"),
    ("an empty input", [[1, 3, 0, 0]], [[1, 1, 384, 512]], "RGB"),
    ("nothing", [FIXED], [], "gives nothing"),
    ("no input", [], [[1, 1, 384, 512]], "one image .* but: nothing"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "taken", "given"), FOREGROUND, ids=[case[0] for case in FOREGROUND])
def test_foreground_models(name: str, taken: Shape, given: list[Any]) -> None:
    assert why_not_foreground(Declared([taken], given)) == ""  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "taken", "given", "why"), OTHERS, ids=[case[0] for case in OTHERS])
def test_other_models(name: str, taken: list[Any], given: list[Any], why: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidModelError, match=rf"there\.onnx .*{why}"):
        graph_of(Declared(taken, given), "there.onnx")  # type: ignore[arg-type]


def reshaped(channels: int, declared: list[str] | None) -> InferenceSession:
    """Open a graph whose output has a shape that only a run shows."""
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, IMAGE)
    nodes = [
        helper.make_node("ReduceMean", ["pixels", "axis"], ["plane"], keepdims=1),
        helper.make_node("Concat", ["plane"] * channels, ["planes"], axis=1),
        helper.make_node("Shape", ["planes"], ["shape"]),
        helper.make_node("Slice", ["shape", "zero", "many"], ["same"]),
        helper.make_node("Reshape", ["planes", "same"], ["last"]),
    ]
    numbers = {"axis": 1, "zero": 0, "many": 9}
    constants = [helper.make_tensor(name, TensorProto.INT64, [1], [value]) for name, value in numbers.items()]
    last = helper.make_tensor_value_info("last", TensorProto.FLOAT, declared)
    graph = helper.make_graph(nodes, "g", [pixels], [last], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return InferenceSession(model.SerializeToString())


@pytest.mark.parametrize("declared", [None, ["batch", "channels", "height", "width"]])
@pytest.mark.parametrize(("channels", "foreground"), [(1, True), (2, False)])
def test_a_graph_that_leaves_open_what_it_gives_is_tried(
    channels: int, foreground: bool, declared: list[str] | None
) -> None:
    session = reshaped(channels, declared)
    assert not any(isinstance(dim, int) for dim in session.get_outputs()[0].shape)
    assert (why_not_foreground(session) == "") is foreground


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ([2, 3, 32, 64], (2, 32, 64, False)),
        ([2, 32, 64, 3], (2, 32, 64, True)),
        (["batch", 3, "height", "width"], (None, None, None, False)),
        (["batch", "height", "width", 3], (None, None, None, True)),
        ([1, 3, 64, 3], (1, 64, 3, False)),
    ],
)
def test_how_a_graph_is_called(shape: Shape, layout: tuple[Any, ...]) -> None:
    graph = graph_of(Declared([shape], [[shape[0], 1, "h", "w"]]), "m.onnx")  # type: ignore[arg-type]
    assert (graph.batch, graph.height, graph.width, graph.channels_last) == layout
    assert (graph.input_name, graph.output_name) == ("in0", "out0")


@pytest.mark.parametrize(
    ("file", "dtype"), [("model", "fp32"), ("model_fp16", "fp16"), ("model_quantized", "q8"), ("model_q4f16", "q4f16")]
)
def test_messages_name_the_dtype(file: str, dtype: str) -> None:
    graph = graph_of(Declared([FIXED], [[1, 1, 384, 512]]), f"onnx/{file}.onnx")  # type: ignore[arg-type]
    assert graph.name == f"{file}.onnx (dtype {dtype})"


def test_the_largest_plane() -> None:
    assert why_not_foreground(Declared([[1, 3, 8192, 8192]], [[1, 1, 8192, 8192]])) == ""  # type: ignore[arg-type]
    assert why_not_foreground(Declared([FIXED], [[1, 1, 8192, 8193]])) != ""  # type: ignore[arg-type]


def test_a_graph_of_unknown_rank_that_cannot_be_tried_is_taken() -> None:
    """What it gives shows with the first image."""
    assert why_not_foreground(Declared([IMAGE], [[]])) == ""  # type: ignore[arg-type]
