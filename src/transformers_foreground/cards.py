"""What is known of each model family, read from the YAML files in `configs/`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Licence:
    """A model's licence.

    Attributes:
        name: Its name, as SPDX has it where it has.
        url: Where to read it.
        commercial: Whether commercial use is allowed; `None` where that needs a lawyer.
        notice: One sentence for people, shown before the first download.
    """

    name: str
    url: str
    commercial: bool | None
    notice: str


@dataclass(frozen=True)
class Source:
    """Where a package registry carries a file.

    Attributes:
        registry: `"pypi"` or `"npm"`.
        package: Name of the package there.
        version: Its exact version.
        member: The file inside (pypi), or the resource in `dist/resources.json` whose chunks make it up (npm).
    """

    registry: str
    package: str
    version: str
    member: str


@dataclass(frozen=True)
class ModelFile:
    """One ONNX file of a model.

    Attributes:
        path: Path inside the repository.
        bytes: Size, where known.
        sha256: Hash in hex, where known.
        source: A package that carries it, where there is one.
        derived_from: The dtype whose file this one is made from, where no package carries it.
    """

    path: str
    bytes: int | None = None
    sha256: str | None = None
    source: Source | None = None
    derived_from: str | None = None


@dataclass(frozen=True)
class ModelCard:
    """A known model.

    Attributes:
        id: Repository id.
        description: One line for people.
        licence: Its licence.
        model_types: The `model_type` values in `config.json` that mean this family.
        preprocessor: Keys of `preprocessor_config.json`, for repositories that carry none.
        files: dtype to file.
        hub: Whether the Hub has a repository of this id.
    """

    id: str
    description: str
    licence: Licence
    model_types: tuple[str, ...]
    preprocessor: Mapping[str, Any]
    files: Mapping[str, ModelFile] = field(default_factory=dict)
    hub: bool = True

    @property
    def fetchable(self) -> bool:
        """Whether a package registry carries the weights, so that `foreground models fetch` can bring them."""
        return any(file.source for file in self.files.values())


def _folder() -> Path:
    """The `configs` folder: inside the installed package, or at the top of a source tree."""
    inside = Path(str(files("transformers_foreground"))) / "configs"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "configs"


def _read(path: Path) -> ModelCard:
    import yaml

    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    model_files = {
        dtype: ModelFile(**{**spec, "source": Source(**spec["source"]) if "source" in spec else None})
        for dtype, spec in raw.pop("files").items()
    }
    licence = Licence(**raw.pop("licence"))
    model_types = tuple(raw.pop("model_types"))
    return ModelCard(licence=licence, model_types=model_types, files=model_files, **raw)


@cache
def cards() -> tuple[ModelCard, ...]:
    """All known models, in the order of their ids."""
    return tuple(sorted((_read(path) for path in _folder().glob("*.yaml")), key=lambda card: card.id.lower()))


def card_for(model_id: str, model_type: str | None = None) -> ModelCard | None:
    """Return what is known of a model.

    Args:
        model_id: Repository id, or a folder that ends with one.
        model_type: `model_type` of its `config.json`: names the family of an unknown repository.

    Returns:
        The card, or `None`.
    """
    wanted = "/".join(Path(model_id).parts[-2:]).lower()
    for card in cards():
        if card.id.lower() == wanted:
            return card
    return next((card for card in cards() if model_type in card.model_types), None)
