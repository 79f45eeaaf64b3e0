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
        raise MissingExtraError(f"{user} needs {module.partition('.')[0]} ({error}): {install(extra)}") from error


def install(extra: str) -> str:
    """Return the command that brings an extra, as error messages name it."""
    return f"pip install -e '.[{extra}]' (in a clone of transformers-foreground)"
