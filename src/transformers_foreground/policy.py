"""What a picture that cannot be read does to its row."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final, Literal

from transformers_foreground.errors import ImageError, UnsupportedOptionError

OnError = Literal["raise", "none", "skip"]
_ALL: Final = ("raise", "none", "skip")


def checked(on_error: str) -> None:
    """Refuse a policy that does not exist.

    Raises:
        UnsupportedOptionError: It is none of `"raise"`, `"none"` and `"skip"`.
    """
    if on_error not in _ALL:
        raise UnsupportedOptionError(f"on_error={on_error!r}: use 'raise', 'none' or 'skip'.")


def told(
    row: str, outcomes: Sequence[Any], on_error: OnError, logger: logging.Logger, *, in_column: bool
) -> str | None:
    """Raise, log or just return what is wrong with a row; `None` if nothing is.

    Args:
        row: How to call the row.
        outcomes: What its pictures gave, `ImageError` for those that cannot be read.
        on_error: `"raise"`; `"none"`, which puts null in the picture's place; or `"skip"`, which drops the row.
        logger: Hears of what no column tells.
        in_column: Whether a column of the rows that stay tells what is wrong.

    Raises:
        ImageError: Something is wrong, and `on_error` is `"raise"`.
    """
    failures = [outcome for outcome in outcomes if isinstance(outcome, ImageError)]
    if not failures:
        return None
    message = f"{row}: {' '.join(map(str, failures))}"
    if on_error == "raise":
        raise ImageError(message) from failures[0]
    if on_error == "skip" or not in_column:
        logger.warning("%s", message)
    return message
