"""`ForegroundMapper`: masks for a column of pictures, by `map` of Hugging Face's `datasets`.

Built on `loading`, so that a worker process imports neither torch nor transformers.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datasets
import multiprocess  # type: ignore[import-untyped]
import numpy as np
from datasets.formatting.formatting import LazyBatch, LazyDict

from transformers_foreground import policy
from transformers_foreground.columns import feature_at, fill, flatten, is_batch, path_to, places
from transformers_foreground.dataset_cards import dataset_card
from transformers_foreground.errors import ImageError, UnsupportedOptionError
from transformers_foreground.extraction import Extracted, extract
from transformers_foreground.images import DecodedImage, decode
from transformers_foreground.portable import PortableModel, share_in_pools
from transformers_foreground.preprocessing import Processing
from transformers_foreground.sources import name_of, unreadable

if TYPE_CHECKING:
    from huggingface_hub import DatasetCard

_logger = logging.getLogger(__name__)
share_in_pools(multiprocess)  # those of `map(num_proc=)`


class ForegroundMapper:
    """Adds masks to rows: a function for `Dataset.map` and `IterableDataset.map`, with `batched=True` or without.

    The model's files are found, or downloaded, at once; the session opens at the first call, one in each process. A
    mapper pickles as what it was made from, its files' SHA-256 and this package's version, used or not: `datasets`
    finds an earlier result in its cache until one of these changes. With `num_proc`, and in a `DataLoader`'s workers,
    each session gets its share of the cores, unless `intra_op_num_threads` is among the session options.

    Args:
        model: Repository id or folder.
        image_column: Where the pictures are: a column, or `"column.field"` inside one. Lists of pictures give lists.
        mask_column: Where masks go: PIL, mode "L", of the picture's size; `None` for nowhere.
        cutout_column: Where cut-outs go: PIL, mode "RGBA", black where the mask is 0; `None` for nowhere.
        alpha_column: Where the model's own planes go: float32 in [0, 1], (h, w), of the model's size and before any
            stretching; `None` for nowhere.
        error_column: Where the reason goes why a row has no mask, a string or null; `None` for nowhere.
        on_error: What a picture that cannot be read does: `"raise"`; `"none"`, which puts null in its place; or
            `"skip"`, which drops its row, and needs `batched=True`. What is not told by a column is logged.
        batch_size: Pictures for each run of the graph; more than one pays on GPUs only.
        num_workers: Threads that decode and resize; by default two, or one where the process has one core.
        options: device, strict, session_options (a mapping), provider_options and resampling, as for `loading.load`;
            and the options of `model_files.load_files`: dtype, revision, subfolder, cache_dir, token, ...

    Attributes:
        errors: How many pictures could not be read, in this process.

    Raises:
        UnsupportedOptionError: An option has an unknown value.
        ForegroundError: As `loading.load` says.

    Example:
        >>> mapper = ForegroundMapper("briaai/RMBG-1.4", on_error="none", error_column="error")
        >>> ds = ds.map(mapper, batched=True, batch_size=8, num_proc=4, features=mapper.features(ds.features))
    """

    def __init__(
        self,
        model: str | Path = "briaai/RMBG-1.4",
        *,
        image_column: str = "image",
        mask_column: str | None = "mask",
        cutout_column: str | None = None,
        alpha_column: str | None = None,
        error_column: str | None = None,
        on_error: policy.OnError = "raise",
        batch_size: int = 1,
        num_workers: int | None = None,
        **options: Any,
    ) -> None:
        policy.checked(on_error)
        self.model = PortableModel(model, **options)
        self.image_column = image_column
        self.columns = {"mask": mask_column, "cutout": cutout_column, "alpha": alpha_column}
        self.error_column = error_column
        self.on_error = on_error
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.errors = 0

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the same bytes before and after a call."""
        return {**self.__dict__, "errors": 0}

    def features(self, features: Mapping[str, Any] | None, remove_columns: Sequence[str] = ()) -> datasets.Features:
        """Return what `map(features=)` takes, so that columns have their types even where all values are null.

        Args:
            features: Those of the dataset.
            remove_columns: As given to `map`.

        Returns:
            The features, with masks and cut-outs as `datasets.Image()`, alpha as lists (rows of pixels) of float32,
            and the error as a string.

        Raises:
            UnsupportedOptionError: The dataset does not know its features, or has no such column.
        """
        if features is None:
            raise UnsupportedOptionError("This dataset does not know its features: leave out features= for map.")
        _, depth = feature_at(features, self.image_column)
        kinds = {
            "mask": datasets.Image(),
            "cutout": datasets.Image(),
            "alpha": datasets.Sequence(datasets.Sequence(datasets.Value("float32"))),
        }
        result = {name: feature for name, feature in features.items() if name not in remove_columns}
        for kind, column in self.columns.items():
            if column is not None:
                feature = kinds[kind]
                for _ in range(depth):
                    feature = datasets.Sequence(feature)
                result[column] = feature
        if self.error_column is not None:
            result[self.error_column] = datasets.Value("string")
        return datasets.Features(result)

    def __call__(self, rows: Any, indices: Any = None, *_: Any) -> Any:
        """Compute the columns of one row, or of a batch of rows.

        Args:
            rows: What `map` gives: a mapping of columns. Pictures may be anything that `images.decode` reads. Of
                unformatted datasets the stored files are read, not what `datasets` would decode.
            indices: The rows' numbers, if `map` was given `with_indices=True`: messages name them.

        Returns:
            The new columns; all columns, if rows were dropped.

        Raises:
            ImageError: A picture cannot be read, and `on_error` is `"raise"`; the message names its row and file.
            UnsupportedOptionError: `input_columns` was given, a column is not there, or a row cannot be dropped.
            InvalidModelError: The model is none for this; `on_error` is about pictures only.
            InferenceError: ONNX Runtime failed, for example for want of memory.
        """
        if not isinstance(rows, Mapping):
            raise UnsupportedOptionError(
                "ForegroundMapper takes rows as mappings: leave out input_columns=, and use ds.with_format(None) where "
                "the format is arrow, pandas or polars."
            )
        path = path_to(self.image_column, rows)
        mode = None
        if isinstance(rows, LazyDict):
            # The stored files: datasets would decode a whole batch, and stop at the first one that is damaged.
            column, batched = rows.pa_table[path[0]].to_pylist(), isinstance(rows, LazyBatch)
            column = column if batched else column[0]
            mode = getattr(feature_at(rows.formatter.features, self.image_column)[0], "mode", None)
        else:
            column, batched = rows[path[0]], is_batch(rows, path[0])
        pictures: list[Any] = []
        tree = flatten(column, path[1:], pictures)
        outcomes = self._extract(pictures, mode)
        branches = tree if batched else [tree]
        numbers = indices if isinstance(indices, list) else [indices] * len(branches)
        errors = [
            self._told(i, number, [outcomes[p] for p in places(branch)])
            for i, (branch, number) in enumerate(zip(branches, numbers, strict=True))
        ]
        columns = {
            column: fill(tree, [getattr(outcome, kind, None) for outcome in outcomes])
            for kind, column in self.columns.items()
            if column is not None
        }
        if self.error_column is not None:
            columns[self.error_column] = errors if batched else errors[0]
        if self.on_error != "skip" or not any(errors):
            return columns
        if not batched:
            raise UnsupportedOptionError("on_error='skip' cannot drop a single row: give map batched=True.")
        return _without(rows, columns, [i for i, error in enumerate(errors) if error is None])

    def _extract(self, pictures: Sequence[Any], mode: str | None) -> list[Extracted | ImageError]:
        """Extract the foreground of pictures; one that cannot be read gives its error."""
        return list(
            extract(
                self.model.open(),
                pictures,
                cutouts=self.columns["cutout"] is not None,
                alphas=self.columns["alpha"] is not None,
                batch_size=self.batch_size,
                workers=min(2, self.model.cores()) if self.num_workers is None else self.num_workers,
                read=partial(_read, mode=mode),
            )
        )

    def _told(self, place: int, number: int | None, outcomes: Sequence[Extracted | ImageError]) -> str | None:
        """Raise, log or just return what is wrong with a row; `None` if nothing is."""
        self.errors += sum(isinstance(outcome, ImageError) for outcome in outcomes)
        row = f"Row {place} of its batch" if number is None else f"Row {number}"
        return policy.told(row, outcomes, self.on_error, _logger, in_column=self.error_column is not None)

    def card(self, name: str) -> DatasetCard:
        """Return a dataset card that says what made the columns.

        Args:
            name: What to call the dataset.

        Returns:
            The card. Push it before the dataset, whose `push_to_hub` adds to a card that is there:
            `mapper.card(name).push_to_hub(repo); ds.push_to_hub(repo)`. It leaves the dataset's own licence to you.
        """
        files, resampling = self.model.files, self.model.resampling
        return dataset_card(
            name,
            [column for column in self.columns.values() if column is not None],
            files,
            revision=self.model.revision,
            sha256=self.model.sha256[0],
            resampling=resampling or Processing.from_dict(files.preprocessor or {}).resampling,
        )


def _without(rows: Any, columns: Mapping[str, list[Any]], kept: Sequence[int]) -> Any:
    """Keep some rows of all columns, in the mapping that was given: `map` only then heeds its `remove_columns`."""
    lazy = isinstance(rows, LazyDict)
    for name in list(rows):
        values = rows.pa_table[name].to_pylist() if lazy else rows[name]
        if not isinstance(values, list):
            raise UnsupportedOptionError("on_error='skip' cannot drop formatted rows: use ds.with_format(None).")
        rows[name] = [values[i] for i in kept]
    for name, values in columns.items():
        rows[name] = [values[i] for i in kept]
    return rows


def _read(picture: Any, mode: str | None) -> DecodedImage:
    """Decode, leaving to `datasets` what only it can open: files inside archives and on the Hub."""
    if picture is None:
        raise ImageError("There is no picture (null).")
    if isinstance(picture, Mapping) and (
        mode or (picture.get("bytes") is None and "://" in (picture.get("path") or ""))
    ):
        name = name_of(picture)
        try:
            picture = datasets.Image(mode=mode).decode_example(picture)
        except Exception as error:  # of fsspec, of the network, of Pillow
            raise unreadable(name, str(error) or type(error).__name__) from error
    if isinstance(picture, np.ndarray) and picture.dtype == np.int64 and 0 <= picture.min() <= picture.max() <= 255:
        picture = picture.astype(np.uint8)  # what a streaming dataset with the format "numpy" makes of pixels
    return decode(picture)
