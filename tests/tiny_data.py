"""Makers of tiny images, of tiny data sets with ground truth, of recipes for them, and of a colour profile."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tiny_models import write_repo

TITLE = "Tiny & <fast>"


def shade(value: int) -> bytes:
    """Return a PNG of one gray, whose width tells which."""
    buffer = io.BytesIO()
    Image.new("RGB", (20 + value, 10), (value, value, value)).save(buffer, "PNG")
    return buffer.getvalue()


def write_pair(folder: Path, name: str, rng: np.random.Generator, size: tuple[int, int] = (32, 48)) -> None:
    """Write a noisy bright rectangle on dark ground, and its mask."""
    top, left = rng.integers(4, 12, 2)
    mask = np.zeros(size, np.uint8)
    mask[top : top + 16, left : left + 24] = 255
    noisy = np.clip(mask * 0.8 + rng.normal(25, 20, size), 0, 255).astype(np.uint8)
    for part in ("im", "gt"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    Image.fromarray(noisy).convert("RGB").save(folder / "im" / f"{name}.png")
    Image.fromarray(mask).save(folder / "gt" / f"{name}.png")


def write_pairs(folder: Path, numbers: range) -> None:
    """Write pairs p0, p1, ... into data/im and data/gt."""
    rng = np.random.default_rng(numbers.start)
    for i in numbers:
        write_pair(folder / "data", f"p{i}", rng)


def two_models(folder: Path) -> list[dict[str, Any]]:
    """Write two models, and return a recipe's list of them: one gives the brightness, the other a third of it."""
    good = write_repo(folder / "good")
    preprocessor = {**json.loads((good / "preprocessor_config.json").read_text()), "rescale_factor": 1 / 765}
    dim = write_repo(folder / "dim", preprocessor=preprocessor)
    return [{"id": str(good), "label": "good"}, {"id": str(dim), "label": "dim"}]


def recipe_of(models: list[dict[str, Any]], **dataset: Any) -> dict[str, Any]:
    """Return a recipe for the pairs."""
    dataset = {"name": "pairs", "images": "data/im", "truth": "data/gt", **dataset}
    return {"name": TITLE, "models": models, "datasets": [dataset], "shard_size": 3, "resamples": 200}


def gray_profile(gamma: float) -> bytes:
    """A minimal ICC profile for gray with this gamma."""
    curve = struct.pack(">4s4xIH", b"curv", 1, round(gamma * 256)) + bytes(2)
    white = struct.pack(">4s4xiii", b"XYZ ", 63190, 65536, 54061)
    table = struct.pack(">I4sII4sII", 2, b"kTRC", 156, len(curve), b"wtpt", 156 + len(curve), len(white))
    body = table + curve + white
    size = 128 + len(body)
    header = struct.pack(
        ">I4xI4s4s4s12x4s28xiii48x", size, 0x02400000, b"mntr", b"GRAY", b"XYZ ", b"acsp", 63190, 65536, 54061
    )
    return header + body
