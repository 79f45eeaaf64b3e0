"""Capture: a caller who changes, closes or exhausts a source afterwards changes nothing."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from transformers_foreground.errors import ImageError
from transformers_foreground.images.capture import capture
from transformers_foreground.images.decode import DecodedImage, decode


def png(color=(10, 200, 30), size=(6, 4)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, "PNG")
    return buffer.getvalue()


def test_an_array_that_is_overwritten_later():
    array = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    before, taken = array.copy(), capture(array)
    array[:] = 0
    assert isinstance(taken, DecodedImage)
    np.testing.assert_array_equal(decode(taken).pixels, before)


def test_a_tensor_that_is_overwritten_later():
    torch = pytest.importorskip("torch")
    array = np.random.default_rng(0).integers(0, 256, (3, 5, 7), dtype=np.uint8)
    tensor = torch.from_numpy(array.copy())
    taken = capture(tensor)
    tensor.zero_()
    np.testing.assert_array_equal(decode(taken).pixels, array.transpose(1, 2, 0))


@pytest.mark.parametrize("profile", [b"", ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()])
def test_a_pil_image_that_is_drawn_on_later(profile):
    image = Image.new("RGB", (6, 4), (10, 200, 30))
    image.info["icc_profile"] = profile
    taken = capture(image)
    image.paste((0, 0, 0), (0, 0, 6, 4))
    assert decode(taken).pixels.min() > 0
    assert decode(taken).in_own_space().min() > 0


def test_a_lazily_opened_pil_image_that_is_closed_later(tmp_path):
    (tmp_path / "hat.png").write_bytes(png())
    with Image.open(tmp_path / "hat.png") as image:
        taken = capture(image)
    assert decode(taken).pixels.shape == (4, 6, 3)


def test_a_file_object_that_is_closed_later(tmp_path: Path):
    (tmp_path / "hat.png").write_bytes(png())
    with open(tmp_path / "hat.png", "rb") as file:
        taken = capture(file)
    assert decode(taken).name == str(tmp_path / "hat.png")
    assert decode(capture(io.BytesIO(png()))).name == "<file object>"


@pytest.mark.parametrize("wrap", [bytearray, lambda b: memoryview(bytearray(b)), lambda b: {"bytes": bytearray(b)}])
def test_a_buffer_that_is_overwritten_later(wrap):
    source = wrap(png())
    taken = capture(source)
    buffer = source["bytes"] if isinstance(source, dict) else source
    buffer[:8] = bytes(8)
    assert decode(taken).pixels.shape == (4, 6, 3)


def test_names_and_bytes_stay_as_they_are_and_nothing_is_opened():
    for source in ("no-such-file.png", Path("no-such-file.png"), "http://localhost:1/x.png", b"no image", 7):
        assert capture(source) is source
    decoded = decode(png())
    assert capture(decoded) is decoded


def test_what_cannot_be_taken_says_so_at_once(monkeypatch):
    monkeypatch.setattr("transformers_foreground.images.capture.MAX_BYTES", 9)
    with pytest.raises(ImageError, match="more than 9 bytes"):
        capture(io.BytesIO(png()))
    image = Image.new("L", (5, 5))
    image._size = 20_000, 20_000
    with pytest.raises(ImageError, match="limit of 200000000"):
        capture(image)
    with pytest.raises(ImageError, match="shape"):
        capture(np.zeros((4, 4, 2), np.uint8))
