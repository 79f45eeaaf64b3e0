"""The commands that `signals` ends: their arguments, their results, and when those that run on have done their work."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batches import finished, photos
from commands import ROOT
from strangers import ask

sys.path.append(str(ROOT / "tests"))
from hub_server import HubServer

FETCHED = "someone/model"


@dataclass(frozen=True)
class Work:
    """Input of all commands.

    Attributes:
        folder: Folder of the whole run.
        model: Id or folder of the model.
        count: How many photographs.
        hub: A server with the model `FETCHED`.
    """

    folder: Path
    model: str
    count: int
    hub: HubServer

    @property
    def photos(self) -> Path:
        return photos(self.folder / "photos", self.count)


@dataclass(frozen=True)
class Case:
    """A command, run in a folder of its own; its results go to `out`.

    Attributes:
        arguments: Returns its arguments.
        results: Returns what is compared: name to value.
        goes_on: For a command that does not end by itself: returns whether it has done its work.
    """

    arguments: Callable[[Work, Path], list[object]]
    results: Callable[[Path], dict[str, Any]] = finished
    goes_on: Callable[[Work, Path], bool] | None = None


def _has_all(work: Work, here: Path) -> bool:
    return len(list((here / "out").glob("*.png"))) == work.count


def _has_answered(work: Work, here: Path) -> bool:
    """Ask the server for a cut-out, as soon as it has printed its address."""
    found = re.search(r"http://127\.0\.0\.1:\d+", (here / "said").read_text())
    if found is None:
        return False
    with contextlib.suppress(Exception):  # it has been ended meanwhile
        status, _, body = ask(found[0], (work.photos / "00.jpg").read_bytes())
        assert status == 200, body
        (here / "out").mkdir(exist_ok=True)
        (here / "out/answer.png").write_bytes(body)
        return True
    return False


def _recipe(work: Work, here: Path) -> list[object]:
    from PIL import Image

    data = here / "data"
    if not data.exists():
        for name in ("images", "truth"):
            (data / name).mkdir(parents=True)
        for path in sorted(work.photos.iterdir()):
            (data / "images" / path.name).symlink_to(path)
            Image.new("L", (400, 300), 255).save(data / "truth" / f"{path.stem}.png")
        dataset = {"name": "noise", "images": "images", "truth": "truth", "measures": ["binary"]}
        (here / "recipe.yaml").write_text(json.dumps({"models": [work.model], "datasets": [dataset], "shard_size": 4}))
    return ["evaluate", here / "recipe.yaml", "--data", data, "-o", here / "out", "--quiet"]


def _rows(folder: Path) -> dict[str, Any]:
    """Return the rows of Parquet files, without times; fails if a file is not whole."""
    import pyarrow.parquet as pq

    found = {}
    for path in sorted(folder.rglob("*.parquet")):
        for place, row in enumerate(pq.read_table(path).to_pylist()):
            key = row.get("key") or row.get("id") or f"{path.relative_to(folder)}-{place}"
            assert key not in found, f"{key} is there twice"
            found[str(key)] = {name: value for name, value in row.items() if "seconds" not in name}
    return found


def cases() -> dict[str, Case]:
    """Return each command that can be run here."""
    found = {
        "foreground FOLDER --resume": Case(
            lambda work, here: [work.photos, "-o", here / "out", "-m", work.model, "--resume"]
        ),
        "foreground FOLDER --watch": Case(
            lambda work, here: [work.photos, "-o", here / "out", "-m", work.model, "--watch"], goes_on=_has_all
        ),
        "foreground evaluate": Case(_recipe, _rows),
        "foreground quantize": Case(
            lambda work, here: [
                *("quantize", work.model, "--images", work.photos, "--count", 8, "--keep-float", 0, "--method", "max"),
                *("--evaluate", photos(work.folder / "others", work.count + 12), "-o", here / "out/model_int8.onnx"),
            ]
        ),
        "foreground models fetch": Case(lambda work, here: ["models", "fetch", FETCHED, "--folder", here / "out"]),
        "foreground map --resume": Case(
            lambda work, here: [
                *("map", work.photos, here / "out", "-m", work.model, "--image-shards", 6, "--resume", "--quiet"),
            ],
            _rows,
        ),
        "foreground serve": Case(
            lambda work, here: ["serve", "--api-only", "--port", 0, "-m", work.model], goes_on=_has_answered
        ),
    }
    needed = {"foreground evaluate": "py_sod_metrics", "foreground quantize": "onnx", "foreground map": "pyarrow"}
    needed["foreground serve"] = "fastapi"
    return {
        name: case
        for name, case in found.items()
        if all(importlib.util.find_spec(module) for start, module in needed.items() if name.startswith(start))
    }
