"""Send a server 60 files that are made to be expensive, while ten honest visitors use it.

`python scripts/reliability/strangers.py` starts `foreground serve --api-only` on this machine, and prints the results.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent))
import hostile
from commands import COMMAND, ROOT, environment

SIZES = (10, 20, 30, 40, 48)  # megabytes; the server takes 50
VISITORS = 10
SENDERS = 6  # of such files, at the same time
MOST_BEYOND = 10.0  # seconds that an honest request may wait beyond its own work
CORES = os.cpu_count() or 1


def files() -> Iterator[tuple[str, bytes]]:
    """Yield the files: twelve kinds of each size."""
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8))
    jpeg, png, gif = (
        hostile.encoded(photo, "JPEG"),
        hostile.encoded(photo, "PNG"),
        hostile.encoded(photo.convert("P"), "GIF"),
    )
    comments = gif[:13] + gif[13 : 13 + 768]
    for size in SIZES:
        room = size * 1_000_000
        yield "exif segments", jpeg[:2] + b"\xff\xe1\x00\x08Exif\0\0" * (room // 10) + jpeg[2:]
        yield "comment segments", jpeg[:2] + b"\xff\xfe\x00\x03x" * (room // 5) + jpeg[2:]
        yield "jpeg of filling", jpeg[:2] + b"\xff" * room + jpeg[2:]
        yield "text chunks", png[:33] + hostile.chunk(b"tEXt", b"k\0v") * (room // 15) + png[33:]
        yield (
            "profiles",
            png[:33] + hostile.chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(900_000))) * (room // 950) + png[33:],
        )
        yield (
            "unpacked text",
            png[:33] + hostile.chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(10**8))) * (room // 97_300) + png[33:],
        )
        yield "gif comments", comments + (b"!\xfe\x01x\x00") * (room // 5) + gif[13 + 768 :]
        yield "gif frames", gif[:-1] + gif[13 + 768 : -1] * max(1, room // len(gif)) + b";"
        yield (
            "tiff loop",
            b"II*\0\x08\0\0\0" + (b"\x01\0" + b"\xfe\0\x04\0\x01\0\0\0\0\0\0\0" + b"\x08\0\0\0") + bytes(room),
        )
        yield "netpbm comments", b"P3\n2 2\n255\n" + b"#\n" * (room // 2) + b"1 2 3 " * 4
        yield "pixels", hostile.png(9_990, 9_990, hostile.black(9_990, 9_990))  # the server takes 100 million
        yield "noise", np.random.default_rng(size).bytes(room)


def ask(address: str, data: bytes) -> tuple[int, float, bytes]:
    """Ask for a cut-out; return the answer's status, the seconds that it took, and its body."""
    started = time.perf_counter()
    answer = httpx.post(f"{address}/api/remove", files={"file": ("image", data)}, timeout=300)
    return answer.status_code, time.perf_counter() - started, answer.content


@contextlib.contextmanager
def serving(model: str, folder: Path, *options: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start `foreground serve --api-only` with that temporary folder; gives process and address, and ends it."""
    command = [*COMMAND, "serve", "--api-only", "--port", "0", "--local-files-only", "-m", model, *map(str, options)]
    with (folder / "log").open("w+") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**environment(), "TMPDIR": str(folder)}, stderr=log, text=True
        )
        try:
            while not (found := re.search(r"http://127\.0\.0\.1:\d+", (folder / "log").read_text())):
                assert process.poll() is None, (folder / "log").read_text()
                time.sleep(0.1)
            yield process, found[0]
        finally:
            process.terminate()
            process.wait(30)


def cpu_seconds(process: int) -> float:
    """Return the CPU seconds that a process has taken, and the workers that it has and had."""
    own = Path(f"/proc/{process}")
    workers = " ".join(path.read_text() for path in own.glob("task/*/children")).split()
    found = 0
    for place, fields in ((own, 4), *((Path(f"/proc/{worker}"), 2) for worker in workers)):
        with contextlib.suppress(OSError):  # it has just ended: then its time is among those of the dead
            found += sum(map(int, (place / "stat").read_text().rpartition(")")[2].split()[11 : 11 + fields]))
    return found / os.sysconf("SC_CLK_TCK")


def honest_image() -> bytes:
    """Return a small photograph of a disc."""
    y, x = np.mgrid[:480, :640]
    disc = (np.hypot(x - 320, y - 240) < 150) * 200
    return hostile.encoded(Image.fromarray(np.stack([x % 256, y % 256, disc], -1).astype("uint8")), "JPEG")


def beside(model: str) -> dict[str, Any]:
    """Send the files, while honest visitors send requests.

    Args:
        model: Id or folder of a model on this machine.

    Returns:
        `files` and `kinds` of them, `answers` to them by status; `honest` requests, and the seconds that one takes
        `alone`; `median` and `most` seconds of an honest request beyond that, on a machine that does nothing else: of
        CPU that server and workers took meanwhile, by the number of cores; `longest` by the clock of this machine; the
        server's `peak` in MB.
    """
    honest, every = honest_image(), list(files())
    folder: Any = tempfile.TemporaryDirectory(prefix="strangers-")
    with folder as name, serving(model, Path(name), "--queue", 80) as (process, address):
        ask(address, honest)
        alone = min(ask(address, honest)[1] for _ in range(3))
        fates: Counter[str] = Counter()
        beyond: list[float] = []
        by_the_clock: list[float] = []

        def send(mine: list[tuple[str, bytes]]) -> None:
            for kind, data in mine:
                fates[f"{kind} {ask(address, data)[0]}"] += 1

        senders = [threading.Thread(target=send, args=(every[i::SENDERS],)) for i in range(SENDERS)]

        def visit() -> None:
            while any(sender.is_alive() for sender in senders):
                before = cpu_seconds(process.pid)
                status, seconds, _ = ask(address, honest)
                assert status == 200, status
                beyond.append((cpu_seconds(process.pid) - before) / CORES - alone)
                by_the_clock.append(seconds)

        visitors = [threading.Thread(target=visit) for _ in range(VISITORS)]
        for thread in (*senders, *visitors):
            thread.start()
        for thread in (*senders, *visitors):
            thread.join()
        status = Path(f"/proc/{process.pid}/status").read_text()
        peak = re.search(r"VmHWM:\s+(\d+)", status)
    assert sum(fates.values()) == len(every), fates
    assert peak
    assert max(beyond) <= MOST_BEYOND, max(beyond)
    print(json.dumps(fates, indent=1), file=sys.stderr)
    answers: Counter[str] = Counter()
    for fate, count in fates.items():
        answers[fate.rpartition(" ")[2]] += count
    return {
        "files": len(every),
        "kinds": len({kind for kind, _ in every}),
        "megabytes": [SIZES[0], SIZES[-1]],
        "answers": dict(answers),
        "visitors": VISITORS,
        "honest": len(beyond),
        "alone": alone,
        "median": sorted(beyond)[len(beyond) // 2],
        "most": max(beyond),
        "longest": max(by_the_clock),
        "peak": int(peak[1]) / 1024,
    }


def main() -> None:
    """Measure, and print it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default=str(ROOT / "models/xuebinqin/u2netp"))
    print(json.dumps(beside(parser.parse_args().model), indent=1))


if __name__ == "__main__":
    main()
