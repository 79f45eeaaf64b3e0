"""`load_image` gives what the pipelines see."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transformers_foreground import load_image
from transformers_foreground.errors import ImageError


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_pixels_and_mode(mode: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, len(mode)), np.uint8)
    image = Image.fromarray(pixels[..., 0] if mode == "L" else pixels)
    image.save(tmp_path / "x.png")
    for source in (tmp_path / "x.png", (tmp_path / "x.png").read_bytes(), image):
        loaded = load_image(source)
        assert (loaded.mode, loaded.tobytes()) == (mode, image.tobytes())


def test_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned
    Image.new("RGB", (6, 4)).save(tmp_path / "x.jpg", exif=exif)
    assert load_image(tmp_path / "x.jpg").size == (4, 6)


def test_what_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"x\.jpg"):
        load_image(tmp_path / "x.jpg")
