"""Masks for a column of images on Ray Data, by a pool of actors.

Needs the extra [ray], on all machines.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers_foreground.data.arrow import ArrowMapper
from transformers_foreground.data.deaths import Record, compute
from transformers_foreground.data.on_error import OnError
from transformers_foreground.data.ray_deaths import RayRecord, this_actor
from transformers_foreground.extras import need

if TYPE_CHECKING:
    import pyarrow as pa
    import ray.data

logger = logging.getLogger(__name__)


def map_batches(
    ds: ray.data.Dataset,
    model: str | Path = "briaai/RMBG-1.4",
    *,
    image_column: str = "image",
    mask_column: str | None = "mask",
    cutout_column: str | None = None,
    alpha_column: str | None = None,
    doubt_column: str | None = None,
    error_column: str | None = None,
    id_column: str | None = None,
    on_error: OnError = "raise",
    concurrency: int | tuple[int, int] | None = None,
    num_cpus: float = 1,
    num_gpus: float | None = None,
    memory: float | None = None,
    resources: Mapping[str, float] | None = None,
    accelerator_type: str | None = None,
    runtime_env: Mapping[str, Any] | None = None,
    max_restarts: int = 20,
    max_task_retries: int = 20,
    rows_per_block: int | None = 32,
    batch_size: int = 16,
    graph_batch_size: int = 1,
    num_workers: int | None = None,
    filesystem: Any = None,
    **options: Any,
) -> ray.data.Dataset:
    """Add masks to the rows of a dataset.

    Each actor opens the model once. One that dies is started again, and its unfinished work is done again: each row
    comes out once. A row whose image kills its actor (out of memory, say) costs three deaths, and then counts as one
    that cannot be read: `on_error` decides. Ray expects that work done again gives the same rows. With `"none"` it
    does; with `"skip"` it may not, where a store fails now and then.

    Args:
        ds: The dataset.
        model: Repository id or folder. Machines without its files download them; a folder must be on all of them.
        image_column: The column of the images, or `"column.field"` for a field inside one. It holds bytes of image
            files; paths or URIs such as `s3://bucket/key`; structs of "bytes" and "path"; arrays, as of
            `ray.data.read_images`; or lists of any of these, which give lists.
        mask_column: The new column for masks: PNG, mode "L", of the image's size; `None` for no such column, here and
            below.
        cutout_column: The new column for cut-outs: PNG, mode "RGBA", black where the mask is 0.
        alpha_column: The new column for the model's own alpha planes: float32 in [0, 1], (h, w), as lists of rows, of
            the model's size and before any stretching.
        doubt_column: The new column for the model's doubt of the mask: float64 in [0, 1] (see `runtime.doubt`).
        error_column: The new column for the reason why a row has no mask, a string or null.
        id_column: The column of the rows' ids, or `"column.field"`: messages name a row by it, and by the text in a
            column called "path", if there is one.
        on_error: What to do about an image that cannot be read: `"raise"`; `"none"`, put null in its place; or
            `"skip"`, drop its row. Errors that no column shows are logged.
        concurrency: Number of actors, or the least and the most. By default from one to as many as fit the cluster.
        num_cpus: Cores reserved for each actor, and the threads of its session (at least one), unless
            `intra_op_num_threads` is among the session options.
        num_gpus: GPUs reserved for each actor, for `device="cuda"` and the like.
        memory: Bytes reserved for each actor; docs/scaling.md has measured figures.
        resources: Custom resources reserved for each actor, by name.
        accelerator_type: Kind of accelerator that an actor's machine must have, as `ray.remote` takes it.
        runtime_env: Ray's runtime environment of the actors.
        max_restarts: How often an actor that died is started again before the job fails; -1 for always, as on machines
            that may be taken away.
        max_task_retries: How often a block is done again if its actor died; -1 for always.
        rows_per_block: Split blocks into blocks of about so many rows: an actor gets one block at a time, and Ray reads
            several small files into one. `None` leaves them as they are.
        batch_size: Rows that an actor works on at once.
        graph_batch_size: Images in each run of the graph; more than one pays on GPUs only.
        num_workers: Threads that read, decode and resize; by default two, or one where an actor has one core.
        filesystem: Opens all paths and URIs: of `pyarrow.fs` or fsspec. By default the scheme of each URI decides.
        options: device, strict, session_options (a mapping), provider_options and resampling, as for `Segmenter`;
            and the options of `model_files.load_files`: dtype, revision, subfolder, cache_dir, token, ...

    Returns:
        The dataset with its new columns; lazy, as all of Ray Data.

    Raises:
        MissingExtraError: Ray Data is not installed.
        UnsupportedOptionError: An option has an unknown value; or a new column has no name, or another column's.
        ForegroundError: As `Segmenter` says. What goes wrong when the dataset is consumed is raised as a
            `ray.exceptions.RayTaskError` that quotes our message: an `ImageError`, say, if `on_error` is `"raise"`.

    Examples:
        >>> from transformers_foreground.data.ray import map_batches
        >>> ds = ray.data.read_parquet("s3://photos/in/")
        >>> ds = map_batches(ds, on_error="none", error_column="error", concurrency=(1, 64))
        >>> ds.select_columns(["id", "mask", "error"]).write_parquet("s3://photos/masks/")
    """
    data = need("ray.data", "ray")
    mapper = ArrowMapper(
        model,
        image_column=image_column,
        mask_column=mask_column,
        cutout_column=cutout_column,
        alpha_column=alpha_column,
        doubt_column=doubt_column,
        error_column=error_column,
        id_column=id_column,
        on_error=on_error,
        cores=max(1, int(num_cpus)),
        graph_batch_size=graph_batch_size,
        num_workers=num_workers,
        filesystem=filesystem,
        **options,
    )
    least, most = (concurrency, concurrency) if isinstance(concurrency, int) else concurrency or (1, None)
    _warn_if_full(need("ray", "ray"), least * num_cpus)
    if rows_per_block is not None:
        ds = ds.repartition(target_num_rows_per_block=rows_per_block)
    own = {"resources": resources, "accelerator_type": accelerator_type, "runtime_env": runtime_env}
    result: ray.data.Dataset = ds.map_batches(
        Extractor,
        fn_constructor_args=(mapper, RayRecord()),
        batch_format="pyarrow",
        batch_size=batch_size,
        compute=data.ActorPoolStrategy(min_size=least, max_size=most),
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        memory=memory,
        max_restarts=max_restarts,
        max_task_retries=max_task_retries,
        **{name: value for name, value in own.items() if value is not None},
    )
    return result


def _warn_if_full(ray: Any, reserved: float) -> None:
    """Say so where actors reserve all cores of the cluster: Ray itself says it later, and only sometimes."""
    cores = ray.cluster_resources().get("CPU", 0) if ray.is_initialized() else 0
    if 0 < cores <= reserved:
        logger.warning(
            "The actors reserve %g cores, and the cluster has %g: none is left for tasks that read and split blocks, "
            "so the job waits until the cluster grows. Use a smaller concurrency= or num_cpus=.",
            reserved,
            cores,
        )


class Extractor:
    """What each actor runs: one session, opened when the actor starts."""

    def __init__(self, mapper: ArrowMapper, record: Record) -> None:
        self.mapper, self.record, self.worker = mapper, record, this_actor()
        mapper.model.open()

    def __call__(self, table: pa.Table) -> pa.Table:
        return compute(self.mapper, table, self.record, self.worker)
