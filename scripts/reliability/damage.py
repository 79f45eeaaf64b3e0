"""Broken images, and names that are no images: a mask or an error that names the file, for each."""

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


def check_fates(paths: Sequence[Path], run: dict[str, Any], target: Path) -> Counter[str]:
    """Check that each image has one fate: a result of its size, or an error that names it.

    Raises:
        AssertionError: One has not.
    """
    assert run["code"] in (0, 1), (run["code"], run["said"][-2000:])
    fates = {line["input"]: line for line in run["lines"]}
    assert len(run["lines"]) == len(fates) == len(paths), (len(run["lines"]), len(paths))
    counts: Counter[str] = Counter()
    for path in paths:
        fate = fates[str(path)]
        if "error" in fate:
            assert path.name in fate["error"], fate
            counts["error"] += 1
            continue
        with Image.open(fate["output"]) as result:
            assert result.size == (fate["width"], fate["height"]), fate
            assert result.mode == "L", fate
            result.load()
        counts["mask"] += 1
    written = {path.name for path in target.rglob("*") if path.is_file()}
    assert len(written) == counts["mask"], "something was written that nobody told of"
    return counts


def images(work: Path, model: str, count: int, seed: int) -> dict[str, Any]:
    """Hostile and broken images."""
    result = {}
    for name, found in (("corpus", hostile.corpus()), ("mutations", hostile.mutations(count, seed))):
        paths = hostile.write(work / name, found)
        target = work / f"{name}-out"
        run = foreground(work / name, "-o", target, "--mask-only", "--json", "-m", model, memory=6 << 30)
        counts = check_fates(paths, run, target)
        result[name] = {"count": len(paths), **counts, "seconds": run["seconds"], "peak": run["peak"]}
    return result


def files(work: Path, model: str) -> dict[str, Any]:
    """What is no regular file, or goes away: each an error, and the others are done."""
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
    counts = check_fates(started, run, work / "files-out")
    return {"count": len(started), **counts}
