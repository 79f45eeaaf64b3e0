"""The measurements. Each returns plain JSON; `state.State` keeps it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from peers import HERE, ROOT, WORK, Peer, environment
from PIL import Image
from workers import Worker, WorkerError, cold

OUT = WORK / "out"
Record = dict[str, Any]


def output(peer: Peer, name: str) -> Path:
    """Return where a peer's result goes."""
    path = OUT / peer.name.replace(" ", "-") / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def cold_starts(peers: Sequence[Peer], photo: Path, rounds: int) -> Record:
    """From the start of a process to its end with one PNG on disk; interleaved, after one start to fill caches."""
    able = [peer for peer in peers if peer.once]
    result: Record = {peer.name: [] for peer in able}
    for turn in range(rounds + 1):
        for peer in list(able):
            try:
                got = cold(peer, photo, output(peer, "cold"))
            except WorkerError as error:
                result[peer.name] = {"error": str(error)}
                able.remove(peer)
                continue
            if turn:
                result[peer.name].append(got)
            print(f"  cold {turn}/{rounds} {peer.name}: {got['seconds']:.2f} s", flush=True)
    return result


def warm(peers: Sequence[Peer], sizes: Mapping[str, Sequence[Path]], rounds: int) -> Record:
    """One image at a time, file to PNG on disk: A B C A B C, all workers alive, sizes from small to large."""
    result: Record = {"seconds": {}, "peak": {}, "load": {}, "about": {}, "errors": {}}
    with ExitStack() as stack:
        live: list[Worker] = []
        for peer in peers:
            try:
                live.append(stack.enter_context(Worker(peer)))
            except WorkerError as error:
                result["errors"][peer.name] = str(error)
        for worker in live:
            result["load"][worker.peer.name] = worker.load_seconds
            result["about"][worker.peer.name] = worker.about
        for label, paths in sizes.items():
            seconds: Record = {worker.peer.name: [] for worker in live}
            for turn in range(rounds + 1):  # the first, unmeasured one lets each allocate what the size needs
                path = paths[turn % len(paths)]
                for worker in list(live):
                    name = worker.peer.name
                    try:
                        got = worker.ask(op="cutout", input=str(path), output=str(output(worker.peer, path.stem)))
                    except WorkerError as error:
                        result["errors"][name] = str(error)
                        live.remove(worker)
                        continue
                    if turn:
                        seconds[name].append(got["outside"])
                print(f"  warm {label} {turn}/{rounds}: {path.stem}", flush=True)
            result["seconds"][label] = seconds
            result["peak"][label] = {worker.peer.name: worker.peak() for worker in live}
    return result


def agreement(peers: Sequence[Peer], paths: Sequence[Path]) -> Record:
    """Compare each peer's alpha with ours in fp32, to see that all run the same network on the same input."""
    (reference,) = (peer for peer in peers if peer.ours and not peer.low)
    result: Record = {}
    for peer in (p for p in peers if not p.floor and p is not reference):
        differences, ious = [], []
        for path in paths:
            files = output(reference, path.stem), output(peer, path.stem)
            if not all(file.exists() for file in files):
                continue
            a, b = (np.asarray(Image.open(file).convert("RGBA").getchannel("A"), np.float32) / 255 for file in files)
            differences.append(float(np.abs(a - b).mean()))
            ious.append(float(((a > 0.5) & (b > 0.5)).sum() / max(1, ((a > 0.5) | (b > 0.5)).sum())))
        if ious:
            result[peer.name] = {"difference": float(np.mean(differences)), "worst_iou": min(ious)}
    return result


def helper(script: str, *arguments: object) -> Record:
    """Run one of this folder's scripts in a process of its own; its last line is its result."""
    command = [sys.executable, str(HERE / script), *map(str, arguments)]
    variables = {"PYTHONPATH": str(ROOT / "src"), "HF_HUB_OFFLINE": "1"}
    env = environment(Peer(script, "", command, environment=variables))
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        last = ""
        for line in process.stdout:
            if last:
                print(f"  {last.strip()}", flush=True)
            last = line
    if process.returncode:
        raise WorkerError(f"{script}: exit code {process.returncode}")
    result: Record = json.loads(last)
    return result


@contextmanager
def watched(worker: Worker, every: float = 0.5) -> Iterator[list[float]]:
    """Sample a worker's resident memory while something runs."""
    samples: list[float] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(every):
            samples.append(worker.rss())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        stop.set()
        thread.join()


def folder(peer: Peer, floor: Peer, paths: Sequence[Path]) -> Record:
    """Many images, in the peer's own way and process; bare `session.run` just before and after."""
    target = OUT / f"folder-{peer.name.replace(' ', '-')}"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    with Worker(floor) as bare, Worker(peer) as worker:
        worker.ask(op="cutout", input=str(paths[0]), output=str(target / "first.png"))
        (target / "first.png").unlink()
        reference = [bare.ask(op="cutout", input="", output="")["seconds"] for _ in range(4)][1:]
        with watched(worker) as samples:
            got = worker.ask(op="folder", inputs=[str(path) for path in paths], output=str(target))
        reference += [bare.ask(op="cutout", input="", output="")["seconds"] for _ in range(4)][1:]
        half = len(samples) // 2
        result = {
            "seconds": got["outside"],
            "count": len(paths),
            "bare": reference,
            "peak": worker.peak(),
            "halves": [max(samples[:half], default=0.0), max(samples[half:], default=0.0)],
            "written": sum(file.stat().st_size for file in target.glob("*.png")) / 1e6,
        }
    shutil.rmtree(target)
    return result


def stream_workers(peer: Peer, paths: Sequence[Path], workers: int) -> Record:
    """Measure our stream with this number of threads."""
    target = OUT / "folder-workers"
    target.mkdir(parents=True, exist_ok=True)
    with Worker(peer, [str(workers)]) as worker:
        worker.ask(op="cutout", input=str(paths[0]), output=str(target / "first.png"))
        got = worker.ask(op="folder", inputs=[str(path) for path in paths], output=str(target))
        return {"seconds": got["outside"], "count": len(paths), "peak": worker.peak(), "model": peer.name}


def growth(peer: Peer, paths: Sequence[Path], count: int, step: int = 5) -> Record:
    """Resident memory of our stream over many images of changing size, after every few."""
    target = OUT / "growth"
    target.mkdir(parents=True, exist_ok=True)
    rss: list[tuple[int, float]] = []
    with Worker(peer) as worker:
        for done in range(step, count + 1, step):
            chosen = [str(paths[i % len(paths)]) for i in range(done - step, done)]
            worker.ask(op="folder", inputs=chosen, output=str(target))
            rss.append((done, worker.rss()))
            if done % (step * 20) == 0:
                print(f"  {done} of {count}: {rss[-1][1]:.0f} MB", flush=True)
        return {"rss": rss, "peak": worker.peak()}
