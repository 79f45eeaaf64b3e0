"""Masks for a column of pictures on Spark: `datasets.ForegroundMapper`'s work, in Spark's Python workers.

Needs the extra [spark], on all machines.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from transformers_foreground.arrow import ArrowMapper
from transformers_foreground.extras import need

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def map_in_arrow(
    df: DataFrame, model: str | Path = "briaai/RMBG-1.4", *, batch_size: int = 16, **options: Any
) -> DataFrame:
    """Add masks to the rows of a data frame, by `DataFrame.mapInArrow`, which unlike `mapInPandas` keeps all types.

    Each task opens the model once, with `spark.task.cpus` threads. Spark hands over up to
    `spark.sql.execution.arrow.maxRecordsPerBatch` (10,000) rows at a time: set it to 64 or so, or pictures fill memory.

    Args:
        df: The data frame. Pictures are in a binary column, or one of paths, or a struct of "bytes" and "path".
        model: Repository id or folder. Machines that have not its files get them by themselves; a folder must be there.
        batch_size: Rows worked on at once.
        options: Those of `arrow.ArrowMapper`, with the meanings that they have in `ray.map_batches`: image_column,
            mask_column, cutout_column, alpha_column, error_column, on_error, filesystem, dtype, ...

    Returns:
        The data frame with its new columns; lazy, as all of Spark. Masks and cut-outs are PNG.

    Raises:
        MissingExtraError: PySpark is not installed.
        UnsupportedOptionError: An option has an unknown value, or there is no such column.
        ForegroundError: As `loading.load` says. What goes wrong later arrives as Spark's own error, which tells of it.

    Example:
        >>> df = map_in_arrow(spark.read.parquet("s3a://photos/in/"), on_error="none", error_column="error")
        >>> df.select("id", "mask", "error").write.parquet("s3a://photos/masks/")
    """
    types, sql = need("pyspark.sql.pandas.types", "spark"), need("pyspark.sql.types", "spark")
    cores = int(df.sparkSession.conf.get("spark.task.cpus", "1") or 1)
    mapper = ArrowMapper(model, **{"cores": cores, **options})
    added = types.from_arrow_schema(mapper.added(types.to_arrow_schema(df.schema)))
    new = {field.name: field for field in added}
    old = [new.pop(field.name, field) for field in df.schema]

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for start in range(0, batch.num_rows, batch_size):
                yield from mapper(pa.Table.from_batches([batch.slice(start, batch_size)])).to_batches()

    result: DataFrame = df.mapInArrow(work, sql.StructType([*old, *new.values()]))
    return result
