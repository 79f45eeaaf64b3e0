"""Summarise rows: figures with intervals, and which differences between models are significant."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from transformers_foreground.atomic_write import write_whole
from transformers_foreground.env import __version__
from transformers_foreground.errors import UnsupportedOptionError
from transformers_foreground.evaluation.aggregates import Aggregate, Columns, aggregates, defined
from transformers_foreground.evaluation.recipes import Recipe
from transformers_foreground.evaluation.selective import Selection, selection
from transformers_foreground.evaluation.shards import Shards
from transformers_foreground.evaluation.statistics import difference, holm, interval, smallest_p
from transformers_foreground.evaluation.tables import latex, markdown

SIGNIFICANT = 0.05
SUMMARIES: Final = ("summary.json", "summary.md", "summary.tex")


@dataclass(frozen=True)
class Figure:
    """One measure of one model on one data set.

    Attributes:
        value: The figure; `None` if no image has a value.
        low: Lower end of its 95 % interval.
        high: Upper end of that interval.
        images: How many images have a value.
    """

    value: float | None
    low: float | None
    high: float | None
    images: int


@dataclass(frozen=True)
class Score:
    """One model on one data set.

    Attributes:
        model: The model's label.
        dataset: The data set's name.
        images: How many rows there are.
        errors: How many of them have an error in place of values.
        empty: How many have an empty truth.
        seconds: Median time of the model alone for an image. Models run one after another while the machine may do
            other work: do not compare the times of two models.
        selection: How well the model's doubt ranks the images; `None` if IoU is not measured.
        measures: Name of measure to figure.
    """

    model: str
    dataset: str
    images: int
    errors: int
    empty: int
    seconds: float | None
    selection: Selection | None
    measures: dict[str, Figure]


@dataclass(frozen=True)
class Comparison:
    """Two models on one data set by one measure, on the images that both have.

    Attributes:
        dataset: The data set's name.
        measure: Name of the measure.
        first: Label of one model.
        second: Label of the other.
        difference: The first's figure minus the second's.
        low: Lower end of the 95 % interval of the difference (paired bootstrap).
        high: Upper end of that interval.
        p: p-value of the randomisation test.
        p_adjusted: The same, adjusted by Holm's method for all pairs compared by this measure on this data set.
        real: Whether the difference is significant: the adjusted p-value is below 0.05.
        too_few: Whether so few images (or resamples) can never give such a p-value, however much two models differ.
        better: Label of the better model if the difference is significant, else `None`.
        images: How many images both models have values of.
    """

    dataset: str
    measure: str
    first: str
    second: str
    difference: float
    low: float | None
    high: float | None
    p: float
    p_adjusted: float
    real: bool
    too_few: bool
    better: str | None
    images: int


@dataclass(frozen=True)
class Summary:
    """The results of an evaluation.

    Attributes:
        name: The recipe's name.
        complete: Whether all rows have been measured.
        scores: One for each data set and model.
        comparisons: One for each data set, pair of models and measure.
        notes: Name of data set to its note.
        about: Versions, seed and number of resamples.
    """

    name: str
    complete: bool
    scores: tuple[Score, ...]
    comparisons: tuple[Comparison, ...]
    notes: dict[str, str]
    about: dict[str, Any]

    @property
    def errors(self) -> int:
        """How many rows have an error in place of values."""
        return sum(score.errors for score in self.scores)

    def score(self, model: str, dataset: str) -> Score:
        """Return one model's score on one data set."""
        return next(score for score in self.scores if (score.model, score.dataset) == (model, dataset))

    def to_json(self) -> str:
        """Return the summary as JSON; a value that is not known is null."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def to_markdown(self) -> str:
        """Return tables in Markdown."""
        return markdown(self)

    def to_latex(self) -> str:
        """Return tables in LaTeX, which need the package booktabs."""
        return latex(self)

    def write(self, folder: Path) -> None:
        """Write summary.json, summary.md and summary.tex."""
        for name, text in zip(SUMMARIES, (self.to_json(), self.to_markdown(), self.to_latex()), strict=True):
            write_whole(folder / name, text.encode())

    @classmethod
    def read(cls, folder: Path) -> Summary:
        """Read summary.json.

        Raises:
            UnsupportedOptionError: It is missing, or another version wrote it.
        """
        path = folder / "summary.json"
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            scores = [
                Score(
                    **{
                        **score,
                        "selection": score["selection"] and Selection(**score["selection"]),
                        "measures": {name: Figure(**f) for name, f in score["measures"].items()},
                    }
                )
                for score in raw["scores"]
            ]
            comparisons = [Comparison(**comparison) for comparison in raw["comparisons"]]
            return cls(**{**raw, "scores": tuple(scores), "comparisons": tuple(comparisons)})
        except FileNotFoundError as error:
            raise UnsupportedOptionError(f"{folder} has no summary.json: the evaluation is not finished.") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UnsupportedOptionError(f"{path} cannot be read: {error}. Evaluate again.") from error


def summarise(recipe: Recipe, jobs: Sequence[Shards]) -> Summary:
    """Summarise all rows so far."""
    from importlib.metadata import version

    scores, comparisons = [], []
    for spec in recipe.datasets:
        measures = aggregates(spec.measures, tuple(spec.bands))
        rows = {job.model: job.read() for job in jobs if job.dataset.name == spec.name}
        for model in recipe.models:
            scores.append(_score(model.label, spec.name, rows[model.label], measures, recipe))
        comparisons += _comparisons(spec.name, rows, measures, recipe)
    return Summary(
        name=recipe.name,
        complete=not any(job.missing() for job in jobs),
        scores=tuple(scores),
        comparisons=tuple(comparisons),
        notes={spec.name: spec.note for spec in recipe.datasets if spec.note},
        about={
            "transformers_foreground": __version__,
            "pysodmetrics": version("pysodmetrics"),
            "onnxruntime": version("onnxruntime"),
            "seed": recipe.seed,
            "resamples": recipe.resamples,
        },
    )


def _score(model: str, dataset: str, rows: Columns, measures: Sequence[Aggregate], recipe: Recipe) -> Score:
    seconds = rows["seconds"][~np.isnan(rows["seconds"])]
    return Score(
        model=model,
        dataset=dataset,
        images=len(rows["key"]),
        errors=sum(error is not None for error in rows["error"]),
        empty=sum(empty is True for empty in rows["empty_truth"]),
        seconds=float(np.median(seconds)) if len(seconds) else None,
        selection=selection(rows, resamples=recipe.resamples, seed=recipe.seed),
        measures={measure.name: _figure(measure, rows, recipe) for measure in measures},
    )


def _figure(measure: Aggregate, rows: Columns, recipe: Recipe) -> Figure:
    values = measure.values(rows)
    values = values[defined(values)]
    low, high = interval(values, measure.reduce, resamples=recipe.resamples, seed=recipe.seed)
    return Figure(_known(measure.of(rows)), _known(low), _known(high), len(values))


def _comparisons(
    dataset: str, rows: dict[str, Columns], measures: Sequence[Aggregate], recipe: Recipe
) -> list[Comparison]:
    found = [comparison for measure in measures for comparison in _by_measure(dataset, rows, measure, recipe)]
    pairs = list(recipe.pairs())
    return sorted(found, key=lambda comparison: pairs.index((comparison.first, comparison.second)))


def _by_measure(dataset: str, rows: dict[str, Columns], measure: Aggregate, recipe: Recipe) -> list[Comparison]:
    """Compare all pairs of models by one measure; these are the family of Holm's method."""
    found = []
    for first, second in recipe.pairs():
        a, b = _paired(measure, rows[first], rows[second])
        if len(a):
            result = difference(a, b, measure.reduce, resamples=recipe.resamples, seed=recipe.seed)
            found.append((first, second, result, len(a)))
    adjusted = holm([result.p for _, _, result, _ in found])
    comparisons = []
    for (first, second, result, images), p in zip(found, adjusted, strict=True):
        real = p < SIGNIFICANT
        better = first if (result.value > 0) == measure.higher else second
        comparisons.append(
            Comparison(
                dataset=dataset,
                measure=measure.name,
                first=first,
                second=second,
                difference=result.value,
                low=_known(result.low),
                high=_known(result.high),
                p=result.p,
                p_adjusted=p,
                real=real,
                too_few=len(found) * smallest_p(images, recipe.resamples) >= SIGNIFICANT,
                better=better if real else None,
                images=images,
            )
        )
    return comparisons


def _paired(measure: Aggregate, first: Columns, second: Columns) -> tuple[Any, Any]:
    """Return both models' values, of the images that have one of each model."""
    places = {index: i for i, index in enumerate(second["index"])}
    both = [(i, places[index]) for i, index in enumerate(first["index"]) if index in places]
    a = measure.values(first)[[i for i, _ in both]] if both else np.empty((0, 1))
    b = measure.values(second)[[j for _, j in both]] if both else np.empty((0, 1))
    known = defined(a) & defined(b)
    return a[known], b[known]


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
