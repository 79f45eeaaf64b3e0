"""Measure how near cut-outs come to the truth, and write docs/cutouts.md: `python scripts/measure_cutouts.py STAMPS`.

STAMPS is a folder of photographic cut-outs: Debian's tuxpaint-stamps-default (`apt-get download` it, `dpkg -x` it).
The data set (--data) has composites of some of them on photographs: im/NAME.jpg, and gt/NAME.png, their exact alpha.
The stamps have the foreground's own colours, which the composites do not show.
PyMatting is measured beside ours if it is installed.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from transformers_foreground.compositing.backgrounds import over
from transformers_foreground.compositing.cutout import cutout
from transformers_foreground.compositing.foreground_colors import decontaminate
from transformers_foreground.images import encode as formats
from transformers_foreground.segmenter import Segmenter

ROOT = Path(__file__).resolve().parents[1]
BACKGROUNDS = {"white": (255, 255, 255), "black": (0, 0, 0), "green": (0, 177, 64)}
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
        image = next((data / "im").glob(f"{path.stem}.*"))
        yield Sample(path.stem, np.asarray(Image.open(image).convert("RGB")), alpha, truth)


def placed(stamp: Image.Image, alpha: np.ndarray[Any, Any]) -> np.ndarray[Any, Any] | None:
    """Find how large and where a stamp is in an image: the place with the same alpha. Return its colours there."""
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
        self.segmenter = Segmenter(model)
        self.made: dict[str, Any] = {}

    def of(self, name: str, rgb: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the mask of an image."""
        if name not in self.made:
            self.made[name] = self.segmenter(rgb).mask
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
                start = time.process_time()
                colours = colours_of(method, sample.rgb, alpha)
                seconds[method].append((time.process_time() - start) / (alpha.size / 1e6))
                errors[method].append(composite_error(sample, colours, alpha))
        plain = np.array(errors["plain"])
        lines += [f"**With {title}**", "", "| colours | mean error, levels | against plain | worst image | CPU s/MP |"]
        lines += ["|---|---:|---:|---:|---:|"]
        for method in methods:
            mine = np.array(errors[method])
            change = f"{mine.mean() / plain.mean() - 1:+.0%}" if method != "plain" else "–"
            worst = f"{(mine / plain).max() - 1:+.0%}" if method != "plain" else "–"
            lines.append(f"| {method} | {mine.mean():.2f} | {change} | {worst} | {np.median(seconds[method]):.2f} |")
        lines.append("")
    return lines


def cost_table(found: list[Sample], masks: Masks) -> list[str]:
    """Measure the time and memory of decontamination on 12 megapixels: the image with nearest to 12 % soft pixels."""
    soft = {sample.name: float(_soft(masks.of(sample.name, sample.rgb)).mean()) for sample in found}
    sample = min(found, key=lambda sample: abs(soft[sample.name] - 0.12))
    height, width = sample.alpha.shape
    size = round((12e6 * width / height) ** 0.5), round((12e6 * height / width) ** 0.5)
    rgb = np.asarray(Image.fromarray(sample.rgb).resize(size, Image.Resampling.BICUBIC))
    mask = np.asarray(Image.fromarray(masks.of(sample.name, sample.rgb)).resize(size, Image.Resampling.BILINEAR))
    seconds = []
    for _ in range(9):
        start = time.process_time()
        decontaminate(rgb, mask)
        seconds.append(time.process_time() - start)
    tracemalloc.start()
    decontaminate(rgb, mask)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return [
        f"What it costs: {sample.name}, brought to {mask.size / 1e6:.1f} megapixels, with {_soft(mask).mean():.0%} of",
        f"soft pixels: {np.median(seconds):.2f} s of one thread (the least of 9 runs {min(seconds):.2f}), and "
        f"{peak / 1e6:.0f} MB, of which {rgb.nbytes / 1e6:.0f} are the result.",
        "",
    ]


def _soft(mask: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return (mask > 0) & (mask < 255)


def pillow_png(image: Image.Image) -> bytes:
    """Encode as Pillow does at level 1, beside ours."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def format_table(sample: Sample) -> list[str]:
    """Compare formats: size and time of one large cut-out."""
    image = Image.fromarray(sample.rgb)
    size = 4000, round(4000 * image.height / image.width)
    large, mask = image.resize(size), Image.fromarray(sample.alpha).resize(size)
    lines = [f"{sample.name}, brought to {size[0] * size[1] / 1e6:.1f} megapixels.", ""]
    lines += ["| file | hidden colours | MB | CPU s |", "|---|---|---:|---:|"]
    for keep in (True, False):
        result = cutout(large, mask, keep_hidden=keep)
        start = time.process_time()
        data = pillow_png(result)
        took = time.process_time() - start
        removed = "kept" if keep else "removed"
        lines.append(f"| png, by Pillow at level 1 | {removed} | {len(data) / 1e6:.1f} | {took:.2f} |")
        for kind, quality in (("png", None), ("webp", None), ("webp", 85), ("tiff", None), ("avif", 80)):
            start = time.process_time()
            data = formats.encode(result, kind, quality)
            took = time.process_time() - start
            name = f"{kind}, quality {quality}" if quality else f"{kind}, lossless"
            lines.append(f"| {name} | {removed} | {len(data) / 1e6:.1f} | {took:.2f} |")
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
        "A soft edge shows the old background through. Laid on a new one, the image's own colours (plain) drag it",
        "along; `decontaminate=True`, the default, estimates the foreground's. Truth: photographic cut-outs (Debian's",
        "tuxpaint-stamps-default), which were laid over photographs, and are found again by their exact alpha:",
        f"{len(found)} of {len(everything)} exactly enough (alpha within {SAME:.0f} levels, where soft).",
        f"Error: of the composite over {', '.join(BACKGROUNDS)}, where the true alpha is soft. The composites have",
        "noise and JPEG's losses, so no method reaches 0. PyMatting's is that of the algorithm's own authors.",
        "",
        *colour_table(found, masks, ["plain", "ours", *(["pymatting"] if pymatting else [])]),
        "With the model's own alpha most of the error is that of the alpha.",
        "",
        *cost_table(found, masks),
        "## Files",
        "",
        "Colours where alpha is 0 are removed from files by default, so that the old background does not hide there.",
        "PNG files of a megapixel or more are filtered in numpy and compressed by ISA-L (the package `isal`).",
        "",
        *format_table(max(found, key=lambda sample: sample.alpha.size)),
    ]
    options.docs.write_text("\n".join(page))
    print(options.docs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
