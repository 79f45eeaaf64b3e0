"""Where a single image's time goes besides `session.run`: `run_overhead.py MODEL DEVICE DTYPE THREADS PHOTO ROUNDS`.

One process; each round runs the bare session, then this package, so that both see the same machine. The last line is
the result, as JSON.
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime as ort

from transformers_foreground import pipeline, segmenter
from transformers_foreground.cli import running
from transformers_foreground.cli.planning import Job
from transformers_foreground.cli.style import Style
from transformers_foreground.compositing import cutout as cutouts
from transformers_foreground.compositing import foreground_colors
from transformers_foreground.hub.model_files import load_files
from transformers_foreground.images import encode as formats
from transformers_foreground.images.decode import decode
from transformers_foreground.runtime import model as models
from transformers_foreground.runtime.opening import installed_device, open_graph
from transformers_foreground.segmenter import Segmenter

STAGES = (  # of the command, where each is called
    (segmenter, ("decode", "preprocess", "postprocess")),
    (running, ("write_whole",)),
    (foreground_colors, ("decontaminate",)),
    (cutouts, ("put_alpha",)),
    (formats, ("encode",)),
    (models, ("forward", "forward_checked")),
)
STYLE = Style()  # the defaults


def main() -> None:
    """Measure and print."""
    model, device, dtype, photo = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[5]
    threads, rounds = int(sys.argv[4]), int(sys.argv[6])
    created = creation(model, device, dtype, threads, rounds)
    result = {"creation": created, **overhead(model, device, dtype, threads, photo, rounds)}
    print(json.dumps(result))


def bare_session(path: Path, threads: int) -> ort.InferenceSession:
    """Open a file as ONNX Runtime's documentation does."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def timed(work: Callable[[], Any]) -> float:
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def creation(model: str, device: str, dtype: str, threads: int, rounds: int) -> dict[str, list[float]]:
    """Open the session, bare and by this package, in turn."""
    files, installed = load_files(model, dtype=dtype), installed_device(device)
    result: dict[str, list[float]] = {"bare": [], "ours": []}
    for turn in range(rounds + 1):
        for name, work in (
            ("bare", lambda: bare_session(files.onnx, threads)),
            ("ours", lambda: open_graph(files.onnx, installed)),
        ):
            seconds = timed(work)
            gc.collect()
            if turn:
                result[name].append(seconds)
    return result


def overhead(model: str, device: str, dtype: str, threads: int, photo: str, rounds: int) -> dict[str, Any]:
    """Run the bare session, then a decoded image to its mask, a JPEG to its mask, and a JPEG to a PNG on disk."""
    segment = pipeline("image-segmentation", model, dtype=dtype, device=device)
    loaded = Segmenter(model, device=device, dtype=dtype)
    bare = bare_session(loaded.files.onnx, threads)
    values = loaded.prepare(photo).pixel_values
    feed, wanted = {bare.get_inputs()[0].name: values}, [bare.get_outputs()[0].name]
    pixels = decode(photo).rgb()
    spent: dict[str, float] = {}
    for module, names in STAGES:
        watch(module, names, spent)
    seconds: dict[str, list[float]] = {"bare": [], "array to mask": [], "JPEG to mask": [], "JPEG to PNG": []}
    stages: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        job = Job(photo, Path(folder) / "out.png")
        works: dict[str, Callable[[], Any]] = {
            "bare": lambda: bare.run(wanted, feed),
            "array to mask": lambda: segment(pixels, return_mask=True),
            "JPEG to mask": lambda: segment(photo, return_mask=True),
            "JPEG to PNG": lambda: cut_out(loaded, job),
        }
        for turn in range(rounds + 1):
            for name, work in works.items():
                spent.update(dict.fromkeys(spent, 0.0))  # what the last work spends counts, the command's
                got = timed(work)
                if turn:
                    seconds[name].append(got)
            if turn:
                stages.append({**spent, "other": seconds["JPEG to PNG"][-1] - sum(spent.values())})
            print(f"overhead {dtype} {turn}/{rounds}", flush=True)
    return {"seconds": seconds, "stages": stages}


def cut_out(segmenter: Segmenter, job: Job) -> None:
    """Do what the command does with one image."""
    for outcome in running.run(segmenter, [job], STYLE, force=True):
        if isinstance(outcome, Exception):
            raise outcome


def watch(module: Any, names: tuple[str, ...], spent: dict[str, float]) -> None:
    """Add up the time that a module's functions take."""

    def wrap(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timing(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                spent[name] += time.perf_counter() - start

        return timing

    for name in names:
        spent[name] = 0.0
        setattr(module, name, wrap(name, getattr(module, name)))


main()
