"""Background removal as in Transformers.js, from Python.

Nothing heavy is imported until a name is used: `import transformers_foreground` needs neither torch nor
transformers nor onnxruntime. It sets ORT_DISABLE_TELEMETRY=1, unless that has a value, so that nothing leaves the
machine.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from transformers_foreground.env import LogLevel, __version__, env

if TYPE_CHECKING:
    from transformers_foreground.adapters.configuration import ForegroundConfig
    from transformers_foreground.adapters.image_processing import ForegroundImageProcessor
    from transformers_foreground.adapters.modeling import ORTModelForForegroundExtraction
    from transformers_foreground.adapters.pipelines import BackgroundRemovalPipeline, ForegroundExtractionPipeline
    from transformers_foreground.adapters.registration import register
    from transformers_foreground.animations import cutout_animation
    from transformers_foreground.compositing.cutout import cutout
    from transformers_foreground.data.mapper import ForegroundMapper
    from transformers_foreground.errors import ForegroundError
    from transformers_foreground.hub.registry import (
        clear_pipeline_cache,
        get_available_dtypes,
        get_file_metadata,
        get_pipeline_files,
        is_pipeline_cached,
    )
    from transformers_foreground.images.load_image import load_image
    from transformers_foreground.pipelines import ForegroundPipeline, RemovalPipeline, pipeline
    from transformers_foreground.segmenter import Segmenter

# From 1.29 on, ONNX Runtime reports its use to Microsoft over the network. It reads this when it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_HOME = {
    "BackgroundRemovalPipeline": "adapters.pipelines",
    "ForegroundConfig": "adapters.configuration",
    "ForegroundError": "errors",
    "ForegroundExtractionPipeline": "adapters.pipelines",
    "ForegroundImageProcessor": "adapters.image_processing",
    "ForegroundMapper": "data.mapper",
    "ForegroundPipeline": "pipelines",
    "ORTModelForForegroundExtraction": "adapters.modeling",
    "RemovalPipeline": "pipelines",
    "Segmenter": "segmenter",
    "clear_pipeline_cache": "hub.registry",
    "cutout": "compositing.cutout",
    "cutout_animation": "animations",
    "get_available_dtypes": "hub.registry",
    "get_file_metadata": "hub.registry",
    "get_pipeline_files": "hub.registry",
    "is_pipeline_cached": "hub.registry",
    "load_image": "images.load_image",
    "pipeline": "pipelines",
    "register": "adapters.registration",
}

__all__ = [
    "BackgroundRemovalPipeline",
    "ForegroundConfig",
    "ForegroundError",
    "ForegroundExtractionPipeline",
    "ForegroundImageProcessor",
    "ForegroundMapper",
    "ForegroundPipeline",
    "LogLevel",
    "ORTModelForForegroundExtraction",
    "RemovalPipeline",
    "Segmenter",
    "__version__",
    "clear_pipeline_cache",
    "cutout",
    "cutout_animation",
    "env",
    "get_available_dtypes",
    "get_file_metadata",
    "get_pipeline_files",
    "is_pipeline_cached",
    "load_image",
    "pipeline",
    "register",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
