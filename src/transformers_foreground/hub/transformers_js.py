"""The JSON files of a model as this package writes them: such as Transformers.js' pipelines read, too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

# What Transformers.js 4 takes for image segmentation and background removal.
_MODEL_TYPES: Final = frozenset(
    {
        "ben",
        "birefnet",
        "clipseg",
        "detr",
        "isnet",
        "maskformer",
        "mobilenet_v1",
        "mobilenet_v2",
        "mobilenet_v3",
        "mobilenet_v4",
        "modnet",
        "sapiens",
        "segformer",
        "swin",
    }
)
_ANY_GRAPH: Final = "isnet"  # it runs any graph of one image and one plane under this name


def config_json(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a `config.json` with a `model_type` that Transformers.js' pipelines do not refuse.

    briaai/RMBG-1.4's own, for one, they do. What a model is, its graph says; see `runtime.graphs`.

    Args:
        config: The model's own.
    """
    known = config.get("model_type") in _MODEL_TYPES
    return {**config, "model_type": config["model_type"] if known else _ANY_GRAPH}


def preprocessor_json(keys: Mapping[str, Any]) -> dict[str, Any]:
    """Return a `preprocessor_config.json` that Transformers.js reads, and transformers after `register()`.

    Its class is named as in briaai/RMBG-1.4's own file: of a class of ours, Transformers.js knows nothing.

    Args:
        keys: What is known of the model. What they leave out is what both libraries take for it, spelled out.
    """
    spelled_out = {
        "feature_extractor_type": "ImageFeatureExtractor",
        "do_resize": "size" in keys,
        "do_rescale": True,
        "do_normalize": "image_mean" in keys,
        "resample": 2,
        "rescale_factor": 1 / 255,
    }
    return {**spelled_out, **keys}
