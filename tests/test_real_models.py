"""On real weights: the three ways in on IS-Net as RMBG-1.4, and U²-Netp against its authors' own masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SHARED, real_model
from PIL import Image
from test_ways_in import WAYS

from transformers_foreground import env, pipeline

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    """A bright ball on a dark, soft background."""
    y, x = np.mgrid[:300, :400]
    ball = np.clip((90 - np.hypot(x - 210, y - 160)) / 2, 0, 1)[..., None]
    light = np.clip(1.2 - np.hypot(x - 180, y - 130) / 180, 0.2, 1)[..., None]
    pixels = ball * light * [230, 90, 40] + (1 - ball) * ([60, 80, 70] + 20 * np.sin(x / 60)[..., None])
    return Image.fromarray(pixels.astype(np.uint8))


@pytest.mark.parametrize("way", WAYS)
def test_every_way_in_finds_the_ball(way: Any, isnet_as_rmbg: Path, photo: Image.Image) -> None:
    segmenter = way(isnet_as_rmbg / "briaai" / "RMBG-1.4", "image-segmentation")
    mask = np.asarray(segmenter(photo, subtask="foreground-extraction")[0]["mask"])
    y, x = np.mgrid[:300, :400]
    truth = np.hypot(x - 210, y - 160) < 89
    assert ((mask > 127) & truth).sum() / ((mask > 127) | truth).sum() > 0.97
    assert len((getattr(segmenter.model, "session", None) or segmenter.model.graph.session).get_outputs()) == 12
    assert segmenter.model.graph.output_name == "output"


@pytest.mark.parametrize("dtype", ["fp16", "q8"])
def test_other_dtypes_by_id(dtype: str, isnet_as_rmbg: Path, photo: Image.Image) -> None:
    env.local_model_path = isnet_as_rmbg
    with pipeline("background-removal", "briaai/RMBG-1.4", dtype=dtype) as remover:
        result = remover(photo)
    assert result.mode == "RGBA"
    assert result.getpixel((210, 160))[3] > 250
    assert result.getpixel((10, 10))[3] < 5


# The authors resize without antialiasing; the default resampling shifts positions by up to half a pixel.
@pytest.mark.parametrize(("resampling", "median", "worst"), [("bria", 0.2, 1.0), ("transformers.js", 1.0, 6.0)])
def test_u2netp_gives_what_its_authors_published(resampling: str, median: float, worst: float) -> None:
    folder = SHARED / "data" / "u2netp-published"
    if not folder.is_dir():
        pytest.skip(f"no published masks at {folder}")
    images = sorted((folder / "im").iterdir())
    assert len(images) >= 18
    with pipeline("image-segmentation", real_model("xuebinqin/u2netp"), resampling=resampling) as segmenter:
        differences = []
        for path, result in zip(images, segmenter(images), strict=True):
            published = np.asarray(Image.open(folder / "masks" / f"{path.stem}.png").convert("L"), np.int16)
            differences.append(np.abs(np.asarray(result[0]["mask"]) - published).mean())
    assert np.median(differences) <= median
    assert max(differences) <= worst
