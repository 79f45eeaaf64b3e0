"""From a device's name and an ONNX file to a graph that can run."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers_foreground.errors import DeviceFallbackWarning, UnsupportedDeviceError
from transformers_foreground.runtime.devices import CPU, Device, resolve_device, with_defaults
from transformers_foreground.runtime.graphs import Graph, graph_of
from transformers_foreground.runtime.openvino import (
    PREFIX,
    has_bf16,
    import_openvino,
    open_openvino,
    refers_to_other_files,
)
from transformers_foreground.runtime.optimized_graphs import open_optimised
from transformers_foreground.runtime.sessions import create_session, session_options


def installed_device(
    device: Any,
    *,
    strict: bool = False,
    provider_options: Mapping[str, Any] | None = None,
    precise: bool = False,
) -> Device:
    """Resolve a device name among what is installed here (see `devices.resolve_device`).

    Args:
        device: The name.
        strict: Raise where what it needs is not installed, or does not start.
        provider_options: Options of its provider, above the defaults.
        precise: Compute in float32, even where the CPU has a faster type that is nearly as good.
    """
    resolved = resolve_device(device, available=_available(device), strict=strict)
    own = {"INFERENCE_PRECISION_HINT": "f32"} if precise and resolved.providers[0].startswith(PREFIX) else {}
    first, *rest = resolved.provider_options
    return replace(resolved, provider_options=({**first, **own, **(provider_options or {})}, *rest))


def _available(device: Any) -> list[str]:
    """Return the providers that are installed, as far as this device name needs to know."""
    import onnxruntime as ort

    found: list[str] = list(ort.get_available_providers())
    name = str(device)
    if (name == "auto" and not has_bf16()) or find_spec("openvino") is None:
        return found
    if name in ("auto", "openvino"):
        return [*found, f"{PREFIX}CPU"]
    if name.startswith(("openvino", "webnn")):
        kinds = import_openvino().Core().available_devices
        return [*found, *(PREFIX + kind.partition(".")[0] for kind in kinds)]
    return found


def open_graph(path: Path, device: Device, options: Any = None) -> Graph:
    """Open a session on a device.

    Args:
        path: The ONNX file.
        device: What to run it on.
        options: `onnxruntime.SessionOptions`, which is used as it is, or a mapping of its attributes.

    Raises:
        InvalidModelError: See `sessions.create_session` and `graphs.graph_of`.
        UnsupportedDeviceError: The provider does not start here, and the device is strict.

    Warns:
        DeviceFallbackWarning: The provider is installed but does not work here, so the CPU does.
    """
    first, rest = device.providers[0], device.provider_options[1:]
    if first.startswith(PREFIX):
        session = _openvino(path, device, options)
        if session is not None:
            return graph_of(session, path)
        device = Device(device.name, (CPU,), ({},))
        return open_graph(path, device, options)
    provider_options = (with_defaults(first, device.provider_options[0]), *rest)
    built = session_options(options)

    def create(file: Path) -> Any:
        return create_session(file, device.providers, provider_options, built)

    # Options that the caller made are the caller's: they are not changed. A kept graph has no fixed dimensions.
    keep = first == CPU and built is not options and not (options or {}).get("free_dimension_overrides")
    session = open_optimised(path, built, create) if keep else create(path)
    if session.get_providers()[0] != first:
        _fall_back(device, f"{first} is installed but did not start (see ONNX Runtime's message above)")
    return graph_of(session, path)


def _openvino(path: Path, device: Device, options: Any) -> Any:
    """Open an OpenVINO session; `None` where that does not work."""
    provider = device.providers[0]
    threads = options.get("intra_op_num_threads") if isinstance(options, Mapping) else None
    own = {"INFERENCE_NUM_THREADS": str(threads)} if threads and provider == f"{PREFIX}CPU" else {}
    if refers_to_other_files(path):
        create_session(path, (CPU,), ({},), session_options())  # refuses weights outside of the model's folder
    try:
        return open_openvino(path, provider, {**own, **device.provider_options[0]})
    except Exception as error:  # OpenVINO's exceptions share no base but RuntimeError, and an old one lacks attributes
        why = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        _fall_back(device, f"OpenVINO cannot run {path.name} here ({why[0][:300]})")
        return None


def _fall_back(device: Device, why: str) -> None:
    if device.strict:
        raise UnsupportedDeviceError(f"{why}. Use device='cpu', or leave out strict.")
    warnings.warn(f"{why}. Using the CPU.", DeviceFallbackWarning, stacklevel=3)
