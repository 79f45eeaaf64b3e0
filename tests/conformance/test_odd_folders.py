"""Model folders with odd JSON, odd graphs and damaged files: a mask, or a ForegroundError, within seconds."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from tiny_models import RMBG_PREPROCESSOR, write_repo

from transformers_foreground import ForegroundMapper, pipeline
from transformers_foreground.errors import ForegroundError

SECONDS = 20  # of CPU, the import of torch among them
IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8))
ODD: list[Any] = [
    None, True, 0, -1, 10**12, 10**400, 1e9, "", "64", [], [1], ["a", "b", "c"], [None] * 3, [0, 0, 0], {}, {"a": [1]},
    {"width": "64"}, {"width": 0, "height": 0}, {"width": 1e9, "height": 1e9}, {"width": [1], "height": None},
    {"longest_edge": 1e9}, {"shortest_edge": "a"}, {"cpu": 7}, {"cpu": {"dtype": [7]}}, {"model": 7}, {"side": 10**30},
]  # fmt: skip
PREPROCESSOR_KEYS = (
    "size", "image_size", "max_size", "size_divisor", "ensure_multiple_of", "crop_size", "pad_size", "image_mean",
    "image_std", "rescale_factor", "resample", "resampling", "do_resize", "do_normalize", "do_pad", "do_thumbnail",
    "config", "feature_extractor_type", "image_processor_type", "rescale_to_max",
)  # fmt: skip
SWITCHES = {"do_pad": True, "do_center_crop": True, "keep_aspect_ratio": True}
CONFIG_KEYS = ("model_type", "num_labels", "id2label", "transformers.js_config", "architectures", "_name_or_path")
JS_KEYS = ("dtype", "device", "device_config", "use_external_data_format", "free_dimension_overrides")


@pytest.fixture(autouse=True)
def quickly() -> Any:
    start = time.process_time()
    yield
    assert time.process_time() - start < SECONDS


def run(folder: Path, way: int) -> Any:
    """Call a folder by one of three ways; gives `None` where it is refused."""
    try:
        if way == 2:
            return ForegroundMapper(str(folder))({"image": [IMAGE]})
        with pipeline(("image-segmentation", "background-removal")[way], folder) as segmenter:
            return segmenter(IMAGE)
    except ForegroundError as error:
        message = str(error)
    assert 20 < len(message) < 1500
    return None


@pytest.mark.parametrize("key", PREPROCESSOR_KEYS)
def test_preprocessor_keys(key: str, tmp_path: Path) -> None:
    usual = {**RMBG_PREPROCESSOR, "size": {"width": 16, "height": 16}}
    for i, value in enumerate(ODD[::2]):
        for switches in ({}, SWITCHES) if key in ("size", "crop_size", "pad_size", "ensure_multiple_of") else ({},):
            run(write_repo(tmp_path / str(i), preprocessor={**usual, **switches, key: value}), i % 3)


@pytest.mark.parametrize("key", CONFIG_KEYS)
def test_config_keys(key: str, tmp_path: Path) -> None:
    for i, value in enumerate(ODD):
        run(write_repo(tmp_path / str(i), config={"model_type": "isnet", key: value}), i % 3)


@pytest.mark.filterwarnings("ignore::transformers_foreground.errors.DeviceFallbackWarning")
@pytest.mark.parametrize("key", JS_KEYS)
def test_transformers_js_config_keys(key: str, tmp_path: Path) -> None:
    for i, value in enumerate(ODD):
        config = {"model_type": "isnet", "transformers.js_config": {key: value}}
        run(write_repo(tmp_path / str(i), config=config), i % 3)


def graph(
    nodes: list[onnx.NodeProto], shape: Any = (1, 3, 16, 16), output: Any = (1, 1, 16, 16), *,
    kind: int = TensorProto.FLOAT, out_kind: int = TensorProto.FLOAT, opset: int = 18, outputs: Any = None,
    **constants: Any,
) -> onnx.ModelProto:  # fmt: skip
    """A graph from `input` to `o`."""
    made = [helper.make_tensor_value_info("o", out_kind, output)] if outputs is None else outputs
    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    inputs = [helper.make_tensor_value_info("input", kind, shape)]
    body = helper.make_graph(nodes, "g", inputs, made, weights)
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


node = helper.make_node
MEAN = node("ReduceMean", ["input", "axes"], ["o"])
SAME = node("Identity", ["input"], ["o"])


def expanded(*shape: int) -> onnx.ModelProto:
    nodes = [node("ReduceMean", ["input"], ["m"], keepdims=1), node("Expand", ["m", "target"], ["o"])]
    return graph(nodes, output=("a", "b", "c", "d"), target=np.int64(shape))


def cast(kind: int) -> onnx.ModelProto:
    return graph([node("Cast", ["input"], ["o"], to=kind)], output=(1, 3, 16, 16), out_kind=kind)


GRAPHS: dict[str, Callable[[], onnx.ModelProto]] = {
    "no outputs": lambda: graph([SAME], outputs=[]),
    "a scalar": lambda: graph([node("ReduceMean", ["input"], ["o"], keepdims=0)], output=()),
    "one axis": lambda: graph([node("Reshape", ["input", "s"], ["o"])], output=("n",), s=np.int64([-1])),
    "no channels": lambda: graph(
        [node("Slice", ["input", "a", "a", "x"], ["o"])], output=(1, "c", 16, 16), a=np.int64([0]), x=np.int64([1])
    ),
    "no rows": lambda: graph(
        [node("Slice", ["input", "a", "a", "x"], ["o"])], output=("b", "c", "h", "w"), a=np.int64([0]), x=np.int64([2])
    ),
    "integers": lambda: cast(TensorProto.INT64),
    "booleans": lambda: cast(TensorProto.BOOL),
    "text in": lambda: graph([SAME], kind=TensorProto.STRING, out_kind=TensorProto.STRING),
    "four channels in": lambda: graph([MEAN], (1, 4, 16, 16), axes=np.int64([1])),
    "one channel in": lambda: graph([SAME], (1, 1, 16, 16)),
    "batches of none": lambda: graph([MEAN], (0, 3, 16, 16), (0, 1, 16, 16), axes=np.int64([1])),
    "batches of seven": lambda: graph([MEAN], (7, 3, 16, 16), (7, 1, 16, 16), axes=np.int64([1])),
    "sides of zero": lambda: graph([MEAN], (1, 3, 0, 0), (1, 1, 0, 0), axes=np.int64([1])),
    "sides of a million": lambda: graph([MEAN], (1, 3, 10**6, 10**6), (1, 1, 10**6, 10**6), axes=np.int64([1])),
    "five axes": lambda: graph([MEAN], (1, 3, 16, 16, 1), (1, 1, 16, 16, 1), axes=np.int64([1])),
    "three axes": lambda: graph([MEAN], (3, 16, 16), (1, 16, 16), axes=np.int64([0])),
    "no shapes": lambda: graph([MEAN], None, None, axes=np.int64([1])),
    "huge": lambda: expanded(1, 1, 200_000, 200_000),
    "an unknown operator": lambda: graph([node("Foo", ["input"], ["o"], domain="x.y")]),
    "a circle": lambda: graph([node("Add", ["input", "o"], ["p"]), node("Identity", ["p"], ["o"])]),
    "an operator set to come": lambda: graph([SAME], opset=99),
}


@pytest.mark.parametrize("way", [0, 1, 2])
@pytest.mark.parametrize("name", GRAPHS)
def test_graphs(name: str, way: int, tmp_path: Path) -> None:
    run(write_repo(tmp_path / "repo", config={"model_type": "isnet"}, dtypes={"": GRAPHS[name]()}), way)


LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 5\n"
DAMAGED = [b"", b"<html>", bytes(5000), LFS_POINTER, np.random.default_rng(1).bytes(9000)]


@pytest.mark.parametrize("content", DAMAGED, ids=["empty", "html", "zeros", "LFS pointer", "noise"])
def test_damaged_weights(content: bytes, tmp_path: Path) -> None:
    folder = write_repo(tmp_path / "repo")
    (folder / "onnx" / "model.onnx").write_bytes(content)
    for way in range(3):
        assert run(folder, way) is None


def test_a_folder_and_a_circle_of_links_in_the_place_of_a_file(tmp_path: Path) -> None:
    folder = write_repo(tmp_path / "repo")
    (folder / "onnx" / "model.onnx").unlink()
    (folder / "onnx" / "model.onnx").mkdir()
    assert run(folder, 0) is None
    if os.name == "posix":
        link = write_repo(tmp_path / "other") / "config.json"
        link.unlink()
        link.symlink_to(link)
        run(link.parent, 0)


def test_nobody_is_asked_whether_to_run_a_folders_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: Any) -> str:
        raise AssertionError("asked on the terminal")

    monkeypatch.setattr("builtins.input", asked)
    assert run(write_repo(tmp_path / "repo", dtypes={"": GRAPHS["no outputs"]()}), 0) is None
