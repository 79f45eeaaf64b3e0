"""Options of ONNX Runtime's execution providers: their well-known good values, below what the caller gives."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from transformers_foreground.cpu import cpuinfo
from transformers_foreground.graph_cache import compiled_folder
from transformers_foreground.sessions import usable_cpus


def default_options(provider: str) -> dict[str, Any]:
    """Return a provider's options for graphs that are run many times at one size.

    OpenVINO's are measured (docs/benchmarks.md): bf16 where the CPU multiplies in it. The others follow ONNX Runtime's
    documentation of each provider, and have not been measured here.

    Args:
        provider: Name of an execution provider.
    """
    if provider == "OpenVINOExecutionProvider":
        cpu = {"INFERENCE_PRECISION_HINT": "bf16" if has_bf16() else "f32", "PERFORMANCE_HINT": "LATENCY"}
        return {
            "device_type": "CPU",
            "num_of_threads": str(usable_cpus()),
            "cache_dir": str(compiled_folder("openvino")),
            "load_config": json.dumps({"CPU": cpu}),
        }
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


def has_bf16() -> bool:
    """Whether this CPU multiplies in bfloat16 (AVX-512 BF16 or AMX), as far as Linux tells."""
    flags = cpuinfo("flags").split()
    return "avx512_bf16" in flags or "amx_bf16" in flags
