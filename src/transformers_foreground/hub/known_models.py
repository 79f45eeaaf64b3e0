"""What is known of models: those that this package ships YAML files of, in `configs/`, and the user's own."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from transformers_foreground.env import env
from transformers_foreground.hub.known_model_files import KnownModel, Licence, ModelFile, Source, read_folder

__all__ = [
    "DEFAULT_MODELS",
    "KnownModel",
    "Licence",
    "ModelFile",
    "Source",
    "known_model",
    "known_models",
    "known_preprocessor",
]

DEFAULT_MODELS: Final[Mapping[str, str]] = {
    "background-removal": "Xenova/modnet",  # as in Transformers.js
    "image-segmentation": "briaai/RMBG-1.4",  # there it is a model of classes, which this package has no use for
}
"""The model of each task where none is named."""


def known_models() -> tuple[KnownModel, ...]:
    """All known models, in the order of their ids. Their files are read once.

    Raises:
        InvalidModelError: A file in `env.known_models_dir` is malformed.
    """
    return _read_all(str(env.known_models_dir))


def known_model(model_id: str) -> KnownModel | None:
    """Return what is known of the model of this very id, and never of a similar one.

    Args:
        model_id: Repository id, or a folder that ends with one.

    Raises:
        InvalidModelError: A file in `env.known_models_dir` is malformed.
    """
    wanted = "/".join(Path(model_id).parts[-2:]).lower()
    return next((known for known in known_models() if known.id.lower() == wanted), None)


def known_preprocessor(model_id: str, model_type: object = None) -> Mapping[str, Any] | None:
    """Return the keys of `preprocessor_config.json` that a model without that file takes.

    Args:
        model_id: Repository id, or a folder that ends with one.
        model_type: `model_type` of its `config.json`, whatever that holds: names the family of an unknown model.

    Returns:
        The keys, or `None`.

    Raises:
        InvalidModelError: A file in `env.known_models_dir` is malformed.
    """
    own = known_model(model_id)
    if own is not None and own.preprocessor:
        return own.preprocessor
    return next((known.preprocessor for known in known_models() if model_type in known.families), None)


@cache
def _read_all(users: str) -> tuple[KnownModel, ...]:
    models = {known.id.lower(): known for folder in (_shipped(), Path(users)) for known in read_folder(folder)}
    return tuple(models[name] for name in sorted(models))


def _shipped() -> Path:
    """The `configs` folder: inside the installed package, or at the top of a source tree."""
    inside = Path(str(files("transformers_foreground"))) / "configs"
    return inside if inside.is_dir() else Path(__file__).parents[3] / "configs"
