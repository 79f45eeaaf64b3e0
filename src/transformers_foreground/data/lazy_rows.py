"""Rows as `datasets` passes them to `map`'s function, not decoded yet; and the formats of datasets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import datasets
from datasets.formatting.formatting import LazyDict

from transformers_foreground.errors import UnsupportedOptionError


def values_of(rows: Any, column: str, *, batched: bool) -> Sequence[Any]:
    """Return a column's values as they are stored, one for each row."""
    if isinstance(rows, LazyDict):
        values: Sequence[Any] = rows.pa_table[column].to_pylist()
        return values
    return rows[column] if batched else [rows[column]]


def without(rows: Any, columns: Mapping[str, list[Any]], kept: Sequence[int]) -> Any:
    """Keep some rows of all columns, in the same mapping: only then does `map` apply its `remove_columns`."""
    lazy = isinstance(rows, LazyDict)
    for name in list(rows):
        values = rows.pa_table[name].to_pylist() if lazy else rows[name]
        if not isinstance(values, list):
            raise UnsupportedOptionError("on_error='skip' cannot drop formatted rows: use ds.with_format(None).")
        rows[name] = [values[i] for i in kept]
    for name, values in columns.items():
        rows[name] = [values[i] for i in kept]
    return rows


def formatted_as(dataset: datasets.Dataset, result: datasets.Dataset) -> datasets.Dataset:
    """Give a result the format of the dataset that it was made from; new columns have it too."""
    shown = dataset.format["columns"]
    return result.with_format(
        dataset.format["type"],
        [column for column in result.column_names if column in shown or column not in dataset.column_names],
        dataset.format["output_all_columns"],
        **dataset.format["format_kwargs"],
    )
