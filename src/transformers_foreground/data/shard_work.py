"""The work on one shard: its rows in, masks out, a few rows in memory at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from transformers_foreground.data.arrow import ArrowMapper
from transformers_foreground.data.columns import path_to
from transformers_foreground.data.deaths import Record, compute
from transformers_foreground.data.shard_results import Made, ShardWriter, whole_file
from transformers_foreground.data.shards import Shard, open_shard
from transformers_foreground.runtime.doubt import is_high


@dataclass(frozen=True)
class ShardWork:
    """Does shards; can be sent to other processes and machines.

    Attributes:
        source: The file system of the input, of fsspec.
        output: The file system of the results.
        folder: Where they go there.
        mapper: Does the images.
        options: The digest of the job's options.
        keep_images: Keep the images' column as it is.
        batch_size: Rows in memory at once, beside a row group of results.
    """

    source: Any
    output: Any
    folder: str
    mapper: ArrowMapper
    options: str
    keep_images: bool
    batch_size: int

    def result_path(self, shard: Shard) -> str:
        """Return the path of a shard's result."""
        return f"{self.folder}/{shard.name}.parquet"

    def __call__(
        self, shard: Shard, record: Record, worker: str, on_rows: Callable[[int], None] = lambda count: None
    ) -> Made:
        """Do a shard.

        Args:
            shard: The shard.
            record: Remembers rows that killed a process; see `deaths.compute`.
            worker: Who does it; see there.
            on_rows: Called with the number of rows that were done, a few at a time.

        Raises:
            ImageError: The shard cannot be read, or an image of it where `on_error` is `"raise"`.
            ForegroundError: As `ArrowMapper` says.
            OSError: The result cannot be written.
        """
        rows = errors = doubtful = 0
        with (
            open_shard(self.source, shard, self.mapper.image_column, self.batch_size) as (schema, tables),
            whole_file(self.output, self.result_path(shard)) as file,
            ShardWriter(file, self._result_schema(schema)) as writer,
        ):
            for table in tables:
                table = table.replace_schema_metadata(None)
                result = compute(self.mapper, table, record, worker)
                writer.write(self._without_images(result, table))
                rows += result.num_rows
                errors += table.num_rows - result[self.mapper.error_column].null_count
                doubtful += sum(map(is_high, _numbers(result[self.mapper.columns["doubt"]])))
                on_rows(table.num_rows)
            made = Made(shard.identity, self.options, rows, errors, doubtful)
            writer.finish(made)
        return made

    def _result_schema(self, schema: pa.Schema) -> pa.Schema:
        empty = schema.remove_metadata().empty_table()
        return self._without_images(self.mapper(empty), empty).schema

    def _without_images(self, result: pa.Table, table: pa.Table) -> pa.Table:
        column = path_to(self.mapper.image_column, table.column_names)[0]
        is_new = column in (*self.mapper.columns.values(), self.mapper.error_column)
        return result if self.keep_images or is_new else names_alone(result, column)


def _numbers(values: pa.ChunkedArray) -> list[float]:
    """Return the numbers in a column, or in lists in it."""
    while pa.types.is_list(values.type):
        values = pc.list_flatten(values)
    numbers: list[float] = pc.drop_null(values).to_pylist()
    return numbers


def names_alone(table: pa.Table, column: str) -> pa.Table:
    """Leave the images out of a table; what names them, a path or URI, stays in their column.

    Args:
        table: The table.
        column: The column that holds the images, or has a field that does.
    """
    place, kind = table.schema.get_field_index(column), table.schema.field(column).type
    if _is_text(kind):
        return table
    if pa.types.is_struct(kind) and (field := kind.get_field_index("path")) >= 0 and _is_text(kind.field(field).type):
        return table.set_column(place, column, pc.struct_field(table[column], "path"))
    return table.remove_column(place)


def _is_text(kind: pa.DataType) -> bool:
    while hasattr(kind, "value_type"):  # lists and dictionaries
        kind = kind.value_type
    return str(kind) in ("string", "large_string", "string_view")
