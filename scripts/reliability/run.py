"""Measure what holds under bad input, faults and load: `python scripts/reliability/run.py`.

Writes docs/reliability.md. Works on Linux. Each section uses the command or the pipeline as a user does, in processes
of its own.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent))
import hostile

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-c", "from transformers_foreground.cli import main; main()"]


def environment() -> dict[str, str]:
    """Return the variables of a child."""
    return {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT / "src")}


def foreground(*arguments: object, memory: int | None = None, timeout: float = 1200) -> dict[str, Any]:
    """Run the command to its end.

    Args:
        arguments: Its own.
        memory: The most address space that it may have, in bytes.
        timeout: Seconds after which it counts as hanging.

    Returns:
        Exit code, lines of JSON, text on standard error, seconds, peak memory in MB.
    """

    def limit() -> None:
        if memory is not None:
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))

    started = time.perf_counter()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        command = [*COMMAND, *map(str, arguments)]
        with subprocess.Popen(command, env=environment(), stdout=out, stderr=err, preexec_fn=limit) as process:
            timer = threading.Timer(timeout, process.kill)
            timer.start()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            timer.cancel()
        out.seek(0)
        err.seek(0)
        lines = [json.loads(line) for line in out.read().decode().splitlines()]
        return {
            "code": process.returncode,
            "lines": lines,
            "said": err.read().decode(errors="replace"),
            "seconds": time.perf_counter() - started,
            "peak": usage.ru_maxrss / 1024,
        }


def check_fates(paths: Sequence[Path], run: dict[str, Any], target: Path) -> Counter[str]:
    """Check that each picture has one fate: a result of its size, or an error that names it.

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
    """Hostile and broken pictures."""
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
    hostile.write(folder, iter([(f"{i:03}.png", hostile.pictures()["png"]) for i in range(200)]))
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


def digest(folder: Path) -> dict[str, str]:
    """Return what is in a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def kills(work: Path, model: str, count: int, times: int, seed: int) -> dict[str, Any]:
    """Kill a run of a folder at random moments; what is there is whole, and a rerun does the rest."""
    folder = work / "kills"
    photos = []
    for i in range(count):
        pixels = np.random.default_rng(i).integers(0, 255, (300, 400, 3), np.uint8)
        photos.append((f"{i:02}.jpg", hostile.encoded(Image.fromarray(pixels), "JPEG")))
    hostile.write(folder, iter(photos))
    arguments = [folder, "--json", "-m", model]
    wanted_run = foreground(*arguments, "-o", work / "undisturbed")
    wanted = digest(work / "undisturbed")
    assert len(wanted) == count, wanted_run["said"]
    chance = random.Random(seed)
    found: list[int] = []
    temporary = 0
    for turn in range(times):
        target = work / f"killed-{turn}"
        command = [*COMMAND, *map(str, arguments), "-o", str(target)]
        process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(chance.uniform(0.3, 1.1) * wanted_run["seconds"])
        process.send_signal(signal.SIGKILL)
        process.wait()
        there = digest(target) if target.exists() else {}
        whole = {name: value for name, value in there.items() if not name.endswith(".part")}
        temporary += len(there) - len(whole)
        assert all(wanted[name] == value for name, value in whole.items()), "half a result under its final name"
        found.append(len(whole))
        foreground(*arguments, "-o", target, "--resume")
        after = {name: value for name, value in digest(target).items() if not name.endswith(".part")}
        assert after == wanted, "the rerun differs from an undisturbed run"
        shutil.rmtree(target)
    return {"times": times, "count": count, "least": min(found), "most": max(found), "temporary": temporary}


def full_disk(work: Path, model: str) -> dict[str, Any] | None:
    """Let the disk be full; `None` where this machine lets us make no small one."""
    small = work / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", small], capture_output=True).returncode:
        return None
    try:
        folder = work / "kills"
        run = foreground(folder, "--json", "-o", small / "out", "-m", model)
        failed = [line for line in run["lines"] if "error" in line]
        assert run["code"] == 1
        assert failed
        assert all("No space left on device" in line["error"] for line in failed)
        done = digest(small / "out")
        wanted = digest(work / "undisturbed")
        assert all(wanted[name] == value for name, value in done.items())
        assert len(done) == len(run["lines"]) - len(failed)
        return {"done": len(done), "failed": len(failed)}
    finally:
        subprocess.run(["umount", small], check=False)


def rss() -> float:
    """Return this process's resident memory, in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def many(model: str, count: int) -> dict[str, Any]:
    """Many pictures of mixed sizes through one pipeline: memory after the first 50, and at most later."""
    from transformers_foreground import pipeline

    chance = np.random.default_rng(0)
    sizes = [(int(h), int(w)) for h, w in chance.integers(32, 1500, (20, 2))]
    base = chance.integers(0, 255, (1500, 1500, 3), np.uint8)
    with pipeline("background-removal", model) as remover:
        first, later = 0.0, 0.0
        stream = remover(base[: sizes[i % 20][0], : sizes[i % 20][1]] for i in range(count))
        for i, _ in enumerate(stream):
            if i < 50:
                first = max(first, rss())
            else:
                later = max(later, rss())
        loaded = rss()
    import gc

    gc.collect()
    return {"count": count, "first": first, "later": later, "loaded": loaded, "disposed": rss()}


def threads(model: str, count: int) -> dict[str, Any]:
    """Many threads on one pipeline give the bytes that one gives."""
    from transformers_foreground import pipeline

    chance = np.random.default_rng(1)
    inputs = [chance.integers(0, 255, (64 + 5 * i, 80, 3), np.uint8) for i in range(count)]
    with pipeline("image-segmentation", model) as segmenter:
        alone = [np.asarray(segmenter(image)[0]["mask"]).tobytes() for image in inputs]
        with ThreadPoolExecutor(16) as pool:
            together = list(pool.map(lambda image: np.asarray(segmenter(image)[0]["mask"]).tobytes(), inputs))
    return {"count": count, "threads": 16, "same": sum(a == b for a, b in zip(alone, together, strict=True))}


def apart(function: str, *arguments: object) -> dict[str, Any]:
    """Run one of this file's functions in a process of its own."""
    code = f"import sys, json; sys.path.insert(0, {str(Path(__file__).parent)!r}); import run; "
    code += f"print(json.dumps(run.{function}(*json.loads(sys.argv[1]))))"
    command = [sys.executable, "-c", code, json.dumps(arguments)]
    done = subprocess.run(command, env=environment(), check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def page(found: dict[str, Any], model: str) -> str:
    """Return docs/reliability.md."""
    corpus, mutations, gone, killed = (
        found["images"]["corpus"],
        found["images"]["mutations"],
        found["files"],
        found["kills"],
    )
    full, load, shared = found["full"], found["many"], found["threads"]
    rows = [
        (
            "hostile corpus",
            f"{corpus['count']} files",
            f"{corpus['mask']} masks, {corpus['error']} errors that name "
            f"the file; {corpus['seconds']:.0f} s, at most {corpus['peak']:,.0f} MB",
        ),
        (
            "random damage",
            f"{mutations['count']} files",
            f"{mutations['mask']} masks, {mutations['error']} errors; "
            f"{mutations['seconds']:.0f} s, at most {mutations['peak']:,.0f} MB",
        ),
        (
            "a pipe, links to nowhere and to itself, files that vanish during the run",
            f"{gone['count']} names",
            f"{gone['mask']} masks, {gone['error']} errors",
        ),
        (
            "kill -9 of a folder's run, then `--resume`",
            f"{killed['times']} times, {killed['count']} pictures",
            f"killed after {killed['least']} to {killed['most']} results; none half, the rerun each time equal "
            f"byte for byte; {killed['temporary']} temporary files left",
        ),
        (
            "disk full",
            "60 pictures on 400 kB",
            f"{full['done']} whole results, {full['failed']} errors"
            if full
            else "not measured: no small disk can be made here",
        ),
        (
            "many pictures of mixed sizes, one pipeline",
            f"{load['count']}",
            f"{load['first']:.0f} MB at most in the first 50, {load['later']:.0f} MB later "
            f"({load['later'] / load['first'] - 1:+.1%}); {load['disposed']:.0f} MB after `dispose()`, from "
            f"{load['loaded']:.0f}",
        ),
        (
            "16 threads on one pipeline",
            f"{shared['count']} pictures",
            f"{shared['same']} equal to one thread's, byte for byte",
        ),
    ]
    lines = [
        "# Reliability",
        "",
        "Written by `scripts/reliability/run.py`; every figure is computed from what it saw.",
        "A run that breaks a promise (a crash, a hang, half a file, a result of a wrong size, an error that names no",
        f"file) ends without this page. Model: {model}.",
        "",
        "| what | how much | what came of it |",
        "|---|---|---|",
    ]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows), ""])


def main() -> int:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default=str(ROOT / "models/xuebinqin/u2netp"))
    parser.add_argument("--mutations", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--docs", type=Path, default=ROOT / "docs/reliability.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="reliability-") as folder:
        work, model = Path(folder), options.model
        sections: dict[str, Callable[[], Any]] = {
            "images": lambda: images(work, model, options.mutations, options.seed),
            "files": lambda: files(work, model),
            "kills": lambda: kills(work, model, 60, options.kills, options.seed),
            "full": lambda: full_disk(work, model),
            "many": lambda: apart("many", model, options.pictures),
            "threads": lambda: apart("threads", model, 48),
        }
        found = {}
        for name, section in sections.items():
            found[name] = section()
            print(name, found[name], flush=True)
    options.docs.write_text(page(found, Path(model).name))
    return 0


if __name__ == "__main__":
    sys.exit(main())
