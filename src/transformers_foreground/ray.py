"""Masks for a column of pictures on Ray Data: `datasets.ForegroundMapper`'s work, on a pool of actors.

Needs the extra [ray], on all machines.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers_foreground.arrow import ArrowMapper
from transformers_foreground.extras import need
from transformers_foreground.policy import OnError

if TYPE_CHECKING:
    import pyarrow as pa
    import ray.data


def map_batches(
    ds: ray.data.Dataset,
    model: str | Path = "briaai/RMBG-1.4",
    *,
    image_column: str = "image",
    mask_column: str | None = "mask",
    cutout_column: str | None = None,
    alpha_column: str | None = None,
    error_column: str | None = None,
    on_error: OnError = "raise",
    concurrency: int | tuple[int, int] | None = None,
    num_cpus: float = 1,
    num_gpus: float | None = None,
    memory: float | None = None,
    batch_size: int = 16,
    graph_batch_size: int = 1,
    num_workers: int | None = None,
    filesystem: Any = None,
    **options: Any,
) -> ray.data.Dataset:
    """Add masks to the rows of a dataset.

    Each actor opens the model once. One that dies is started again, and Ray gives its unfinished work to another: each
    row comes out once. Ray takes for granted that work done again gives the same rows, which `"skip"` does not promise
    where a store fails now and then; `"none"` does.

    Args:
        ds: The dataset.
        model: Repository id or folder. Machines that have not its files get them by themselves; a folder must be there.
        image_column: Where the pictures are: a column, or `"column.field"` inside one. Bytes of image files; paths or
            URIs such as `s3://bucket/key`; structs of "bytes" and "path"; arrays, as of `ray.data.read_images`; or
            lists of any of these, which give lists.
        mask_column: Where masks go: PNG, mode "L", of the picture's size; `None` for nowhere.
        cutout_column: Where cut-outs go: PNG, mode "RGBA", black where the mask is 0; `None` for nowhere.
        alpha_column: Where the model's own planes go: float32 in [0, 1], (h, w), as lists of rows, of the model's size
            and before any stretching; `None` for nowhere.
        error_column: Where the reason goes why a row has no mask, a string or null; `None` for nowhere.
        on_error: What a picture that cannot be read does: `"raise"`; `"none"`, which puts null in its place; or
            `"skip"`, which drops its row. What is not told by a column is logged.
        concurrency: Actors: a number, or the least and the most. By default from one to as many as fit the cluster.
        num_cpus: Cores reserved for each actor, and the threads of its session (at least one), unless
            `intra_op_num_threads` is among the session options.
        num_gpus: GPUs reserved for each actor, for `device="cuda"` and the like.
        memory: Bytes reserved for each actor; docs/scaling.md has measured ones.
        batch_size: Rows that an actor works on at once.
        graph_batch_size: Pictures for each run of the graph; more than one pays on GPUs only.
        num_workers: Threads that read, decode and resize; by default two, or one where an actor has one core.
        filesystem: Opens all paths and URIs: of `pyarrow.fs` or fsspec. By default each URI's scheme tells.
        options: device, strict, session_options (a mapping), provider_options and resampling, as for `loading.load`;
            and the options of `model_files.load_files`: dtype, revision, subfolder, cache_dir, token, ...

    Returns:
        The dataset with its new columns; lazy, as all of Ray Data.

    Raises:
        MissingExtraError: Ray Data is not installed.
        UnsupportedOptionError: An option has an unknown value.
        ForegroundError: As `loading.load` says. What goes wrong when the dataset is consumed arrives as a
            `ray.exceptions.RayTaskError` that tells of it: of `ImageError`, if `on_error` is `"raise"`.

    Example:
        >>> from transformers_foreground.ray import map_batches
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
        error_column=error_column,
        on_error=on_error,
        cores=max(1, int(num_cpus)),
        graph_batch_size=graph_batch_size,
        num_workers=num_workers,
        filesystem=filesystem,
        **options,
    )
    least, most = (concurrency, concurrency) if isinstance(concurrency, int) else concurrency or (1, None)
    # Ray Data's own defaults restart actors, and repeat their tasks, as often as need be.
    result: ray.data.Dataset = ds.map_batches(
        Extractor,
        fn_constructor_args=(mapper,),
        batch_format="pyarrow",
        batch_size=batch_size,
        compute=data.ActorPoolStrategy(min_size=least, max_size=most),
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        memory=memory,
    )
    return result


class Extractor:
    """What each actor runs: one session, opened when the actor starts."""

    def __init__(self, mapper: ArrowMapper) -> None:
        self.mapper = mapper
        mapper.model.open()

    def __call__(self, table: pa.Table) -> pa.Table:
        return self.mapper(table)
