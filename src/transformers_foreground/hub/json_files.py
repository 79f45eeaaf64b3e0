"""A model's JSON files: read within limits of size and depth, and checked for values of the wrong kind."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

from transformers_foreground.errors import InvalidModelError

_MAX_BYTES: Final = 16 << 20  # the largest config.json on the Hub list some 20,000 classes in 1 MB
_MAX_CLASSES: Final = 1_000_000


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        InvalidModelError: It cannot be read, is too large or too deep, is no JSON, or holds something else.
    """
    again = "Delete it and load the model again."
    try:
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise InvalidModelError(f"{path} is {size / 1e6:.0f} MB large: no configuration of a model. {again}")
        content = json.loads(path.read_text(encoding="utf-8-sig"), parse_constant=_refuse)
    except RecursionError as error:
        raise InvalidModelError(f"{path} is nested too deeply. {again}") from error
    except ValueError as error:
        raise InvalidModelError(f"{path} is not valid JSON: {error}. {again}") from error
    except OSError as error:
        raise InvalidModelError(f"{path} cannot be read: {error.strerror or error}.") from error
    if not isinstance(content, dict):
        raise InvalidModelError(f"{path} holds {type(content).__name__}, not an object.")
    return content


def check_config(config: Mapping[str, Any], where: str) -> None:
    """Check the keys of a `config.json` that decide something.

    Args:
        config: Its contents.
        where: What they come from, for the error.

    Raises:
        InvalidModelError: One holds what it never can.
    """
    for key, kinds, words in (
        ("model_type", str, "a text"),
        ("transformers.js_config", Mapping, "an object"),
        ("num_labels", int, "a whole number"),
    ):
        value = config.get(key)
        if value is not None and not isinstance(value, kinds):
            raise InvalidModelError(f"{where}: {key} must be {words}, not {str(value)[:40]!r}.")
    classes = config.get("num_labels")
    if classes is not None and not 0 <= classes <= _MAX_CLASSES:
        raise InvalidModelError(f"{where}: num_labels is {classes}; a model has at most {_MAX_CLASSES} classes.")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
