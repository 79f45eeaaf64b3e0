"""Columns of pictures: find the pictures in rows of any shape, and put results where they were."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from transformers_foreground.errors import UnsupportedOptionError


def path_to(column: str, columns: Collection[str]) -> list[str]:
    """Split `"column.field"`, unless a column has that very name, as WebDatasets' may.

    Raises:
        UnsupportedOptionError: There is no such column.
    """
    path = [column] if column in columns else column.split(".")
    if path[0] not in columns:
        raise UnsupportedOptionError(
            f"There is no column {path[0]!r}. Set image_column to one of: {', '.join(columns)}."
        )
    return path


def feature_at(features: Mapping[str, Any], column: str) -> tuple[Any, int]:
    """Return the feature of a column or of a field inside one, and how many lists it lies in.

    Raises:
        UnsupportedOptionError: There is no such column or field.
    """
    first, *rest = path_to(column, features)
    feature, depth = _out_of_lists(features[first], 0)
    for key in rest:
        feature, depth = _out_of_lists(_field(feature, key, column), depth)
    return feature, depth


def _out_of_lists(feature: Any, depth: int) -> tuple[Any, int]:
    while isinstance(feature, list) or hasattr(feature, "feature"):  # [x], Sequence(x), List(x), LargeList(x)
        feature, depth = feature[0] if isinstance(feature, list) else feature.feature, depth + 1
    return feature, depth


def _field(value: Any, key: str, column: str) -> Any:
    if not isinstance(value, Mapping) or key not in value:
        fields = f"the fields {', '.join(value)}" if isinstance(value, Mapping) else "no fields"
        raise UnsupportedOptionError(f"image_column={column!r}: there is no {key!r}; what should have it has {fields}.")
    return value[key]


def flatten(value: Any, path: Sequence[str], pictures: list[Any]) -> Any:
    """Collect the pictures in a value.

    Args:
        value: A picture, or lists (or stacked arrays) and mappings around pictures.
        path: The fields to follow where there are mappings.
        pictures: Pictures are appended to this.

    Returns:
        Lists as deep as the value's, with a picture's place in `pictures` where it was.

    Raises:
        UnsupportedOptionError: A mapping lacks a field.
    """
    items = _items(value)
    if items is not None:
        return [flatten(item, path, pictures) for item in items]
    if path and value is not None:
        return flatten(_field(value, path[0], ".".join(path)), path[1:], pictures)
    pictures.append(value)
    return len(pictures) - 1


def _items(value: Any) -> list[Any] | None:
    """Return the parts of what holds several pictures, as the formats "numpy" and "torch" stack them; else `None`."""
    if isinstance(value, (list, tuple)):
        return list(value)
    shape: tuple[int, ...] = getattr(value, "shape", ())
    gray = isinstance(value, np.ndarray) and len(shape) == 3 and shape[-1] not in (1, 3, 4)
    if len(shape) > 3 or gray or getattr(value, "dtype", None) == np.dtype(object):
        return list(value)
    return None


def is_batch(rows: Mapping[str, Any], column: str) -> bool:
    """Whether plain rows are many: all values have parts, and equally many."""
    if _items(rows[column]) is None:
        return False
    lengths = {len(value) if _has_parts(value) else None for value in rows.values()}
    return len(lengths) == 1


def _has_parts(value: Any) -> bool:
    return isinstance(value, (list, tuple)) or len(getattr(value, "shape", ())) > 0


def places(tree: Any) -> Iterator[int]:
    """Iterate over the places in what `flatten` returned."""
    if isinstance(tree, list):
        for branch in tree:
            yield from places(branch)
    else:
        yield tree


def fill(tree: Any, results: Sequence[Any]) -> Any:
    """Put results where `flatten` found the pictures."""
    return [fill(branch, results) for branch in tree] if isinstance(tree, list) else results[tree]
