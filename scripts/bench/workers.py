"""Run peers: workers that answer requests over pipes, and single cold starts. Peak memory is Linux's VmHWM."""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peers import WORK, Peer, environment

LIMIT = 900.0  # seconds that one answer may take; a folder is one answer


class WorkerError(Exception):
    """A peer failed; the message says how."""


def pin(threads: int) -> None:
    """Pin this process, and all that it starts, to as many cores as each peer may have threads (on Linux)."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def memory(pid: int, key: str = "VmHWM") -> float:
    """Return a process's peak (`VmHWM`) or present (`VmRSS`) resident memory in MB; NaN if it is not known."""
    try:
        found = re.search(rf"{key}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        found = None
    return int(found[1]) / 1e3 if found else float("nan")


class Worker:
    """A peer's process, which answers one request at a time.

    Args:
        peer: The peer.
        extra: More arguments for its command.

    Raises:
        WorkerError: It did not start.
    """

    def __init__(self, peer: Peer, extra: Sequence[str] = ()) -> None:
        self.peer = peer
        self.log = WORK / "logs" / f"{peer.name.replace(' ', '-')}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        with self.log.open("ab") as errors:
            self.process = subprocess.Popen(
                [*peer.command, *extra],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment(peer),
            )
        self.about = self._answer()
        self.load_seconds = time.perf_counter() - start

    def ask(self, **request: Any) -> dict[str, float]:
        """Send a request, and wait for the answer.

        Returns:
            `seconds`, measured in the worker, and `outside`, measured here.

        Raises:
            WorkerError: The peer failed, died or took longer than `LIMIT`.
        """
        assert self.process.stdin
        start = time.perf_counter()
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
        except OSError as error:
            raise WorkerError(f"{self.peer.name} died: {self._last_words()}") from error
        answer = self._answer()
        return {"seconds": answer["seconds"], "outside": time.perf_counter() - start}

    def peak(self) -> float:
        """Peak resident memory so far, MB."""
        return memory(self.process.pid)

    def rss(self) -> float:
        """Resident memory now, MB."""
        return memory(self.process.pid, "VmRSS")

    def close(self) -> None:
        """End the process."""
        if self.process.stdin:
            self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout
        if not select.select([self.process.stdout], [], [], LIMIT)[0]:
            self.process.kill()
            raise WorkerError(f"{self.peer.name} gave no answer in {LIMIT:.0f} s")
        line = self.process.stdout.readline()
        if not line:
            raise WorkerError(f"{self.peer.name} died: {self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerError(f"{self.peer.name} failed: {answer['error']}")
        return answer

    def _last_words(self) -> str:
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1] if lines else f"exit code {self.process.poll()}"


def cold(peer: Peer, source: Path, target: Path) -> dict[str, float]:
    """Start a peer from nothing for one image, as a user would.

    Returns:
        `seconds` until the process has ended, and its peak memory, `peak`, in MB.

    Raises:
        WorkerError: It failed, or wrote nothing.
    """
    target.unlink(missing_ok=True)
    command = [part.replace("{input}", str(source)).replace("{output}", str(target)) for part in peer.once]
    start = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment(peer), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - start
    if process.returncode or not target.exists():
        last = errors.decode(errors="replace").strip().splitlines()[-1:]
        raise WorkerError(f"{peer.name}: exit code {process.returncode}: {' '.join(last)}")
    return {"seconds": seconds, "peak": usage.ru_maxrss / 1e3}
