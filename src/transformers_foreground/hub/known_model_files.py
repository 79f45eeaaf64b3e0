"""What a YAML file of a known model holds; reading it names the file and the key of a mistake."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, TypeVar

from transformers_foreground.errors import InvalidModelError
from transformers_foreground.hub.dtypes import SUFFIXES

_T = TypeVar("_T")
_MAX_BYTES: Final = 1 << 16
_REGISTRIES: Final = ("npm", "pypi")

# What the keys of all files hold, by their last name: none means two things.
_KINDS: Final[Mapping[str, tuple[tuple[type, ...], str]]] = {
    "id": ((str,), "a text"),
    "description": ((str,), "a text"),
    "licence": ((dict,), "a mapping"),
    "name": ((str,), "a text"),
    "url": ((str,), "a text"),
    "commercial": ((bool, type(None)), "true, false or null"),
    "notice": ((str,), "a text"),
    "model_type": ((str, type(None)), "a text"),
    "families": ((list,), "a list"),
    "preprocessor": ((dict,), "a mapping"),
    "files": ((dict,), "a mapping"),
    "hub": ((bool,), "true or false"),
    "path": ((str,), "a text"),
    "bytes": ((int, type(None)), "a number"),
    "sha256": ((str, type(None)), "a text"),
    "source": ((dict, type(None)), "a mapping"),
    "derived_from": ((str, type(None)), "a text"),
    "registry": ((str,), "a text"),
    "package": ((str,), "a text"),
    "version": ((str,), "a text"),
    "member": ((str,), "a text"),
}


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
class KnownModel:
    """A known model.

    Attributes:
        id: Repository id.
        description: One line for people.
        licence: Its licence.
        model_type: What its `config.json` says, where that is known.
        families: The values of `model_type` that it answers for where a repository states no preprocessing. It never
            answers for another repository's licence.
        preprocessor: Keys of `preprocessor_config.json`, for repositories that carry none.
        files: dtype to file.
        hub: Whether the Hub has a repository of this id.
    """

    id: str
    description: str
    licence: Licence
    model_type: str | None = None
    families: tuple[str, ...] = ()
    preprocessor: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, ModelFile] = field(default_factory=dict)
    hub: bool = True

    @property
    def fetchable(self) -> bool:
        """Whether a package registry carries the weights, so that no Hub is needed."""
        return any(file.source for file in self.files.values())


def read_folder(folder: Path) -> Iterator[KnownModel]:
    """Read the YAML files of a folder, which may be absent.

    Yields:
        A known model a file.

    Raises:
        InvalidModelError: See `read`.
    """
    for path in sorted(folder.glob("*.yaml")):
        yield read(path)


def read(path: Path) -> KnownModel:
    """Read one file.

    Raises:
        InvalidModelError: It cannot be read, is no YAML, or has a key that is missing, unknown or of another kind.
    """
    import yaml

    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InvalidModelError(f"{path} is larger than {_MAX_BYTES >> 10} KB: no description of a known model.")
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where there is libyaml
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InvalidModelError(f"{path} cannot be read as the description of a known model: {reason}") from error
    top = _mapping(raw, path, "")
    top["licence"] = _build(Licence, _mapping(top.get("licence"), path, "licence"), path, "licence.")
    named = _mapping(top.get("files", {}), path, "files")
    top["files"] = {dtype: _file(file, path, str(dtype)) for dtype, file in named.items()}
    families = top.get("families", [])
    if not isinstance(families, list) or not all(isinstance(name, str) for name in families):
        raise InvalidModelError(f"{path}: families must be a list of texts, not {reprlib.repr(families)}.")
    top["families"] = tuple(families)
    known = _build(KnownModel, top, path, "", done=("licence", "files", "families"))
    if Path(known.id).is_absolute() or ".." in Path(known.id).parts:
        raise InvalidModelError(f"{path}: id must be a repository's, such as 'briaai/RMBG-1.4', not {known.id!r}.")
    for dtype, file in known.files.items():
        if file.derived_from is not None and file.derived_from not in known.files:
            raise InvalidModelError(f"{path}: files.{dtype}.derived_from names {file.derived_from}, which is no file.")
    return known


def _file(raw: Any, path: Path, dtype: str) -> ModelFile:
    where = f"files.{dtype}"
    if dtype not in SUFFIXES:
        raise InvalidModelError(f"{path}: files has the unknown dtype {dtype!r}. Use one of: {', '.join(SUFFIXES)}.")
    spec = _mapping(raw, path, where)
    if spec.get("source") is not None:
        spec["source"] = _build(Source, _mapping(spec["source"], path, f"{where}.source"), path, f"{where}.source.")
        if spec["source"].registry not in _REGISTRIES:
            raise InvalidModelError(f"{path}: {where}.source.registry must be one of: {', '.join(_REGISTRIES)}.")
    file = _build(ModelFile, spec, path, f"{where}.", done=("source",))
    if Path(file.path).is_absolute() or ".." in Path(file.path).parts:
        raise InvalidModelError(f"{path}: {where}.path must stay inside the repository, unlike {file.path!r}.")
    return file


def _mapping(raw: Any, path: Path, where: str) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise InvalidModelError(f"{path}: {where or 'the file'} must be a mapping, not {type(raw).__name__}.")
    return dict(raw)


def _build(cls: type[_T], raw: dict[str, Any], path: Path, where: str, done: tuple[str, ...] = ()) -> _T:
    """Make a dataclass of a mapping whose values are checked but for those already `done`."""
    known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
    for name, f in known.items():
        if name not in raw and f.default is MISSING and f.default_factory is MISSING:
            raise InvalidModelError(f"{path}: the key {where}{name} is missing.")
    for name, value in raw.items():
        if name not in known:
            raise InvalidModelError(f"{path}: the key {where}{name} is unknown. Known are: {', '.join(known)}.")
        kinds, words = _KINDS[name]
        if name not in done and (not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)):
            raise InvalidModelError(f"{path}: {where}{name} must be {words}, not {reprlib.repr(value)}.")
    return cls(**raw)
