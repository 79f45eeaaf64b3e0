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

CHECKED: Final = "int8-checked"
"""int8, and again in fp32 where the mask is doubtful (`runtime/checked.py`): two files. No name of Transformers.js."""

DTYPES: Final = (*SUFFIXES, CHECKED)
"""All names but `"auto"`."""

_TORCH_NAMES: Final = {"float32": "fp32", "float": "fp32", "float16": "fp16", "half": "fp16"}


def default_dtype(device: str) -> str:
    """Return Transformers.js' default dtype for a device name: `"q8"` on wasm, else `"fp32"`."""
    return "q8" if device == "wasm" else "fp32"


def js_config(config: Mapping[str, Any] | None, device: str | None = None) -> Mapping[str, Any]:
    """Return a config's `transformers.js_config`; what its `device_config` says of the device wins.

    Args:
        config: Contents of `config.json`.
        device: Device name, in Transformers.js' terms.
    """
    found = _mapping((config or {}).get("transformers.js_config"))
    return {**found, **_mapping(_mapping(found.get("device_config")).get(str(device or "")))}


def select_device(device: Any, config: Mapping[str, Any] | None = None, model_file_name: str = "model") -> Any:
    """Return the device to load a file for, as Transformers.js selects it.

    Args:
        device: The `device` option: a name, a mapping from model file name to names, or `None`.
        config: Contents of `config.json`; its `transformers.js_config.device`, of the same kinds, answers `None`.
        model_file_name: Stem of the file, the key into a mapping.

    Returns:
        The name, unchecked; `"cpu"` where nothing is said of this file.
    """
    chosen = device if device is not None else js_config(config).get("device")
    if isinstance(chosen, Mapping):
        chosen = chosen.get(model_file_name)
    return chosen or "cpu"


def resolve_dtype(
    dtype: Any, device: str, config: Mapping[str, Any] | None = None, model_file_name: str = "model"
) -> str:
    """Return the dtype name to load, as Transformers.js selects it.

    Args:
        dtype: One of `DTYPES`; `None` or `"auto"` (the model's own choice, then the device's default); a mapping
            from model file name to one of these (the device's default, for a file that it does not name); or a torch
            dtype or its name, for callers that come through transformers.
        device: Device name, in Transformers.js' terms.
        config: Contents of `config.json`. The model's own choice is `dtype` in its `transformers.js_config`, or in the
            `device_config` of that: a name, or a mapping as above. Any other value counts as none.
        model_file_name: Stem of the file, the key into a mapping.

    Raises:
        UnsupportedDtypeError: The name is not known.
    """
    if isinstance(dtype, Mapping):
        if dtype.get(model_file_name) is None:
            return default_dtype(device)
        dtype = dtype[model_file_name]
    if dtype is None or dtype == "auto":
        own = js_config(config, device).get("dtype")
        own = own.get(model_file_name) if isinstance(own, Mapping) else own
        return own if isinstance(own, str) and own in SUFFIXES else default_dtype(device)
    name = str(dtype).removeprefix("torch.")
    name = _TORCH_NAMES.get(name, name)
    if name not in DTYPES:
        raise UnsupportedDtypeError(f"Unknown dtype {dtype!r}. Use one of: auto, {', '.join(DTYPES)}.")
    return name


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def file_name(dtype: str, model_file_name: str = "model") -> str:
    """Return the name of the ONNX file of a dtype of `SUFFIXES`, such as `"model_fp16.onnx"`."""
    return f"{model_file_name}{SUFFIXES[dtype]}.onnx"
