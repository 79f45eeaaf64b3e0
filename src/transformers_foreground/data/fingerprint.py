"""What masks depend on: the key by which `datasets` caches a mapper's results, and by which a job resumes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from transformers_foreground.env import __version__

if TYPE_CHECKING:
    from transformers_foreground.data.mapper import ForegroundMapper
    from transformers_foreground.runtime.model import Model

_OF_SPEED: Final = frozenset(
    (
        "intra_op_num_threads", "inter_op_num_threads", "execution_mode", "enable_cpu_mem_arena", "enable_mem_pattern",
        "enable_mem_reuse", "enable_profiling", "profile_file_prefix", "optimized_model_filepath", "logid",
        "log_severity_level", "log_verbosity_level", "use_deterministic_compute",
        "CACHE_DIR", "INFERENCE_NUM_THREADS", "NUM_STREAMS", "PERFORMANCE_HINT",
    )
)  # fmt: skip
"""Session and provider options that change no result."""


def identity(mapper: ForegroundMapper) -> str:
    """Return, as JSON, what a mapper's columns depend on."""
    parts = {
        **identity_of_model(mapper.model),
        "image_column": mapper.image_column,
        "columns": mapper.columns,
        "error_column": mapper.error_column,
        "id_column": mapper.id_column if mapper.error_column is not None else None,  # it is in the messages
        "on_error": mapper.on_error,
    }
    return json.dumps(parts, sort_keys=True, default=str)


def identity_of_model(model: Model) -> dict[str, Any]:
    """Return what a model's masks depend on: its files by their SHA-256, not by where they lie."""
    options = model.session_options if isinstance(model.session_options, Mapping) else {}
    return {
        "package": __version__,
        "sha256": model.sha256,
        "config": model.files.config,
        "preprocessor": model.files.preprocessor,
        "resampling": model.resampling,
        "providers": model.device.providers,
        "provider_options": [_without_speed(given) for given in model.device.provider_options],
        "session_options": _without_speed(options),
    }


def _without_speed(options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key not in _OF_SPEED}


def hash_by(cls: type[Any], identity: Callable[[Any], str]) -> None:
    """Have `datasets` hash the objects of a class by a text, not by their pickles.

    A pickle holds threads and folders too, which another process needs, but which change no result.

    Args:
        cls: The class. Its subclasses are hashed by their pickles, since they may compute something else.
        identity: Returns an object's text.
    """
    try:
        from datasets.utils._dill import Pickler  # there is no public way; without it the cache only finds less
    except ImportError:
        return

    def save(pickler: Any, value: Any) -> None:
        pickler.save_reduce(_hashed, (cls.__name__, identity(value)), obj=value)

    Pickler.dispatch[cls] = save


def _hashed(name: str, identity: str) -> str:
    return f"{name}:{identity}"
