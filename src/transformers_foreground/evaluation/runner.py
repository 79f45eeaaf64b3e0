"""Run a recipe: each model on each data set, shard by shard; then summarise."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transformers_foreground.env import __version__
from transformers_foreground.errors import ForegroundError, ImageError, UnsupportedOptionError
from transformers_foreground.evaluation.contact_sheets import contact_sheets
from transformers_foreground.evaluation.extras import need
from transformers_foreground.evaluation.ground_truth import Truth, read_truth
from transformers_foreground.evaluation.metrics import measure
from transformers_foreground.evaluation.recipes import DatasetSpec, ModelSpec, Recipe, read_recipe
from transformers_foreground.evaluation.report import NAME, write_report
from transformers_foreground.evaluation.shards import ROWS, Shards, job_folder
from transformers_foreground.evaluation.sources import Item, Source, open_source
from transformers_foreground.evaluation.summary import SUMMARIES, Summary, summarise
from transformers_foreground.images.decode import decode
from transformers_foreground.images.memory import memory_of
from transformers_foreground.runtime.doubt import doubt
from transformers_foreground.segmenter import Foreground, Segmenter

COLUMNS = 2  # version of the rows' columns
OnRow = Callable[[Mapping[str, Any]], None]


def evaluate(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    *,
    output: str | Path,
    data: str | Path | None = None,
    limit: int | None = None,
    part: tuple[int, int] | None = None,
    restart: bool = False,
    workers: int = 2,
    report: bool = False,
    on_row: OnRow | None = None,
    on_start: Callable[[int], None] | None = None,
) -> Summary:
    """Measure models on data sets.

    Rows go to `output/rows/MODEL--DATASET/shard-NNNNNN.parquet`, one for each image; an image that cannot be read
    or measured is a row with an error. To continue a run that was stopped or killed, call this again. Once all rows
    are there, summary.json, summary.md and summary.tex are written. A report.html of older rows is deleted.

    Args:
        recipe: A YAML file, its contents, or a recipe; see `recipes.read_recipe`.
        output: Folder for the results.
        data: What the recipe's paths are relative to; the working directory by default.
        limit: How many images of each data set to measure, in place of the recipe's own limits.
        part: `(i, n)`: measure only every n-th shard, starting with the i-th (1 to n), so that n runs on machines
            that share `output` measure all. The last to finish writes the summary.
        restart: Delete existing rows and start over.
        workers: Threads that read images and measure.
        report: Also write report.html: tables, curves, times, and contact sheets, for which some masks are made again.
        on_row: Called with each new row.
        on_start: Called with the number of rows to measure.

    Returns:
        The summary of all rows so far.

    Raises:
        MissingExtraError: The extra [eval] is not installed.
        UnsupportedOptionError: The recipe has a mistake, or `output` holds rows of another run, or other files.
        ForegroundError: A model cannot be loaded.
    """
    need("py_sod_metrics")
    recipe, output, root = read_recipe(recipe), Path(output), Path(data or ".")
    if limit is not None:
        recipe = replace(recipe, datasets=tuple(replace(spec, limit=limit) for spec in recipe.datasets))
    if part is not None and not 1 <= part[0] <= part[1]:
        raise UnsupportedOptionError(f"part={part}: use (i, n) with i from 1 to n.")
    if part is not None and restart:
        raise UnsupportedOptionError("restart would delete the rows of the other parts: use it without part.")
    folders = [job_folder(output, model.label, spec.name) for model in recipe.models for spec in recipe.datasets]
    if len({str(folder).lower() for folder in folders}) < len(folders):
        raise UnsupportedOptionError(
            "The names of two models or data sets differ only in punctuation or case, and would share a folder: rename "
            "one."
        )
    _refuse_others(output)
    sources = {spec.name: open_source(spec, root) for spec in recipe.datasets}
    models = [Segmenter(model.id, **model.options) for model in recipe.models]  # a missing one is reported now
    jobs = [
        [_job(recipe, model, segmenter, spec, sources[spec.name], output, restart) for spec in recipe.datasets]
        for model, segmenter in zip(recipe.models, models, strict=True)
    ]
    todo = [[(job, _share(job.shards.missing(), part)) for job in of_model] for of_model in jobs]
    if on_start:
        on_start(sum(len(job.shards.images(i)) for of_model in todo for job, missing in of_model for i in missing))
    if any(missing for of_model in todo for _, missing in of_model):
        (output / NAME).unlink(missing_ok=True)
    for segmenter, of_model in zip(models, todo, strict=True):
        with segmenter:  # only one model is open at a time
            for job, missing in of_model:
                if missing:
                    _run(job, segmenter.open(), missing, workers, on_row)
    everything = [job.shards for of_model in jobs for job in of_model]
    summary = summarise(recipe, everything)
    if summary.complete:
        summary.write(output)
        if report:
            write_report(output, sheets=contact_sheets(recipe, sources, output))
    return summary


def _refuse_others(output: Path) -> None:
    """Refuse a folder that is no evaluation's, and has files of the names that this one will write."""
    there = next((name for name in (NAME, *SUMMARIES) if (output / name).exists()), None)
    if there and not (output / ROWS).is_dir():
        raise UnsupportedOptionError(f"{output / there} exists, and is of no evaluation here. Choose another folder.")


@dataclass(frozen=True)
class _Job:
    shards: Shards
    source: Source


def _job(
    recipe: Recipe,
    model: ModelSpec,
    segmenter: Segmenter,
    spec: DatasetSpec,
    source: Source,
    output: Path,
    restart: bool,
) -> _Job:
    from importlib.metadata import version

    folder = job_folder(output, model.label, spec.name)
    shards = Shards(folder, model.label, spec, source.keys, recipe.shard_size)
    described = {
        "model": {"id": model.id, "options": {k: repr(v) for k, v in sorted(model.options.items())}},
        "dtype": segmenter.files.dtype,
        "sha256": segmenter.sha256,
        "preprocessor": segmenter.files.preprocessor,
        "dataset": {key: value for key, value in asdict(spec).items() if key not in ("note", "name", "limit")},
        "images": len(source.keys),
        "keys": hashlib.sha256("\n".join(source.keys).encode()).hexdigest(),
        "shard_size": recipe.shard_size,
        "columns": COLUMNS,
        "version": __version__,
        "pysodmetrics": version("pysodmetrics"),
    }
    shards.begin(described, restart)
    return _Job(shards, source)


def _share(missing: Sequence[int], part: tuple[int, int] | None) -> list[int]:
    return [shard for shard in missing if part is None or shard % part[1] == part[0] - 1]


def _run(job: _Job, segmenter: Segmenter, missing: Sequence[int], workers: int, on_row: OnRow | None) -> None:
    """Measure the images of some shards; write each shard when it is complete."""
    shards = job.shards
    places = [i for shard in missing for i in shards.images(shard)]
    items = job.source.read(places)
    waiting = iter(missing)
    shard, rows = next(waiting), list[Mapping[str, Any]]()
    for place, row in zip(places, _rows(segmenter, items, shards.dataset, workers), strict=True):
        row = {"error": str(row)} if isinstance(row, ForegroundError) else row
        row = {**row, "index": place, "key": shards.keys[place]}
        rows.append(row)
        if on_row:
            on_row({**row, "model": shards.model, "dataset": shards.dataset.name})
        if len(rows) == len(shards.images(shard)):
            shards.write(shard, rows)
            shard, rows = next(waiting, -1), []


def _rows(
    segmenter: Segmenter, items: Iterator[Item], spec: DatasetSpec, workers: int
) -> Iterator[dict[str, Any] | ForegroundError]:
    """Yield each image's row, in order, or its error."""

    def read(item: Item) -> Any:
        with _as_row(item.key):
            if item.error is not None:
                raise ImageError(item.error)
            return decode(item.image)

    def then(item: Item, foreground: Foreground) -> dict[str, Any]:
        height, width = foreground.mask.shape
        with _as_row(item.key):
            row = row_of(foreground.mask, read_truth(item, spec, height, width), spec.measures)
        sizes = {"width": width, "height": height}
        return {**row, **sizes, "seconds": foreground.seconds, "doubt": doubt(foreground.plane)}

    return segmenter.stream(
        items, segmenter.steps(read=read, then=then, weigh=lambda item: memory_of(item.image)), workers
    )


def row_of(mask: NDArray[np.uint8], truth: Truth, groups: Sequence[str]) -> dict[str, Any]:
    """Return the measures of one image's mask, uint8 (H, W), of some of `aggregates.GROUPS`."""
    prediction = mask / 255.0
    counted = truth.mask if truth.counted is None else truth.mask[truth.counted]
    row: dict[str, Any] = {"empty_truth": not counted.any()}
    for group in groups:
        target = truth.alpha if group == "alpha" else truth.mask
        row.update(measure(group, prediction, target, truth.counted, truth.bands))
    return row


@contextmanager
def _as_row(key: str) -> Iterator[None]:
    """Turn any exception about an image into a `ForegroundError`, which becomes a row."""
    try:
        yield
    except ForegroundError:
        raise
    except MemoryError as error:
        raise ImageError(f"{key}: not enough memory for this image.") from error
    except Exception as error:
        raise ImageError(f"{key}: {type(error).__name__}: {error}") from error
