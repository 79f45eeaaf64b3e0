"""Transformers.js' device names, and the ONNX Runtime execution providers that serve them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from transformers_foreground.errors import DeviceFallbackWarning, UnsupportedDeviceError

CPU: Final = "CPUExecutionProvider"

_GPU = (
    "CUDAExecutionProvider",
    "MIGraphXExecutionProvider",
    "ROCMExecutionProvider",
    "WebGpuExecutionProvider",
    "DmlExecutionProvider",
    "CoreMLExecutionProvider",
)
_NPU = (
    "QNNExecutionProvider",
    "VitisAIExecutionProvider",
    "CoreMLExecutionProvider",
    "OpenVINO:NPU",
)

PROVIDERS: Final[Mapping[str, tuple[str, ...]]] = {
    "cpu": (CPU,),
    "wasm": (CPU,),
    "auto": (*_GPU, "OpenVINO:CPU", CPU),
    "gpu": _GPU,
    "webgpu": ("WebGpuExecutionProvider", *(p for p in _GPU if p != "WebGpuExecutionProvider")),
    "cuda": ("CUDAExecutionProvider",),
    "dml": ("DmlExecutionProvider",),
    "coreml": ("CoreMLExecutionProvider",),
    "webnn": (*_NPU, *_GPU, CPU),
    "webnn-npu": _NPU,
    "webnn-gpu": _GPU,
    "webnn-cpu": (CPU,),
    # These are no names of Transformers.js.
    "openvino": ("OpenVINO:CPU",),
    "openvino-gpu": ("OpenVINO:GPU",),
    "openvino-npu": ("OpenVINO:NPU",),
}
"""Device name to the providers that can serve it, best first.

"OpenVINO:…" is the package openvino, which lies beside ONNX Runtime; `auto` takes it where the CPU has bfloat16, since
only there it is faster. TensorRT is left out: it builds an engine for minutes on first use.
"""

_DEFAULT_OPTIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "CUDAExecutionProvider": {"arena_extend_strategy": "kSameAsRequested"},  # else the arena doubles each time
    "CoreMLExecutionProvider": {"ModelFormat": "MLProgram", "MLComputeUnits": "ALL"},
}
"""Options for graphs that run many times at one size, from ONNX Runtime's documentation; not measured here."""

_PACKAGES: Final[Mapping[str, str]] = {
    "cuda": "onnxruntime-gpu",
    "gpu": "onnxruntime-gpu (NVIDIA), onnxruntime-directml (Windows) or onnxruntime-webgpu",
    "webgpu": "onnxruntime-webgpu, or onnxruntime-gpu (NVIDIA)",
    "dml": "onnxruntime-directml (Windows)",
    "coreml": "onnxruntime on macOS, which carries it",
    "webnn-npu": "onnxruntime-qnn (Qualcomm), or the extra [openvino] (Intel)",
    "webnn-gpu": "onnxruntime-gpu (NVIDIA) or onnxruntime-directml (Windows)",
}


@dataclass(frozen=True)
class Device:
    """A device name and what serves it here.

    Attributes:
        name: The name asked for, in Transformers.js' terms.
        providers: Execution providers for `InferenceSession`, best first, the CPU last.
        provider_options: One mapping for each provider.
        strict: Raise where the first provider does not start.
    """

    name: str
    providers: tuple[str, ...]
    provider_options: tuple[Mapping[str, Any], ...]
    strict: bool = False


def _parse(device: Any) -> tuple[str, int | None]:
    """Split a device as Transformers.js, transformers or torch write it into our name and an index."""
    if device is None:
        return "cpu", None
    if isinstance(device, int):  # transformers: -1 is the CPU, n the n-th GPU
        return ("cpu", None) if device < 0 else ("gpu", device)
    name, _, index = str(device).partition(":")
    return ("coreml" if name == "mps" else name), int(index) if index.isdigit() else None


def resolve_device(device: Any = None, *, available: Sequence[str], strict: bool = False) -> Device:
    """Return the execution providers for a device.

    Args:
        device: A key of `PROVIDERS`, `None` for the CPU, or what torch and transformers say (`"cuda:1"`, `0`, `-1`,
            `"mps"`, a `torch.device`).
        available: What `onnxruntime.get_available_providers()` returned.
        strict: Raise instead of falling back to the CPU.

    Raises:
        UnsupportedDeviceError: The name is unknown, or nothing that is installed serves it and `strict` is set.

    Warns:
        DeviceFallbackWarning: Nothing that is installed serves it, so the CPU does.
    """
    name, index = _parse(device)
    if name not in PROVIDERS:
        raise UnsupportedDeviceError(f"Unsupported device: {device!r}. Use one of: {', '.join(PROVIDERS)}.")
    provider = next((provider for provider in PROVIDERS[name] if provider in available), None)
    if provider is None:
        remedy = (
            "Install it beside onnxruntime: pip install -e '.[openvino]'"
            if name.startswith("openvino")
            else f"Install {_PACKAGES[name]} in place of onnxruntime"
        )
        message = (
            f"device={name!r} needs {' or '.join(PROVIDERS[name])}, and here are only {', '.join(available)}. {remedy}"
        )
        if strict:
            raise UnsupportedDeviceError(f"{message}, or use device='cpu'.")
        warnings.warn(f"{message}. Using the CPU.", DeviceFallbackWarning, stacklevel=3)
        provider = CPU
    options = {"device_id": index} if index is not None and provider != CPU else {}
    if provider == CPU:
        return Device(name, (CPU,), ({},), strict)
    return Device(name, (provider, CPU), (options, {}), strict)


def with_defaults(provider: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of an execution provider: the caller's, and this package's defaults for the rest."""
    return {**_DEFAULT_OPTIONS.get(provider, {}), **options}
