"""Background removal as in Transformers.js, from Python.

Nothing heavy is imported until a name is used: `import transformers_foreground` needs neither torch nor
transformers nor onnxruntime. It sets ORT_DISABLE_TELEMETRY=1, unless that has a value, so that nothing leaves the
machine.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from transformers_foreground.env import __version__, env

# From 1.29 on, ONNX Runtime reports its use to Microsoft over the network. It reads this when it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_HOME = {
    "BackgroundRemovalPipeline": "pipelines",
    "ForegroundConfig": "configuration",
    "ForegroundError": "errors",
    "ForegroundExtractionPipeline": "pipelines",
    "ForegroundImageProcessor": "processing",
    "ForegroundMapper": "datasets",
    "ORTModelForForegroundExtraction": "modeling",
    "cutout": "cutouts",
    "pipeline": "factory",
    "register": "registration",
}

__all__ = [
    "BackgroundRemovalPipeline",
    "ForegroundConfig",
    "ForegroundError",
    "ForegroundExtractionPipeline",
    "ForegroundImageProcessor",
    "ForegroundMapper",
    "ORTModelForForegroundExtraction",
    "__version__",
    "cutout",
    "env",
    "pipeline",
    "register",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
