"""Recipes: which models are measured on which data sets, and how; read from YAML."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from itertools import product
from pathlib import Path
from typing import Any, Final

from transformers_foreground.errors import UnsupportedOptionError
from transformers_foreground.evaluation.aggregates import GROUPS
from transformers_foreground.evaluation.recipe_file import MAX_TEXT, Section, is_number, nearest, read_yaml
from transformers_foreground.hub.dtypes import DTYPES
from transformers_foreground.runtime.resampling import RESAMPLINGS

_SPREAD: Final = ("dtype", "resampling", "device", "revision")  # a list here makes one model for each value
_CHOICES: Final = {"dtype": (*DTYPES, "auto"), "resampling": RESAMPLINGS}
_TEXTS: Final = ("device", "revision", "subfolder", "model_file_name", "cache_dir")
_FLAGS: Final = ("strict", "local_files_only")
_MAPPINGS: Final = ("session_options", "provider_options", "config")
OPTIONS: Final = (*_CHOICES, *_TEXTS, *_FLAGS, *_MAPPINGS)
_MOST_MODELS: Final = 200


@dataclass(frozen=True)
class ModelSpec:
    """One model with its options.

    Attributes:
        id: Repository id or folder.
        label: Its name in tables.
        options: Name of some of `OPTIONS` to value.
    """

    id: str
    label: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DatasetSpec:
    """Images and their ground truth: in two folders, in Parquet files, or by a name for `datasets`.

    Attributes:
        name: Its name in tables.
        images: Folder of images, relative to `--data`.
        truth: Folder of masks with the same stems.
        parquet: Glob of Parquet files.
        dataset: Name or folder for `datasets.load_dataset`, which gets `config` and `split`, too.
        config: Configuration of `dataset`.
        split: Split of `dataset`.
        image_column: Column of images (of Parquet and `datasets`).
        truth_column: Column of masks.
        key_column: Column of names; by default rows are numbered.
        measures: Some of `aggregates.GROUPS`.
        binarise: Which values of the truth are foreground for measures of masks, such as `"> 0"` or `">= 128"`; by
            default `"> 128"`, and labels are refused.
        ignore: Value of the truth whose pixels do not count.
        bands: Parts of the image that the measures "alpha" are repeated on: name to a folder (or column) of trimaps,
            where the band is neither 0 nor 255; or to `{"grow": pixels}` around the truth's soft pixels and hard edges.
        only: Keys of the images to take; all by default.
        without: Keys of the images to leave out.
        limit: How many images to take, the first by key; all by default.
        note: A sentence for the summary.
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
    binarise: str | None = None
    ignore: int | None = None
    bands: Mapping[str, Any] = field(default_factory=dict)
    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    limit: int | None = None
    note: str = ""

    def threshold(self) -> int:
        """Return the largest value of the truth that is background."""
        found = re.fullmatch(r"\s*(>=?)\s*(\d{1,3})\s*", self.binarise or "> 128")
        if not found or not -1 <= (threshold := int(found[2]) - (found[1] == ">=")) <= 254:
            raise UnsupportedOptionError(
                f"{self.name}: binarise={self.binarise!r}: write it like '> 128' or '>= 128', from 0 to 255."
            )
        return threshold


@dataclass(frozen=True)
class Recipe:
    """What to evaluate.

    Attributes:
        name: Title of the summary.
        models: The models to measure.
        datasets: The data sets to measure them on.
        compare: Pairs of labels to compare; by default each model with the first.
        seed: Seed of the intervals and tests.
        resamples: How many bootstrap resamples to draw.
        shard_size: Images in each file of rows; a killed run loses no more than these.
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
            `id`, `label` and options, which win over the recipe's own `options`. If dtype, resampling, device or
            revision is a list, there is one model for each combination.

    Raises:
        UnsupportedOptionError: It cannot be read, a key or value is unknown, or names are not unique. The message
            names the file, the key and the most similar known key.
    """
    if isinstance(source, Recipe):
        return source
    if isinstance(source, Mapping):
        where, stem, raw = "The recipe", "recipe", source
    else:
        where, stem, raw = str(source), Path(source).stem, read_yaml(Path(source))
    section = Section.of(raw, where, [*(item.name for item in fields(Recipe)), "options"])
    defaults = Section.of(section.mapping("options"), f"{where}, options", OPTIONS)
    models = [
        model
        for i, entry in enumerate(section.list("models"))
        for model in _models(entry, defaults, f"{where}, models[{i}]")
    ]
    datasets = [_dataset(entry, f"{where}, datasets[{i}]") for i, entry in enumerate(section.list("datasets"))]
    for key, found in (("models", models), ("datasets", datasets)):
        if not 1 <= len(found) <= _MOST_MODELS:
            raise UnsupportedOptionError(f"{where}: a recipe needs {key}, a list of 1 to {_MOST_MODELS}.")
    labels = [model.label for model in models]
    _unique(labels, "model", where)
    _unique([spec.name for spec in datasets], "data set", where)
    return Recipe(
        name=section.text("name", MAX_TEXT) or stem,
        models=tuple(models),
        datasets=tuple(datasets),
        compare=tuple(_pair(pair, labels, f"{where}, compare[{i}]") for i, pair in enumerate(section.list("compare"))),
        seed=section.integer("seed", 0, 0, 2**32 - 1),
        resamples=section.integer("resamples", 2000, 1, 100_000),
        shard_size=section.integer("shard_size", 16, 1, 100_000),
    )


def _unique(names: list[str], kind: str, where: str) -> None:
    double = sorted({name for name in names if names.count(name) > 1})
    if double:
        raise UnsupportedOptionError(
            f"{where}: the name {', '.join(double)} occurs twice. Give each {kind} a name of its own."
        )


def _pair(raw: Any, labels: list[str], where: str) -> tuple[str, str]:
    pair = Section({"labels": raw}, where).texts("labels")
    if len(pair) != 2:
        raise UnsupportedOptionError(f"{where}: give the labels of two models, like [A, B].")
    for label in pair:
        if label not in labels:
            raise UnsupportedOptionError(
                f"{where}: there is no model {label!r}.{nearest(label, labels)} There are: {', '.join(labels)}."
            )
    return pair[0], pair[1]


def _models(raw: Any, defaults: Section, where: str) -> list[ModelSpec]:
    section = Section.of({"id": raw} if isinstance(raw, str) else raw, where, ["id", "label", *OPTIONS])
    name = section.text("id")
    if name is None:
        raise UnsupportedOptionError(f"{where}: the model has no id. Add `id`, a repository or a folder.")
    label = section.text("label", MAX_TEXT) or name.rstrip("/").rpartition("/")[2]
    options: dict[str, Any] = {}
    for part in (defaults, section):
        options.update({key: _option(part, key) for key in part.raw if key in OPTIONS})
    lists = {key: options[key] for key in _SPREAD if isinstance(options.get(key), list)}
    if math.prod(map(len, lists.values())) > _MOST_MODELS:
        raise UnsupportedOptionError(f"{where}: {' × '.join(lists)} make more than {_MOST_MODELS} models.")
    models = []
    for values in product(*lists.values()):
        chosen = {**options, **dict(zip(lists, values, strict=True))}
        several = [str(value) for key, value in zip(lists, values, strict=True) if len(lists[key]) > 1]
        models.append(ModelSpec(name, " ".join([label, *several]), chosen))
    return models


def _option(section: Section, key: str) -> Any:
    """Return an option of a model; a list if each of its values is to make a model."""
    value = section.raw[key]
    if key not in _SPREAD or not isinstance(value, (list, tuple)):
        return _single(section, key)
    if not 1 <= len(value) <= _MOST_MODELS:
        raise section.wrong(key, f"not a list of 1 to {_MOST_MODELS} values")
    return [_single(Section({key: item}, section.where), key) for item in value]


def _single(section: Section, key: str) -> Any:
    if section.raw[key] is None:
        return None
    if key in _CHOICES:
        return section.one_of(key, _CHOICES[key])
    if key in _FLAGS:
        return section.flag(key)
    return section.mapping(key) if key in _MAPPINGS else section.text(key)


def _dataset(raw: Any, where: str) -> DatasetSpec:
    section = Section.of(raw, where, [item.name for item in fields(DatasetSpec)])
    name = section.text("name", MAX_TEXT)
    if name is None:
        raise UnsupportedOptionError(f"{where}: the data set has no name. Add `name`.")
    where = f"{where} ({name})"
    section = Section(raw, where)
    texts = {
        key: value
        for key in ("images", "truth", "parquet", "dataset", "config", "split", "image_column", "truth_column",
                    "key_column", "binarise", "note")
        if (value := section.text(key)) is not None
    }  # fmt: skip
    measures = section.texts("measures") if "measures" in raw else DatasetSpec.measures
    unknown = [group for group in measures if group not in GROUPS]
    if unknown or not measures:
        close = nearest(unknown[0], GROUPS) if unknown else ""
        raise UnsupportedOptionError(f"{where}, measures: {unknown}:{close} Use some of {', '.join(GROUPS)}.")
    spec = DatasetSpec(
        name,
        **texts,
        measures=measures,
        ignore=section.integer("ignore", None, 0, 255),
        bands=section.mapping("bands"),
        only=section.texts("only"),
        without=section.texts("without"),
        limit=section.integer("limit", None, 1, 2**31),
    )
    forms = [spec.images is not None and spec.truth is not None, spec.parquet is not None, spec.dataset is not None]
    if sum(forms) != 1:
        raise UnsupportedOptionError(f"{where}: give images and truth, or parquet, or dataset.")
    try:
        spec.threshold()
    except UnsupportedOptionError as error:
        raise UnsupportedOptionError(f"{where}, {error}") from None
    for band, value in spec.bands.items():
        grows = isinstance(value, Mapping) and set(value) == {"grow"} and is_number(value["grow"], 0, 10_000)
        if not band.isprintable() or not (grows or (isinstance(value, str) and value)):
            raise UnsupportedOptionError(
                f"{where}, bands: {band!r} is {str(value)[:MAX_TEXT]!r}: give a folder, a column, or {{grow: pixels}}."
            )
    if spec.bands and "alpha" not in measures:
        raise UnsupportedOptionError(f"{where}, bands: only the measures `alpha` use them. Add alpha to measures.")
    return spec
