"""Masks for shards of images: a job that can be killed and started again, and loses and doubles no row."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem

from transformers_foreground.data.arrow import ArrowMapper
from transformers_foreground.data.deaths import FileRecord, Record
from transformers_foreground.data.fingerprint import identity_of_model
from transformers_foreground.data.on_error import OnError
from transformers_foreground.data.ray_shards import connect, each_on_ray
from transformers_foreground.data.shard_results import OTHER, Made, made_of, remove_leftovers, whole_file
from transformers_foreground.data.shard_work import ShardWork
from transformers_foreground.data.shards import Shard, find_shards, store_of
from transformers_foreground.errors import ForegroundError, ImageError, UnsupportedOptionError
from transformers_foreground.runtime.cpu import usable_cpus
from transformers_foreground.segmenter import Segmenter

MANIFEST = "_manifest.json"  # readers of a folder of Parquet leave out names that begin with an underscore or a dot
DEATHS = ".deaths.json"
_COUNTS = ("rows", "errors", "doubtful")
_LOOKING = 16  # threads that look for results of earlier runs


@dataclass(frozen=True)
class ShardReport:
    """The outcome of a shard.

    Attributes:
        name: Its path below the input, without suffix.
        status: `"done"`; `"kept"` from an earlier run; or `"failed"`.
        rows: Rows in its result.
        errors: Rows with an image that could not be read.
        doubtful: Masks with a high doubt (see `runtime.doubt.is_high`).
        error: Why it failed.
    """

    name: str
    status: Literal["done", "kept", "failed"]
    rows: int = 0
    errors: int = 0
    doubtful: int = 0
    error: str | None = None


@dataclass(frozen=True)
class JobReport:
    """The outcome of a job.

    Attributes:
        options: The digest of the options, which the results hold too.
        shards: Each shard of the input, by name.
        stale: Paths of Parquet files among the results that are of no shard of the input, or of one that failed now.
    """

    options: str
    shards: tuple[ShardReport, ...]
    stale: tuple[str, ...]

    @property
    def totals(self) -> dict[str, int]:
        """Numbers of shards that have results, of those that failed, of rows, errors and doubtful masks."""
        failed = sum(shard.status == "failed" for shard in self.shards)
        counts = {key: sum(getattr(shard, key) for shard in self.shards) for key in _COUNTS}
        return {"shards": len(self.shards) - failed, "failed": failed, **counts}

    def to_json(self) -> str:
        """Return the manifest, which is the same whether the job was interrupted or not."""
        shards = [
            {
                "name": shard.name,
                "output": None if shard.status == "failed" else f"{shard.name}.parquet",
                **{key: getattr(shard, key) for key in (*_COUNTS, "error")},
            }
            for shard in self.shards
        ]
        content = {"options": self.options, "totals": self.totals, "shards": shards, "stale": self.stale}
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def map_shards(
    source: str | Path,
    output: str | Path,
    model: str | Path = "briaai/RMBG-1.4",
    *,
    image_column: str = "image",
    mask_column: str | None = "mask",
    cutout_column: str | None = None,
    doubt_column: str = "doubt",
    error_column: str = "error",
    id_column: str | None = None,
    on_error: OnError = "none",
    keep_images: bool = False,
    resume: bool = False,
    ray: str | None = None,
    actors: int | None = None,
    batch_size: int = 16,
    image_shards: int = 64,
    on_start: Callable[[int, int], None] = lambda shards, kept: None,
    on_rows: Callable[[int], None] = lambda count: None,
    on_shard: Callable[[ShardReport], None] = lambda report: None,
    **options: Any,
) -> JobReport:
    """Compute the masks of all shards of an input: one Parquet file each, of the same name, complete or not there.

    A shard is a Parquet file, a WebDataset tar file, or a part of a folder of images. A result's metadata has the
    shard's size and ETag (or time of modification), and a digest of all options that change results. With `resume`, a
    result whose metadata is the same as now is kept. Thus a job may be killed at any time and go on later; shards that
    are new or have changed are done, and all are if an option or the model has changed. `_manifest.json` beside the
    results counts rows, errors and doubtful masks of each shard.

    Images of a folder are divided into `image_shards` parts by a hash of their paths below it: an image that is added
    changes one part.

    Results have the input's columns but for the images, which can be large: of their column only paths and URIs stay.
    Rows keep their order.

    An image that kills the process (out of memory, say) costs three deaths: run the job again with `resume` after each.
    Then it counts as one that cannot be read: `on_error` decides. On a cluster the job goes on by itself.

    Args:
        source: A file or a folder: a path, or a URL that fsspec knows, such as `s3://bucket/key`. Files and folders
            whose names begin with a dot are left out, as are Parquet and tar files whose names begin with `_`, and
            links to folders.
        output: The folder for results, a path or a URL, neither in the input nor around it.
        model: Repository id or folder.
        image_column: The column of the images, or `"column.field"`, as of `ray.map_batches`. Of a WebDataset the
            extension of its images, such as `"jpg"`; `"image"` takes the first image of each row.
        mask_column: The new column for masks: PNG, mode "L", of the image's size; `None` for no such column.
        cutout_column: The new column for cut-outs: PNG, mode "RGBA"; `None` for no such column.
        doubt_column: The new column for doubt, float64 in [0, 1] (see `runtime.doubt`).
        error_column: The new column for the reason why a row has no mask, a string or null.
        id_column: The column of the rows' ids: messages name a row by it. Of a WebDataset it is "__key__".
        on_error: What to do about an image that cannot be read: `"none"`, put null in its place; `"skip"`, drop its
            row; or `"raise"`. With the former two a shard that cannot be read fails, and the job goes on; so does one
            without the column of the images, unless it is the first to be done.
        keep_images: Keep the images' column as it is.
        resume: Keep the shards that an earlier run finished; else do all again.
        ray: The address of a Ray cluster that does the shards, or `"local"`; `None` for this process.
        actors: Processes on the cluster, with one core each; by default as many as it has cores.
        batch_size: Rows in memory at once.
        image_shards: Into how many parts a folder of images is divided.
        on_start: Called with the number of shards, and of those that are kept.
        on_rows: Called with a number of rows that were done; not with `ray`.
        on_shard: Called when a shard is finished, but not for those that are kept.
        options: As for `ArrowMapper` and `Segmenter`: device, dtype, resampling, revision, session_options, ...

    Returns:
        The outcome of each shard; the manifest has the same.

    Raises:
        UnsupportedOptionError: An option has an unknown value, a column's name is refused, there is no such column, or
            the input holds no shards.
        ImageError: The input cannot be listed; or an image or a shard cannot be read, and `on_error` is `"raise"`: the
            message names the shard.
        MissingExtraError: Ray is not installed.
        ForegroundError: As `Segmenter` says.
        OSError: The results cannot be written.

    Examples:
        >>> from transformers_foreground.data.jobs import map_shards
        >>> report = map_shards("s3://photos/in", "s3://photos/masks", "briaai/RMBG-1.4", resume=True)
        >>> report.totals
        {'shards': 400, 'failed': 0, 'rows': 1000000, 'errors': 3, 'doubtful': 10211}
    """
    if not (image_shards > 0 and batch_size > 0 and (actors is None or actors > 0)):
        raise UnsupportedOptionError("image_shards, batch_size and actors must be at least 1.")
    if keep_images and image_column in (mask_column, cutout_column):
        raise UnsupportedOptionError(
            f"A new column is called {image_column!r}, so that keep_images cannot keep that one."
        )
    filesystem, shards = find_shards(str(source), image_shards)
    store, folder = store_of(str(output))
    _refuse_nested(str(source), str(output))
    mapper = ArrowMapper(
        model,
        image_column=image_column,
        mask_column=mask_column,
        cutout_column=cutout_column,
        doubt_column=doubt_column,
        error_column=error_column,
        id_column="__key__" if shards[0].kind == "webdataset" else id_column,
        on_error=on_error,
        filesystem=DirFileSystem(shards[0].path, filesystem) if shards[0].kind == "images" else None,
        **{"cores": usable_cpus() if ray is None else 1, **options},
    )
    columns = {"image": image_column, **mapper.columns, "error": error_column}
    digest = options_digest(mapper.model, columns=columns, on_error=on_error, keep_images=keep_images)
    work = ShardWork(filesystem, store, folder, mapper, digest, keep_images, batch_size)
    finished = _finished(work, shards)
    reports = {shard.name: _report(shard, made, "kept") for shard, made in finished if resume}
    todo = [shard for shard in shards if shard.name not in reports]
    cluster = connect(ray) if ray is not None and todo else None
    on_start(len(shards), len(reports))
    with FileRecord(store, f"{folder}/{DEATHS}", resume=resume) as record:  # also on Ray: it goes when the job is done
        each = each_on_ray(cluster, work, todo, actors) if cluster else _each_here(work, todo, record, on_rows)
        with closing(each) as outcomes:
            for shard, outcome in outcomes:
                if isinstance(outcome, ForegroundError) and _ends_the_job(outcome, on_error, reports.values()):
                    outcome.args = (f"{shard.name}: {outcome}",)
                    raise outcome
                reports[shard.name] = _report(shard, outcome, "done")
                on_shard(reports[shard.name])
    store.invalidate_cache()
    found = store.find(folder)  # the only listing: one for each shard would take n² requests
    manifest = f"{folder}/{MANIFEST}"
    remove_leftovers(store, found, {manifest, *map(work.result_path, shards)})
    made = [shard for shard in shards if reports[shard.name].status != "failed"]
    report = JobReport(digest, tuple(reports[shard.name] for shard in shards), _stale(work, made, found))
    with whole_file(store, manifest) as file:
        file.write(report.to_json().encode(errors="surrogateescape"))
    return report


def options_digest(model: Segmenter, **options: Any) -> str:
    """Return a hash of the model and the options, on which results depend: 16 hex digits."""
    text = json.dumps({**options, **identity_of_model(model)}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _refuse_nested(source: str, output: str) -> None:
    """Refuse results in the input, which the next run would take for input, and input in the results."""
    (one, first), (other, second) = map(_without_links, (store_of(source), store_of(output)))
    if type(one) is type(other) and (f"{first}/".startswith(f"{second}/") or f"{second}/".startswith(f"{first}/")):
        raise UnsupportedOptionError(f"The results' folder {output} and the input {source} must lie apart.")


def _without_links(store: tuple[Any, str]) -> tuple[Any, str]:
    filesystem, path = store
    return filesystem, store_of(os.path.realpath(path))[1] if isinstance(filesystem, LocalFileSystem) else path


def _finished(work: ShardWork, shards: Sequence[Shard]) -> list[tuple[Shard, Made]]:
    """Return the shards that an earlier run did, from the same files with the same options.

    Raises:
        UnsupportedOptionError: A file that no job wrote is where a result goes.
    """
    with ThreadPoolExecutor(_LOOKING) as pool:
        results = list(pool.map(partial(made_of, work.output), map(work.result_path, shards)))
    for shard, made in zip(shards, results, strict=True):
        if made is OTHER:
            raise UnsupportedOptionError(
                f"{work.result_path(shard)} exists, and is no result of such a job: move it away, or choose another "
                "folder for the results."
            )
    return [
        (shard, made)
        for shard, made in zip(shards, results, strict=True)
        if made is not None and (made.source, made.options) == (shard.identity, work.options)
    ]


def _each_here(
    work: ShardWork, shards: Sequence[Shard], record: Record, on_rows: Callable[[int], None]
) -> Generator[tuple[Shard, Made | ForegroundError], None, None]:
    if shards:
        work.mapper.model.open()  # a death here has nothing to do with an image
    for shard in shards:
        try:
            outcome: Made | ForegroundError = work(shard, record, f"{work.options} {shard.name}", on_rows)
        except ForegroundError as error:
            outcome = error
        yield shard, outcome


def _ends_the_job(error: ForegroundError, on_error: OnError, reports: Iterable[ShardReport]) -> bool:
    """Whether no other shard is tried. An option that does not suit one shard may suit others, if it did suit one."""
    if on_error == "raise":
        return True
    if isinstance(error, UnsupportedOptionError):
        return all(report.status == "failed" for report in reports)
    return not isinstance(error, ImageError)


def _report(shard: Shard, outcome: Made | ForegroundError, status: Literal["done", "kept"]) -> ShardReport:
    if isinstance(outcome, ForegroundError):
        return ShardReport(shard.name, "failed", error=f"{shard.name}: {outcome}")
    return ShardReport(shard.name, status, outcome.rows, outcome.errors, outcome.doubtful)


def _stale(work: ShardWork, shards: Iterable[Shard], found: Iterable[str]) -> tuple[str, ...]:
    """Return the Parquet files among those found that are of no such shard: of a file that was removed, say."""
    wanted = {work.result_path(shard) for shard in shards}
    names = (path for path in found if path.endswith(".parquet") and path not in wanted)
    return tuple(sorted(path[len(work.folder) + 1 :] for path in names if "/." not in path))
