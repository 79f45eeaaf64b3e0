"""A graph that ONNX Runtime has optimised once is kept, and opens in a third of the time afterwards.

What is kept holds for one file, one ONNX Runtime, one kind of CPU and one set of options: all of these are in its name.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from transformers_foreground.atomic_write import unfinished
from transformers_foreground.env import env
from transformers_foreground.runtime.cpu import cpuinfo

if TYPE_CHECKING:
    import onnxruntime as ort

Session = TypeVar("Session")

_WORTH_IT: Final = 16 * 2**20  # smaller files open at once anyway
_LIMIT: Final = 2**31  # protobuf's, beyond which the weights would lie in files beside the graph


def compiled_folder(kind: str) -> Path:
    """Return the folder for what is made of models for this machine, beside the models in the cache."""
    top = env.cache_dir or os.environ.get("HF_HUB_CACHE")
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"
    return Path(top or Path(home) / "hub").expanduser() / "compiled" / kind


def open_optimised(path: Path, options: ort.SessionOptions, create: Callable[[Path], Session]) -> Session:
    """Open a graph for the CPU by way of its optimised form, which is made and kept where there is none.

    Args:
        path: The ONNX file.
        options: Options for the session; they are changed. Nothing is kept where they name a file of their own for the
            optimised graph, or ask for less than all optimisations.
        create: Opens a file with these options.

    Returns:
        What `create` returned. Keeping the graph is tried only: a full or read-only disk changes nothing.
    """
    import onnxruntime as ort

    everything = options.graph_optimization_level == ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    stat = path.stat()
    beside = any(path.parent.glob(f"{path.name}_data*"))
    if options.optimized_model_filepath or not everything or beside or not _WORTH_IT <= stat.st_size < _LIMIT:
        return create(path)
    kept = _kept(path, stat)
    if kept.is_file():
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            return create(kept)
        except Exception:  # damaged: make it anew
            with contextlib.suppress(OSError):
                kept.unlink()
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    return _create_and_keep(path, kept, options, create)


def _create_and_keep(path: Path, kept: Path, options: ort.SessionOptions, create: Callable[[Path], Session]) -> Session:
    severity = options.log_severity_level
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = unfinished(kept)
        part.touch(0o600, exist_ok=False)
    except OSError:
        return create(path)
    try:
        options.optimized_model_filepath = str(part)
        # It warns that such a file is for this machine only, which is why it is named after the machine.
        options.log_severity_level = max(severity, 3)
        session = create(path)
        with contextlib.suppress(OSError):
            os.replace(part, kept)
        return session
    except Exception:  # the disk may be full
        options.optimized_model_filepath = ""
        return create(path)
    finally:
        part.unlink(missing_ok=True)
        options.optimized_model_filepath = ""
        options.log_severity_level = severity


def _kept(path: Path, stat: os.stat_result) -> Path:
    """Return the name of the optimised form: it changes with everything that the optimisation depends on."""
    import onnxruntime as ort

    flags = cpuinfo("flags") or platform.processor()
    facts = (path.resolve(), stat.st_size, stat.st_mtime_ns, ort.__version__, platform.machine(), flags)
    return compiled_folder("onnxruntime") / f"{path.stem}-{hashlib.sha256(repr(facts).encode()).hexdigest()[:24]}.onnx"
