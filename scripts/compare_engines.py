"""Compare engines and dtypes with fp32 on ONNX Runtime: `python scripts/compare_engines.py DATA`.

DATA holds folders with photos in `im`. Results are kept photo by photo, so that a run can continue. Times are taken on
one photo by all engines in turn (A B C A B C), so that other load on the machine changes their ratios little.
Photos that `foreground quantize` takes from composites and pascal-s-240 (32 and 12, see docs/quantization.md) are left
out. At the end come tables in Markdown: each engine against fp32, and `int8-checked` by threshold.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transformers_foreground.quantization.comparison import compared, level_value
from transformers_foreground.quantization.samples import Sample, samples, spread
from transformers_foreground.runtime.doubt import doubt
from transformers_foreground.segmenter import Prepared, Segmenter

CALIBRATED = {"composites": (16, 6), "pascal-s-240": (16, 6)}  # photos that made the int8 file, and that chose
THRESHOLDS = (0.2, 0.25, 0.3, 1 / 3, 0.4, 0.45)  # of doubt
ENGINES: Mapping[str, dict[str, Any]] = {
    "ONNX Runtime, fp32": {"device": "cpu", "dtype": "fp32"},
    "OpenVINO, bf16": {"device": "openvino"},
    "ONNX Runtime, int8": {"device": "cpu", "dtype": "int8"},
    "OpenVINO, int8 + bf16": {"device": "openvino", "dtype": "int8"},
}
FP32, BF16, INT8, INT8_BF16 = ENGINES
NOISE = "fp32 itself, half a level of noise"
Plane = NDArray[np.float32]
Row = dict[str, dict[str, Any]]
Seconds = Mapping[str, Sequence[float]]


def photos(data: Path, count: int) -> list[Sample]:
    """Choose photos, as many of each folder as of the others where there are so many."""
    sets = []
    for folder in sorted(path for path in data.iterdir() if (path / "im").is_dir()):
        found = samples(folder)
        for taken in CALIBRATED.get(folder.name, ()):
            used = {sample.sha256 for sample in spread(found, taken)}
            found = [sample for sample in found if sample.sha256 not in used]
        sets.append(found)
    chosen: list[Sample] = []
    for i, found in enumerate(sorted(sets, key=len)):
        chosen += spread(found, (count - len(chosen)) // (len(sets) - i))
    return chosen


def noisy(prepared: Prepared, step: float, seed: int) -> NDArray[np.float32]:
    """Return the graph's input, each value off by up to half a level of an 8-bit image."""
    noise = np.random.default_rng(seed).uniform(-step / 2, step / 2, prepared.pixel_values.shape)
    return (prepared.pixel_values + noise).astype(np.float32)


def measure(name: str, plane: Plane, reference: Plane) -> dict[str, Any]:
    """Compare a plane with fp32's."""
    figures = compared(name, reference, plane)
    return {"doubt": float(doubt(plane)), "difference": figures.difference, "iou": figures.iou}


def run(model: Path, chosen: Sequence[Sample], names: Sequence[str], folder: Path) -> None:
    """Measure what was not measured yet; planes of fp32 are kept beside the results."""
    rows = read(folder)
    opened = {name: Segmenter(model, strict=True, **ENGINES[name]) for name in (FP32, *names) if name in ENGINES}
    first = opened[FP32]
    step = abs(level_value(1, first) - level_value(0, first))
    for i, sample in enumerate(chosen):
        row = rows.setdefault(sample.name, {})
        missing = [name for name in names if name not in row]
        if not missing:
            continue
        prepared = first.prepare(sample.read())
        kept = folder / f"{sample.sha256}.npy"
        if not kept.exists():
            np.save(kept, first.forward(prepared.pixel_values)[0, 0])
        reference = np.load(kept)
        for name in missing:
            engine = opened.get(name, first)
            values = noisy(prepared, step, i) if name == NOISE else prepared.pixel_values
            row[name] = measure(sample.name, engine.forward(values)[0, 0], reference)
        (folder / "rows.json").write_text(json.dumps(rows, indent=1))
        print(f"{i + 1}/{len(chosen)} {sample.name}", flush=True)


def time_all(model: Path, sample: Sample, names: Sequence[str], rounds: int, folder: Path) -> None:
    """Time the engines on one photo, in turn."""
    opened = {name: Segmenter(model, strict=True, **ENGINES[name]) for name in names}
    values = opened[FP32].prepare(sample.read()).pixel_values
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds + 1):  # the first, unmeasured one allocates
        for name, engine in opened.items():
            started = time.perf_counter()
            engine.forward(values)
            if turn:
                seconds[name].append(time.perf_counter() - started)
        print(f"time {turn}/{rounds}", flush=True)
    (folder / "seconds.json").write_text(json.dumps(seconds))


def read(folder: Path, name: str = "rows.json") -> Any:
    """Read results; an empty mapping where there are none."""
    path = folder / name
    return json.loads(path.read_text()) if path.exists() else {}


def worst(values: Sequence[float | None]) -> float:
    """Return the least IoU; photos where fp32 finds nothing have none."""
    return min(value for value in values if value is not None)


def against(rows: Sequence[Row], name: str, seconds: Seconds) -> str:
    """Return a line of the table of engines."""
    found = [row[name] for row in rows if name in row]
    if not found:
        return f"| {name} | not measured | | | | |"
    mean = statistics.mean(f["difference"] for f in found)
    ious = [f["iou"] for f in found if f["iou"] is not None]
    speed = f"{ratio(seconds, name):.2f}" if name in seconds else "–"
    return f"| {name} | {len(found)} | {speed} | {mean:.5f} | {statistics.mean(ious):.4f} | {min(ious):.4f} |"


def ratio(seconds: Seconds, name: str) -> float:
    """Return how many times as fast as fp32 an engine is: the median of the rounds' own ratios."""
    return statistics.median(a / b for a, b in zip(seconds[FP32], seconds[name], strict=True))


def checked(rows: Sequence[Row], low: str, full: str, threshold: float, seconds: Seconds) -> str:
    """Return what a threshold gives: the share that is run again, mean |Δα|, worst IoU, speed against fp32.

    The speed is computed, not measured: int8 for all photos, and full precision for the share that is run again.
    """
    again = [row[low]["doubt"] > threshold for row in rows]
    exact = {"difference": 0.0, "iou": 1.0}
    used = [row.get(full, exact) if twice else row[low] for row, twice in zip(rows, again, strict=True)]
    share = sum(again) / len(rows)
    mean, iou = statistics.mean(u["difference"] for u in used), worst([u["iou"] for u in used])
    speed = "–"
    if low in seconds and full in seconds:
        speed = f"{1 / (1 / ratio(seconds, low) + share / ratio(seconds, full)):.2f}"
    return f"{share:.0%} | {mean:.5f} | {iou:.4f} | {speed} |"


def tables(rows: Sequence[Row], seconds: Seconds) -> str:
    """Return the tables, in Markdown."""
    lines = ["| engine | photos | speed, × fp32 | mean \\|Δα\\| | mean IoU | worst IoU |", "|---|---|---|---|---|---|"]
    lines += [against(rows, name, seconds) for name in (*list(ENGINES)[1:], NOISE)]
    for low, full in ((INT8, FP32), (INT8_BF16, BF16)):
        both = [row for row in rows if low in row and (full == FP32 or full in row)]
        if len(both) < 2:
            continue
        lines += ["", f"{low}, and again by {full} if in doubt:", ""]
        lines.append("| most doubt | photos | run again | mean \\|Δα\\| | worst IoU | speed, × fp32 |")
        lines.append("|---|---|---|---|---|---|")
        for threshold in (*THRESHOLDS, 1.0):
            for half, part in (("chosen on", both[::2]), ("proved on", both[1::2])):
                figures = checked(part, low, full, threshold, seconds)
                lines.append(f"| {threshold:.3f} | {half} {len(part)} | {figures}")
    return "\n".join(lines)


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", type=Path, default=Path("models/imgly/isnet-general-use"))
    parser.add_argument("--count", type=int, default=66, help="photos (default: %(default)s)")
    parser.add_argument("--engine", action="append", choices=[*list(ENGINES)[1:], NOISE], help="by default, all")
    parser.add_argument("--rounds", type=int, default=0, help="also time them, in turn (default: %(default)s)")
    parser.add_argument("--results", type=Path, default=Path("build/engines"), help="(default: %(default)s)")
    options = parser.parse_args()
    options.results.mkdir(parents=True, exist_ok=True)
    chosen, names = photos(options.data, options.count), options.engine or [*list(ENGINES)[1:], NOISE]
    run(options.model, chosen, names, options.results)
    if options.rounds:
        engines = [FP32, *(name for name in names if name in ENGINES)]
        time_all(options.model, chosen[0], engines, options.rounds, options.results)
    rows = read(options.results)
    print(tables([rows[s.name] for s in chosen if s.name in rows], read(options.results, "seconds.json")))


if __name__ == "__main__":
    main()
