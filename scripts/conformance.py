"""Run the real Transformers.js and this package over images, files and configs made afresh, and compare.

`python scripts/conformance.py --seed 1` needs Node 18 or newer with npm, and models/ (`foreground models fetch`); npm
installs Transformers.js into build/conformance/. Exit status: 0 all rows are within bounds, 1 some are not, 2 it
cannot run. `--docs` writes docs/conformance.md instead, from the recorded oracle; it needs no Node.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import transformers

sys.path.extend(str(Path(__file__).resolve().parents[1] / folder) for folder in ("tests", "tests/conformance"))
from conformance_configs import check as check_configs
from conformance_files import make_files
from conformance_folders import check_folders
from conformance_images import make_images
from option_table import ID, RECORDED, TABLE, Bench
from oracle import DTYPES, Difference, Stages, lay_out, run_stages
from tiny_models import write_repo

from transformers_foreground import __version__, env, pipeline
from transformers_foreground.errors import ImageError
from transformers_foreground.hub.dtypes import SUFFIXES

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "build" / "conformance"
MODEL = ROOT / "models" / "imgly" / "isnet-general-use"
PINNED = {"@huggingface/transformers": "4.3.2"}
BELOW = {"onnxruntime-node": "1.30.0", "sharp": "0.35.5"}  # what it installs itself, and decodes and resizes with


class CannotRunError(Exception):
    """Something that the check needs is not here."""


@dataclass(frozen=True)
class Row:
    """One image at one dtype: what differs between Transformers.js and this package."""

    name: str
    size: str
    dtype: str
    decoded: bool
    pixel_values: bool
    difference: Difference | None

    @property
    def verdict(self) -> str:
        """`identical`, `rounding` (within bounds) or `DIFFERENT`."""
        if self.difference is None or not (self.decoded and self.pixel_values):
            return "DIFFERENT"
        if not self.difference.levels:
            return "identical"
        return "rounding" if self.difference.is_rounding(self.dtype) else "DIFFERENT"


def install() -> None:
    """Have npm install the pinned Transformers.js, unless that was done before."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        raise CannotRunError("Node and npm are needed: install Node 18 or newer (https://nodejs.org).")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.removeprefix("v").split(".")[0]) < 18:
        raise CannotRunError(f"Transformers.js needs Node 18 or newer, and this is {version}.")
    if {name: _installed(name) for name in PINNED | BELOW} == PINNED | BELOW:
        return
    WORK.mkdir(parents=True, exist_ok=True)
    package = {"private": True, "dependencies": PINNED, "overrides": BELOW}
    (WORK / "package.json").write_text(json.dumps(package, indent=2))
    print("npm installs", ", ".join(f"{name} {version}" for name, version in PINNED.items()), flush=True)
    # Binaries for the CPU come inside the packages; the scripts would download those for CUDA.
    command = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"]
    done = subprocess.run(command, cwd=WORK, capture_output=True, text=True)
    if done.returncode:
        raise CannotRunError(f"npm could not install Transformers.js:\n{done.stderr.strip()}")


def _installed(name: str) -> str | None:
    path = WORK / "node_modules" / name / "package.json"
    return json.loads(path.read_text())["version"] if path.is_file() else None


def run_theirs(models: Path, images: Sequence[Path], dtype: str) -> list[dict[str, Any]]:
    """Run Transformers.js; gives what `conformance.mjs` tells of each image, with `"mask"` as an array."""
    with tempfile.TemporaryDirectory(dir=WORK) as out:
        job = Path(out) / "job.json"
        job.write_text(
            json.dumps(
                {
                    "work": str(WORK),
                    "models": f"{models}{os.sep}",
                    "model": "briaai/RMBG-1.4",
                    "dtype": dtype,
                    "images": [str(path) for path in images],
                    "out": out,
                }
            )
        )
        _node("conformance.mjs", job)
        results: list[dict[str, Any]] = json.loads((Path(out) / "results.json").read_text())["results"]
        for i, result in enumerate(results):
            if "mask" in result:
                width, height, _ = result["mask"]
                result["mask"] = np.fromfile(Path(out) / f"{i}.mask", np.uint8).reshape(height, width)
    return results


def _node(script: str, job: Path, *, quiet: bool = False) -> None:
    done = subprocess.run(["node", str(Path(__file__).with_name(script)), str(job)], capture_output=quiet, text=True)
    if done.returncode:
        raise CannotRunError(f"Transformers.js failed: {done.stderr or 'see above'}")


def run_ours(models: Path, images: Sequence[Path], dtype: str) -> list[Stages]:
    """Run this package."""
    env.local_model_path, env.allow_remote_models = models, False
    transformers.logging.set_verbosity_error()
    with pipeline("image-segmentation", "briaai/RMBG-1.4", dtype=dtype) as segmenter:
        return [run_stages(segmenter, path) for path in images]


def compare(name: str, dtype: str, theirs: dict[str, Any], ours: Stages) -> Row:
    """Compare what both gave for an image."""
    size = "{}×{}×{}".format(*ours.size)
    if "error" in theirs:
        return Row(name, f"{size}; Transformers.js: {theirs['error']}", dtype, False, False, None)
    same_size = ours.mask.shape == theirs["mask"].shape
    return Row(
        name=name,
        size=size,
        dtype=dtype,
        decoded=(list(ours.size), ours.decoded) == (theirs["decoded"]["shape"], theirs["decoded"]["sha256"]),
        pixel_values=ours.pixel_values == theirs["pixel_values"],
        difference=Difference.between(ours.mask, theirs["mask"]) if same_size else None,
    )


def table_of(rows: Sequence[Row]) -> str:
    """Put rows as a table of plain text."""
    width = max(len(row.name) for row in rows)
    lines = [f"{'image':{width}}  dtype  size           decoded  input  levels  pixels     IoU      mask"]
    for row in rows:
        d = row.difference
        figures = f"{d.levels:6}  {d.share:8.4%}  {d.iou:.5f}" if d else f"{'-':>6}  {'-':>8}  {'-':>7}"
        same = ["same" if stage else "OTHER" for stage in (row.decoded, row.pixel_values)]
        stages = f"{row.size:13}  {same[0]:7}  {same[1]:5}"
        lines.append(f"{row.name:{width}}  {row.dtype:5}  {stages}  {figures}  {row.verdict}")
    return "\n".join(lines)


def check(seed: int, count: int, dtypes: Sequence[str], model: Path | None) -> bool:
    """Make images, run both, and print and keep the table; returns whether all is within bounds.

    Args:
        seed: What the images are drawn from.
        count: How many.
        dtypes: Names of dtypes.
        model: Folder of a model laid out as a repository; `None` for a tiny graph that gives brightness.
    """
    install()
    models = WORK / ("models" if model else "tiny")
    if model is None:
        write_repo(models / "briaai" / "RMBG-1.4", size=96)
    else:
        for dtype in dtypes:
            if not (model / "onnx" / f"model{SUFFIXES[dtype]}.onnx").is_file():
                fetch = f"foreground models fetch {'/'.join(model.parts[-2:])} --folder models"
                raise CannotRunError(f"{model} has no {dtype}: run `{fetch}` first.")
        lay_out(model, models)
    images = make_images(WORK / f"images-{seed}", count, seed)
    rows = []
    for dtype in dtypes:
        theirs, ours = run_theirs(models, images, dtype), run_ours(models, images, dtype)
        rows += [compare(path.name, dtype, t, o) for path, t, o in zip(images, theirs, ours, strict=True)]
    verdicts = [row.verdict for row in rows]
    counts = ", ".join(f"{verdicts.count(v)} {v}" for v in ("identical", "rounding", "DIFFERENT"))
    versions = ", ".join(f"{name} {version}" for name, version in (PINNED | BELOW).items())
    text = f"{table_of(rows)}\n\nseed {seed}: {counts} ({versions}; transformers-foreground {__version__})\n"
    print(f"\n{text}")
    if model == MODEL:
        (WORK / f"seed-{seed}.txt").write_text(text, encoding="utf-8")
    return "DIFFERENT" not in verdicts


def check_files(seed: int) -> bool:
    """Compare files of every kind, drawn from the seed, by a tiny graph that gives brightness."""
    models = WORK / "tiny"
    write_repo(models / "briaai" / "RMBG-1.4", size=96)
    files = list(make_files(WORK / f"files-{seed}", seed))
    verdicts = Counter[str]()
    for (path, kind), theirs in zip(files, run_theirs(models, [path for path, _ in files], "fp32"), strict=True):
        try:
            (stages,) = run_ours(models, [path], "fp32")
        except ImageError as error:
            verdict, levels = ("refused by both", 0) if "error" in theirs else (f"REFUSED HERE: {error}", 0)
        else:
            row = compare(path.name, "fp32", theirs, stages)
            levels = row.difference.levels if row.difference else 255
            verdict = row.verdict
            if "error" in theirs:
                verdict = "works here only"
            elif row.pixel_values and not levels:  # pixels may have an opaque alpha there, for a GIF's later frames
                verdict = "identical"
            elif levels <= kind.levels:
                verdict = "within its bound"
        verdicts[verdict] += 1
        if verdict != "identical":
            print(f"{path.name}: {verdict}, {levels} levels; {theirs.get('error', '')}")
    text = f"files, seed {seed}: {', '.join(f'{count} {verdict}' for verdict, count in verdicts.most_common())}\n"
    print(text)
    (WORK / f"files-{seed}.txt").write_text(text, encoding="utf-8")
    return not any(verdict.startswith(("DIFFERENT", "REFUSED", "rounding")) for verdict in verdicts)


def check_options() -> bool:
    """Compare what Transformers.js makes of the options' calls now with what was recorded; the tests compare ours."""
    now, kept = _calls_there(), json.loads(RECORDED.read_text(encoding="utf-8"))["calls"]
    different = sorted(call for call in now.keys() | kept.keys() if now.get(call) != kept.get(call))
    for call in different:
        print(f"{call}: {now.get(call)}, and recorded {kept.get(call)}")
    print(f"options: {len(now)} calls, {len(different)} not as recorded")
    return not different


def record() -> None:
    """Make the calls of `tests/conformance/option_table.py` in Transformers.js, and keep what came of them."""
    install()
    content = {"versions": PINNED | BELOW, "calls": _calls_there()}
    RECORDED.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"wrote {RECORDED}")


def _calls_there() -> dict[str, Any]:
    bench, out = Bench(WORK / "options"), WORK / "options.json"
    job = {
        "work": str(WORK),
        "models": f"{bench.models}{os.sep}",
        "id": ID,
        "files": vars(bench.files),
        "calls": sorted({row.js for rows in TABLE.values() for row in rows}),
        "out": str(out),
    }
    (WORK / "options-job.json").write_text(json.dumps(job))
    _node("conformance_options.mjs", WORK / "options-job.json", quiet=True)  # it prints the inputs of calls that fail
    calls: dict[str, Any] = json.loads(out.read_text().replace(str(bench.folder), "…"))
    return calls


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--images", type=int, default=8, metavar="N", help="how many images (default: 8)")
    parser.add_argument("--dtype", action="append", choices=DTYPES, help="may be given again (default: fp32)")
    parser.add_argument("--model", type=Path, default=MODEL, metavar="FOLDER", help="default: IS-Net, in models/")
    parser.add_argument("--tiny", action="store_true", help="a graph of a few nodes instead: all but the forward pass")
    parser.add_argument("--docs", action="store_true", help="write docs/conformance.md from the recorded oracle")
    parser.add_argument("--record", action="store_true", help="make the calls of the options' table again, in Node")
    options = parser.parse_args()
    try:
        if options.record:
            record()
            return 0
        if options.docs:
            from conformance_docs import write

            write(ROOT / "docs" / "conformance.md", MODEL, sorted(WORK.glob("*-[0-9]*.txt")))
            return 0
        model = None if options.tiny else options.model
        seed = options.seed
        parts = [
            check(seed, options.images, options.dtype or ["fp32"], model),
            check_files(seed),
            check_configs(WORK, seed),
            check_options(),
            check_folders(WORK, seed),
        ]
        return 0 if all(parts) else 1
    except CannotRunError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
