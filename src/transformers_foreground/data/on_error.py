"""What to do about a row whose image cannot be read: `on_error`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Literal, get_args

from transformers_foreground.errors import ImageError, UnsupportedOptionError

_logger = logging.getLogger(__name__)

OnError = Literal["raise", "none", "skip"]


def checked(on_error: str) -> None:
    """Refuse a value of `on_error` that does not exist.

    Raises:
        UnsupportedOptionError: It is none of `"raise"`, `"none"` and `"skip"`.
    """
    if on_error not in get_args(OnError):
        raise UnsupportedOptionError(f"on_error={on_error!r}: use 'raise', 'none' or 'skip'.")


def report(row: str, outcomes: Sequence[Any], on_error: OnError, *, in_column: bool) -> str | None:
    """Return why a row has no mask, or `None` if it has one; log it where no column will show it.

    Args:
        row: Its name in messages.
        outcomes: The results of its images, `ImageError` for those that cannot be read.
        on_error: `"raise"`; `"none"`, which puts null in the image's place; or `"skip"`, which drops the row.
        in_column: Whether rows that stay have a column for the message.

    Raises:
        ImageError: An image cannot be read, and `on_error` is `"raise"`.
    """
    failures = [outcome for outcome in outcomes if isinstance(outcome, ImageError)]
    if not failures:
        return None
    message = f"{row}: {' '.join(map(str, failures))}"
    if on_error == "raise":
        raise ImageError(message) from failures[0]
    if on_error == "skip" or not in_column:
        _logger.warning("%s", message)
    return message
