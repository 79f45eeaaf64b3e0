"""What the real Transformers.js gave for many kinds of preprocessor configs, and where we give something else.

The records lie in `../shared/oracle/kinds` (its README first). Shared by the tests here and by the documents.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from oracle import ORACLE

KINDS = ORACLE / "kinds"


@dataclass(frozen=True)
class Otherwise:
    """What we do where Transformers.js gives a mask and we do not give the same.

    Attributes:
        error: Part of the message with which the config is refused.
        why: The reason.
    """

    error: str
    why: str


EXCEPTIONS: dict[str, Otherwise] = {
    "k_mean_missing_norm": Otherwise(
        "do_normalize is true, but image_mean or image_std is missing",
        "Transformers.js divides by nothing: every pixel is NaN, and every mask black.",
    ),
    "out_2ch": Otherwise(
        "does not give one alpha plane",
        "Two classes are no alpha plane. Transformers.js fails too, but for an image of the model's own size, of which "
        "it gives a mask of two channels.",
    ),
    "out_3ch": Otherwise(
        "does not give one alpha plane",
        "Three classes are no alpha plane. Transformers.js gives them as a colour image for a mask.",
    ),
}
"""Configs that Transformers.js takes, in its way, and that we refuse. All other masks are equal, byte for byte."""


def records() -> dict[str, dict[str, Any]]:
    """Return what was recorded for each config, by its name; empty without the oracle."""
    path = KINDS / "models.json"
    models: dict[str, dict[str, Any]] = json.loads(path.read_text())["models"] if path.is_file() else {}
    return models


def folder_of(name: str, record: dict[str, Any]) -> Path:
    """Return the folder of a config's model."""
    return KINDS / "models" / name / str(record["id"])


def images_of(record: dict[str, Any]) -> Iterator[tuple[str, Path, dict[str, Any]]]:
    """Yield the name, file and record of each image of a config."""
    for name, image in record["pictures"].items():
        yield name, KINDS / "models-pictures" / name, image


def digest(array: NDArray[Any]) -> str:
    """Hash an array's values as the records do."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]
