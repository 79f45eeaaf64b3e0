"""`ColumnMapper`: what `ForegroundMapper` and `ArrowMapper` share, whatever their rows look like."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from transformers_foreground.data.column_names import check_columns
from transformers_foreground.data.columns import fill, places
from transformers_foreground.data.extraction import Extracted, extract
from transformers_foreground.data.on_error import OnError, checked, report
from transformers_foreground.data.row_names import row_names
from transformers_foreground.errors import ForegroundError, ImageError
from transformers_foreground.hub.model_files import load_files
from transformers_foreground.images.decode import DecodedImage
from transformers_foreground.option_names import check_names
from transformers_foreground.runtime.model import Model
from transformers_foreground.segmenter import Segmenter


class ColumnMapper:
    """A model, the columns that it reads and writes, and what to do about an image that cannot be read.

    Args:
        model: Repository id or folder.
        image_column: The column of the images. This and the other options are as `ForegroundMapper` says.
        options: Those of `Segmenter`.

    Raises:
        UnsupportedOptionError: An option has an unknown value; or a new column has no name, or another column's.
        TypeError: There is no such option.
        ForegroundError: As `Segmenter` says.
    """

    def __init__(
        self,
        model: str | Path = "briaai/RMBG-1.4",
        *,
        image_column: str = "image",
        mask_column: str | None = "mask",
        cutout_column: str | None = None,
        alpha_column: str | None = None,
        doubt_column: str | None = None,
        error_column: str | None = None,
        id_column: str | None = None,
        on_error: OnError = "raise",
        batch_size: int = 1,
        num_workers: int | None = None,
        **options: Any,
    ) -> None:
        checked(on_error)
        check_names(options, type(self).__init__, ColumnMapper.__init__, Segmenter.__init__, Model.__init__, load_files)
        self.image_column = image_column
        self.columns = {"mask": mask_column, "cutout": cutout_column, "alpha": alpha_column, "doubt": doubt_column}
        self.error_column = error_column
        self.id_column = id_column
        self.on_error = on_error
        self.batch_size = batch_size
        self.num_workers = num_workers
        check_columns({**self.columns, "error": error_column}, image_column, id_column)
        self.model = Segmenter(model, **options)

    def _names(
        self, values_of: Callable[[str], Sequence[Any]], columns: Collection[str], numbers: Sequence[int | None]
    ) -> list[str]:
        """Name a batch's rows for messages; see `row_names`."""
        return row_names(values_of, columns, numbers, id_column=self.id_column, image_column=self.image_column)

    def _extract(
        self,
        images: Sequence[Any],
        names: Sequence[str],
        read: Callable[[Any], DecodedImage],
        then: Callable[[Extracted], Any] | None,
    ) -> list[Any]:
        """Return for each image what `extract` yields. An error that is not about one image names the batch's rows."""
        sizes: dict[str, Any] = {"batch_size": self.batch_size, "num_workers": self.num_workers}
        try:
            return list(extract(self.model, images, read, self.columns, then=then, **sizes))
        except ForegroundError as error:
            error.add_note(f"In the batch from {names[0]} to {names[-1]}.")
            raise

    def _errors(self, names: Sequence[str], branches: Sequence[Any], outcomes: Sequence[Any]) -> list[str | None]:
        """Return for each row why it has no mask, or `None`; raise or log it as `on_error` says."""
        in_column = self.error_column is not None
        return [
            report(name, [outcomes[place] for place in places(branch)], self.on_error, in_column=in_column)
            for name, branch in zip(names, branches, strict=True)
        ]

    def _values(self, tree: Any, outcomes: Sequence[Extracted | ImageError]) -> dict[str, Any]:
        """Return the new columns but that of errors: null where an image could not be read."""
        return {
            column: fill(tree, [getattr(outcome, kind, None) for outcome in outcomes])
            for kind, column in self.columns.items()
            if column is not None
        }
