"""`ArrowMapper`: masks for a column of pictures in Arrow tables, which Ray Data and Spark pass around."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from transformers_foreground import policy, storage
from transformers_foreground.columns import fill, flatten, path_to, places
from transformers_foreground.errors import ImageError, UnsupportedOptionError
from transformers_foreground.extraction import Extracted, extract
from transformers_foreground.formats import encode
from transformers_foreground.portable import PortableModel

_logger = logging.getLogger(__name__)


class ArrowMapper:
    """Adds masks to tables: a function from a table to a table, which can be sent to other machines.

    Args:
        model: Repository id or folder.
        image_column: Where the pictures are: a column, or `"column.field"` inside one. Bytes of image files, paths or
            URIs (see `storage.read`), structs of "bytes" and "path", Ray's arrays (H, W) or (H, W, C), or lists of any.
        mask_column: Where masks go: PNG, mode "L", of the picture's size; `None` for nowhere.
        cutout_column: Where cut-outs go: PNG, mode "RGBA", black where the mask is 0; `None` for nowhere.
        alpha_column: Where the model's own planes go: lists (rows of pixels) of float32 in [0, 1]; `None` for nowhere.
        error_column: Where the reason goes why a row has no mask, a string or null; `None` for nowhere.
        on_error: What a picture that cannot be read does: `"raise"`; `"none"`, which puts null in its place; or
            `"skip"`, which drops its row. What is not told by a column is logged.
        cores: How many cores a session gets, unless `intra_op_num_threads` is among the session options.
        graph_batch_size: Pictures for each run of the graph; more than one pays on GPUs only.
        num_workers: Threads that read, decode and resize; by default two, or one where the session has one core.
        filesystem: Opens paths and URIs: of pyarrow or fsspec. By default each URI's scheme tells.
        options: As for `portable.PortableModel`.

    Raises:
        UnsupportedOptionError: An option has an unknown value.
        ForegroundError: As `loading.load` says.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        image_column: str = "image",
        mask_column: str | None = "mask",
        cutout_column: str | None = None,
        alpha_column: str | None = None,
        error_column: str | None = None,
        on_error: policy.OnError = "raise",
        cores: int = 1,
        graph_batch_size: int = 1,
        num_workers: int | None = None,
        filesystem: Any = None,
        session_options: Any = None,
        **options: Any,
    ) -> None:
        policy.checked(on_error)
        session_options = {"intra_op_num_threads": cores, **(session_options or {})}
        model = Path(model).absolute() if Path(model).is_dir() else model  # other processes may start elsewhere
        self.model = PortableModel(model, session_options=session_options, **options)
        self.image_column = image_column
        self.columns = {"mask": mask_column, "cutout": cutout_column, "alpha": alpha_column}
        self.error_column = error_column
        self.on_error = on_error
        self.batch_size = graph_batch_size
        self.num_workers = min(2, cores) if num_workers is None else num_workers
        self.filesystem = filesystem

    def added(self, schema: pa.Schema) -> pa.Schema:
        """Return the columns that are added to tables of a schema, or replaced in them.

        Raises:
            UnsupportedOptionError: There is no such column or field.
        """
        kinds = {"mask": pa.binary(), "cutout": pa.binary(), "alpha": pa.list_(pa.list_(pa.float32()))}
        depth = _depth(schema, path_to(self.image_column, schema.names))
        fields = []
        for kind, column in self.columns.items():
            if column is not None:
                for _ in range(depth):
                    kinds[kind] = pa.list_(kinds[kind])
                fields.append(pa.field(column, kinds[kind]))
        if self.error_column is not None:
            fields.append(pa.field(self.error_column, pa.string()))
        return pa.schema(fields)

    def __call__(self, table: pa.Table) -> pa.Table:
        """Compute the columns of a table.

        Raises:
            ImageError: A picture cannot be read, and `on_error` is `"raise"`.
            UnsupportedOptionError: A column is not there.
            InvalidModelError: The model is none for this; `on_error` is about pictures only.
            InferenceError: ONNX Runtime failed, for example for want of memory.
        """
        added = self.added(table.schema)
        path = path_to(self.image_column, table.schema.names)
        pictures: list[Any] = []
        tree = flatten(table.column(path[0]).to_pylist(), path[1:], pictures)
        outcomes = self._extract(pictures)
        errors = [
            policy.told(
                f"Row {i} of its batch",
                [outcomes[place] for place in places(branch)],
                self.on_error,
                _logger,
                in_column=self.error_column is not None,
            )
            for i, branch in enumerate(tree)
        ]
        values: dict[str, Any] = {
            column: fill(tree, [None if isinstance(outcome, ImageError) else outcome[kind] for outcome in outcomes])
            for kind, column in self.columns.items()
            if column is not None
        }
        if self.error_column is not None:
            values[self.error_column] = errors
        for field in added:
            array = pa.array(values[field.name], field.type)
            place = table.schema.get_field_index(field.name)
            table = table.append_column(field, array) if place < 0 else table.set_column(place, field, array)
        return table.filter(pa.array([error is None for error in errors])) if self.on_error == "skip" else table

    def _extract(self, pictures: Sequence[Any]) -> list[dict[str, Any] | ImageError]:
        """Extract the foreground of pictures, as what the columns store: encoded, a whole table's takes little room."""
        outcomes = extract(
            self.model.open(),
            pictures,
            cutouts=self.columns["cutout"] is not None,
            alphas=self.columns["alpha"] is not None,
            batch_size=self.batch_size,
            workers=self.num_workers,
            read=partial(storage.read, filesystem=self.filesystem),
        )
        return [outcome if isinstance(outcome, ImageError) else self._stored(outcome) for outcome in outcomes]

    def _stored(self, extracted: Extracted) -> dict[str, Any]:
        """Return the values of those columns that are wanted."""
        return {
            "mask": encode(extracted.mask) if self.columns["mask"] is not None else None,
            "cutout": encode(extracted.cutout) if extracted.cutout is not None else None,
            "alpha": list(extracted.alpha) if extracted.alpha is not None else None,
        }


def _depth(schema: pa.Schema, path: Sequence[str]) -> int:
    """Return how many lists a column or a field inside one lies in."""
    kind, depth = _out_of_lists(schema.field(path[0]).type, 0)
    for key in path[1:]:
        if not pa.types.is_struct(kind) or kind.get_field_index(key) < 0:
            raise UnsupportedOptionError(f"image_column={'.'.join(path)!r}: there is no {key!r} in {kind}.")
        kind, depth = _out_of_lists(kind.field(key).type, depth)
    return depth


def _out_of_lists(kind: pa.DataType, depth: int) -> tuple[pa.DataType, int]:
    while pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        kind, depth = kind.value_type, depth + 1
    return kind, depth
