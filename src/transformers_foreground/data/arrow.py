"""`ArrowMapper`: masks for a column of images in Arrow tables, which Ray Data and Spark pass around."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from transformers_foreground.data.column_mapper import ColumnMapper
from transformers_foreground.data.columns import flatten, path_to
from transformers_foreground.data.extraction import Extracted
from transformers_foreground.data.remote_files import read
from transformers_foreground.errors import ImageError, UnsupportedOptionError
from transformers_foreground.images.encode import encode


class ArrowMapper(ColumnMapper):
    """Adds masks to tables: a function from a table to a table, which can be sent to other machines.

    Args:
        model: Repository id or folder.
        cores: Threads of a session, unless `intra_op_num_threads` is among the session options.
        graph_batch_size: Images in each run of the graph; more than one pays on GPUs only.
        num_workers: Threads that read, decode and resize; by default two, or one where `cores` is 1.
        filesystem: Opens paths and URIs: of pyarrow or fsspec. By default the scheme of each URI decides.
        session_options: As for `Segmenter`.
        options: Columns: image_column, mask_column, cutout_column, alpha_column, doubt_column, error_column and
            id_column; and on_error. `data.ray.map_batches` says what they mean. The others are those of `Segmenter`.

    Raises:
        UnsupportedOptionError: An option has an unknown value.
        ForegroundError: As `Segmenter` says.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        cores: int = 1,
        graph_batch_size: int = 1,
        num_workers: int | None = None,
        filesystem: Any = None,
        session_options: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(
            Path(model).absolute() if Path(model).is_dir() else model,  # other processes may start elsewhere
            batch_size=graph_batch_size,
            num_workers=min(2, cores) if num_workers is None else num_workers,
            session_options={"intra_op_num_threads": cores, **(session_options or {})},
            **options,
        )
        self.filesystem = filesystem

    def added(self, schema: pa.Schema) -> pa.Schema:
        """Return the columns that are added to tables of a schema, or replaced in them.

        Raises:
            UnsupportedOptionError: There is no such column or field, or there are two; or it cannot hold images.
        """
        path = path_to(self.image_column, schema.names)
        for name in (path[0], self.id_column, *self.columns.values(), self.error_column):
            if schema.names.count(name) > 1:
                raise UnsupportedOptionError(
                    f"{schema.names.count(name)} columns are called {name!r}: rename all but one."
                )
        return self.added_in_lists(_depth(schema, path))

    def added_in_lists(self, depth: int) -> pa.Schema:
        """Return the same, where each image lies in so many lists."""
        kinds = {
            "mask": pa.binary(),
            "cutout": pa.binary(),
            "alpha": pa.list_(pa.list_(pa.float32())),
            "doubt": pa.float64(),
        }
        fields = []
        for kind, column in self.columns.items():
            if column is not None:
                for _ in range(depth):
                    kinds[kind] = pa.list_(kinds[kind])
                fields.append(pa.field(column, kinds[kind]))
        if self.error_column is not None:
            fields.append(pa.field(self.error_column, pa.string()))
        return pa.schema(fields)

    def __call__(self, table: pa.Table, failure: ImageError | None = None) -> pa.Table:
        """Compute the columns of a table.

        Args:
            table: The rows.
            failure: Why no image of the table can be read, if that is known: none is then read.

        Raises:
            ImageError: An image cannot be read, and `on_error` is `"raise"`.
            UnsupportedOptionError: There is no such column.
            InvalidModelError: The model gives no alpha plane; `on_error` is about images only.
            InferenceError: ONNX Runtime failed, for example out of memory.
        """
        added = self.added(table.schema)
        path = path_to(self.image_column, table.schema.names)
        images: list[Any] = []
        tree = flatten(table.column(path[0]).to_pylist(), path[1:], images)
        names = self._names(
            lambda column: table.column(column).to_pylist(), table.schema.names, [None] * table.num_rows
        )
        if failure is None:
            outcomes = self._extract(images, names, partial(read, filesystem=self.filesystem), _stored)
        else:
            outcomes = [failure] * len(images)
        errors = self._errors(names, tree, outcomes)
        values = self._values(tree, outcomes)
        if self.error_column is not None:
            values[self.error_column] = errors
        for field in added:
            array = pa.array(values[field.name], field.type)
            place = table.schema.get_field_index(field.name)
            table = table.append_column(field, array) if place < 0 else table.set_column(place, field, array)
        if self.on_error != "skip":
            return table
        return table.filter(pa.array([error is None for error in errors], pa.bool_()))


def _stored(extracted: Extracted) -> Extracted:
    """Return what the columns store: PNGs, since a whole table's pixels would take much room; planes as lists."""
    alpha = extracted.alpha
    return replace(extracted.encoded(encode), alpha=None if alpha is None else list(alpha))


def _depth(schema: pa.Schema, path: Sequence[str]) -> int:
    """Return how many lists a column or a field inside one lies in."""
    kind, depth = _out_of_lists(schema.field(path[0]).type, 0)
    for key in path[1:]:
        if not pa.types.is_struct(kind) or kind.get_field_index(key) < 0:
            raise UnsupportedOptionError(f"image_column={'.'.join(path)!r}: there is no {key!r} in {kind}.")
        kind, depth = _out_of_lists(kind.field(key).type, depth)
    column = ".".join(path)
    if pa.types.is_map(kind):
        raise UnsupportedOptionError(f"image_column={column!r} holds {kind}: make a list or a struct of it.")
    if pa.types.is_struct(kind) and not {"bytes", "path"} & {field.name for field in kind}:
        fields = ", ".join(repr(f"{column}.{field.name}") for field in kind)
        raise UnsupportedOptionError(f"image_column={column!r} holds structs: set it to one of {fields}.")
    return depth


def _out_of_lists(kind: pa.DataType, depth: int) -> tuple[pa.DataType, int]:
    while pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        kind, depth = kind.value_type, depth + 1
    return kind, depth
