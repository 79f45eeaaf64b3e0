"""Masks, and every stage on the way to them, against those of Transformers.js in Node and in Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracle import CMYK, CMYK_LEVELS, DTYPES, ORACLE, Difference, manifest, recorded_mask, run_stages, sha256

from transformers_foreground import env, pipeline
from transformers_foreground.errors import ModelFileNotFoundError

pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(not manifest("fp32"), reason=f"no oracle at {ORACLE} (see FOREGROUND_SHARED)"),
]
IN_BROWSER = [name for name in manifest("fp32") if (ORACLE / "browser" / "fp32" / f"{name}.mask.png").is_file()]
# A canvas keeps colours premultiplied by alpha, so a browser's model sees black where an image is transparent, and
# Node's sees the colours that are hidden there. Our `resampling="canvas"` resizes as browsers do, and decodes as Node.
TRANSPARENT = "14_rgba.png"


@pytest.fixture(scope="module", params=DTYPES)
def dtype(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(scope="module")
def segmenter(dtype: str, isnet_as_rmbg: Path) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(env, "local_model_path", isnet_as_rmbg)
        try:
            with pipeline("image-segmentation", "briaai/RMBG-1.4", dtype=dtype, local_files_only=True) as made:
                yield made
        except ModelFileNotFoundError as error:
            pytest.skip(f"{error}")


def image(name: str) -> Path:
    path = ORACLE / "images" / name
    if not path.is_file():
        pytest.skip(f"{name} is in the manifest but not in images/")
    return path


@pytest.mark.parametrize("name", manifest("fp32"))
def test_every_stage_equals_that_of_node(segmenter: Any, dtype: str, name: str) -> None:
    node, ours = manifest(dtype)[name], run_stages(segmenter, image(name))
    assert ours.mask.shape == ours.size[1::-1]
    if "error" in node["segmentation"]:  # refused by Node (gray with alpha), accepted by us
        return
    decoded, mask = node["decoded"], node["segmentation"]["mask"]
    assert ours.size == (decoded["width"], decoded["height"], decoded["channels"])
    difference = Difference.between(ours.mask, recorded_mask(name, f"node/{dtype}"))
    if name == CMYK:
        assert difference.levels <= CMYK_LEVELS
        return
    assert ours.decoded == decoded["sha256"]
    assert ours.pixel_values == node["pixel_values"]["sha256"]
    if ours.raw_output != node["raw_output"]["sha256"]:  # another CPU
        assert difference.is_rounding(dtype)
        return
    assert ours.mask_model == node["mask_model"]["sha256"]
    assert sha256(ours.mask) == mask["sha256"]
    assert difference.levels == 0
    if "sha256" in node.get("background_removal", {}):  # recorded for fp32; refused by Node for gray images
        assert ours.cutout == node["background_removal"]["sha256"]


@pytest.mark.parametrize("dtype", ["fp32"], scope="module")
@pytest.mark.parametrize("name", [name for name in IN_BROWSER if name != TRANSPARENT])
def test_canvas_gives_the_browsers_masks(segmenter: Any, name: str) -> None:
    mask = segmenter(image(name), resampling="canvas", return_mask=True)
    assert Difference.between(np.asarray(mask), recorded_mask(name, "browser/fp32")).share <= 0.0002


@pytest.mark.parametrize("dtype", ["fp32"], scope="module")
def test_canvas_and_transparency(segmenter: Any) -> None:
    mask = segmenter(image(TRANSPARENT), resampling="canvas", return_mask=True)
    difference = Difference.between(np.asarray(mask), recorded_mask(TRANSPARENT, "browser/fp32"))
    assert difference.levels <= 3  # Skia rounds premultiplied colours in ways of its own
    assert difference.share <= 0.005


def test_enough_is_compared() -> None:
    assert [len(manifest(dtype)) >= 25 for dtype in DTYPES] == [True] * 3
    assert len(IN_BROWSER) >= 5
