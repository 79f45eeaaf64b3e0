"""Transformers.js' names for devices and dtypes."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from transformers_foreground.errors import DeviceFallbackWarning, UnsupportedDeviceError, UnsupportedDtypeError
from transformers_foreground.hub.dtypes import SUFFIXES, default_dtype, file_name, resolve_dtype
from transformers_foreground.runtime.devices import CPU, PROVIDERS, resolve_device, with_defaults

CUDA, TRT, DML = "CUDAExecutionProvider", "TensorrtExecutionProvider", "DmlExecutionProvider"
COREML, WEBGPU = "CoreMLExecutionProvider", "WebGpuExecutionProvider"


@pytest.mark.parametrize(
    ("device", "available", "expected"),
    [
        (None, [CUDA, CPU], CPU),
        ("cpu", [CUDA, CPU], CPU),
        ("wasm", [CUDA, CPU], CPU),
        ("webnn-cpu", [CUDA, CPU], CPU),
        ("auto", [CPU], CPU),
        ("auto", [TRT, CUDA, CPU], CUDA),
        ("auto", [COREML, CPU], COREML),
        ("gpu", [DML, CPU], DML),
        ("webgpu", [WEBGPU, CUDA, CPU], WEBGPU),
        ("webgpu", [CUDA, CPU], CUDA),
        ("cuda", [TRT, CUDA, CPU], CUDA),
        ("cuda:1", [CUDA, CPU], CUDA),
        (0, [CUDA, CPU], CUDA),
        (-1, [CUDA, CPU], CPU),
        ("mps", [COREML, CPU], COREML),
        ("webnn", [CPU], CPU),
        ("openvino", ["OpenVINO:CPU", CPU], "OpenVINO:CPU"),
        ("openvino-npu", ["OpenVINO:CPU", "OpenVINO:NPU", CPU], "OpenVINO:NPU"),
        ("auto", ["OpenVINO:CPU", CPU], "OpenVINO:CPU"),
        ("auto", [CUDA, "OpenVINO:CPU", CPU], CUDA),
    ],
)
def test_device_to_provider(device: Any, available: list[str], expected: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resolved = resolve_device(device, available=available)
    assert resolved.providers[0] == expected
    assert resolved.providers[-1] == CPU
    assert len(resolved.providers) == len(resolved.provider_options)


def test_an_index_is_the_providers_device() -> None:
    assert resolve_device("cuda:1", available=[CUDA, CPU]).provider_options[0] == {"device_id": 1}


@pytest.mark.parametrize("device", ["cuda", "gpu", "webgpu", "dml", "coreml", "webnn-npu", "webnn-gpu", "openvino"])
def test_what_is_not_installed_names_a_package(device: str) -> None:
    with pytest.warns(DeviceFallbackWarning, match="onnxruntime"):
        assert resolve_device(device, available=[CPU]).providers == (CPU,)
    with pytest.raises(UnsupportedDeviceError, match=r"Install (onnxruntime|it beside onnxruntime: pip install -e)"):
        resolve_device(device, available=[CPU], strict=True)


@pytest.mark.parametrize("device", ["tpu", "CPU", "webGPU", ""])
def test_an_unknown_device_lists_the_known(device: str) -> None:
    with pytest.raises(UnsupportedDeviceError, match=", ".join(PROVIDERS)):
        resolve_device(device, available=[CPU])


def test_a_callers_options_win_over_the_defaults() -> None:
    assert with_defaults(CPU, {}) == {}
    assert with_defaults(COREML, {})["ModelFormat"] == "MLProgram"
    assert with_defaults(COREML, {"ModelFormat": "NeuralNetwork"})["ModelFormat"] == "NeuralNetwork"


@pytest.mark.parametrize(
    ("dtype", "device", "config", "expected"),
    [
        (None, "cpu", {}, "fp32"),
        ("auto", "cpu", {}, "fp32"),
        (None, "wasm", {}, "q8"),
        (None, "cuda", {}, "fp32"),
        ("fp16", "wasm", {}, "fp16"),
        ("auto", "cpu", {"transformers.js_config": {"dtype": "fp16"}}, "fp16"),
        ("auto", "wasm", {"transformers.js_config": {"dtype": {"model": "q4"}}}, "q4"),
        ("q8", "cpu", {"transformers.js_config": {"dtype": "fp16"}}, "q8"),
        ({"model": "int8"}, "cpu", {}, "int8"),
        ({"other": "int8"}, "cpu", {}, "fp32"),
        ("float16", "cpu", {}, "fp16"),
        ("torch.float32", "cpu", {}, "fp32"),
    ],
)
def test_dtype_names(dtype: Any, device: str, config: dict[str, Any], expected: str) -> None:
    assert resolve_dtype(dtype, device, config) == expected


def test_torch_dtypes() -> None:
    torch = pytest.importorskip("torch")
    assert resolve_dtype(torch.float16, "cpu") == "fp16"
    assert resolve_dtype(torch.int8, "cpu") == "int8"


@pytest.mark.parametrize("dtype", ["fp64", "FP16", "Q8", 16])
def test_an_unknown_dtype_lists_the_known(dtype: Any) -> None:
    with pytest.raises(UnsupportedDtypeError, match="fp32, fp16, q8"):
        resolve_dtype(dtype, "cpu")


def test_files_of_dtypes() -> None:
    assert {dtype: file_name(dtype) for dtype in ("fp32", "fp16", "q8", "int8", "q4f16", "bnb4")} == {
        "fp32": "model.onnx",
        "fp16": "model_fp16.onnx",
        "q8": "model_quantized.onnx",
        "int8": "model_int8.onnx",
        "q4f16": "model_q4f16.onnx",
        "bnb4": "model_bnb4.onnx",
    }
    assert len(set(SUFFIXES.values())) == len(SUFFIXES)
    assert default_dtype("wasm") == "q8"
