"""Measure the page of `foreground serve` under many visitors: `python scripts/reliability/page_load.py`.

Starts the real command, and visitors that do what a browser does: look at the page, upload an image, ask for its
cut-out through the queue, download it. Some leave half-way; some bring images that are broken or too large.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from commands import COMMAND, ROOT, environment
from visitors import FIRST_ERRORS, MAX_PIXELS, MAX_SIZE, TIMEOUT, Address, Seen, images, user

MINUTE = 60.0


@contextlib.contextmanager
def served(model: str, folder: Path) -> Iterator[tuple[subprocess.Popen[str], Address]]:
    """Start the command, and end it."""
    limits = ["--max-size", str(MAX_SIZE), "--max-pixels", str(MAX_PIXELS)]
    with (folder / "log.txt").open("w+") as log:
        command = [*COMMAND, "serve", "--port", "0", "--local-files-only", "-m", model, *limits]
        variables = {**environment(), "TMPDIR": str(folder)}
        process = subprocess.Popen(command, cwd=ROOT, env=variables, stderr=log, text=True)
        try:
            until = time.monotonic() + TIMEOUT
            while not (match := re.search(r"http://127\.0\.0\.1:(\d+)", (folder / "log.txt").read_text())):
                assert time.monotonic() < until, (folder / "log.txt").read_text()
                assert process.poll() is None, (folder / "log.txt").read_text()
                time.sleep(0.1)
            yield process, described(int(match[1]))
        finally:
            process.terminate()
            process.wait(TIMEOUT)


def described(port: int) -> Address:
    """Ask a server for what its page needs."""
    config = json.loads(Address(port, 0, 0).ask("GET", "/config")[1])
    parts = {part["id"]: part["props"] for part in config["components"]}
    button = next(number for number, props in parts.items() if props.get("elem_id") == "go")
    call = next(call for call in config["dependencies"] if [button, "click"] in call["targets"])
    return Address(port, call["id"], button, tuple(parts[number].get("value") for number in call["inputs"][1:]))


def memory(process: subprocess.Popen[str]) -> dict[str, float]:
    """Return what a process has in memory now and had at most, in MB."""
    text = Path(f"/proc/{process.pid}/status").read_text()
    return {key: int(re.search(rf"{key}:\s+(\d+)", text)[1]) / 1024 for key in ("VmRSS", "VmHWM")}  # type: ignore[index]


def load(model: str, users: int, seconds: float) -> dict[str, Any]:
    """Let many visitors use the page at the same time.

    Args:
        model: Id or folder of a model on this machine.
        users: How many visitors.
        seconds: For how long.

    Returns:
        `requests`, each ending as one of `done`, `refused` (an image that was bad, and was named), `busy` (told to try
        again), `left` (gone half-way) or `errors`; `first_errors`: what these were; `page_median` and `page_worst`,
        seconds of the page's GET; `peak_first` and `peak_end`, the server's peak memory after the first minute (or
        half of the time) and at the end, in MB; `rss_end`; `files` and `folders` in its temporary folder when all
        were gone, `megabytes` of these, and `left_behind`, files after its end; `log`: what it said.
    """
    seen, brought = Seen(), images()
    with tempfile.TemporaryDirectory(prefix="page-load-") as name:
        folder = Path(name)
        with served(model, folder) as (process, server):
            started = time.monotonic()
            first: dict[str, float] = {}
            timer = threading.Timer(min(MINUTE, seconds / 2), lambda: first.update(memory(process)))
            timer.start()
            with ThreadPoolExecutor(users) as pool:
                visits = [pool.submit(user, server, i, started + seconds, brought, seen) for i in range(users)]
            for done in visits:
                done.result()
            timer.join()
            spent, at_end = time.monotonic() - started, memory(process)
            there = [path for path in folder.rglob("*") if path.name != "log.txt"]
            files = [path.stat().st_size for path in there if path.is_file()]
        left_behind = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.name != "log.txt"]
        log = (folder / "log.txt").read_text()
    return {
        "users": users,
        "seconds": spent,
        **{key: seen.counts[key] for key in ("requests", "done", "refused", "busy", "left", "errors")},
        "first_errors": seen.errors,
        "page_median": statistics.median(seen.page_seconds),
        "page_worst": max(seen.page_seconds),
        "peak_first": first["VmHWM"],
        "peak_end": at_end["VmHWM"],
        "rss_end": at_end["VmRSS"],
        "files": len(files),
        "folders": len(there) - len(files),
        "megabytes": sum(files) / 1e6,
        "left_behind": left_behind,
        "log": log.splitlines()[1:][:FIRST_ERRORS],
    }


def main() -> int:
    """Measure, and print it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default=str(ROOT / "models/xuebinqin/u2netp"))
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=300)
    options = parser.parse_args()
    found = load(options.model, options.users, options.seconds)
    print(json.dumps(found, indent=1))
    return 1 if found["errors"] else 0


if __name__ == "__main__":
    sys.exit(main())
