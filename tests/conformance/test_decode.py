"""Pixels from `decode` against those that Transformers.js decoded in Node (recorded in the oracle)."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from transformers_foreground.errors import ImageError
from transformers_foreground.images.decode import decode

ROOT = Path(__file__).resolve().parents[2]
ORACLE = Path(os.environ.get("FOREGROUND_SHARED", ROOT.parent / "shared")) / "oracle"
MANIFEST = ORACLE / "node" / "manifest.fp32.json"

pytestmark = pytest.mark.skipif(not MANIFEST.is_file(), reason=f"no oracle at {ORACLE} (see FOREGROUND_SHARED)")


def recorded() -> dict[str, dict]:
    return json.loads(MANIFEST.read_text())["images"] if MANIFEST.is_file() else {}


# libvips has a CMYK profile built in, which is not ours to ship: those pixels differ (test_kinds_files.py bounds it).
OTHER_PIXELS = {"19_cmyk.jpg"}


def test_enough_images_are_there():
    assert sum((ORACLE / "images" / name).is_file() for name in recorded()) >= 25


@pytest.mark.parametrize("name", recorded())
def test_pixels_equal_those_of_node(name):
    path, node = ORACLE / "images" / name, recorded()[name].get("decoded")
    if not path.is_file():
        pytest.skip(f"{name} is in the manifest but not in images/")
    image = decode(path)
    if node is None:  # refused by Node, accepted by us: gray with alpha
        assert image.pixels.shape[2] == 4
        return
    assert (image.width, image.height, image.pixels.shape[2]) == (
        node["width"],
        node["height"],
        node["channels"],
    )
    if name not in OTHER_PIXELS:
        assert hashlib.sha256(image.pixels.tobytes()).hexdigest() == node["sha256"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bmp.bmp", None),  # refused by Node, accepted by us
        ("tiff.tif", None),
        ("empty.png", "empty"),
        ("notimage.jpg", "not an image"),
        ("svg.svg", "SVG"),  # drawn by Node, refused by us
        ("truncated.jpg", "truncated"),
    ],
)
def test_odd_files(name, message):
    path = ORACLE / "bad" / name
    if message is None:
        assert decode(path).pixels.shape[2] == 3
        return
    with pytest.raises(ImageError, match=message) as caught:
        decode(path)
    assert str(path) in str(caught.value)
