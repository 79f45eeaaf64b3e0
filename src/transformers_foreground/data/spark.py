"""Masks for a column of images on Spark, in Spark's Python workers.

Needs the extra [spark], on all machines.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from transformers_foreground.data.arrow import ArrowMapper
from transformers_foreground.data.columns import path_to
from transformers_foreground.data.deaths import Memory, compute
from transformers_foreground.data.spark_deaths import record_at
from transformers_foreground.errors import UnsupportedOptionError
from transformers_foreground.extras import need

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import DataType, StructField, StructType


def map_in_arrow(
    df: DataFrame, model: str | Path = "briaai/RMBG-1.4", *, batch_size: int = 16, **options: Any
) -> DataFrame:
    """Add masks to the rows of a data frame, by `DataFrame.mapInArrow`: unlike `mapInPandas` it keeps all types.

    Each task opens the model once, with `spark.task.cpus` threads. Spark hands over up to
    `spark.sql.execution.arrow.maxRecordsPerBatch` (10,000) rows at a time: set it to 64 or so, or images fill memory.

    A row whose image kills its worker (out of memory, say) costs three deaths, and then counts as one that cannot be
    read: `on_error` decides. Spark does a task again until `spark.task.maxFailures` (4; only 1 with the master
    `local[N]`, which `local[N,4]` changes). To count deaths, the driver listens at a port of its own; workers that
    cannot reach it go on without counting.

    Args:
        df: The data frame. Images are in a binary column (`"content"` of the format "binaryFile"), or one of paths
            (`"image.origin"` of the format "image"), or a struct of "bytes" and "path".
        model: Repository id or folder. Machines without its files download them; a folder must be on all of them.
        batch_size: Rows worked on at once.
        options: Those of `ray.map_batches`, with the same meaning, but for Ray's own: image_column, mask_column,
            cutout_column, alpha_column, doubt_column, error_column, id_column, on_error, filesystem, dtype, ...

    Returns:
        The data frame with its new columns; lazy, as all of Spark. Masks and cut-outs are PNG.

    Raises:
        MissingExtraError: PySpark is not installed.
        UnsupportedOptionError: An option has an unknown value, or there is no such column.
        ForegroundError: As `Segmenter` says. What goes wrong later is raised as an error of Spark that quotes our
            message.

    Examples:
        >>> df = map_in_arrow(spark.read.parquet("s3a://photos/in/"), on_error="none", error_column="error")
        >>> df.select("id", "mask", "error").write.parquet("s3a://photos/masks/")
    """
    need("pyspark.sql.types", "spark")
    from pyspark.sql.types import StructType

    conf = df.sparkSession.conf
    mapper = ArrowMapper(model, **{"cores": int(conf.get("spark.task.cpus", "1") or 1), **options})
    if mapper.id_column is not None:
        path_to(mapper.id_column, df.schema.names, "id_column")  # here, not in hours on a worker
    host = conf.get("spark.driver.host", None)
    recorder = record_at(host, conf.get("spark.driver.bindAddress", host) or host) if host else None
    new = {field.name: field for field in _added(mapper, df.schema)}
    old = [new.pop(field.name, field) for field in df.schema]

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from pyspark import TaskContext

        context = TaskContext.get()
        worker = f"partition {context.partitionId() if context else ''}"  # the same in each attempt
        with recorder.connected() if recorder else nullcontext(Memory()) as record:
            for batch in batches:
                for start in range(0, batch.num_rows, batch_size):
                    table = pa.Table.from_batches([batch.slice(start, batch_size)])
                    yield from compute(mapper, table, record, worker).to_batches()

    return df.mapInArrow(work, StructType([*old, *new.values()]))


def _added(mapper: ArrowMapper, schema: StructType) -> list[StructField]:
    """Return `ArrowMapper.added` as Spark's fields; Spark's own conversion of types is not public."""
    from pyspark.sql.types import ArrayType, BinaryType, DoubleType, FloatType, StringType, StructField

    kinds = {
        pa.binary(): BinaryType(),
        pa.string(): StringType(),
        pa.float32(): FloatType(),
        pa.float64(): DoubleType(),
    }

    def to_spark(kind: pa.DataType) -> DataType:
        return ArrayType(to_spark(kind.value_type)) if pa.types.is_list(kind) else kinds[kind]

    depth = _depth(schema, path_to(mapper.image_column, schema.names))
    return [StructField(field.name, to_spark(field.type)) for field in mapper.added_in_lists(depth)]


def _depth(schema: StructType, path: Sequence[str]) -> int:
    """Return how many arrays a column or a field inside one lies in."""
    from pyspark.sql.types import ArrayType, StructType

    kind: DataType = schema
    depth = 0
    for key in path:
        if not isinstance(kind, StructType) or key not in kind.names:
            raise UnsupportedOptionError(f"image_column={'.'.join(path)!r}: no {key!r} in {kind.simpleString()}.")
        kind = kind[key].dataType
        while isinstance(kind, ArrayType):
            kind, depth = kind.elementType, depth + 1
    if isinstance(kind, StructType) and {"origin", "nChannels", "data"} <= {*kind.names}:
        column = ".".join(path)
        raise UnsupportedOptionError(
            f'image_column={column!r} holds the pixels of Spark\'s format "image", which are scaled and turned as '
            f'Java left them: use image_column={column + ".origin"!r}, or the format "binaryFile".'
        )
    return depth
