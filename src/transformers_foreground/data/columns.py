"""Columns of images: find the images in rows of any shape, and put results in their places."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from transformers_foreground.errors import UnsupportedOptionError


def path_to(column: str, columns: Collection[str], option: str = "image_column") -> list[str]:
    """Split `"column.field"`, unless a column has that very name, as in a WebDataset.

    Args:
        column: The column, or a field inside it.
        columns: The columns of the rows.
        option: The option that names it, for the message.

    Raises:
        UnsupportedOptionError: There is no such column.
    """
    path = [column] if column in columns else column.split(".")
    if path[0] not in columns:
        raise UnsupportedOptionError(f"There is no column {path[0]!r}. Set {option} to one of: {', '.join(columns)}.")
    return path


def feature_at(features: Mapping[str, Any], column: str) -> tuple[Any, int]:
    """Return the feature of a column or of a field inside one, and how many lists are around it.

    Raises:
        UnsupportedOptionError: There is no such column or field.
    """
    first, *rest = path_to(column, features)
    feature, depth = _out_of_lists(features[first], 0)
    for key in rest:
        feature, depth = _out_of_lists(field_of(feature, key, column), depth)
    return feature, depth


def _out_of_lists(feature: Any, depth: int) -> tuple[Any, int]:
    while isinstance(feature, list) or hasattr(feature, "feature"):  # [x], Sequence(x), List(x), LargeList(x)
        feature, depth = feature[0] if isinstance(feature, list) else feature.feature, depth + 1
    return feature, depth


def pixels(column: Sequence[Any], feature: Any) -> Sequence[Any]:
    """Make arrays of the lists of numbers that `datasets` stores in a column of `Array2D` or `Array3D`.

    Args:
        column: Values, each an image or null.
        feature: The column's.

    Raises:
        UnsupportedOptionError: The shape is not that of an image.
    """
    shape = getattr(feature, "shape", None)
    if shape is None:
        return column
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[-1] not in (1, 3, 4)):
        raise UnsupportedOptionError(
            f"A column of arrays {tuple(shape)} is not one of images: use (H, W), or (H, W, C) with 1, 3 or 4 channels."
        )
    return [None if value is None else np.asarray(value, feature.dtype) for value in column]


def field_of(value: Any, key: str, column: str, option: str = "image_column") -> Any:
    """Return a field of a mapping.

    Args:
        value: The mapping.
        key: The field.
        column: The `"column.field"` that asks for it, for the message.
        option: The option that names it, for the message.

    Raises:
        UnsupportedOptionError: It has no such field, or is no mapping.
    """
    if not isinstance(value, Mapping) or key not in value:
        fields = ", ".join(value) if isinstance(value, Mapping) else "no fields"
        raise UnsupportedOptionError(f"{option}={column!r}: there is no field {key!r}; there are {fields}.")
    return value[key]


def flatten(value: Any, path: Sequence[str], images: list[Any]) -> Any:
    """Collect the images in a value.

    Args:
        value: An image, or lists (or stacked arrays) and mappings around images.
        path: The fields to follow where there are mappings.
        images: A list to which the images are appended.

    Returns:
        Lists as deep as the value's, with the index into `images` in place of each image.

    Raises:
        UnsupportedOptionError: A mapping lacks a field, or there are numbers.
    """
    items = _items(value)
    if items is not None:
        return [flatten(item, path, images) for item in items]
    if path and value is not None:
        return flatten(field_of(value, path[0], ".".join(path)), path[1:], images)
    if isinstance(value, (int, float, np.number)):
        raise UnsupportedOptionError(
            "The images' column has numbers, which may be pixels or anything: store encoded images, or "
            "give numpy arrays (H, W) or (H, W, C), as datasets.Image() and Array3D(shape=(H, W, C)) do."
        )
    images.append(value)
    return len(images) - 1


def _items(value: Any) -> list[Any] | None:
    """Return the images of a list, or of a stack as the formats "numpy" and "torch" make it; `None` for one image."""
    if isinstance(value, (list, tuple)):
        return list(value)
    shape: tuple[int, ...] = getattr(value, "shape", ())
    gray = isinstance(value, np.ndarray) and len(shape) == 3 and shape[-1] not in (1, 3, 4)
    if len(shape) > 3 or gray or getattr(value, "dtype", None) == np.dtype(object):
        return list(value)
    return None


def is_batch(rows: Mapping[str, Any], column: str) -> bool:
    """Whether a mapping holds a batch of rows, not one: all its values have parts, and equally many."""
    if _items(rows[column]) is None:
        return False
    lengths = {len(value) if _has_parts(value) else None for value in rows.values()}
    return len(lengths) == 1


def _has_parts(value: Any) -> bool:
    return isinstance(value, (list, tuple)) or len(getattr(value, "shape", ())) > 0


def places(tree: Any) -> Iterator[int]:
    """Iterate over the indices in what `flatten` returned."""
    if isinstance(tree, list):
        for branch in tree:
            yield from places(branch)
    else:
        yield tree


def fill(tree: Any, results: Sequence[Any]) -> Any:
    """Put results where `flatten` found the images."""
    return [fill(branch, results) for branch in tree] if isinstance(tree, list) else results[tree]
