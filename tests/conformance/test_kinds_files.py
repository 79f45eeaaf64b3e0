"""Files of every kind that a camera or an editor writes: pixels, model input and mask against those of Node."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from file_exceptions import FILE_EXCEPTIONS, KINDS, WORKS_HERE, exception_for, recorded_files
from PIL import Image

from transformers_foreground import env, pipeline
from transformers_foreground.errors import ImageError
from transformers_foreground.images.decode import decode
from transformers_foreground.images.formats import load_plugin

pytestmark = pytest.mark.skipif(not recorded_files(), reason=f"no oracle at {KINDS} (see FOREGROUND_SHARED)")


@pytest.fixture(autouse=True)
def readable(request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.params["name"] if hasattr(request.node, "callspec") else ".avif"
    if name.endswith(".avif") and not load_plugin("AVIF"):
        pytest.skip("this Pillow reads no AVIF")


@pytest.fixture(scope="module")
def segmenter() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(env, "local_model_path", KINDS / "tiny")
        with pipeline("image-segmentation", "briaai/RMBG-1.4", local_files_only=True) as made:
            yield made.segmenter


def hashed(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def apart(ours: np.ndarray, theirs: Path) -> np.ndarray:
    return np.abs(ours.astype(np.int16) - np.asarray(Image.open(theirs)).reshape(ours.shape))


READ_BY_NODE = sorted(name for name, node in recorded_files().items() if "error" not in node)


@pytest.mark.parametrize("name", READ_BY_NODE)
def test_pixels_equal_those_of_node(name: str) -> None:
    path, node, known = KINDS / "pictures" / name, recorded_files()[name], exception_for(name)
    if known and known.levels is None:
        with pytest.raises(ImageError, match="no set range"):
            decode(path)
        return
    image = decode(path)
    assert [image.width, image.height, image.pixels.shape[2]] == node["decoded"][:3]
    if known is None:
        assert hashed(image.pixels) == node["decoded"][3]
    else:
        levels = apart(image.pixels, KINDS / "pictures-decoded" / f"{name}.png")
        assert levels.max() <= known.levels
        assert levels.mean() <= known.mean


@pytest.mark.parametrize("name", READ_BY_NODE)
def test_input_and_mask_equal_those_of_node(name: str, segmenter: Any) -> None:
    path, node, known = KINDS / "pictures" / name, recorded_files()[name], exception_for(name)
    if known and known.levels is None:
        return
    prepared = segmenter.prepare(path)
    mask = segmenter.finish(*segmenter.run([prepared])).mask
    if known is None:
        assert hashed(prepared.pixel_values) == node["pv"][-1]
        assert hashed(mask) == node["mask"][-1]
    else:
        assert apart(mask, KINDS / "pictures-masks" / f"{name}.png").max() <= known.mask


@pytest.mark.parametrize("name", sorted(name for name, node in recorded_files().items() if "error" in node))
def test_what_node_refuses(name: str) -> None:
    if name in WORKS_HERE:
        assert decode(KINDS / "pictures" / name).width in (211, 64)
        return
    with pytest.raises(ImageError, match=name):
        decode(KINDS / "pictures" / name)


def test_each_exception_is_needed() -> None:
    """A file that has become equal, or a pattern without files, leaves the table."""
    different = Counter[Any]()
    for name, node in recorded_files().items():
        known = exception_for(name)
        if known and known.levels is not None and "error" not in node:
            different[known] += hashed(decode(KINDS / "pictures" / name).pixels) != node["decoded"][3]
    assert [known.names for known in FILE_EXCEPTIONS if known.levels is not None and not different[known]] == []
