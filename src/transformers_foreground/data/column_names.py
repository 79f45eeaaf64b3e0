"""Names of columns: those that cannot be meant are refused before anything is computed."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Final

from transformers_foreground.errors import UnsupportedOptionError

_IMAGES: Final = ("mask", "cutout")  # may take the place of the image that they were made from


def check_columns(new: Mapping[str, str | None], image_column: str, id_column: str | None) -> None:
    """Refuse names of columns that are blank, or that take another column's place.

    Args:
        new: The names of the new columns by kind: `"mask"`, `"cutout"`, `"alpha"`, `"doubt"`, `"error"`.
        image_column: The column of the images. A mask or a cut-out may take its place.
        id_column: The column of the rows' ids.

    Raises:
        UnsupportedOptionError: One is refused; the message has its option.
    """
    options = {f"{kind}_column": name for kind, name in new.items()}
    for option, name in {"image_column": image_column, "id_column": id_column, **options}.items():
        if name is not None and not name.strip():
            raise UnsupportedOptionError(f"{option}={name!r} is no name: give the column one.")
    taken: set[str] = set()
    for (kind, name), option in zip(new.items(), options, strict=True):
        if name is None:
            continue
        if name in taken:
            raise UnsupportedOptionError(f"Two new columns are called {name!r}: give each a name of its own.")
        if name == id_column or (name == image_column and kind not in _IMAGES):
            whose = "ids" if name == id_column else "images"
            raise UnsupportedOptionError(f"{option}={name!r} would replace the column of the {whose}: give another.")
        taken.add(name)


def check_known(names: Collection[str], columns: Collection[str], option: str) -> None:
    """Refuse names of columns that do not exist.

    Args:
        names: Those that were given.
        columns: Those that there are.
        option: The option that has them, for the message.

    Raises:
        UnsupportedOptionError: One does not exist; the message has the nearest, and all.
    """
    for name in names:
        if name not in columns:
            near = difflib.get_close_matches(name, columns, 1)
            meant = f" Did you mean {near[0]!r}?" if near else ""
            raise UnsupportedOptionError(
                f"{option}: there is no column {name!r}.{meant} The columns are: {', '.join(columns)}."
            )
