"""device="openvino", in the venv of its own that `make test-openvino` makes; skipped elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import real_model
from PIL import Image
from tiny_models import brightness_model, write_repo

from transformers_foreground import env, pipeline
from transformers_foreground.errors import DeviceFallbackWarning

ort = pytest.importorskip("onnxruntime")

pytestmark = pytest.mark.skipif(
    "OpenVINOExecutionProvider" not in ort.get_available_providers(),
    reason="this onnxruntime has no OpenVINO: `make test-openvino` runs these in a venv that has",
)


def test_the_provider_is_openvino_and_the_mask_is_the_same(tiny: Path, half_bright: Image.Image) -> None:
    masks = []
    for device in ("cpu", "openvino"):
        with pipeline("image-segmentation", "briaai/RMBG-1.4", device=device, strict=True) as segmenter:
            assert (segmenter.model.session.get_providers()[0] == "OpenVINOExecutionProvider") == (device == "openvino")
            masks.append(np.asarray(segmenter(half_bright)[0]["mask"]).astype(int))
    assert np.abs(masks[0] - masks[1]).max() <= 2


def test_a_provider_that_does_not_start_is_told_of(tiny: Path) -> None:
    options = {"load_config": "no JSON"}
    with (
        pytest.warns(DeviceFallbackWarning, match="did not start"),
        pipeline("image-segmentation", "briaai/RMBG-1.4", device="openvino", provider_options=options) as segmenter,
    ):
        assert segmenter.model.session.get_providers() == ["CPUExecutionProvider"]


def test_graphs_of_any_size(tmp_path: Path, half_bright: Image.Image) -> None:
    folder = write_repo(tmp_path / "m", dtypes={"": brightness_model(size=None, batch=None)})
    with pipeline("image-segmentation", folder, device="openvino") as segmenter:
        assert np.asarray(segmenter(half_bright)[0]["mask"])[16, 4] >= 253


@pytest.mark.model
def test_real_weights_lose_next_to_nothing_in_bf16(tmp_path: Path) -> None:
    folder = real_model("imgly/isnet-general-use")
    env.cache_dir = tmp_path / "cache"
    y, x = np.mgrid[:300, :400]
    disc = np.clip((90 - np.hypot(x - 210, y - 160)) / 2, 0, 1)[..., None]
    picture = Image.fromarray((disc * [230, 90, 40] + (1 - disc) * [60, 80, 70]).astype(np.uint8))
    masks = []
    for device in ("cpu", "openvino"):
        with pipeline("image-segmentation", folder, device=device) as segmenter:
            masks.append(np.asarray(segmenter(picture)[0]["mask"]).astype(int))
    a, b = masks[0] > 127, masks[1] > 127
    assert np.abs(masks[0] - masks[1]).mean() / 255 <= 0.002
    assert (a & b).sum() / (a | b).sum() >= 0.995
    assert list((tmp_path / "cache" / "compiled" / "openvino").iterdir()), "the compiled model was not kept"
