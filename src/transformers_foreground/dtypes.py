"""Transformers.js' dtype names, the file that each one means, and the default of each device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from transformers_foreground.errors import UnsupportedDtypeError

SUFFIXES: Final[Mapping[str, str]] = {
    "fp32": "",
    "fp16": "_fp16",
    "q8": "_quantized",
    "int8": "_int8",
    "uint8": "_uint8",
    "q4": "_q4",
    "q4f16": "_q4f16",
    "bnb4": "_bnb4",
    "q2": "_q2",
    "q2f16": "_q2f16",
    "q1": "_q1",
    "q1f16": "_q1f16",
}
"""dtype to the suffix of its file: `<model_file_name><suffix>.onnx`."""

_TORCH_NAMES: Final = {"float32": "fp32", "float": "fp32", "float16": "fp16", "half": "fp16"}


def default_dtype(device: str) -> str:
    """Return Transformers.js' default dtype for a device name: `"q8"` on wasm, else `"fp32"`."""
    return "q8" if device == "wasm" else "fp32"


def resolve_dtype(
    dtype: Any, device: str, config: Mapping[str, Any] | None = None, model_file_name: str = "model"
) -> str:
    """Return the dtype name to load.

    Args:
        dtype: A key of `SUFFIXES`; `None` or `"auto"` (the model's own choice, then the device's default); a mapping
            from model file name to one of these; or a torch dtype or its name, for callers that come through
            transformers.
        device: Device name, in Transformers.js' terms.
        config: Contents of `config.json`; its `transformers.js_config.dtype` answers `"auto"`.
        model_file_name: Stem of the file, the key into a mapping.

    Raises:
        UnsupportedDtypeError: The name is not known.
    """
    if isinstance(dtype, Mapping):
        dtype = dtype.get(model_file_name)
    if dtype is None or dtype == "auto":
        chosen = ((config or {}).get("transformers.js_config") or {}).get("dtype")
        if isinstance(chosen, Mapping):
            chosen = chosen.get(model_file_name, chosen.get(device))
        if chosen in (None, "auto"):
            return default_dtype(device)
        dtype = chosen
    name = str(dtype).removeprefix("torch.")
    name = _TORCH_NAMES.get(name, name)
    if name not in SUFFIXES:
        raise UnsupportedDtypeError(f"Unknown dtype {dtype!r}. Use one of: auto, {', '.join(SUFFIXES)}.")
    return name


def file_name(dtype: str, model_file_name: str = "model") -> str:
    """Return the name of the ONNX file of a dtype, such as `"model_fp16.onnx"`."""
    return f"{model_file_name}{SUFFIXES[dtype]}.onnx"
