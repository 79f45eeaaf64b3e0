"""Run a recipe: every model on every data set, shard by shard; then sum up."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from transformers_foreground.env import __version__
from transformers_foreground.errors import ForegroundError, ImageError, UnsupportedOptionError
from transformers_foreground.evaluation.extras import need
from transformers_foreground.evaluation.metrics import ALL
from transformers_foreground.evaluation.recipes import DatasetSpec, ModelSpec, Recipe, read_recipe
from transformers_foreground.evaluation.report import NAME, write_report
from transformers_foreground.evaluation.rows import Shards, job_folder
from transformers_foreground.evaluation.sheets import contact_sheets
from transformers_foreground.evaluation.summary import Summary, summarise
from transformers_foreground.evaluation.truth import Item, Source, Truth, open_source, read_truth
from transformers_foreground.images import decode
from transformers_foreground.portable import PortableModel
from transformers_foreground.postprocessing import postprocess
from transformers_foreground.preprocessing import preprocess
from transformers_foreground.streaming import stream

if TYPE_CHECKING:
    from transformers_foreground.loading import LoadedModel

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

    Rows go to `output/rows/MODEL--DATASET/shard-NNNNNN.parquet`, one for each picture; a picture that cannot be read
    or measured is a row with an error. A run that was stopped, or killed, goes on where it was: call it again. Once all
    rows are there, summary.json, summary.md and summary.tex are written. New rows make an older report.html void: it
    is deleted.

    Args:
        recipe: A YAML file, its contents, or a recipe; see `recipes.read_recipe`.
        output: Folder for the results.
        data: What the recipe's paths are relative to; the working directory by default.
        limit: Take only so many pictures of each data set.
        part: `(i, n)`: do only every n-th shard, from the i-th (1 to n) on: n such runs, on machines that share
            `output`, do all. Whichever ends last writes the summary.
        restart: Delete rows that are there, and start anew.
        workers: Threads that read pictures and measure.
        report: Write report.html, too, once all rows are there: tables, curves, times, and contact sheets, for which
            some masks are made again.
        on_row: Told of each new row.
        on_start: Told how many rows are to be made.

    Returns:
        The summary of the rows that are there.

    Raises:
        MissingExtraError: The extra [eval] is not installed.
        UnsupportedOptionError: The recipe has a mistake, or `output` holds rows of another run.
        ForegroundError: A model cannot be loaded.
    """
    need("py_sod_metrics")
    recipe, output, root = read_recipe(recipe), Path(output), Path(data or ".")
    if limit is not None:
        recipe = replace(recipe, datasets=tuple(replace(spec, limit=limit) for spec in recipe.datasets))
    if part is not None and not 1 <= part[0] <= part[1]:
        raise UnsupportedOptionError(f"part={part}: use (i, n) with i from 1 to n.")
    if part is not None and restart:
        raise UnsupportedOptionError("restart would delete what the other parts did: use it without part.")
    folders = [job_folder(output, model.label, spec.name) for model in recipe.models for spec in recipe.datasets]
    if len({str(folder).lower() for folder in folders}) < len(folders):
        raise UnsupportedOptionError("Names of models or data sets differ in signs or case alone: change one.")
    sources = {spec.name: open_source(spec, root) for spec in recipe.datasets}
    models = [PortableModel(model.id, **model.options) for model in recipe.models]  # none is missing: say so now
    jobs = [
        [_job(recipe, model, portable, spec, sources[spec.name], output, restart) for spec in recipe.datasets]
        for model, portable in zip(recipe.models, models, strict=True)
    ]
    todo = [[(job, _share(job.shards.missing(), part)) for job in of_model] for of_model in jobs]
    if on_start:
        on_start(sum(len(job.shards.pictures(i)) for of_model in todo for job, missing in of_model for i in missing))
    if any(missing for of_model in todo for _, missing in of_model):
        (output / NAME).unlink(missing_ok=True)
    for of_model in todo:
        portable = models.pop(0)  # so that only one model is open at a time
        for job, missing in of_model:
            if missing:
                _run(job, portable.open(), missing, workers, on_row)
        del portable
    everything = [job.shards for of_model in jobs for job in of_model]
    summary = summarise(recipe, everything)
    if summary.complete:
        summary.write(output)
        if report:
            write_report(output, sheets=contact_sheets(recipe, sources, output))
    return summary


@dataclass(frozen=True)
class _Job:
    shards: Shards
    source: Source


def _job(
    recipe: Recipe,
    model: ModelSpec,
    portable: PortableModel,
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
        "dtype": portable.files.dtype,
        "sha256": portable.sha256,
        "preprocessor": portable.files.preprocessor,
        "dataset": {key: value for key, value in asdict(spec).items() if key not in ("note", "name", "limit")},
        "pictures": len(source.keys),
        "keys": hashlib.sha256("\n".join(source.keys).encode()).hexdigest(),
        "shard_size": recipe.shard_size,
        "version": __version__,
        "pysodmetrics": version("pysodmetrics"),
    }
    shards.begin(described, restart)
    return _Job(shards, source)


def _share(missing: Sequence[int], part: tuple[int, int] | None) -> list[int]:
    return [shard for shard in missing if part is None or shard % part[1] == part[0] - 1]


def _run(job: _Job, loaded: LoadedModel, missing: Sequence[int], workers: int, on_row: OnRow | None) -> None:
    """Make the rows of some shards, writing each shard once it is whole."""
    shards = job.shards
    places = [i for shard in missing for i in shards.pictures(shard)]
    items = job.source.read(places)
    waiting = iter(missing)
    shard, rows = next(waiting), list[Mapping[str, Any]]()
    for place, row in zip(places, _rows(loaded, items, shards.dataset, workers), strict=True):
        row = {"error": str(row)} if isinstance(row, ForegroundError) else row
        row = {**row, "index": place, "key": shards.keys[place]}
        rows.append(row)
        if on_row:
            on_row({**row, "model": shards.model, "dataset": shards.dataset.name})
        if len(rows) == len(shards.pictures(shard)):
            shards.write(shard, rows)
            shard, rows = next(waiting, -1), []


@dataclass(frozen=True, eq=False)
class _Prepared:
    key: str
    height: int
    width: int
    truth: Truth
    pixel_values: NDArray[np.float32]


def _rows(
    loaded: LoadedModel, items: Iterator[Item], spec: DatasetSpec, workers: int
) -> Iterator[dict[str, Any] | ForegroundError]:
    """Yield each picture's row, in order, or why it has none."""
    from transformers_foreground.sessions import forward

    def prepare(item: Item) -> _Prepared:
        with _as_row(item.key):
            if item.error is not None:
                raise ImageError(item.error)
            image = decode(item.image)
            truth = read_truth(item, spec, image.height, image.width)
            values = preprocess(image.pixels, loaded.processing)[None]
            return _Prepared(item.key, image.height, image.width, truth, values)

    def run(batch: Sequence[_Prepared]) -> list[tuple[NDArray[np.float32], float]]:
        results = []
        for prepared in batch:
            started = time.perf_counter()
            with _as_row(prepared.key):
                plane = forward(loaded.graph, prepared.pixel_values)[0, 0]
            results.append((plane, time.perf_counter() - started))
        return results

    def finish(prepared: _Prepared, result: tuple[NDArray[np.float32], float]) -> dict[str, Any]:
        plane, seconds = result
        with _as_row(prepared.key):
            mask = postprocess(plane, prepared.height, prepared.width, loaded.processing)
            row = measure(mask, prepared.truth, spec.measures)
        return {**row, "width": prepared.width, "height": prepared.height, "seconds": seconds}

    return stream(items, prepare, run, finish, workers=workers)


def measure(mask: NDArray[np.uint8], truth: Truth, groups: Sequence[str]) -> dict[str, Any]:
    """Return one picture's values.

    Args:
        mask: What the model gave, uint8, (H, W).
        truth: What is known.
        groups: Some of `aggregates.GROUPS`.
    """
    prediction = mask / 255.0
    counted = truth.mask if truth.counted is None else truth.mask[truth.counted]
    row: dict[str, Any] = {"empty_truth": not counted.any()}
    for group in groups:
        target = truth.alpha if group == "alpha" else truth.mask
        row.update(ALL[group]().update(prediction, target, truth.counted, truth.bands))
    return row


@contextmanager
def _as_row(key: str) -> Iterator[None]:
    """Turn whatever goes wrong with a picture into an error of ours, which becomes a row."""
    try:
        yield
    except ForegroundError:
        raise
    except MemoryError as error:
        raise ImageError(f"{key}: not enough memory for this picture.") from error
    except Exception as error:
        raise ImageError(f"{key}: {type(error).__name__}: {error}") from error
