"""Options of ONNX Runtime's execution providers: their well-known good values, below what the caller gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers_foreground.runtime.optimized_graphs import compiled_folder


def default_options(provider: str) -> dict[str, Any]:
    """Return a provider's options for graphs that are run many times at one size.

    They follow ONNX Runtime's documentation of each provider, and have not been measured here.

    Args:
        provider: Name of an execution provider.
    """
    if provider == "TensorrtExecutionProvider":
        return {"trt_engine_cache_enable": True, "trt_engine_cache_path": str(compiled_folder("tensorrt"))}
    if provider == "CUDAExecutionProvider":
        return {"arena_extend_strategy": "kSameAsRequested"}  # the other strategy doubles the arena each time
    if provider == "CoreMLExecutionProvider":
        return {"ModelFormat": "MLProgram", "MLComputeUnits": "ALL"}
    return {}


def with_defaults(provider: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a caller's options above a provider's defaults."""
    return {**default_options(provider), **options}
