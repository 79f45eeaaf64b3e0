"""`ForegroundMapper`: masks for a column of images, by `map` of Hugging Face's `datasets`.

A worker process imports neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import datasets
import multiprocess  # type: ignore[import-untyped]
from datasets.formatting.formatting import LazyBatch, LazyDict

from transformers_foreground.data.column_mapper import ColumnMapper
from transformers_foreground.data.column_names import check_known
from transformers_foreground.data.columns import feature_at, flatten, is_batch, path_to, pixels
from transformers_foreground.data.dataset_card import dataset_card
from transformers_foreground.data.encoded_image import EncodedImage
from transformers_foreground.data.extraction import Extracted
from transformers_foreground.data.fingerprint import hash_by, identity
from transformers_foreground.data.lazy_rows import formatted_as, values_of, without
from transformers_foreground.data.reading import read_image
from transformers_foreground.errors import ImageError, UnsupportedOptionError
from transformers_foreground.runtime.model import share_in_pools
from transformers_foreground.runtime.processing import Processing
from transformers_foreground.segmenter import Segmenter

if TYPE_CHECKING:
    from huggingface_hub import DatasetCard

_TABLES: Final = ("arrow", "pandas", "polars")  # formats whose rows are tables, not mappings
_NO_ROWS: Final = (
    "ForegroundMapper takes rows as mappings: leave out input_columns=; where the format is arrow, pandas or polars, "
    "use mapper.map(ds) in place of ds.map(mapper), or of a stream ds.with_format(None)."
)
share_in_pools(multiprocess, Segmenter)  # those of `map(num_proc=)`


class ForegroundMapper(ColumnMapper):
    """Adds masks to rows: a function for `Dataset.map` and `IterableDataset.map`, with `batched=True` or without.

    The model's files are found, or downloaded, at once; each process opens a session of its own at the first call.
    `datasets` takes an earlier result from its cache as long as the files' SHA-256, the preprocessing, the device, the
    columns, `on_error` and this package's version are the same. The place of the files, threads and batch sizes do not
    count. With `num_proc`, and in a `DataLoader`'s workers, each session gets its share of the cores, unless
    `intra_op_num_threads` is among the session options.

    With `on_error="none"` the images that cannot be read stay in the dataset, and `datasets` raises where it decodes
    them. Find them by `ds.filter(lambda error: error is None, input_columns="error")`, which decodes nothing, or leave
    the images encoded: `ds.cast_column("image", datasets.Image(decode=False))`, or `ds.decode(False)` of a stream.

    `datasets` decodes with Pillow, which refuses images and masks of more than 179 megapixels, unless you set
    `PIL.Image.MAX_IMAGE_PIXELS = None`. It cannot decode the images of a dataset with the format polars:
    `ds.map(mapper)` then ends in its `TypeError`, while `mapper.map(ds)` works.

    Args:
        model: Repository id or folder.
        image_column: The column of the images, or `"column.field"` for a field inside one. Lists of images give lists.
        mask_column: The new column for masks: PIL, mode "L", of the image's size; `None` for no such column, here and
            below.
        cutout_column: The new column for cut-outs: PIL, mode "RGBA", black where the mask is 0.
        alpha_column: The new column for the model's own alpha planes: float32 in [0, 1], (h, w), of the model's size
            and before any stretching.
        doubt_column: The new column for the model's doubt of the mask: float64 in [0, 1] (see `runtime.doubt`).
        error_column: The new column for the reason why a row has no mask, a string or null.
        id_column: The column of the rows' ids, or `"column.field"`: messages name a row by it, and by the text in a
            column called "path", if there is one.
        on_error: What to do about an image that cannot be read: `"raise"`; `"none"`, put null in its place; or
            `"skip"`, drop its row, which needs `batched=True`. Errors that no column shows are logged.
        batch_size: Images in each run of the graph; more than one pays on GPUs only.
        num_workers: Threads that decode and resize; by default two, or one where the process has one core.
        options: device, strict, session_options (a mapping), provider_options and resampling, as for `Segmenter`;
            and the options of `model_files.load_files`: dtype, revision, subfolder, cache_dir, token, ...

    Attributes:
        errors: How many images could not be read, in this process.

    Raises:
        UnsupportedOptionError: An option has an unknown value; or a new column has no name, or another column's.
        ForegroundError: As `Segmenter` says.

    Examples:
        >>> mapper = ForegroundMapper("briaai/RMBG-1.4", on_error="none", error_column="error")
        >>> ds = ds.map(mapper, batched=True, batch_size=8, features=mapper.features(ds.features))
    """

    errors = 0

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the same bytes before and after a call."""
        return {**self.__dict__, "errors": 0}

    def map(self, dataset: Any, *, batch_size: int = 16, **options: Any) -> Any:
        """Map a dataset, with `features`. Two kinds work that `dataset.map(mapper)` cannot do.

        An empty dataset gets the new columns. One with the format arrow, pandas or polars is mapped without it, and
        the result has the same format.

        Args:
            dataset: A `datasets.Dataset` or `IterableDataset`, or a `DatasetDict` of these, as `load_dataset` returns.
            batch_size: Rows in each call.
            options: Others of the dataset's `map`, such as num_proc, remove_columns and with_indices.

        Returns:
            What the dataset's `map` returns.

        Raises:
            UnsupportedOptionError: There is no such column.
        """
        if isinstance(dataset, dict):  # DatasetDict, IterableDatasetDict
            splits = {name: self.map(split, batch_size=batch_size, **options) for name, split in dataset.items()}
            return type(dataset)(splits)
        removed = options.get("remove_columns") or ()
        features = None if dataset.features is None else self.features(dataset.features, removed)
        if isinstance(dataset, datasets.Dataset):
            if dataset.format["type"] in _TABLES:
                return formatted_as(dataset, self.map(dataset.with_format(None), batch_size=batch_size, **options))
            if len(dataset) == 0:
                empty: dict[str, list[Any]] = {name: [] for name in features or {}}
                return formatted_as(dataset, datasets.Dataset.from_dict(empty, features=features))
        return dataset.map(self, batched=True, batch_size=batch_size, features=features, **options)

    def features(
        self, features: Mapping[str, Any] | None, remove_columns: str | Collection[str] = ()
    ) -> datasets.Features:
        """Return what `map(features=)` takes, so that columns have their types even where all values are null.

        Args:
            features: The dataset's.
            remove_columns: As given to `map`.

        Returns:
            The features, with masks and cut-outs as `datasets.Image()`, alpha as lists (rows of pixels) of float32,
            doubt as float64, and the error as a string.

        Raises:
            UnsupportedOptionError: The dataset does not know its features, or has no such column; the message has the
                nearest.
        """
        if features is None:
            raise UnsupportedOptionError("This dataset does not know its features: leave out features= for map.")
        removed = [remove_columns] if isinstance(remove_columns, str) else remove_columns
        check_known(removed, features, "remove_columns")
        _, depth = feature_at(features, self.image_column)
        kinds = {
            "mask": datasets.Image(),
            "cutout": datasets.Image(),
            "alpha": datasets.Sequence(datasets.Sequence(datasets.Value("float32"))),
            "doubt": datasets.Value("float64"),
        }
        result = {name: feature for name, feature in features.items() if name not in removed}
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
            rows: What `map` passes: a mapping of columns. Images may be anything that `images.decode` reads. Of
                unformatted datasets the stored files are read, not what `datasets` would decode.
            indices: The rows' numbers, with `map(with_indices=True)`: messages name them.

        Returns:
            The new columns; all columns, if rows were dropped.

        Raises:
            ImageError: An image cannot be read, and `on_error` is `"raise"`; the message names its row and file.
            UnsupportedOptionError: `input_columns` was given, there is no such column, or a row cannot be dropped.
            InvalidModelError: The model gives no alpha plane; `on_error` is about images only.
            InferenceError: ONNX Runtime failed, for example out of memory.
        """
        if not isinstance(rows, Mapping):
            raise UnsupportedOptionError(_NO_ROWS)
        path = path_to(self.image_column, rows)
        mode = None
        stored = isinstance(rows, LazyDict)
        if isinstance(rows, LazyDict):
            # The stored files: datasets would decode a whole batch, and stop at the first one that is damaged.
            column, batched = rows.pa_table[path[0]].to_pylist(), isinstance(rows, LazyBatch)
            feature = feature_at(rows.formatter.features, self.image_column)[0]
            column, mode = pixels(column, feature), getattr(feature, "mode", None)
        else:
            column, batched = rows[path[0]], is_batch(rows, path[0])
        images: list[Any] = []
        tree = flatten(column if batched or not stored else column[0], path[1:], images)
        branches = tree if batched else [tree]
        numbers = indices if isinstance(indices, list) else [None if batched else indices] * len(branches)
        names = self._names(lambda column: values_of(rows, column, batched=batched), list(rows), numbers)
        # A batch keeps its results until its last row is done.
        outcomes = self._extract(
            images, names, partial(read_image, mode=mode), _encoded if stored and batched else None
        )
        self.errors += sum(isinstance(outcome, ImageError) for outcome in outcomes)
        errors = self._errors(names, branches, outcomes)
        columns = self._values(tree, outcomes)
        if self.error_column is not None:
            columns[self.error_column] = errors if batched else errors[0]
        if self.on_error != "skip" or not any(errors):
            return columns
        if not batched:
            raise UnsupportedOptionError("on_error='skip' cannot drop a single row: give map batched=True.")
        return without(rows, columns, [i for i, error in enumerate(errors) if error is None])

    def card(self, name: str) -> DatasetCard:
        """Return a dataset card that says what made the columns.

        Args:
            name: What to call the dataset.

        Returns:
            The card. Push it before the dataset, whose `push_to_hub` adds to an existing card:
            `mapper.card(name).push_to_hub(repo); ds.push_to_hub(repo)`. It leaves the dataset's own licence to you.
        """
        files, resampling = self.model.files, self.model.resampling
        return dataset_card(
            name,
            [column for column in self.columns.values() if column is not None],
            files,
            revision=self.model.revision,
            sha256=self.model.sha256[0],
            engine=self.model.device.providers[0],
            resampling=resampling or Processing.from_dict(files.preprocessor or {}).resampling,
        )


def _encoded(extracted: Extracted) -> Extracted:
    return extracted.encoded(EncodedImage)


hash_by(ForegroundMapper, identity)
