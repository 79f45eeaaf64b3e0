"""`ArrowMapper`: masks for a column of images in Arrow tables, which Ray Data and Spark pass around."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from transformers_foreground.data.columns import fill, flatten, path_to, places
from transformers_foreground.data.extraction import Extracted, extract
from transformers_foreground.data.on_error import OnError, checked, report
from transformers_foreground.data.remote_files import read
from transformers_foreground.data.row_names import row_names
from transformers_foreground.errors import ForegroundError, ImageError, UnsupportedOptionError
from transformers_foreground.hub.model_files import load_files
from transformers_foreground.images.encode import encode
from transformers_foreground.option_names import check_names
from transformers_foreground.runtime.model import Model
from transformers_foreground.segmenter import Segmenter

_logger = logging.getLogger(__name__)


class ArrowMapper:
    """Adds masks to tables: a function from a table to a table, which can be sent to other machines.

    Args:
        model: Repository id or folder.
        image_column: Where the images are: a column, or `"column.field"` inside one. Bytes of image files, paths or
            URIs (see `remote_files.read`), structs of "bytes" and "path", Ray's arrays (H, W) or (H, W, C), or lists of
            any.
        mask_column: Where masks go: PNG, mode "L", of the image's size; `None` for nowhere.
        cutout_column: Where cut-outs go: PNG, mode "RGBA", black where the mask is 0; `None` for nowhere.
        alpha_column: Where the model's own planes go: lists (rows of pixels) of float32 in [0, 1]; `None` for nowhere.
        doubt_column: Where doubt goes (see `runtime.doubt`): float64 in [0, 1]; `None` for nowhere.
        error_column: Where the reason goes why a row has no mask, a string or null; `None` for nowhere.
        id_column: Where the rows' ids are, a column or `"column.field"`: messages name a row by it, and
            by the text in a column called "path", if there is one.
        on_error: What an image that cannot be read does: `"raise"`; `"none"`, which puts null in its place; or
            `"skip"`, which drops its row. Errors that no column shows are logged.
        cores: How many cores a session gets, unless `intra_op_num_threads` is among the session options.
        graph_batch_size: Images for each run of the graph; more than one pays on GPUs only.
        num_workers: Threads that read, decode and resize; by default two, or one where the session has one core.
        filesystem: Opens paths and URIs: of pyarrow or fsspec. By default the scheme of each URI decides.
        options: As for `Segmenter`.

    Raises:
        UnsupportedOptionError: An option has an unknown value.
        ForegroundError: As `Segmenter` says.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        image_column: str = "image",
        mask_column: str | None = "mask",
        cutout_column: str | None = None,
        alpha_column: str | None = None,
        doubt_column: str | None = None,
        error_column: str | None = None,
        id_column: str | None = None,
        on_error: OnError = "raise",
        cores: int = 1,
        graph_batch_size: int = 1,
        num_workers: int | None = None,
        filesystem: Any = None,
        session_options: Any = None,
        **options: Any,
    ) -> None:
        checked(on_error)
        check_names(options, type(self).__init__, Segmenter.__init__, Model.__init__, load_files)
        session_options = {"intra_op_num_threads": cores, **(session_options or {})}
        model = Path(model).absolute() if Path(model).is_dir() else model  # other processes may start elsewhere
        self.model = Segmenter(model, session_options=session_options, **options)
        self.image_column = image_column
        self.columns = {"mask": mask_column, "cutout": cutout_column, "alpha": alpha_column, "doubt": doubt_column}
        self.error_column = error_column
        self.id_column = id_column
        self.on_error = on_error
        self.batch_size = graph_batch_size
        self.num_workers = min(2, cores) if num_workers is None else num_workers
        self.filesystem = filesystem

    def added(self, schema: pa.Schema) -> pa.Schema:
        """Return the columns that are added to tables of a schema, or replaced in them.

        Raises:
            UnsupportedOptionError: There is no such column or field.
        """
        kinds = {
            "mask": pa.binary(),
            "cutout": pa.binary(),
            "alpha": pa.list_(pa.list_(pa.float32())),
            "doubt": pa.float64(),
        }
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

    def __call__(self, table: pa.Table, failure: ImageError | None = None) -> pa.Table:
        """Compute the columns of a table.

        Args:
            table: Rows.
            failure: What is wrong with all images of the table, if that is known: none is then read.

        Raises:
            ImageError: An image cannot be read, and `on_error` is `"raise"`.
            UnsupportedOptionError: A column is not there.
            InvalidModelError: The model is none for this; `on_error` is about images only.
            InferenceError: ONNX Runtime failed, for example for want of memory.
        """
        added = self.added(table.schema)
        path = path_to(self.image_column, table.schema.names)
        images: list[Any] = []
        tree = flatten(table.column(path[0]).to_pylist(), path[1:], images)
        names = row_names(
            lambda column: table.column(column).to_pylist(),
            table.schema.names,
            [None] * table.num_rows,
            id_column=self.id_column,
            image_column=self.image_column,
        )
        try:
            outcomes = self._extract(images) if failure is None else [failure] * len(images)
        except ForegroundError as error:
            error.add_note(f"In the batch from {names[0]} to {names[-1]}.")
            raise
        in_column = self.error_column is not None
        errors = [
            report(name, [outcomes[place] for place in places(branch)], self.on_error, _logger, in_column=in_column)
            for name, branch in zip(names, tree, strict=True)
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
        return (
            table.filter(pa.array([error is None for error in errors], pa.bool_()))
            if self.on_error == "skip"
            else table
        )

    def _extract(self, images: Sequence[Any]) -> list[dict[str, Any] | ImageError]:
        """Extract the foreground of images, as what the columns store: encoded, a whole table's takes little room."""
        return list(
            extract(
                self.model,
                images,
                partial(read, filesystem=self.filesystem),
                self.columns,
                batch_size=self.batch_size,
                num_workers=self.num_workers,
                then=_stored,
            )
        )


def _stored(extracted: Extracted) -> dict[str, Any]:
    """Return what the columns store."""
    mask, cutout, alpha = extracted.mask, extracted.cutout, extracted.alpha
    return {
        "mask": None if mask is None else encode(mask),
        "cutout": None if cutout is None else encode(cutout),
        "alpha": None if alpha is None else list(alpha),
        "doubt": extracted.doubt,
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
