"""Forward: an ONNX graph as a function from `pixel_values` to alpha."""

from __future__ import annotations

import os
import threading
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from transformers_foreground.env import env
from transformers_foreground.errors import InferenceError, InvalidModelError, UnsupportedOptionError
from transformers_foreground.runtime.cpu import usable_cpus
from transformers_foreground.runtime.devices import CPU
from transformers_foreground.runtime.graphs import Graph
from transformers_foreground.runtime.planes import as_planes

if TYPE_CHECKING:
    import onnxruntime as ort

_LARGE_INPUT: Final = 3 * 1024 * 1024  # values: more than one image of 1024×1024
_SAFE_RUNTIME: Final = (1, 27)  # 1.24 to 1.26 still read sparse tensors from anywhere


def session_options(options: Any = None) -> ort.SessionOptions:
    """Build session options from `env.backends.onnx` and, above it, a mapping.

    Args:
        options: An `onnxruntime.SessionOptions`, which is used as it is, or a mapping of its attribute names.
            `free_dimension_overrides` gives sizes to free dimensions of the graph, by their names.

    Raises:
        UnsupportedOptionError: A name that `SessionOptions` does not have, or a size that is none.
    """
    import onnxruntime as ort

    if isinstance(options, ort.SessionOptions):
        return options
    result = ort.SessionOptions()
    result.intra_op_num_threads = usable_cpus()
    result.enable_mem_pattern = False  # it takes 0.47 GB more for IS-Net, and wins no time
    wanted = {**env.backends.onnx, **(options or {})}
    for dimension, size in (wanted.pop("free_dimension_overrides", None) or {}).items():
        if not isinstance(dimension, str) or not isinstance(size, int) or not 1 <= size < 2**63:
            raise UnsupportedOptionError(f"free_dimension_overrides: {dimension} is {size!r}; use a whole number.")
        result.add_free_dimension_override_by_name(dimension, size)
    for name, value in wanted.items():
        if name.startswith("_") or not hasattr(result, name) or callable(getattr(result, name)):
            known = [n for n in dir(result) if not n.startswith("_") and not callable(getattr(result, n))]
            raise UnsupportedOptionError(f"Unknown session option {name!r}. Use one of: {', '.join(known)}.")
        try:
            setattr(result, name, value)
        except TypeError as error:
            kind = type(getattr(result, name)).__name__
            raise UnsupportedOptionError(f"The session option {name}={value!r} is no {kind}.") from error
    return result


def create_session(
    path: Path,
    providers: Sequence[str],
    provider_options: Sequence[Mapping[str, Any]],
    options: ort.SessionOptions,
) -> ort.InferenceSession:
    """Open an ONNX file. Every session on somebody's graph is opened here.

    Raises:
        InvalidModelError: ONNX Runtime cannot read or run the file, or its weights lie outside its folder.

    Warns:
        RuntimeWarning: This ONNX Runtime is too old to refuse weights outside the folder in every case.
    """
    import onnxruntime as ort

    _warn_of_old_runtime(ort.__version__)
    try:
        session = ort.InferenceSession(
            path, options, providers=list(providers), provider_options=[dict(o) for o in provider_options]
        )
    except Exception as error:  # ONNX Runtime's exceptions share no base but Exception
        raise InvalidModelError(
            f"ONNX Runtime cannot open {path}: {error}. If the file is damaged, delete it and load the model again. If "
            "it is refused for where it keeps its weights, do not trust it; if it is your own, put them beside it."
        ) from error
    _opened[session] = partial(create_session, path, providers, provider_options, options)
    return session


def _warn_of_old_runtime(version: str) -> None:
    """Warn, once, of an ONNX Runtime that reads what a stranger's graph says lies elsewhere on this machine."""
    if tuple(int(part) for part in version.split(".")[:2]) < _SAFE_RUNTIME:
        warnings.warn(
            f"onnxruntime {version} may read files outside a model's folder. Do not load models that you do not trust, "
            f"or use onnxruntime {_SAFE_RUNTIME[0]}.{_SAFE_RUNTIME[1]} or newer.",
            RuntimeWarning,
            stacklevel=3,
        )


def _inherit() -> None:
    """Note, in a forked process, which sessions are its parent's."""
    global _reopening
    _reopening = threading.Lock()  # the parent may have held the other
    _inherited.update(dict.fromkeys(_opened))


def _own(session: ort.InferenceSession) -> ort.InferenceSession:
    """Return the session, or in a forked process one of its own in place of its parent's.

    The parent's threads do not exist there, and its locks may be held for ever. Nor may it be destroyed there, since
    that would wait for the threads: so it is kept.
    """
    if session not in _inherited:
        return session
    with _reopening:
        own = _inherited[session] or _opened[session]()
        _inherited[session] = own
    return own


_opened: weakref.WeakKeyDictionary[Any, Callable[[], Any]] = weakref.WeakKeyDictionary()  # to what opens another
_inherited: dict[Any, Any] = {}  # the parent's sessions to this process's own
_reopening = threading.Lock()
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_inherit)


def forward(graph: Graph, pixel_values: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Run a graph.

    Args:
        graph: What to run.
        pixel_values: float, shape (B, 3, h, w).

    Returns:
        Alpha, float32 in [0, 1] up to a rounding error, shape (B, 1, h', w'). An image whose plane leaves
        [−1e-5, 1 + 1e-5] holds logits, and goes through a sigmoid, as in Transformers.js (see `planes.to_alpha`).

    Raises:
        InvalidModelError: The image's size is not the graph's, or what comes out is not one plane an image.
        InferenceError: ONNX Runtime failed, or a plane holds no numbers.
    """
    height, width = pixel_values.shape[2:]
    if (graph.height or height, graph.width or width) != (height, width):
        raise InvalidModelError(
            f"This model takes {graph.width}×{graph.height} pixels only, and was given {width}×{height}. "
            "Correct 'size' in its preprocessor_config.json, or leave out the size."
        )
    values = pixel_values.transpose(0, 2, 3, 1) if graph.channels_last else pixel_values
    values = np.ascontiguousarray(values, dtype=graph.dtype)
    step = graph.batch or len(values)
    planes = [_run(graph, values[i : i + step]) for i in range(0, len(values), step)]
    return planes[0] if len(planes) == 1 else np.concatenate(planes)


def _run_options(graph: Graph, values: NDArray[np.floating[Any]]) -> Any:
    """Return what a run needs beyond the defaults: after a large one, memory that smaller ones do not need goes back.

    With inputs of changing size ONNX Runtime's arena otherwise grows with every new one, and never shrinks. To give it
    back after each run costs a quarter of the time; after large ones alone, nothing that can be measured.
    """
    if values.size <= _LARGE_INPUT or (graph.height and graph.width and graph.batch):
        return None
    session = graph.session
    if session.get_providers()[0] != CPU or not session.get_session_options().enable_cpu_mem_arena:
        return None
    from onnxruntime import RunOptions

    options = RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


def _run(graph: Graph, values: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Run one batch that fits the graph, padding a short one to a fixed size."""
    count = len(values)
    if graph.batch and count < graph.batch:
        values = np.concatenate([values, np.zeros((graph.batch - count, *values.shape[1:]), values.dtype)])
    try:
        (raw,) = _own(graph.session).run([graph.output_name], {graph.input_name: values}, _run_options(graph, values))
    except Exception as error:  # as in create_session
        raise InferenceError(f"ONNX Runtime failed on an input of shape {values.shape}: {error}") from error
    return as_planes(raw, count, f"The output {graph.output_name!r} of {graph.name}")
