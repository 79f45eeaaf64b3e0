"""Broken images, and files that are no images: each gives a mask, or an error that names the file."""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hostile
from commands import foreground
from PIL import Image


def check_outcomes(paths: Sequence[Path], run: dict[str, Any], target: Path) -> Counter[str]:
    """Check that each image has exactly one outcome: a result of its size, or an error that names it.

    Raises:
        AssertionError: An image has none, several or a wrong one.
    """
    assert run["code"] in (0, 1), (run["code"], run["said"][-2000:])
    outcomes = {line["input"]: line for line in run["lines"]}
    assert len(run["lines"]) == len(outcomes) == len(paths), (len(run["lines"]), len(paths))
    counts: Counter[str] = Counter()
    for path in paths:
        outcome = outcomes[str(path)]
        if "error" in outcome:
            assert path.name in outcome["error"], outcome
            counts["error"] += 1
            continue
        with Image.open(outcome["output"]) as result:
            assert result.size == (outcome["width"], outcome["height"]), outcome
            assert result.mode == "L", outcome
            result.load()
        counts["mask"] += 1
    written = {path.name for path in target.rglob("*") if path.is_file()}
    assert len(written) == counts["mask"], "a file was written that no line of JSON names"
    return counts


def images(work: Path, model: str, count: int, seed: int) -> dict[str, Any]:
    """Run the command on hostile images, and on images with random damage."""
    result = {}
    for name, found in (("corpus", hostile.corpus()), ("mutations", hostile.mutations(count, seed))):
        paths = hostile.write(work / name, found)
        target = work / f"{name}-out"
        run = foreground(work / name, "-o", target, "--mask-only", "--json", "-m", model, memory=6 << 30)
        counts = check_outcomes(paths, run, target)
        result[name] = {"count": len(paths), **counts, "seconds": run["seconds"], "peak": run["peak"]}
    return result


def files(work: Path, model: str) -> dict[str, Any]:
    """Run the command on files that are no regular files or vanish: each is an error, and the others are processed."""
    folder = work / "files"
    hostile.write(folder, iter([(f"{i:03}.png", hostile.images()["png"]) for i in range(200)]))
    os.mkfifo(folder / "pipe.png")
    (folder / "folder.png").mkdir()
    (folder / "nowhere.png").symlink_to("no-such-file")
    (folder / "itself.png").symlink_to("itself.png")
    named = sorted(folder.iterdir())
    stop = threading.Event()

    def vanish() -> None:
        chance = random.Random(0)
        while not stop.wait(0.005):
            left = list(folder.glob("[0-9]*.png"))
            if len(left) > 100:
                chance.choice(left).unlink(missing_ok=True)

    thread = threading.Thread(target=vanish)
    started = [path for path in named if path.name != "folder.png"]
    thread.start()
    try:
        run = foreground(*started, "-o", work / "files-out", "--mask-only", "--json", "-m", model, timeout=300)
    finally:
        stop.set()
        thread.join()
    counts = check_outcomes(started, run, work / "files-out")
    return {"count": len(started), **counts}
