"""What a model's config decides of its session: device, dtype, and the sizes of free dimensions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import brightness_model, write_repo

from transformers_foreground.errors import UnsupportedOptionError
from transformers_foreground.segmenter import Segmenter


def repo(folder: Path, **js_config: Any) -> Path:
    model = brightness_model(size=None, batch=None)
    return write_repo(folder, config={"transformers.js_config": js_config}, dtypes={"": model, "_quantized": model})


@pytest.mark.parametrize(
    ("js_config", "device", "name", "file"),
    [
        ({}, None, "cpu", "model.onnx"),
        ({"device": "wasm"}, None, "wasm", "model_quantized.onnx"),
        ({"device": "wasm"}, "cpu", "cpu", "model.onnx"),
        ({"device": {"model": "wasm"}}, None, "wasm", "model_quantized.onnx"),
        ({}, {"model": "wasm"}, "wasm", "model_quantized.onnx"),
        ({"device_config": {"cpu": {"dtype": "q8"}}}, None, "cpu", "model_quantized.onnx"),
    ],
)
def test_device_and_dtype(js_config: dict[str, Any], device: Any, name: str, file: str, tmp_path: Path) -> None:
    segmenter = Segmenter(repo(tmp_path, **js_config), device=device)
    assert (segmenter.device.name, segmenter.files.onnx.name) == (name, file)
    assert segmenter(np.zeros((9, 9, 3), np.uint8)).mask.shape == (9, 9)


def test_free_dimensions_get_the_sizes_of_the_config(tmp_path: Path) -> None:
    folder = repo(tmp_path, free_dimension_overrides={"batch": 1, "side": 24})
    assert Segmenter(folder).graph.session.get_inputs()[0].shape == [1, 3, 24, 24]
    own = Segmenter(folder, session_options={"free_dimension_overrides": {"side": 40}})
    assert own.graph.session.get_inputs()[0].shape == ["batch", 3, 40, 40]
    assert Segmenter(repo(tmp_path / "free")).graph.session.get_inputs()[0].shape == ["batch", 3, "side", "side"]


@pytest.mark.parametrize("size", [0, -1, "24", 2.5, None])
def test_a_size_that_is_none(size: Any, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedOptionError, match=r"free_dimension_overrides: side is .*; use a whole number"):
        Segmenter(repo(tmp_path), session_options={"free_dimension_overrides": {"side": size}}).open()
