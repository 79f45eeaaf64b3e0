"""Photos for the benchmark, from `render_photos.py` alone: rendered once, cached, the same on every machine."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import render_photos

SCENES = ("mug", "armchair", "mushroom", "car", "duck", "pawn")
"""Partly hidden, with fine edges, wide and tall."""
MEGAPIXELS = {"0.3 MP": 0.3, "2 MP": 2.0, "12 MP": 12.0}
QUALITY = 92
NOISE = 4.0  # standard deviation of sensor noise, in levels; images without it would be too easy to encode


def originals(folder: Path, scenes: tuple[str, ...] = SCENES) -> list[Path]:
    """Render the scenes that are missing, at about 1.2 megapixels."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{scene}.png" for scene in scenes]
    for scene, path in zip(scenes, paths, strict=True):
        if not path.exists():
            print(f"rendering {scene} ...", flush=True)
            image, _ = render_photos.render(scene, 1280)
            _save(image, path)
    return paths


def photo(original: Path, megapixels: float, seed: int, folder: Path) -> Path:
    """Make one JPEG of a size: Lanczos, then a slight crop, mirror and gain from the seed, then sensor noise."""
    path = folder / f"{original.stem}-{megapixels:g}mp-{seed}.jpg"
    if path.exists():
        return path
    rng = np.random.default_rng([seed, round(megapixels * 10)])
    image = Image.open(original).convert("RGB")
    if seed:
        left, upper = (int(v * rng.uniform(0, 0.04)) for v in image.size)
        image = image.crop((left, upper, image.width, image.height))
    if seed % 2:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    scale = (megapixels * 1e6 / (image.width * image.height)) ** 0.5
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
    pixels = np.asarray(image, np.float32) * np.float32(1 if not seed else rng.uniform(0.9, 1.05))
    pixels += NOISE * rng.standard_normal((*pixels.shape[:2], 1), np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    _save(Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)), path)
    return path


def sizes(folder: Path, scenes: int) -> dict[str, list[Path]]:
    """Make each scene at each size: label to paths."""
    chosen = originals(folder / "originals", SCENES[:scenes])
    return {label: [photo(path, mp, 0, folder) for path in chosen] for label, mp in MEGAPIXELS.items()}


def many(folder: Path, count: int, megapixels: float, scenes: int = len(SCENES)) -> list[Path]:
    """Make a folder of different images of one size, made of the scenes in turn."""
    chosen = originals(folder / "originals", SCENES[:scenes])
    target = folder / f"folder-{megapixels:g}mp"
    return [photo(chosen[i % len(chosen)], megapixels, i + 1, target) for i in range(count)]


def _save(image: Image.Image, path: Path) -> None:
    """Write a file under another name first, so that it is never half written."""
    part = path.with_name(f".part-{path.name}")
    image.save(part, quality=QUALITY)
    part.replace(path)
