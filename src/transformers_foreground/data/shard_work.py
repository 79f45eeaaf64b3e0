"""The work on one shard: its rows in, masks out, memory flat."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from transformers_foreground.data.arrow import ArrowMapper
from transformers_foreground.data.columns import path_to
from transformers_foreground.data.shard_results import Made, ShardWriter, whole_file
from transformers_foreground.data.shards import Shard, open_shard
from transformers_foreground.runtime.doubt import HIGH


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
        """Return where a shard's result goes."""
        return f"{self.folder}/{shard.name}.parquet"

    def __call__(
        self,
        shard: Shard,
        on_rows: Callable[[int], None] = lambda count: None,
        compute: Callable[[pa.Table], pa.Table] | None = None,
    ) -> Made:
        """Do a shard.

        Args:
            shard: The shard.
            on_rows: Called with the number of rows that were done, a few at a time.
            compute: Does the images in the mapper's place.

        Raises:
            ImageError: The shard cannot be read, or an image of it where `on_error` is `"raise"`.
            ForegroundError: As `ArrowMapper` says.
            OSError: The result cannot be written.
        """
        rows = errors = doubtful = 0
        with (
            open_shard(self.source, shard, self.mapper.image_column, self.batch_size) as (schema, tables),
            whole_file(self.output, self.result_path(shard)) as file,
            ShardWriter(file, self._mapped(schema.remove_metadata().empty_table()).schema) as writer,
        ):
            for table in tables:
                result = self._mapped(table.replace_schema_metadata(None), compute)
                writer.write(result)
                rows += result.num_rows
                errors += table.num_rows - result.num_rows + self._count(result, self.mapper.error_column)
                doubtful += self._count(result, self.mapper.columns["doubt"], HIGH)
                on_rows(table.num_rows)
            made = Made(shard.identity, self.options, rows, errors, doubtful)
            writer.finish(made)
        return made

    def _mapped(self, table: pa.Table, compute: Callable[[pa.Table], pa.Table] | None = None) -> pa.Table:
        result = (compute or self.mapper)(table)
        return result if self.keep_images else names_alone(result, table, self.mapper.image_column)

    @staticmethod
    def _count(table: pa.Table, column: str | None, least: float | None = None) -> int:
        """Count a column's values that are not null, and not less than a number."""
        if column is None:
            return 0
        values = table[column]
        if least is None:
            return len(values) - int(values.null_count)
        return int(pc.sum(pc.greater_equal(values, least)).as_py() or 0)


def names_alone(result: pa.Table, table: pa.Table, image_column: str) -> pa.Table:
    """Leave the images out of a table; what names them, a path or URI, stays in their column.

    Args:
        result: The table.
        table: What it was made of.
        image_column: The column, or `"column.field"`. One that was replaced by a result stays as it is.
    """
    column = path_to(image_column, table.column_names)[0]
    place, kind = result.schema.get_field_index(column), table.schema.field(column).type
    if place < 0 or result.schema.field(place).type != kind or pa.types.is_string(kind):
        return result
    if pa.types.is_struct(kind) and (field := kind.get_field_index("path")) >= 0:
        path = kind.field(field)
        if pa.types.is_string(path.type):
            return result.set_column(place, column, pc.struct_field(result[column], "path"))
    return result.remove_column(place)
