"""What an image that cannot be read does to its row."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final, Literal

from transformers_foreground.errors import ImageError, UnsupportedOptionError

OnError = Literal["raise", "none", "skip"]
_ALL: Final = ("raise", "none", "skip")


def checked(on_error: str) -> None:
    """Refuse a value of `on_error` that does not exist.

    Raises:
        UnsupportedOptionError: It is none of `"raise"`, `"none"` and `"skip"`.
    """
    if on_error not in _ALL:
        raise UnsupportedOptionError(f"on_error={on_error!r}: use 'raise', 'none' or 'skip'.")


def report(
    row: str, outcomes: Sequence[Any], on_error: OnError, logger: logging.Logger, *, in_column: bool
) -> str | None:
    """Raise, log or just return what is wrong with a row; `None` if nothing is.

    Args:
        row: Its name in messages.
        outcomes: What its images gave, `ImageError` for those that cannot be read.
        on_error: `"raise"`; `"none"`, which puts null in the image's place; or `"skip"`, which drops the row.
        logger: Gets the message where no column shows it.
        in_column: Whether rows that stay have a column for the message.

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
