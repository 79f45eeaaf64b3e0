"""`register()`: from here on transformers and Optimum know foreground models."""

from __future__ import annotations

import logging
import sys
import threading
from typing import Any

from transformers_foreground.cards import cards

_lock = threading.Lock()
_registered = False


def register() -> None:
    """Teach transformers and Optimum to load foreground models, through their own registries.

    Afterwards `transformers.pipeline("image-segmentation", "briaai/RMBG-1.4")`,
    `optimum.onnxruntime.pipeline(...)` and `optimum.pipelines.pipeline(..., accelerator="ort")` load the model's ONNX
    file and return this package's pipeline; the same with the task `"background-removal"`. Every other model works as
    before. No code from a repository runs. A second call does nothing.
    """
    global _registered
    with _lock:
        if not _registered:
            _register()
            _registered = True


def _register() -> None:
    from optimum.onnxruntime.pipelines import ORT_TASKS_MAPPING
    from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageSegmentation
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.pipelines import PIPELINE_REGISTRY

    from transformers_foreground.configuration import FOREGROUND_MODEL_TYPE, config_class
    from transformers_foreground.pipelines import BackgroundRemovalPipeline, ForegroundExtractionPipeline
    from transformers_foreground.processing import ForegroundImageProcessor, ImageImageProcessor

    model_types = dict.fromkeys([FOREGROUND_MODEL_TYPE, *(t for card in cards() for t in card.model_types)])
    for model_type in model_types:
        if model_type in CONFIG_MAPPING:  # transformers has a model of this name: that one keeps it
            continue
        config = config_class(model_type)
        own = model_type == FOREGROUND_MODEL_TYPE
        AutoConfig.register(model_type, config)
        AutoImageProcessor.register(
            config, slow_image_processor_class=ForegroundImageProcessor if own else ImageImageProcessor
        )
        AutoModelForImageSegmentation.register(config, _Loader)
    logging.getLogger("transformers.models.auto.image_processing_auto").addFilter(_is_not_about_us)

    # Taken out first, since register_pipeline warns of a task that is there.
    segmentation = PIPELINE_REGISTRY.supported_tasks.pop("image-segmentation")
    PIPELINE_REGISTRY.register_pipeline(
        "image-segmentation",
        pipeline_class=ForegroundExtractionPipeline,
        pt_model=segmentation["pt"],
        default=segmentation.get("default"),
        type=segmentation.get("type"),
    )
    PIPELINE_REGISTRY.register_pipeline(
        "background-removal",
        pipeline_class=BackgroundRemovalPipeline,
        pt_model=(AutoModelForImageSegmentation,),
        type="image",
    )
    for pipeline_class in (ForegroundExtractionPipeline, BackgroundRemovalPipeline):
        # With it, save_pretrained would copy this package's code beside the model, as remote code.
        del pipeline_class._registered_impl

    ORT_TASKS_MAPPING["image-segmentation"] = (_OrtLoader,)
    ORT_TASKS_MAPPING["background-removal"] = (_OrtLoader,)


class _LoaderMeta(type):
    """Gives `config_class` on first use, so that this module imports without transformers."""

    @property
    def config_class(cls) -> Any:
        from transformers_foreground.configuration import ForegroundConfig

        return ForegroundConfig


class _Loader(metaclass=_LoaderMeta):
    """What transformers' Auto class calls. An ORTModel cannot be registered itself."""

    @staticmethod
    def from_pretrained(model_id: str, *_: Any, config: Any = None, **kwargs: Any) -> Any:
        from transformers_foreground.modeling import ORTModelForForegroundExtraction

        return ORTModelForForegroundExtraction.from_pretrained(model_id, config=config, **kwargs)


class _OrtLoader:
    """What Optimum's pipeline calls: our class for foreground models, Optimum's own for all others."""

    @staticmethod
    def from_pretrained(model_id: str, **kwargs: Any) -> Any:
        from optimum.onnxruntime import ORTModelForSemanticSegmentation
        from transformers import AutoConfig

        from transformers_foreground.configuration import ForegroundConfig

        hub = {key: kwargs[key] for key in ("revision", "token", "cache_dir", "local_files_only") if key in kwargs}
        config = AutoConfig.from_pretrained(model_id, **hub)
        if isinstance(config, ForegroundConfig):
            return _Loader.from_pretrained(model_id, config=config, **kwargs)
        return ORTModelForSemanticSegmentation.from_pretrained(model_id, **kwargs)


def _is_not_about_us(record: logging.LogRecord) -> bool:
    """Drop transformers' advice to use the fast variant of an image processor when it means ours, which has none."""
    if not record.getMessage().startswith("Using a slow image processor"):
        return True
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_locals.get("image_processor_type") in ("ImageImageProcessor", "ForegroundImageProcessor"):
            return False
    return True
