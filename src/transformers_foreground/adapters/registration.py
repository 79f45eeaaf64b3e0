"""`register()`: makes transformers and Optimum load foreground models."""

from __future__ import annotations

import threading
from typing import Any, Final

from transformers_foreground.errors import NotForegroundError
from transformers_foreground.hub.known_models import known_models
from transformers_foreground.hub.repository import Repo

_HUB_OPTIONS: Final = ("revision", "token", "cache_dir", "local_files_only")
_WEIGHTS: Final = ("model.safetensors", "pytorch_model.bin", "model.safetensors.index.json")

_lock = threading.Lock()
_registered = False


def register() -> None:
    """Teach transformers and Optimum to load foreground models, through their own registries.

    Afterwards `transformers.pipeline("image-segmentation", "briaai/RMBG-1.4")`,
    `optimum.onnxruntime.pipeline(...)` and `optimum.pipelines.pipeline(..., accelerator="ort")` load the model's ONNX
    file and return this package's pipeline, and so with the task `"background-removal"`. Every other model works as
    before. No code from a repository runs. A repository whose `config.json` has no `model_type` needs
    `config=ForegroundConfig()` there, since transformers reads the type first of all. A second call does nothing.
    """
    global _registered
    with _lock:
        if not _registered:
            _register()
            _registered = True


def _register() -> None:
    from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageSegmentation
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.pipelines import PIPELINE_REGISTRY

    from transformers_foreground.adapters.configuration import FOREGROUND_MODEL_TYPE, config_class
    from transformers_foreground.adapters.image_processing import ForegroundImageProcessor, ImageImageProcessor
    from transformers_foreground.adapters.pipelines import BackgroundRemovalPipeline, ForegroundExtractionPipeline

    families = [family for known in known_models() for family in known.families]
    types = dict.fromkeys([FOREGROUND_MODEL_TYPE, *families, "custom"])  # the last is usual for Transformers.js
    configs: list[Any] = [config_class(name) for name in types if name not in CONFIG_MAPPING]
    for config in configs:
        own = config.model_type == FOREGROUND_MODEL_TYPE
        AutoConfig.register(config.model_type, config)
        AutoImageProcessor.register(
            config, slow_image_processor_class=ForegroundImageProcessor if own else ImageImageProcessor
        )
        AutoModelForImageSegmentation.register(config, _Loader)

    # Removed first, since register_pipeline warns if it replaces a task.
    segmentation = PIPELINE_REGISTRY.supported_tasks.pop("image-segmentation")
    PIPELINE_REGISTRY.register_pipeline(
        "image-segmentation",
        pipeline_class=ForegroundExtractionPipeline,
        pt_model=(_GraphLoader, *segmentation["pt"]),
        default=segmentation.get("default"),
        type=segmentation.get("type"),
    )
    PIPELINE_REGISTRY.register_pipeline(
        "background-removal",
        pipeline_class=BackgroundRemovalPipeline,
        pt_model=(_GraphLoader, AutoModelForImageSegmentation),
        type="image",
    )
    for pipeline_class in (ForegroundExtractionPipeline, BackgroundRemovalPipeline):
        # With it, save_pretrained would copy this package's code beside the model, as remote code.
        del pipeline_class._registered_impl
    try:
        from optimum.onnxruntime.pipelines import ORT_TASKS_MAPPING
    except (ImportError, RuntimeError):  # not installed, or not for this transformers
        return
    ORT_TASKS_MAPPING["image-segmentation"] = (_OrtLoader,)
    ORT_TASKS_MAPPING["background-removal"] = (_OrtLoader,)


class _LoaderMeta(type):
    """Gives `config_class` on first use, so that this module imports without transformers."""

    @property
    def config_class(cls) -> Any:
        from transformers_foreground.adapters.configuration import ForegroundConfig

        return ForegroundConfig


class _Loader(metaclass=_LoaderMeta):
    """Called by transformers' Auto class, with which an ORTModel itself cannot be registered."""

    @staticmethod
    def from_pretrained(model_id: str, *_: Any, config: Any = None, **kwargs: Any) -> Any:
        from transformers_foreground.adapters.modeling import ORTModelForForegroundExtraction

        return ORTModelForForegroundExtraction.from_pretrained(model_id, config=config, **kwargs)


class _GraphLoader:
    """Loads a repository whose graph gives one plane, whatever its `model_type` says.

    transformers tries it first, and goes on to its own classes when it raises ValueError: where the repository has no
    ONNX file, or has weights for an architecture that transformers knows.
    """

    @staticmethod
    def from_pretrained(model_id: str, *_: Any, config: Any = None, **kwargs: Any) -> Any:
        import transformers

        from transformers_foreground.adapters.configuration import ForegroundConfig
        from transformers_foreground.adapters.modeling import ORTModelForForegroundExtraction

        hub = {key: kwargs[key] for key in _HUB_OPTIONS if kwargs.get(key) is not None}
        if not isinstance(config, ForegroundConfig):
            repo = Repo(str(model_id), **hub)
            known = [hasattr(transformers, name) for name in getattr(config, "architectures", None) or ()]
            if not repo.exists("onnx/model.onnx") or (any(known) and any(map(repo.exists, _WEIGHTS))):
                raise ValueError(f"{model_id} is a model of transformers' own.")
        try:
            return ORTModelForForegroundExtraction.from_pretrained(model_id, config=config, **kwargs)
        except NotForegroundError as error:
            raise ValueError(str(error)) from error


class _OrtLoader:
    """Called by Optimum's pipeline: loads our class for foreground models, Optimum's own for all others."""

    @staticmethod
    def from_pretrained(model_id: str, **kwargs: Any) -> Any:
        from optimum.onnxruntime import ORTModelForSemanticSegmentation
        from transformers import AutoConfig

        hub = {key: kwargs[key] for key in _HUB_OPTIONS if key in kwargs}
        config = AutoConfig.from_pretrained(model_id, **hub, _from_pipeline="image-segmentation")
        try:
            return _GraphLoader.from_pretrained(model_id, config=config, **kwargs)
        except ValueError:
            return ORTModelForSemanticSegmentation.from_pretrained(model_id, **kwargs)
