"""The values that a mask's file holds."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transformers_foreground.images.stored_values import stored_values

VALUES = np.arange(12, dtype=np.uint8).reshape(3, 4)


def _palette() -> Image.Image:
    image = Image.fromarray(VALUES)
    image.putpalette([9, 0, 200] * 256)
    return image


@pytest.mark.parametrize("image", [_palette(), Image.fromarray(VALUES.astype(np.uint16) * 300)], ids=["P", "I;16"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_indices_and_sixteen_bits(tmp_path: Path, image: Image.Image, kind: str) -> None:
    expected = np.asarray(image)
    path = tmp_path / "mask"
    image.save(path, kind)
    content = path.read_bytes()
    for source in (path, str(path), content, io.BytesIO(content), {"bytes": content}, {"path": str(path)}, image):
        np.testing.assert_array_equal(stored_values(source), expected)


@pytest.mark.parametrize("image", [_palette(), Image.fromarray(VALUES.astype(np.uint16) * 300)], ids=["P", "I;16"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_they_are_turned_once(image: Image.Image, kind: str, orientation: int, turns: int) -> None:
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    image.save(file, kind, exif=exif)
    np.testing.assert_array_equal(stored_values(file.getvalue()), np.rot90(np.asarray(image), turns))


def test_other_images_have_none(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    Image.fromarray(VALUES).save(path)
    for source in (path, Image.fromarray(VALUES), VALUES, tmp_path / "none.png", {}, None, b"no image"):
        assert stored_values(source) is None
