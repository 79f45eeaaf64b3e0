"""Preprocessor configs made afresh from a seed, through the real Transformers.js and this package."""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transformers_foreground.errors import ForegroundError
from transformers_foreground.images.decode import decode
from transformers_foreground.runtime.preprocessing import preprocess
from transformers_foreground.runtime.processing import Processing

PROCESSORS = (
    "ImageFeatureExtractor", "ImageProcessor", "ViTImageProcessor", "ViTImageProcessorFast", "DPTImageProcessor",
    "BitImageProcessor", "MobileViTImageProcessor", "EfficientNetImageProcessor", "ConvNextImageProcessor",
)  # fmt: skip
RESAMPLES = (0, 1, 2, 3, 4, 5, "nearest", "lanczos", "bilinear", "bicubic", None)
EQUAL, DIFFERENT, ONLY_THERE, ONLY_HERE, NEITHER = (
    "identical",
    "DIFFERENT",
    "REFUSED HERE",
    "works here only",
    "neither",
)

# Configs that Transformers.js takes and that are refused here: part of the message, and why.
REFUSED = {
    "does not fit the preprocessor's pad_size": "Transformers.js writes the rows of a larger image over each other",
    "do_center_crop is not supported with ConvNeXt": "it crops twice",
}


def draw_config(draw: random.Random) -> dict[str, Any]:
    """Draw a config; about one in four is one that Transformers.js cannot run."""
    side: Callable[[], int] = lambda: draw.randint(8, 150)  # noqa: E731
    sizes: list[Callable[[], Any]] = [
        lambda: {"width": side(), "height": side()},
        lambda: {"width": str(side()), "height": str(side())},
        lambda: {"shortest_edge": side()},
        lambda: {"longest_edge": side()},
        lambda: {"shortest_edge": side(), "longest_edge": side()},
        side,
    ]
    mean, std = draw.choice([("image_mean", "image_std"), ("mean", "std")])
    divisibility = draw.choice(["size_divisibility", "size_divisor"])
    config = {
        "image_processor_type": draw.choice(PROCESSORS),
        mean: draw.choice([0.5, [round(draw.random(), 3) for _ in range(3)]]),
        std: draw.choice([0.5, [round(draw.uniform(0.1, 1), 3) for _ in range(3)]]),
    }
    chances: list[tuple[str, float, Callable[[], Any]]] = [
        (draw.choice(["size", "size", "image_size"]), 0.85, lambda: draw.choice(sizes)()),
        ("max_size", 0.15, side),
        ("do_resize", 0.6, lambda: draw.random() < 0.8),
        ("resample", 0.7, lambda: draw.choice(RESAMPLES)),
        ("do_rescale", 0.3, lambda: draw.random() < 0.7),
        ("rescale_factor", 0.3, lambda: draw.choice([1 / 255, 1 / 127.5, 0.01, 1])),
        ("do_normalize", 0.7, lambda: draw.random() < 0.8),
        (divisibility, 0.3, lambda: draw.choice([7, 16, 32])),
        ("keep_aspect_ratio", 0.25, lambda: True),
        ("ensure_multiple_of", 0.25, lambda: draw.choice([8, 14, 32])),
        ("do_center_crop", 0.25, lambda: True),
        ("crop_size", 0.5, lambda: draw.choice([sizes[0], side])()),
        ("do_pad", 0.3, lambda: True),
        ("pad_size", 0.25, lambda: draw.choice([{"width": 260, "height": draw.randint(220, 320)}, 240, "square"])),
        ("do_thumbnail", 0.15, lambda: True),
        ("do_crop_margin", 0.15, lambda: True),
        ("do_flip_channel_order", 0.2, lambda: True),
    ]
    return config | {key: value() for key, chance, value in chances if draw.random() < chance}


def draw_image(draw: random.Random) -> Image.Image:
    """Draw a small image: gray, RGB or RGBA; noise or waves; at times with a bright margin."""
    channels, noise = draw.choice([1, 3, 3, 4]), np.random.default_rng(draw.getrandbits(32))
    height, width = draw.randint(1, 220), draw.randint(1, 220)
    pixels: NDArray[np.uint8] = noise.integers(0, 256, (height, width, channels), np.uint8)
    if draw.random() < 0.5:
        y, x = np.mgrid[:height, :width]
        waves = [127 + 120 * np.sin(x / 9 + c) * np.cos(y / 7) for c in range(channels)]
        pixels = np.stack(waves, axis=2).astype(np.uint8)
    if draw.random() < 0.3:
        pixels[: height // 4] = pixels[:, : width // 5] = 250
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels)


def ours(config: dict[str, Any], image: Path) -> dict[str, Any]:
    """Return what `conformance_configs.mjs` does, of this package."""
    import hashlib

    try:
        values = preprocess(decode(image).pixels, Processing.from_dict(config))[None]
    except ForegroundError as error:
        return {"error": str(error)}
    return {"shape": list(values.shape), "sha256": hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()}


def verdict_of(theirs: dict[str, Any], here: dict[str, Any]) -> str:
    """Compare what both made of one image."""
    if "error" in theirs:
        return NEITHER if "error" in here else ONLY_HERE
    if "error" in here:
        return next((why for message, why in REFUSED.items() if message in here["error"]), ONLY_THERE)
    return EQUAL if theirs == here else DIFFERENT


def check(work: Path, seed: int, count: int = 300) -> bool:
    """Make configs and images, run both, and print the counts.

    Args:
        work: Where the real Transformers.js is installed.
        seed: What the configs and images are drawn from.
        count: How many.

    Returns:
        Whether all pixel values are equal, and nothing is refused that is not in `REFUSED`.

    Raises:
        subprocess.CalledProcessError: Node failed.
    """
    draw, models = random.Random(seed), work / f"configs-{seed}"
    configs, pairs = [], []
    for i in range(count):
        folder = models / f"config-{i}"
        folder.mkdir(parents=True, exist_ok=True)
        configs.append(draw_config(draw))
        (folder / "preprocessor_config.json").write_text(json.dumps(configs[-1]))
        draw_image(draw).save(folder / "image.png")
        pairs.append({"model": folder.name, "image": str(folder / "image.png")})
    job, out = models / "job.json", models / "results.json"
    job.write_text(json.dumps({"work": str(work), "models": f"{models}{os.sep}", "pairs": pairs, "out": str(out)}))
    subprocess.run(["node", str(Path(__file__).with_suffix(".mjs")), str(job)], check=True)
    verdicts: Counter[str] = Counter()
    for config, pair, theirs in zip(configs, pairs, json.loads(out.read_text()), strict=True):
        here = ours(config, Path(pair["image"]))
        verdict = verdict_of(theirs, here)
        verdicts[verdict] += 1
        if verdict in (DIFFERENT, ONLY_THERE):
            print(f"{verdict}: {pair['image']}\n  {json.dumps(config)}\n  {theirs}\n  {here}")
    counts = ", ".join(f"{number} {verdict}" for verdict, number in verdicts.most_common())
    print(f"configs, seed {seed}: {counts}")
    return not (verdicts[DIFFERENT] or verdicts[ONLY_THERE])
