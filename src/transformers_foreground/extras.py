"""Packages that only an extra of this one brings."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from transformers_foreground.errors import MissingExtraError


def need(module: str, extra: str, user: str = "This") -> Any:
    """Import a module of an extra.

    Args:
        module: Its name.
        extra: The extra's.
        user: What needs it, as the error says.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{user} needs {module.partition('.')[0]} ({error}): pip install 'transformers-foreground[{extra}]' "
            f"(in a clone: pip install -e '.[{extra}]')"
        ) from error
