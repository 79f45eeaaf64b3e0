"""What the real Transformers.js gave (`../shared/oracle`), and how far what we give is from it.

Shared by the tests here and by `scripts/conformance.py`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tiny_models import RMBG_CONFIG, RMBG_PREPROCESSOR

from transformers_foreground import ForegroundPipeline
from transformers_foreground.images.alpha import put_alpha
from transformers_foreground.images.decode import DecodedImage

ROOT = Path(__file__).resolve().parents[2]
ORACLE = Path(os.environ.get("FOREGROUND_SHARED", ROOT.parent / "shared")) / "oracle"
DTYPES = ("fp32", "fp16", "q8")

# libvips converts CMYK by a profile that is built into it and not ours to ship; a polynomial stands for it here. The
# pixels differ by up to 10 levels, and so does the mask, most where the model is in doubt, by up to this.
CMYK, CMYK_LEVELS = "19_cmyk.jpg", 100
# On another CPU a forward pass may round differently; stages before and after it may not.
LEVELS, SHARE, IOU = 1, 0.001, 0.99

Mask = NDArray[np.uint8]


def manifest(dtype: str) -> dict[str, Any]:
    """Return what Node gave for every image, by its name; empty without the oracle."""
    path = ORACLE / "node" / f"manifest.{dtype}.json"
    images: dict[str, Any] = json.loads(path.read_text())["images"] if path.is_file() else {}
    return images


def recorded_mask(name: str, folder: str) -> Mask:
    """Read a recorded mask; `folder` is such as `"node/q8"`."""
    return np.asarray(Image.open(ORACLE / folder / f"{name}.mask.png"))


def quirks() -> dict[str, dict[str, Any]]:
    """Return what Node gave for every odd call: `{"ok": value}` or `{"error": text}`; empty without the oracle."""
    path = ORACLE / "node" / "quirks.json"
    calls: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.is_file() else {}
    return calls


def report() -> str:
    """Return the oracle's report as one line, for sentences to be looked up in; empty without the oracle."""
    path = ORACLE / "report.md"
    return re.sub(r"\s+", " ", path.read_text()) if path.is_file() else ""


def lay_out(source: Path, top: Path) -> Path:
    """Make `briaai/RMBG-1.4`, with that repository's JSON files, of another one's ONNX files; gives its folder."""
    folder = top / "briaai" / "RMBG-1.4"
    (folder / "onnx").mkdir(parents=True, exist_ok=True)
    for path in (source / "onnx").glob("*.onnx"):
        link = folder / "onnx" / path.name
        link.unlink(missing_ok=True)
        link.symlink_to(path.resolve())
    (folder / "config.json").write_text(json.dumps(RMBG_CONFIG))
    (folder / "preprocessor_config.json").write_text(json.dumps(RMBG_PREPROCESSOR))
    return folder


def sha256(array: NDArray[Any]) -> str:
    """Hash an array's values."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


@dataclass(frozen=True)
class Stages:
    """What one image is on its way through a pipeline: hashes, as in the manifest, and the mask."""

    size: tuple[int, int, int]
    decoded: str
    pixel_values: str
    raw_output: str
    mask_model: str
    cutout: str
    mask: Mask


def run_stages(segmenter: ForegroundPipeline, path: Path, **options: Any) -> Stages:
    """Run one image through the engine's stages, with a single forward pass."""
    engine = segmenter.segmenter
    prepared = engine.prepare(path, **options)
    (ran,) = engine.run([prepared])
    image = ran.image
    square = DecodedImage(np.zeros((*ran.plane.shape, 3), np.uint8), image.name)
    foreground = engine.finish(ran)
    return Stages(
        size=(image.width, image.height, image.pixels.shape[2]),
        decoded=sha256(image.pixels),
        pixel_values=sha256(prepared.pixel_values),
        raw_output=sha256(ran.plane),
        mask_model=sha256(engine.finish(replace(ran, image=square)).mask),
        cutout=sha256(np.asarray(put_alpha(image.rgb(), foreground.mask))),
        mask=foreground.mask,
    )


@dataclass(frozen=True)
class Difference:
    """How far two masks of one size are from each other.

    Attributes:
        levels: Largest difference, of 255.
        share: Share of the pixels that differ at all.
        iou: Intersection over union of what is above 127; 1 where both are empty.
    """

    levels: int
    share: float
    iou: float

    @classmethod
    def between(cls, ours: Mask, theirs: Mask) -> Difference:
        """Compare two masks, uint8, (H, W)."""
        difference = np.abs(ours.astype(np.int16) - theirs)
        one, other = ours > 127, theirs > 127
        union = int((one | other).sum())
        iou = int((one & other).sum()) / union if union else 1.0
        return cls(int(difference.max()), float((difference > 0).mean()), iou)

    def is_rounding(self, dtype: str) -> bool:
        """Whether another CPU may explain it."""
        if dtype == "q8":
            return self.iou >= IOU
        return self.levels <= LEVELS and self.share <= SHARE
