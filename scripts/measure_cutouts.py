"""Measure how near cut-outs come to the truth, and write docs/cutouts.md: `python scripts/measure_cutouts.py STAMPS`.

STAMPS is a folder of the cut-outs that ../shared/data/composites was made of (Debian's tuxpaint-stamps-default:
`apt-get download` it, `dpkg -x` it). They have the foreground's own colours, which the composites do not show.
PyMatting (the extra [matting]) is measured beside ours, and does the closed-form refinement.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from transformers_foreground import formats
from transformers_foreground.composition import over
from transformers_foreground.cutouts import cutout
from transformers_foreground.decontamination import decontaminate
from transformers_foreground.evaluation.matting import gradient_error, mad, soft_band
from transformers_foreground.loading import load
from transformers_foreground.postprocessing import postprocess
from transformers_foreground.preprocessing import preprocess
from transformers_foreground.refinement import refine
from transformers_foreground.sessions import forward

ROOT = Path(__file__).resolve().parents[1]
BACKGROUNDS = {"white": (255, 255, 255), "black": (0, 0, 0), "green": (0, 177, 64)}
SMALL = 1_000_000  # pixels: closed-form matting of larger pictures takes minutes
SAME = 2.0  # levels: most that the alpha of a stamp may differ from the composite's, on average over soft pixels


@dataclass
class Sample:
    """A composite, its exact alpha, and its foreground's own colours."""

    name: str
    rgb: np.ndarray[Any, Any]
    alpha: np.ndarray[Any, Any]
    truth: np.ndarray[Any, Any]


def samples(data: Path, stamps: Path) -> Iterator[Sample | str]:
    """Yield the composites whose stamp is found, brought to its place; of others the name."""
    known = {path.stem: path for path in stamps.rglob("*.png")}
    for path in sorted((data / "gt").glob("*.png")):
        alpha = np.asarray(Image.open(path).convert("L"))
        truth = placed(Image.open(known[path.stem]).convert("RGBA"), alpha) if path.stem in known else None
        if truth is None:
            yield path.stem
            continue
        picture = next((data / "im").glob(f"{path.stem}.*"))
        yield Sample(path.stem, np.asarray(Image.open(picture).convert("RGB")), alpha, truth)


def placed(stamp: Image.Image, alpha: np.ndarray[Any, Any]) -> np.ndarray[Any, Any] | None:
    """Find how large and where a stamp is in a picture: the place with the same alpha. Return its colours there."""
    rows, columns = (np.flatnonzero((alpha > 127).any(axis=axis)) for axis in (1, 0))
    inner = stamp.getchannel("A").point(lambda level: 255 * (level > 127)).getbbox()
    if inner is None:
        return None
    guess = (columns[-1] + 1 - columns[0]) / (inner[2] - inner[0])
    best: tuple[float, Any, Any] | None = None
    for width in range(round(guess * stamp.width) - 4, round(guess * stamp.width) + 5):
        size = width, round(stamp.height * width / stamp.width)
        for kernel in (Image.Resampling.LANCZOS, Image.Resampling.BICUBIC, Image.Resampling.BILINEAR):
            small = np.asarray(stamp.resize(size, kernel))  # Pillow does it premultiplied
            mine = small[..., 3]
            top, left = np.flatnonzero((mine > 127).any(axis=1)), np.flatnonzero((mine > 127).any(axis=0))
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    y, x = int(rows[0] - top[0]) + dy, int(columns[0] - left[0]) + dx
                    if y < 0 or x < 0 or y + size[1] > alpha.shape[0] or x + size[0] > alpha.shape[1]:
                        continue
                    there = alpha[y : y + size[1], x : x + size[0]]
                    soft = (there > 0) & (there < 255)
                    off = float(np.abs(there.astype(int) - mine)[soft].mean()) if soft.any() else 255.0
                    if best is None or off < best[0]:
                        best = off, small, (y, x)
    if best is None or best[0] > SAME:
        return None
    _, small, (y, x) = best
    result = np.zeros((*alpha.shape, 3), np.uint8)
    result[y : y + small.shape[0], x : x + small.shape[1]] = small[..., :3]
    return result


def colours_of(method: str, rgb: np.ndarray[Any, Any], alpha: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the foreground's colours by one of the methods that are compared."""
    if method == "plain":
        return rgb
    if method == "ours":
        return decontaminate(rgb, alpha)
    estimate = import_module("pymatting.foreground.estimate_foreground_ml").estimate_foreground_ml
    return np.rint(255 * estimate(rgb / 255.0, alpha / 255.0)).astype(np.uint8)


def composite_error(sample: Sample, colours: np.ndarray[Any, Any], alpha: np.ndarray[Any, Any]) -> float:
    """Return the mean difference, in levels, from the true composite where the truth is soft, over all backgrounds."""
    soft = (sample.alpha > 0) & (sample.alpha < 255)
    errors = []
    for colour in BACKGROUNDS.values():
        behind = np.broadcast_to(np.array(colour, np.uint8), sample.rgb.shape)
        wanted = over(sample.truth, sample.alpha, behind)[soft].astype(int)
        errors.append(np.abs(over(colours, alpha, behind)[soft] - wanted).mean())
    return float(np.mean(errors))


class Masks:
    """The model's masks, each made once."""

    def __init__(self, model: str) -> None:
        self.loaded = load(model)
        self.made: dict[str, Any] = {}

    def of(self, name: str, rgb: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the mask of a picture."""
        if name not in self.made:
            values = preprocess(rgb, self.loaded.processing)[None]
            plane = forward(self.loaded.graph, values)[0, 0]
            self.made[name] = postprocess(plane, *rgb.shape[:2], self.loaded.processing)
        return self.made[name]


def colour_table(found: list[Sample], masks: Masks, methods: list[str]) -> list[str]:
    """Compare the composite errors with the exact alpha, and with the model's."""
    lines = []
    for title, exact in (("the exact alpha", True), ("the model's own alpha", False)):
        errors: dict[str, list[float]] = {method: [] for method in methods}
        seconds: dict[str, list[float]] = {method: [] for method in methods}
        for sample in found:
            alpha = sample.alpha if exact else masks.of(sample.name, sample.rgb)
            for method in methods:
                start = time.perf_counter()
                colours = colours_of(method, sample.rgb, alpha)
                seconds[method].append((time.perf_counter() - start) / (alpha.size / 1e6))
                errors[method].append(composite_error(sample, colours, alpha))
        plain = np.array(errors["plain"])
        lines += [f"**With {title}**", "", "| colours | mean error, levels | against plain | worst picture | s/MP |"]
        lines += ["|---|---:|---:|---:|---:|"]
        for method in methods:
            mine = np.array(errors[method])
            change = f"{mine.mean() / plain.mean() - 1:+.0%}" if method != "plain" else "–"
            worst = f"{(mine / plain).max() - 1:+.0%}" if method != "plain" else "–"
            lines.append(f"| {method} | {mine.mean():.2f} | {change} | {worst} | {np.median(seconds[method]):.2f} |")
        lines.append("")
    return lines


def refinement_table(data: Path, masks: Masks, methods: list[str]) -> list[str]:
    """Compare refined masks with the exact alpha, near the soft pixels and everywhere."""
    lines = []
    for name in ("composites", "alphamatting-lowres"):
        results: dict[str, list[tuple[float, float, float]]] = {method: [] for method in methods}
        seconds: dict[str, list[float]] = {method: [] for method in methods}
        for path in sorted((data / name / "gt").glob("*.png")):
            truth = np.asarray(Image.open(path).convert("L"))
            if truth.size > SMALL:
                continue
            picture = next((data / name / "im").glob(f"{path.stem}.*"))
            rgb = np.asarray(Image.open(picture).convert("RGB"))
            mask, band = masks.of(str(picture), rgb), soft_band(truth, 10)
            for method in methods:
                start = time.perf_counter()
                refined = mask if method == "none" else refine(rgb, mask, method)
                seconds[method].append((time.perf_counter() - start) / (truth.size / 1e6))
                alpha, exact = refined / 255.0, truth / 255.0
                whole = mad(alpha, exact)
                results[method].append((whole, mad(alpha, exact, band), gradient_error(alpha, exact, band)))
        count = len(results["none"])
        lines += [f"**{name}**, the {count} pictures of up to {SMALL / 1e6:.1f} megapixels", ""]
        lines += ["| refine | mean abs. difference | in the band | gradient error in the band | better in | s/MP |"]
        lines += ["|---|---:|---:|---:|---:|---:|"]
        plain = np.array(results["none"])
        for method in methods:
            mine = np.array(results[method])
            better = f"{int((mine[:, 1] < plain[:, 1]).sum())} of {count}" if method != "none" else "–"
            whole, near, slope = mine.mean(axis=0)
            lines.append(
                f"| {method} | {whole:.4f} | {near:.4f} | {slope:.3f} | {better} | {np.median(seconds[method]):.2f} |"
            )
        lines.append("")
    return lines


def format_table(sample: Sample) -> list[str]:
    """Compare formats: size and time of one large cut-out."""
    picture = Image.fromarray(sample.rgb)
    size = 4000, round(4000 * picture.height / picture.width)
    large, mask = picture.resize(size), Image.fromarray(sample.alpha).resize(size)
    lines = [f"{sample.name}, brought to {size[0] * size[1] / 1e6:.1f} megapixels.", ""]
    lines += ["| file | hidden colours | MB | s |", "|---|---|---:|---:|"]
    for keep in (True, False):
        result = cutout(large, mask, keep_hidden=keep)
        for kind, quality in (("png", None), ("webp", None), ("webp", 85), ("tiff", None), ("avif", 80)):
            start = time.perf_counter()
            data = formats.encode(result, kind, quality)
            took = time.perf_counter() - start
            name = f"{kind}, quality {quality}" if quality else f"{kind}, lossless"
            lines.append(f"| {name} | {'kept' if keep else 'removed'} | {len(data) / 1e6:.1f} | {took:.2f} |")
    return [*lines, ""]


def main() -> int:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("stamps", type=Path)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data", help="default: %(default)s")
    parser.add_argument("--model", default=str(ROOT / "models/imgly/isnet-general-use"))
    parser.add_argument("--docs", type=Path, default=ROOT / "docs/cutouts.md", help="default: %(default)s")
    options = parser.parse_args()
    everything = list(samples(options.data / "composites", options.stamps))
    found = [sample for sample in everything if isinstance(sample, Sample)]
    if not found:
        print(f"No stamp in {options.stamps} fits a composite of {options.data}.", file=sys.stderr)
        return 1
    pymatting = find_spec("pymatting") is not None
    masks = Masks(options.model)
    page = [
        "# Cut-outs",
        "",
        "Written by `scripts/measure_cutouts.py`; every figure is computed from what it measured.",
        "",
        "## Colours without a halo",
        "",
        "A soft edge shows the old background through. Laid on a new one, the picture's own colours (plain) drag it",
        "along; `decontaminate=True`, the default, estimates the foreground's. Truth: the cut-outs that the composites",
        "of ../shared/data were made of, found again by their alpha (Debian's tuxpaint-stamps-default);",
        f"{len(found)} of {len(everything)} are found exactly enough (alpha within {SAME:.0f} levels, where soft).",
        f"Error: of the composite over {', '.join(BACKGROUNDS)}, where the true alpha is soft. The composites have",
        "noise and JPEG's losses, so no method reaches 0. PyMatting's is that of the algorithm's own authors.",
        "",
        *colour_table(found, masks, ["plain", "ours", *(["pymatting"] if pymatting else [])]),
        "With the model's own alpha most of the error is that of the alpha.",
        "",
        "## Refinement",
        "",
        "`refine=` decides the mask's edge anew within an automatic trimap. The model is IS-Net in fp32; the band is",
        "within 10 pixels of the truth's soft pixels and edges. It is off by default: see for yourself where it helps.",
        "",
        *refinement_table(options.data, masks, ["none", "guided", *(["closed-form"] if pymatting else [])]),
        "## Files",
        "",
        "Colours where alpha is 0 are removed from files by default, so that the old background does not hide there.",
        "",
        *format_table(max(found, key=lambda sample: sample.alpha.size)),
    ]
    options.docs.write_text("\n".join(page))
    print(options.docs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
