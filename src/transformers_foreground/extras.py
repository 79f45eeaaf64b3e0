"""Packages that only an extra of this one brings."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from transformers_foreground.errors import MissingExtraError


def need(module: str, extra: str) -> Any:
    """Import a module of an extra.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"This needs {module.partition('.')[0]} ({error}): pip install 'transformers-foreground[{extra}]'"
        ) from error
