"""Runs that are killed, and disks that cannot be written: no half results, and a second run does the rest."""

from __future__ import annotations

import importlib.util
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hostile
import numpy as np
import yaml
from commands import COMMAND, digest, environment, foreground
from PIL import Image


def photos(folder: Path, count: int) -> Path:
    """Write noisy images, unless the folder exists."""
    if not folder.exists():
        found = []
        for i in range(count):
            pixels = np.random.default_rng(i).integers(0, 255, (300, 400, 3), np.uint8)
            found.append((f"{i:02}.jpg", hostile.encoded(Image.fromarray(pixels), "JPEG")))
        hostile.write(folder, iter(found))
    return folder


def _kill(arguments: list[object], seconds: float) -> bool:
    """Start the command and kill it after so many seconds; return whether it was still running."""
    command = [*COMMAND, *map(str, arguments)]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def finished(folder: Path) -> dict[str, str]:
    """Return the digests of the finished results."""
    found = digest(folder) if folder.exists() else {}
    return {name: value for name, value in found.items() if not name.endswith(".part")}


def _undisturbed(work: Path, model: str, count: int) -> tuple[dict[str, str], float]:
    """Process all photos undisturbed; return the digests of the results, and the seconds of the run."""
    run = foreground(photos(work / "photos", count), "--force", "-m", model, "-o", work / "undisturbed")
    results = digest(work / "undisturbed")
    assert len(results) == count, run["said"]
    return results, run["seconds"]


def kills(work: Path, model: str, count: int, times: int, seed: int) -> dict[str, Any]:
    """Kill a run of a folder at random moments; its results are whole, and a rerun does the rest."""
    wanted, seconds = _undisturbed(work, model, count)
    arguments: list[object] = [work / "photos", "-m", model]
    chance, found, killed, temporary = random.Random(seed), [], 0, 0
    for turn in range(times):
        target = work / f"killed-{turn}"
        killed += _kill([*arguments, "-o", target], chance.uniform(0.3, 1.0) * seconds)
        whole = finished(target)
        assert all(wanted[name] == value for name, value in whole.items()), "half a result under its final name"
        found.append(len(whole))
        foreground(*arguments, "-o", target, "--resume")
        assert finished(target) == wanted, "the rerun differs from an undisturbed run"
        temporary += len(digest(target)) - len(wanted)
        shutil.rmtree(target)
    return {
        "times": times,
        "killed": killed,
        "count": count,
        "least": min(found),
        "most": max(found),
        "temporary": temporary,
    }


def evaluation_kills(work: Path, model: str, count: int, times: int, seed: int) -> dict[str, Any] | None:
    """Kill an evaluation at random moments; `None` if the extra `eval` is not installed.

    The same command, run again, then gives the rows of an undisturbed run.
    """
    if importlib.util.find_spec("py_sod_metrics") is None:
        return None
    import pyarrow.parquet as pq

    data = work / "data"
    photos(data / "images", count)
    (data / "truth").mkdir()
    for i in range(count):
        truth = np.zeros((300, 400), np.uint8)
        truth[50 + i : 250, 80:320] = 255
        Image.fromarray(truth).save(data / "truth" / f"{i:02}.png")
    recipe = work / "recipe.yaml"
    dataset = {"name": "noise", "images": "images", "truth": "truth", "measures": ["binary"]}
    recipe.write_text(yaml.safe_dump({"models": [model], "datasets": [dataset]}), encoding="utf-8")

    def arguments(target: Path) -> list[object]:
        return ["evaluate", recipe, "--data", data, "-o", target, "--quiet"]

    def rows(target: Path) -> list[dict[str, Any]]:
        found = [row for path in target.glob("rows/*/*.parquet") for row in pq.read_table(path).to_pylist()]
        measured = [{key: value for key, value in row.items() if "seconds" not in key} for row in found]
        return sorted(measured, key=lambda row: (row["model"], row["key"]))

    whole = foreground(*arguments(work / "measured"))
    wanted = rows(work / "measured")
    assert whole["code"] == 0, whole["said"]
    assert len(wanted) == count
    chance, found, killed = random.Random(seed), [], 0
    for turn in range(times):
        target = work / f"evaluation-{turn}"
        killed += _kill(arguments(target), chance.uniform(0.3, 1.0) * whole["seconds"])
        found.append(len(rows(target)))  # reads every file, so each is whole
        again = foreground(*arguments(target))
        assert again["code"] == 0, again["said"]
        assert rows(target) == wanted, "the rerun's rows differ from those of an undisturbed run"
        shutil.rmtree(target)
    return {"times": times, "killed": killed, "count": count, "least": min(found), "most": max(found)}


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[bool]:
    """Mount a small disk in memory; yields whether that worked."""
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        yield False
        return
    try:
        yield True
    finally:
        subprocess.run(["umount", folder], check=False)


def full_disk(work: Path, model: str, count: int = 60) -> dict[str, Any] | None:
    """Fill the disk; `None` if no small disk can be mounted here."""

    def run(target: Path, folder: Path) -> dict[str, Any]:
        return foreground(folder, "--json", "-o", target, "-m", model)

    return _disk_that_takes_nothing(work, model, count, run, "3m", "No space left on device")


def read_only(work: Path, model: str, count: int = 60) -> dict[str, Any] | None:
    """Make the disk read-only; `None` if none can be mounted here."""

    def run(target: Path, folder: Path) -> dict[str, Any]:
        target.mkdir()
        (target / "00.cutout.png").write_bytes(b"before")
        subprocess.run(["mount", "-o", "remount,ro", target.parent], check=True)
        result = foreground(folder, "--json", "--force", "-o", target, "-m", model)
        assert (target / "00.cutout.png").read_bytes() == b"before"
        subprocess.run(["mount", "-o", "remount,rw", target.parent], check=True)
        (target / "00.cutout.png").unlink()
        return result

    return _disk_that_takes_nothing(work, model, count, run, "4m", "is read-only")


def _disk_that_takes_nothing(
    work: Path, model: str, count: int, run: Callable[[Path, Path], dict[str, Any]], size: str, reason: str
) -> dict[str, Any] | None:
    (wanted, _), folder, small = _undisturbed(work, model, count), work / "photos", work / "small"
    with small_disk(small, size) as mounted:
        if not mounted:
            return None
        result = run(small / "out", folder)
        failed = [line for line in result["lines"] if "error" in line]
        assert result["code"] == 1, result["said"]
        assert len(result["lines"]) == len(list(folder.iterdir()))
        assert failed
        assert all(reason in line["error"] for line in failed), failed[0]
        done = digest(small / "out")
        assert all(wanted[name] == value for name, value in done.items()), "half a result"
        assert len(done) == len(result["lines"]) - len(failed)
        return {"done": len(done), "failed": len(failed)}
