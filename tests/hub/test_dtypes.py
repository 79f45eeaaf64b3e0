"""Which dtype, device, external data and dimensions a load means, as Transformers.js 4.3.2 decides it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_models import brightness_model, write_repo

from transformers_foreground.errors import UnsupportedDtypeError, UnsupportedOptionError
from transformers_foreground.hub.dtypes import js_config, resolve_dtype, select_device
from transformers_foreground.hub.model_files import load_files


def js(**keys: Any) -> dict[str, Any]:
    return {"transformers.js_config": keys}


BY_DEVICE = js(dtype="fp16", device_config={"webgpu": {"dtype": {"model": "q4f16"}}, "wasm": {"dtype": "int8"}})


@pytest.mark.parametrize(
    ("dtype", "device", "config", "expected"),
    [
        (None, "cpu", {}, "fp32"),
        (None, "wasm", {}, "q8"),
        ("auto", "wasm", {}, "q8"),
        ("fp16", "wasm", {}, "fp16"),
        (None, "cpu", js(dtype="q8"), "q8"),
        ("auto", "cpu", js(dtype="q8"), "q8"),
        ("fp32", "cpu", js(dtype="q8"), "fp32"),
        # maps by file
        (None, "cpu", js(dtype={"model": "q8"}), "q8"),
        (None, "cpu", js(dtype={"net": "q8"}), "fp32"),
        (None, "wasm", js(dtype={"net": "int8"}), "q8"),
        ({"model": "q8", "decoder": "fp16"}, "cpu", {}, "q8"),
        ({"model": "auto"}, "cpu", js(dtype="q8"), "q8"),
        ({"decoder": "q4"}, "cpu", js(dtype="q8"), "fp32"),  # the option is asked alone
        ({"model": None}, "wasm", js(dtype="fp16"), "q8"),
        # by device
        (None, "cpu", BY_DEVICE, "fp16"),
        (None, "wasm", BY_DEVICE, "int8"),
        (None, "webgpu", BY_DEVICE, "q4f16"),
        ("auto", "webgpu", BY_DEVICE, "q4f16"),
        ("fp32", "webgpu", BY_DEVICE, "fp32"),
        (None, "cpu", js(dtype={"cpu": "q8"}), "fp32"),  # no map by device: those stand in device_config
        # what a config says that is no dtype counts as nothing
        (None, "cpu", js(dtype="auto"), "fp32"),
        (None, "cpu", js(dtype="half"), "fp32"),
        (None, "cpu", js(dtype=["q8"]), "fp32"),
        (None, "cpu", js(dtype={"model": 8}), "fp32"),
        (None, "cpu", js(dtype="q8", device_config={"cpu": "q4"}), "q8"),
        (None, "cpu", js(dtype="q8", device_config=["cpu"]), "q8"),
        (None, "cpu", {"transformers.js_config": None}, "fp32"),
        # names of torch, from callers that come through transformers
        ("torch.float16", "cpu", {}, "fp16"),
        ("float32", "cpu", js(dtype="q8"), "fp32"),
    ],
)
def test_dtype(dtype: Any, device: str, config: dict[str, Any], expected: str) -> None:
    assert resolve_dtype(dtype, device, config) == expected


@pytest.mark.parametrize("dtype", ["fp23", 8, ["q8"], {"model": "half-ish"}])
def test_a_dtype_option_that_is_none(dtype: Any) -> None:
    with pytest.raises(UnsupportedDtypeError, match="fp32, fp16, q8"):
        resolve_dtype(dtype, "cpu", js(dtype="q8"))


@pytest.mark.parametrize(
    ("device", "config", "expected"),
    [
        (None, {}, "cpu"),
        (None, js(device="webgpu"), "webgpu"),
        ("wasm", js(device="webgpu"), "wasm"),
        (None, js(device={"model": "cuda"}), "cuda"),
        (None, js(device={"net": "cuda"}), "cpu"),
        ({"model": "wasm"}, {}, "wasm"),
        ({"net": "wasm"}, js(device="webgpu"), "cpu"),
    ],
)
def test_device(device: Any, config: dict[str, Any], expected: str) -> None:
    assert select_device(device, config) == expected


def test_what_a_device_config_says_wins_key_by_key() -> None:
    config = js(use_external_data_format=True, dtype="q8", device_config={"wasm": {"dtype": "q4"}})
    assert js_config(config, "wasm")["dtype"] == "q4"
    assert js_config(config, "wasm")["use_external_data_format"] is True
    assert js_config(config, "cpu")["dtype"] == "q8"
    assert js_config(None) == {}


def test_a_load_obeys_the_config(tmp_path: Path) -> None:
    config = js(
        device="wasm",
        free_dimension_overrides={"batch_size": 1, "height": 64, "width": True, "depth": "2"},
        device_config={"wasm": {"dtype": "int8"}, "cpu": {"free_dimension_overrides": {"height": 32}}},
    )
    model = brightness_model()
    folder = write_repo(tmp_path / "repo", config=config, dtypes={"": model, "_int8": model})
    files = load_files(folder)
    assert (files.device, files.dtype, files.onnx.name) == ("wasm", "int8", "model_int8.onnx")
    assert files.free_dimension_overrides == {"batch_size": 1, "height": 64}
    files = load_files(folder, device="cpu")
    assert (files.device, files.dtype, files.free_dimension_overrides) == ("cpu", "fp32", {"height": 32})
    assert load_files(folder, dtype={"model": "int8"}, device="cpu").dtype == "int8"


def test_external_data_of_one_device_alone(tmp_path: Path) -> None:
    config = js(device_config={"webgpu": {"use_external_data_format": True}})
    folder = write_repo(tmp_path / "repo", config=config)
    assert load_files(folder).dtype == "fp32"
    with pytest.raises(Exception, match=r"has no onnx/model\.onnx_data"):
        load_files(folder, device="webgpu")
    config = js(use_external_data_format="all")
    folder = write_repo(tmp_path / "other", config=config)
    with pytest.raises(UnsupportedOptionError, match="use_external_data_format"):
        load_files(folder)
