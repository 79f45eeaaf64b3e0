"""Recipes: which models are measured on which data sets, and how; read from YAML."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import product
from pathlib import Path
from typing import Any, Final, TypeVar

from transformers_foreground.errors import UnsupportedOptionError
from transformers_foreground.evaluation.aggregates import GROUPS

Spec = TypeVar("Spec")

_SPREAD: Final = ("dtype", "resampling", "device", "revision")  # a list of these makes one model of each value


@dataclass(frozen=True)
class ModelSpec:
    """One model with its options.

    Attributes:
        id: Repository id or folder.
        label: What tables call it.
        options: Options of `loading.load`: dtype, resampling, device, revision, session_options, ...
    """

    id: str
    label: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DatasetSpec:
    """Pictures and their truth, in one of three forms: two folders, Parquet files, or a name for `datasets`.

    Attributes:
        name: What tables call it.
        images: Folder of pictures.
        truth: Folder of masks with the same stems.
        parquet: Glob of Parquet files.
        dataset: Name or folder for `datasets.load_dataset`.
        config: Its configuration.
        split: Its split.
        image_column: Column of pictures (Parquet and `datasets`).
        truth_column: Column of masks.
        key_column: Column that names rows; their numbers by default.
        measures: Groups of measures: `aggregates.GROUPS`.
        binarise: Which values of the truth are foreground for measures of masks: `"> 128"`, `">= 128"`.
        ignore: Value of the truth whose pixels do not count.
        bands: For measures of mattes, name to a folder (or column) of trimaps, whose pixels neither 0 nor 255 are
            the band; or to `{"grow": pixels}` around the truth's soft pixels and hard edges.
        only: Take only these keys.
        without: Leave these keys out.
        limit: Take only so many, the first by key.
        note: One sentence for the summary.
    """

    name: str
    images: str | None = None
    truth: str | None = None
    parquet: str | None = None
    dataset: str | None = None
    config: str | None = None
    split: str = "test"
    image_column: str = "image"
    truth_column: str = "mask"
    key_column: str | None = None
    measures: tuple[str, ...] = ("binary", "boundary")
    binarise: str = "> 128"
    ignore: int | None = None
    bands: Mapping[str, Any] = field(default_factory=dict)
    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    limit: int | None = None
    note: str = ""

    def threshold(self) -> int:
        """Return the largest value of the truth that is background."""
        found = re.fullmatch(r"\s*(>=?)\s*(\d+)\s*", self.binarise)
        if not found:
            raise UnsupportedOptionError(f"{self.name}: binarise={self.binarise!r}: write it like '> 128'.")
        return int(found[2]) - (found[1] == ">=")

    def check(self) -> None:
        """Look whether it makes sense.

        Raises:
            UnsupportedOptionError: It does not.
        """
        self.threshold()
        if [self.images is not None and self.truth is not None, bool(self.parquet), bool(self.dataset)].count(
            True
        ) != 1:
            raise UnsupportedOptionError(f"{self.name}: give images and truth, or parquet, or dataset.")
        unknown = [group for group in self.measures if group not in GROUPS]
        if unknown or not self.measures:
            raise UnsupportedOptionError(f"{self.name}: measures {unknown}: use some of {', '.join(GROUPS)}.")
        for name, band in self.bands.items():
            grows = isinstance(band, Mapping) and set(band) == {"grow"} and isinstance(band["grow"], (int, float))
            if not grows and not isinstance(band, str):
                raise UnsupportedOptionError(
                    f"{self.name}: band {name!r} is {band!r}: give a folder, a column, or {{grow: pixels}}."
                )


@dataclass(frozen=True)
class Recipe:
    """What to evaluate.

    Attributes:
        name: What the summary calls it.
        models: The models.
        datasets: The data sets.
        compare: Pairs of labels to compare; by default each model with the first.
        seed: Of the intervals and tests.
        resamples: How often the bootstrap draws.
        shard_size: Pictures for each file of rows: what a killed run loses at most.
    """

    name: str
    models: tuple[ModelSpec, ...]
    datasets: tuple[DatasetSpec, ...]
    compare: tuple[tuple[str, str], ...] = ()
    seed: int = 0
    resamples: int = 2000
    shard_size: int = 16

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Return the labels to compare."""
        return self.compare or tuple((model.label, self.models[0].label) for model in self.models[1:])


def read_recipe(source: str | Path | Mapping[str, Any] | Recipe) -> Recipe:
    """Read a recipe.

    Args:
        source: A YAML file, its contents, or a recipe, which is returned as it is. Models are ids, or mappings with
            `id`, `label` and options; where dtype, resampling, device or revision is a list, there and under the
            recipe's own `options`, there is one model for each combination.

    Raises:
        UnsupportedOptionError: It cannot be read, a key or value is unknown, or names are not unique.
    """
    if isinstance(source, Recipe):
        return source
    raw = source if isinstance(source, Mapping) else _read_yaml(Path(source))
    known = {item.name for item in fields(Recipe)} | {"options"}
    _no_others(raw, known, "The recipe")
    name = raw.get("name") or (Path(source).stem if not isinstance(source, Mapping) else "recipe")
    models = [model for entry in _list(raw, "models") for model in _models(entry, raw.get("options") or {})]
    datasets = [_dataset(entry) for entry in _list(raw, "datasets")]
    recipe = Recipe(
        name=name,
        models=tuple(models),
        datasets=tuple(datasets),
        compare=tuple((str(first), str(second)) for first, second in raw.get("compare") or ()),
        **{key: int(raw[key]) for key in ("seed", "resamples", "shard_size") if key in raw},
    )
    _check(recipe)
    return recipe


def _check(recipe: Recipe) -> None:
    labels = [model.label for model in recipe.models]
    for kind, names in (("model", labels), ("data set", [dataset.name for dataset in recipe.datasets])):
        double = sorted({name for name in names if names.count(name) > 1})
        if double:
            raise UnsupportedOptionError(f"Two are called {', '.join(double)}: give each {kind} a name of its own.")
    for label in (label for pair in recipe.compare for label in pair):
        if label not in labels:
            raise UnsupportedOptionError(f"compare: there is no model {label!r}. There are: {', '.join(labels)}.")
    if recipe.shard_size < 1 or recipe.resamples < 1:
        raise UnsupportedOptionError("shard_size and resamples must be at least 1.")


def _read_yaml(path: Path) -> Mapping[str, Any]:
    import yaml

    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UnsupportedOptionError(f"The recipe {path} cannot be read: {error}") from error
    if not isinstance(raw, Mapping):
        raise UnsupportedOptionError(f"The recipe {path} holds no mapping with models and datasets.")
    return raw


def _list(raw: Mapping[str, Any], key: str) -> Sequence[Any]:
    entries = raw.get(key)
    if not isinstance(entries, Sequence) or isinstance(entries, str) or not entries:
        raise UnsupportedOptionError(f"The recipe needs a list of {key}.")
    return entries


def _no_others(raw: Mapping[str, Any], known: set[str], what: str) -> None:
    unknown = sorted(set(map(str, raw)) - known)
    if unknown:
        raise UnsupportedOptionError(
            f"{what} has unknown keys: {', '.join(unknown)}. Known: {', '.join(sorted(known))}."
        )


def _models(entry: Any, defaults: Mapping[str, Any]) -> list[ModelSpec]:
    entry = {"id": entry} if isinstance(entry, str) else dict(entry)
    if "id" not in entry:
        raise UnsupportedOptionError(f"A model without an id: {entry!r}.")
    name, label = str(entry.pop("id")), entry.pop("label", None)
    options = {**defaults, **entry}
    lists = {key: options[key] for key in _SPREAD if isinstance(options.get(key), (list, tuple))}
    models = []
    for values in product(*lists.values()):
        chosen = {**options, **dict(zip(lists, values, strict=True))}
        told = [str(value) for key, value in zip(lists, values, strict=True) if len(lists[key]) > 1]
        models.append(ModelSpec(name, " ".join([label or name.rstrip("/").rpartition("/")[2], *told]), chosen))
    return models


def _dataset(raw: Any) -> DatasetSpec:
    if not isinstance(raw, Mapping) or "name" not in raw:
        raise UnsupportedOptionError(f"A data set without a name: {raw!r}.")
    _no_others(raw, {item.name for item in fields(DatasetSpec)}, f"Data set {raw['name']}")
    values = dict(raw)
    for key in ("measures", "only", "without"):
        if key in values:
            values[key] = tuple(str(value) for value in values[key] or ())
    spec = DatasetSpec(**values)
    spec.check()
    return spec
