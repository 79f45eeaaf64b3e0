"""Images made afresh from a seed, in the sizes, modes, formats and orientations that people have."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from render_photos import SCENES, render

LARGEST = 1500
ORIENTATION = 0x0112  # the EXIF tag


class Kind(NamedTuple):
    """A way to write an image: a name for it, the file's ending, whether it can tell an orientation."""

    name: str
    ending: str
    turns: bool = True


KINDS = (
    Kind("rgb", "jpg"),
    Kind("progressive", "jpg"),
    Kind("gray", "jpg"),
    Kind("rgb", "png"),
    Kind("rgba", "png"),
    Kind("gray", "png"),
    Kind("gray16", "png"),
    Kind("onebit", "png"),
    Kind("palette", "png"),
    Kind("palette-transparent", "png"),
    Kind("rgb", "webp"),
    Kind("rgba", "webp"),
    Kind("palette", "gif", turns=False),
)


def make_images(folder: Path, count: int, seed: int) -> list[Path]:
    """Write images into a folder, which is emptied first, and return their paths.

    Args:
        folder: Where.
        count: How many. Kinds and orientations are dealt like cards, so that none comes twice before all came once.
        seed: What everything is drawn from.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    rng = np.random.default_rng(seed)
    kinds = _dealt(rng, list(KINDS), count)
    turns = _dealt(rng, list(range(1, 9)), count)
    photos = [_photo(str(name), seed) for name in rng.choice(list(SCENES), min(3, count), replace=False)]
    return [_write(folder, i, kinds[i], turns[i], _crop(rng, photos[i % len(photos)]), rng) for i in range(count)]


def _dealt(rng: np.random.Generator, cards: list[Any], count: int) -> list[Any]:
    dealt: list[Any] = []
    while len(dealt) < count:
        dealt += [cards[i] for i in rng.permutation(len(cards))]
    return dealt[:count]


def _photo(scene: str, seed: int) -> Image.Image:
    """Render a scene, with its object's alpha as the image's."""
    photo, alpha = render(scene, 480, seed)
    photo.putalpha(alpha)
    return photo


def _crop(rng: np.random.Generator, photo: Image.Image) -> Image.Image:
    """Cut out more than half of each side, and bring that to any size; one in six is tiny."""
    largest = 16 if rng.random() < 1 / 6 else LARGEST
    width, height = (int(n) for n in rng.integers(1, largest + 1, 2))
    (x0, y0), (x1, y1) = rng.uniform(0, 0.22, 2), rng.uniform(0.78, 1, 2)
    box = (x0 * photo.width, y0 * photo.height, x1 * photo.width, y1 * photo.height)
    return photo.resize((width, height), Image.Resampling.BICUBIC, box=box)


def _write(folder: Path, i: int, kind: Kind, turn: int, rgba: Image.Image, rng: np.random.Generator) -> Path:
    image, options = _converted(kind, rgba, rng)
    suffix = f"_exif{turn}" if kind.turns else ""
    path = folder / f"{i:02}_{kind.name}_{image.width}x{image.height}{suffix}.{kind.ending}"
    if kind.turns:
        exif = Image.Exif()
        exif[ORIENTATION] = turn
        options["exif"] = exif
    image.save(path, **options)
    return path


def _converted(kind: Kind, rgba: Image.Image, rng: np.random.Generator) -> tuple[Image.Image, dict[str, Any]]:
    """Return the image in the mode of its kind, and what to save it with."""
    rgb = rgba.convert("RGB")
    if kind.name == "rgba":
        return rgba, {"lossless": bool(rng.integers(2)), "exact": True} if kind.ending == "webp" else {}
    if kind.name == "gray16":
        plane = np.asarray(rgb.convert("L"), np.uint16) * 257
        return Image.fromarray(plane ^ rng.integers(0, 256, plane.shape, np.uint16)), {}
    if kind.name == "onebit":
        return rgb.convert("1"), {}
    if kind.name.startswith("palette"):
        colours = int(rng.integers(2, 257))
        image = rgb.quantize(colours)
        alphas = rng.integers(0, 256, colours, np.uint8).tobytes()
        return image, {"transparency": alphas} if kind.name == "palette-transparent" else {}
    lossy = {"quality": int(rng.integers(50, 99))}
    if kind.ending == "jpg":
        lossy |= {"subsampling": int(rng.integers(3)), "progressive": kind.name == "progressive"}
    return (rgb.convert("L") if kind.name == "gray" else rgb), {} if kind.ending == "png" else lossy
