"""Describe the machine, and wait until it is idle."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

QUIET = 0.5  # load average at which a machine counts as idle
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")


def describe(threads: int, command: Sequence[str]) -> dict[str, object]:
    """Return what readers need to judge the figures: processor, memory, versions, commit, load, command."""
    cpu, memory = _read("/proc/cpuinfo"), re.search(r"MemTotal:\s+(\d+)", _read("/proc/meminfo"))
    model = re.search(r"model name\s*: (.+)", cpu)
    flags = re.search(r"flags\s*: (.+)", cpu)
    shown = [flag for flag in FLAGS if flags and flag in flags[1].split()]
    return {
        "cpu": model[1] if model else platform.processor(),
        "flags": shown,
        "cores": os.cpu_count(),
        "memory_gib": round(int(memory[1]) / 2**20, 1) if memory else None,
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "commit": _git("rev-parse", "--short", "HEAD"),
        "changed": bool(_git("status", "--porcelain", "src")),
        "threads": threads,
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "load": os.getloadavg()[0],
        "command": " ".join(["python", *(part.removeprefix(f"{os.getcwd()}/") for part in command)]),
        "executable": sys.executable,
    }


def settle(limit: float = 90.0) -> None:
    """Wait, at most `limit` seconds, until the load average no longer shows earlier work (images, installs)."""
    start = time.perf_counter()
    while os.getloadavg()[0] > QUIET and time.perf_counter() - start < limit:
        time.sleep(5)
    if os.getloadavg()[0] > QUIET:
        print(f"warning: load average {os.getloadavg()[0]:.1f}: other programs are running", flush=True)


def _read(path: str) -> str:
    return Path(path).read_text() if os.path.exists(path) else ""


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False
    )
    return done.stdout.strip()
