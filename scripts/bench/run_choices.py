"""Choices that were made on evidence, measured again: `run_choices.py png|session|memory|loading FILE ...`.

The last line is the result, as JSON.
"""

from __future__ import annotations

import io
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from PIL import Image

STRATEGIES = {"default": 0, "filtered": 1, "huffman only": 2, "rle": 3, "fixed": 4}  # zlib's numbers
PNG = [(1, "default"), (3, "default"), (6, "default"), (1, "rle"), (1, "huffman only"), (1, "filtered"), (0, "default")]


def png(cutout: str, rounds: int) -> dict[str, Any]:
    """Encode a cut-out, hidden pixels blanked, at several levels and strategies; and, at level 1 and 6, unblanked."""
    blanked = Image.open(cutout).convert("RGBA")
    pixels = np.asarray(blanked).copy()
    rng = np.random.default_rng(0)
    hidden = pixels[..., 3] == 0
    pixels[hidden, :3] = rng.normal(128, 4, (int(hidden.sum()), 1)).astype(np.uint8)
    full = Image.fromarray(pixels)
    rows = [("blanked", blanked, *choice) for choice in PNG] + [("kept", full, level, "default") for level in (1, 6)]
    result: dict[str, Any] = {}
    for _ in range(rounds):
        for kind, image, level, strategy in rows:
            buffer, start = io.BytesIO(), time.perf_counter()
            image.save(buffer, "PNG", compress_level=level, compress_type=STRATEGIES[strategy])
            entry = result.setdefault(f"{kind}, level {level}, {strategy}", {"seconds": [], "MB": 0.0})
            entry["seconds"].append(time.perf_counter() - start)
            entry["MB"] = len(buffer.getvalue()) / 1e6
    return result


def options(threads: int, **attributes: Any) -> ort.SessionOptions:
    """Session options: attributes, or, for keys with a dot, config entries."""
    result = ort.SessionOptions()
    result.intra_op_num_threads = threads
    for key, value in attributes.items():
        if "__" in key:
            result.add_session_config_entry(key.replace("__", "."), str(value))
        else:
            setattr(result, key, value)
    return result


def variants(threads: int) -> dict[str, ort.SessionOptions]:
    """Session options to compare with those that only set the number of threads."""
    level = ort.GraphOptimizationLevel
    return {
        "no spinning": options(threads, session__intra_op__allow_spinning="0"),
        "no arena": options(threads, enable_cpu_mem_arena=False),
        "no memory pattern": options(threads, enable_mem_pattern=False),
        "1 thread": options(1),
        "ONNX Runtime's own thread count": options(0),
        "extended optimisation": options(threads, graph_optimization_level=level.ORT_ENABLE_EXTENDED),
        "basic optimisation": options(threads, graph_optimization_level=level.ORT_ENABLE_BASIC),
        "no optimisation": options(threads, graph_optimization_level=level.ORT_DISABLE_ALL),
        "denormals are zero": options(threads, session__set_denormal_as_zero="1"),
    }


def runs_of(one: ort.InferenceSession) -> dict[str, Callable[[], Any]]:
    """Return three calls of a session: with its first output, with nothing computed beyond it, with all outputs."""
    first = one.get_inputs()[0]
    shape = [dim if isinstance(dim, int) else 1 for dim in first.shape]
    feed = {first.name: np.random.default_rng(0).random(shape, np.float32) - np.float32(0.5)}
    wanted, pruned = [one.get_outputs()[0].name], ort.RunOptions()
    pruned.only_execute_path_to_fetches = True
    return {
        "": lambda: one.run(wanted, feed),
        "only the path to the output": lambda: one.run(wanted, feed, pruned),
        "all outputs": lambda: one.run(None, feed),
    }


def session(model: str, threads: int, rounds: int, name: str) -> dict[str, Any]:
    """Run a graph as it is and in one variant, in turn, in a process of their own; then open both, in turn."""
    known, seconds = variants(threads), dict[str, list[float]](base=[], variant=[])
    base = ort.InferenceSession(model, options(threads), providers=["CPUExecutionProvider"])
    if name in known:
        other = ort.InferenceSession(model, known[name], providers=["CPUExecutionProvider"])
        pair = {"base": runs_of(base)[""], "variant": runs_of(other)[""]}
    else:
        pair = {"base": runs_of(base)[""], "variant": runs_of(base)[name]}
    for turn in range(rounds + 1):
        for key, run in pair.items():
            start = time.perf_counter()
            run()
            if turn:
                seconds[key].append(time.perf_counter() - start)
    print(f"session options: {name}", flush=True)
    return seconds


def memory(model: str, threads: int, name: str) -> dict[str, float]:
    """Peak memory of one variant (or of none), alone in a process: after opening, and after three runs."""
    known = variants(threads)
    one = ort.InferenceSession(model, known.get(name, options(threads)), providers=["CPUExecutionProvider"])
    opened, runs = status("VmHWM"), runs_of(one)
    for _ in range(3):
        runs.get(name, runs[""])()
    return {"opened": opened, "peak": status("VmHWM"), "after": status("VmRSS")}


def load_times(model: str, threads: int, rounds: int) -> dict[str, list[float]]:
    """Opening the file, against opening what ONNX Runtime has optimised and written before."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "optimised.onnx")
        ort.InferenceSession(model, options(threads, optimized_model_filepath=path), providers=["CPUExecutionProvider"])
        disable = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        ways = {
            "as it is": (model, options(threads)),
            "optimised beforehand": (path, options(threads, graph_optimization_level=disable)),
        }
        result: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, (file, choice) in ways.items():
                start = time.perf_counter()
                ort.InferenceSession(file, choice, providers=["CPUExecutionProvider"])
                result[name].append(time.perf_counter() - start)
        return result


def status(key: str) -> float:
    """Read a figure of this process's memory, MB (Linux)."""
    found = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1e3 if found else float("nan")


def main() -> None:
    """Measure and print."""
    what, path, *rest = sys.argv[1:]
    ort.set_default_logger_severity(3)  # it warns that an optimised file fits this kind of machine only
    works: dict[str, Callable[[], Any]] = {
        "png": lambda: png(path, int(rest[0])),
        "session": lambda: session(path, int(rest[0]), int(rest[1]), rest[2]),
        "memory": lambda: memory(path, int(rest[0]), rest[1]),
        "loading": lambda: load_times(path, int(rest[0]), int(rest[1])),
    }
    print(json.dumps(works[what]()))


main()
