"""Names of rows in messages, by number, id and path."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

from transformers_foreground.data.columns import field_of, path_to

_LONGEST: Final = 200  # characters of an id


def row_names(
    values_of: Callable[[str], Sequence[Any]],
    columns: Collection[str],
    numbers: Sequence[int | None],
    *,
    id_column: str | None,
    image_column: str,
) -> list[str]:
    """Name each row of a batch.

    Args:
        values_of: Returns the values of a column, one for each row.
        columns: The columns of the rows.
        numbers: Each row's number in the dataset, or `None` where it is not known.
        id_column: The column of the rows' ids, or `"column.field"`.
        image_column: The column of the images, whose own paths are in the messages about them.

    Returns:
        `"Row 7 (id=abc)"`; without a number `"Row id=abc"`; without an id either, `"Row 3 of its batch"`. Texts in a
        column called "path" are shown as well.

    Raises:
        UnsupportedOptionError: There is no column, or no field of it, for the ids.
    """
    known: dict[str, Sequence[Any]] = {}
    if id_column is not None:
        first, *rest = path_to(id_column, columns, "id_column")
        known[id_column] = [_follow(value, rest, id_column) for value in values_of(first)]
    if "path" in columns and "path" not in (id_column, image_column):
        known["path"] = [value if isinstance(value, str) else None for value in values_of("path")]
    return [_name(i, number, {key: values[i] for key, values in known.items()}) for i, number in enumerate(numbers)]


def _follow(value: Any, path: Sequence[str], column: str) -> Any:
    for key in path:
        value = None if value is None else field_of(value, key, column, "id_column")
    return value


def _name(place: int, number: int | None, known: Mapping[str, Any]) -> str:
    text = ", ".join(f"{key}={str(value)[:_LONGEST]}" for key, value in known.items() if value is not None)
    if number is None:
        return f"Row {text}" if text else f"Row {place} of its batch"
    return f"Row {number} ({text})" if text else f"Row {number}"
