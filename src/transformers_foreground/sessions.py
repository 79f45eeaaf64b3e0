"""Forward: an ONNX graph as a function from `pixel_values` to alpha."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from transformers_foreground.env import env
from transformers_foreground.errors import InferenceError, InvalidModelError, UnsupportedOptionError
from transformers_foreground.external_data import check_external_data

if TYPE_CHECKING:
    import onnxruntime as ort

_DTYPES: Final[Mapping[str, type[np.floating[Any]]]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
}
_LARGE_INPUT: Final = 3 * 1024 * 1024  # values: more than one picture of 1024×1024
_EPSILON: Final = 1e-5  # some kernels' Sigmoid leaves [0, 1] by this much (onnxruntime#22557)


@dataclass(frozen=True)
class Graph:
    """A session and the little that must be known to call it.

    Attributes:
        session: The ONNX Runtime session.
        input_name: Name of its single input.
        output_name: Name of its first output, the only one that is asked for.
        dtype: Element type of the input.
        batch: The fixed batch size, or `None` where any will do.
        height: The fixed input height, or `None`.
        width: The fixed input width, or `None`.
        channels_last: Whether the input is (B, H, W, 3).
    """

    session: ort.InferenceSession
    input_name: str
    output_name: str
    dtype: type[np.floating[Any]]
    batch: int | None
    height: int | None
    width: int | None
    channels_last: bool


def usable_cpus() -> int:
    """Return how many cores this process may use, by its affinity and its cgroup's quota (Linux), at least one."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have no affinity call in the standard library
        cores = os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores, max(1, int(quota) // int(period)))
    except (OSError, ValueError):  # no cgroup v2, or no quota ("max")
        pass
    return max(1, cores)


def session_options(options: Any = None) -> ort.SessionOptions:
    """Build session options from `env.backends.onnx` and, above it, a mapping.

    Args:
        options: An `onnxruntime.SessionOptions`, which is used as it is, or a mapping of its attribute names.

    Raises:
        UnsupportedOptionError: A name that `SessionOptions` does not have.
    """
    import onnxruntime as ort

    if isinstance(options, ort.SessionOptions):
        return options
    result = ort.SessionOptions()
    result.intra_op_num_threads = usable_cpus()
    result.enable_mem_pattern = False  # it takes 0.47 GB more for IS-Net, and wins no time
    for name, value in {**env.backends.onnx, **(options or {})}.items():
        if name.startswith("_") or not hasattr(result, name) or callable(getattr(result, name)):
            known = [n for n in dir(result) if not n.startswith("_") and not callable(getattr(result, n))]
            raise UnsupportedOptionError(f"Unknown session option {name!r}. Use one of: {', '.join(known)}.")
        setattr(result, name, value)
    return result


def create_session(
    path: Path,
    providers: Sequence[str],
    provider_options: Sequence[Mapping[str, Any]],
    options: ort.SessionOptions,
) -> ort.InferenceSession:
    """Open an ONNX file. Every session on somebody's graph is opened here.

    Raises:
        InvalidModelError: ONNX Runtime cannot read or run the file, or its tensors lie outside its folder.
    """
    import onnxruntime as ort

    check_external_data(path)
    try:
        session = ort.InferenceSession(
            path, options, providers=list(providers), provider_options=[dict(o) for o in provider_options]
        )
    except Exception as error:  # ONNX Runtime's exceptions share no base but Exception
        raise InvalidModelError(
            f"ONNX Runtime cannot open {path}: {error}. If the file is damaged, delete it and load the model again."
        ) from error
    _opened[session] = partial(create_session, path, providers, provider_options, options)
    return session


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


def graph_of(session: ort.InferenceSession, path: Path | str) -> Graph:
    """Find out how to call a session.

    Args:
        session: An open session.
        path: Names the file in messages.

    Raises:
        InvalidModelError: It does not take one picture, or its first output is not one plane.
    """
    inputs, output = session.get_inputs(), session.get_outputs()[0]
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type not in _DTYPES:
        got = ", ".join(f"{i.name} {i.type} {i.shape}" for i in inputs)
        raise InvalidModelError(f"{path} does not take one picture (a 4-D float tensor) but: {got}.")
    shape = [dim if isinstance(dim, int) and dim > 0 else None for dim in inputs[0].shape]
    channels_last = shape[3] == 3 and shape[1] != 3
    height, width = (shape[1], shape[2]) if channels_last else (shape[2], shape[3])
    if not _is_plane(output.shape):
        raise InvalidModelError(
            f"{path} does not give one alpha plane: its first output {output.name!r} has shape {output.shape}. "
            "Foreground extraction is for models with one foreground plane."
        )
    return Graph(
        session=session,
        input_name=inputs[0].name,
        output_name=output.name,
        dtype=_DTYPES[inputs[0].type],
        batch=shape[0],
        height=height,
        width=width,
        channels_last=channels_last,
    )


def _is_plane(shape: Sequence[int | str | None]) -> bool:
    """Whether an output's declared shape can be (B, h, w), (B, 1, h, w) or (B, h, w, 1)."""
    known = [dim if isinstance(dim, int) and dim > 0 else None for dim in shape]
    return len(shape) == 3 or (len(shape) == 4 and (known[1] in (1, None) or known[3] == 1))


def forward(graph: Graph, pixel_values: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Run a graph.

    Args:
        graph: What to run.
        pixel_values: float, shape (B, 3, h, w).

    Returns:
        Alpha, float32 in [0, 1] up to a rounding error, shape (B, 1, h', w'). A picture whose plane leaves
        [−1e-5, 1 + 1e-5] holds logits, and goes through a sigmoid, as in Transformers.js.

    Raises:
        InvalidModelError: The picture's size is not the graph's, or what comes out is not one plane a picture.
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
    if session.get_providers()[0] != "CPUExecutionProvider" or not session.get_session_options().enable_cpu_mem_arena:
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
    alpha = np.asarray(raw, np.float32)[:count]
    if alpha.ndim == 4 and alpha.shape[1] != 1 and alpha.shape[3] == 1:
        alpha = alpha.transpose(0, 3, 1, 2)
    elif alpha.ndim == 3:
        alpha = alpha[:, None]
    if alpha.ndim != 4 or alpha.shape[1] != 1:
        raise InvalidModelError(
            f"The model's output {graph.output_name!r} has shape {np.shape(raw)}, not one plane a picture."
        )
    return np.stack([_to_alpha(plane) for plane in alpha]) if count > 1 else _to_alpha(alpha)


def _to_alpha(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Apply the logistic function, in double precision, where a plane holds logits."""
    if plane.min() >= -_EPSILON and plane.max() <= 1 + _EPSILON:
        return plane
    with np.errstate(over="ignore"):  # exp(-x) of a large negative logit is inf, and 1 / inf the right answer
        return np.asarray(1 / (1 + np.exp(-plane.astype(np.float64))), np.float32)
