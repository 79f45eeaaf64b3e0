"""Long runs: memory over many images, threads, and processes made by fork and by spawn."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import signal
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def rss() -> float:
    """Return this process's resident memory, in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def many(model: str, count: int) -> dict[str, Any]:
    """Many images of mixed sizes through one pipeline: memory after the first 50, and at most later."""
    from transformers_foreground import pipeline

    chance = np.random.default_rng(0)
    sizes = [(int(h), int(w)) for h, w in chance.integers(32, 1500, (20, 2))]
    base = chance.integers(0, 255, (1500, 1500, 3), np.uint8)
    before = rss()
    with pipeline("background-removal", model) as remover:
        first, later = 0.0, 0.0
        stream = remover(base[: sizes[i % 20][0], : sizes[i % 20][1]] for i in range(count))
        for i, _ in enumerate(stream):
            if i < 50:
                first = max(first, rss())
            else:
                later = max(later, rss())
        loaded = rss()
    gc.collect()
    return {"count": count, "first": first, "later": later, "loaded": loaded, "disposed": rss(), "before": before}


def opened_again(model: str, count: int) -> dict[str, Any]:
    """Open, use and dispose of a pipeline many times: memory after the fifth time, and after the last."""
    from transformers_foreground import pipeline

    image = np.random.default_rng(2).integers(0, 255, (300, 300, 3), np.uint8)
    after = []
    for _ in range(count):
        with pipeline("background-removal", model) as remover:
            remover(image)
        del remover
        gc.collect()
        after.append(rss())
    return {"count": count, "first": after[min(4, count - 1)], "last": after[-1]}


def _mask(segmenter: Any, image: NDArray[np.uint8]) -> bytes:
    return np.asarray(segmenter(image)[0]["mask"]).tobytes()


def threads(model: str, count: int) -> dict[str, Any]:
    """Many threads on one pipeline give the bytes that one gives."""
    from transformers_foreground import pipeline

    chance = np.random.default_rng(1)
    inputs = [chance.integers(0, 255, (64 + 5 * i, 80, 3), np.uint8) for i in range(count)]
    with pipeline("image-segmentation", model) as segmenter:
        alone = [_mask(segmenter, image) for image in inputs]
        with ThreadPoolExecutor(16) as pool:
            together = list(pool.map(lambda image: _mask(segmenter, image), inputs))
    return {"count": count, "threads": 16, "same": sum(a == b for a, b in zip(alone, together, strict=True))}


def forks(model: str, count: int) -> dict[str, Any]:
    """Fork while three threads use the pipeline; each child uses it too, and must give the same bytes."""
    from transformers_foreground import pipeline

    image = np.random.default_rng(3).integers(0, 255, (300, 300, 3), np.uint8)
    chance = np.random.default_rng(4)
    same = hung = 0
    with pipeline("image-segmentation", model) as segmenter:
        wanted = _mask(segmenter, image)
        stop = threading.Event()

        def use() -> None:
            while not stop.is_set():
                segmenter(image)

        users = [threading.Thread(target=use, daemon=True) for _ in range(3)]
        for user in users:
            user.start()
        for _ in range(count):
            time.sleep(chance.uniform(0, 0.2))
            child = os.fork()
            if child == 0:
                os._exit(7 if _mask(segmenter, image) == wanted else 3)
            code = _wait(child, 60)
            same += code == 7
            hung += code is None
        stop.set()
        for user in users:
            user.join()
    return {"count": count, "same": same, "hung": hung}


def _wait(child: int, seconds: float) -> int | None:
    """Wait for a child and return its exit code; kill it, and return `None`, where it takes too long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


_pickled: Any = None


def _receive(data: bytes) -> None:
    global _pickled
    _pickled = pickle.loads(data)


def _work(image: NDArray[np.uint8]) -> bytes:
    return _mask(_pickled, image)


def spawned(model: str, count: int) -> dict[str, Any]:
    """Send a pipeline to two processes made by spawn, which must give the same bytes."""
    from transformers_foreground import pipeline

    chance = np.random.default_rng(5)
    inputs = [chance.integers(0, 255, (200, 300, 3), np.uint8) for _ in range(count)]
    with pipeline("image-segmentation", model) as segmenter:
        wanted = [_mask(segmenter, image) for image in inputs]
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(2, context, _receive, (pickle.dumps(segmenter),)) as pool:
            got = list(pool.map(_work, inputs))
    return {"count": count, "same": sum(a == b for a, b in zip(wanted, got, strict=True))}
