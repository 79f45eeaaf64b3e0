"""OpenVINO beside ONNX Runtime: the same ONNX file, called in the same way."""

from __future__ import annotations

import contextlib
import mmap
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from transformers_foreground.runtime.cpu import cpuinfo, usable_cpus
from transformers_foreground.runtime.optimized_graphs import compiled_folder

PREFIX: Final = "OpenVINO:"
"""What the names of these providers begin with; then comes OpenVINO's own name of the device."""

_TYPES: Final = {"f32": "tensor(float)", "f16": "tensor(float16)", "f64": "tensor(double)", "u8": "tensor(uint8)"}
_EXTERNAL: Final = b"location\x12"  # the key of a tensor's external data, and the tag of its value


@dataclass(frozen=True)
class Port:
    """An input or output, as ONNX Runtime's `NodeArg`.

    Attributes:
        name: Its name.
        type: Its element type, in ONNX Runtime's words.
        shape: Its dimensions; `None` for one that is free.
    """

    name: str
    type: str
    shape: list[int | None]


class OpenVinoSession:
    """A compiled model that is called as an `onnxruntime.InferenceSession` is.

    Args:
        compiled: OpenVINO's compiled model.
        provider: The name of the provider.
    """

    def __init__(self, compiled: Any, provider: str) -> None:
        self._compiled, self._provider = compiled, provider
        self._local = threading.local()  # a request serves one thread

    def get_inputs(self) -> list[Port]:
        """Return what it takes."""
        return [_port(port) for port in self._compiled.inputs]

    def get_outputs(self) -> list[Port]:
        """Return what it gives."""
        return [_port(port) for port in self._compiled.outputs]

    def get_providers(self) -> list[str]:
        """Return the name of what runs it."""
        return [self._provider]

    def run(self, names: Sequence[str], feeds: Mapping[str, NDArray[Any]], options: Any = None) -> list[NDArray[Any]]:
        """Run it.

        Args:
            names: The outputs that are wanted.
            feeds: Name of each input to its values.
            options: Ignored.

        Returns:
            The outputs.
        """
        request = getattr(self._local, "request", None)
        if request is None:
            request = self._local.request = self._compiled.create_infer_request()
        results = request.infer(dict(feeds), share_inputs=True)
        return [np.array(results[self._compiled.output(name)]) for name in names]


def _port(port: Any) -> Port:
    shape = [dim.get_length() if dim.is_static else None for dim in port.partial_shape]
    kind = port.element_type.get_type_name()
    return Port(port.any_name, _TYPES.get(kind, f"tensor({kind})"), shape)


def refers_to_other_files(path: Path) -> bool:
    """Whether an ONNX file keeps weights in other files.

    ONNX Runtime knows which of those to refuse, and OpenVINO does not.

    Args:
        path: The file. Weights that happen to read so only cost the time to open it twice.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(_EXTERNAL) >= 0


def default_options(provider: str) -> dict[str, str]:
    """Return options for graphs that are run many times at one size, measured in docs/benchmarks.md.

    Args:
        provider: `"OpenVINO:CPU"`, or another device of OpenVINO's.
    """
    options = {"PERFORMANCE_HINT": "LATENCY"}
    if provider == f"{PREFIX}CPU":
        options["INFERENCE_NUM_THREADS"] = str(usable_cpus())
        # On Arm OpenVINO would else take half precision by itself.
        options["INFERENCE_PRECISION_HINT"] = "bf16" if has_bf16() else "f32"
    folder = compiled_folder("openvino")
    with contextlib.suppress(OSError):  # a read-only disk: it is compiled each time
        folder.mkdir(parents=True, exist_ok=True)
        options["CACHE_DIR"] = str(folder)
    return options


def has_bf16() -> bool:
    """Whether this CPU multiplies in bfloat16 (AVX-512 BF16 or AMX), as far as Linux tells."""
    flags = cpuinfo("flags").split()
    return "avx512_bf16" in flags or "amx_bf16" in flags


def import_openvino() -> Any:
    """Import openvino without its telemetry.

    Its import sends an event to Google Analytics where it finds the package openvino_telemetry; so there is none while
    openvino is imported here for the first time.

    Raises:
        ImportError: It is not installed.
    """
    if "openvino" not in sys.modules and "openvino_telemetry" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
        try:
            import openvino
        finally:
            del sys.modules["openvino_telemetry"]
    import openvino

    return openvino


def open_openvino(path: Path, provider: str, options: Mapping[str, Any]) -> OpenVinoSession:
    """Compile an ONNX file for one of OpenVINO's devices.

    Args:
        path: The file.
        provider: `"OpenVINO:CPU"`, or another device.
        options: OpenVINO's properties, by their names.

    Raises:
        Exception: Whatever OpenVINO raises: it is not there or too old, or does not take this graph.
    """
    openvino = import_openvino()
    core = openvino.Core()
    model = core.read_model(path)
    # Nobody asks for a network's side outputs.
    model = openvino.Model(model.get_results()[:1], model.get_parameters(), path.stem)
    properties = {**default_options(provider), **options}
    return OpenVinoSession(core.compile_model(model, provider.removeprefix(PREFIX), properties), provider)
