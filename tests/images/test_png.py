"""PNG that we write: lossless, well formed, with the metadata that Pillow writes; Pillow's own where ours is none."""

from __future__ import annotations

import io
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, PngImagePlugin

from transformers_foreground.images import png
from transformers_foreground.images.color_profiles import srgb_profile
from transformers_foreground.images.png import QuickImage, encode_png, quick

isal = pytest.mark.skipif(png.isal_zlib is None, reason="isal is not installed")


@pytest.fixture
def everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let small images through our own way, too."""
    monkeypatch.setattr(png, "_FEWEST_PIXELS", 0)


def chunks(data: bytes) -> list[tuple[str, bytes]]:
    """Read a file's chunks, and check all that the specification says of them that a lax reader overlooks."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    found, start = [], 8
    while start < len(data):
        length = int.from_bytes(data[start : start + 4], "big")
        body = data[start + 4 : start + 8 + length]
        assert zlib.crc32(body) == int.from_bytes(data[start + 8 + length : start + 12 + length], "big")
        found.append((body[:4].decode(), body[4:]))
        start += 12 + length
    names = [name for name, _ in found]
    assert names[0] == "IHDR"
    assert names[-1] == "IEND"
    first, count = names.index("IDAT"), names.count("IDAT")
    assert names[first : first + count] == ["IDAT"] * count, "pixels stand together"
    header = dict(found)["IHDR"]
    width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
    lines = zlib.decompress(b"".join(body for name, body in found if name == "IDAT"))
    assert len(lines) == height * (1 + width * {2: 3, 6: 4}[header[9]])
    return found


@isal
@pytest.mark.usefixtures("everything")
@pytest.mark.parametrize("kind", [1, 2, 3, 4])
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_every_filter_is_lossless(kind: int, data: st.DataObject) -> None:
    channels = data.draw(st.sampled_from([3, 4]))
    shape = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9)), channels
    pixels = data.draw(arrays(np.uint8, shape))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(png, "_FILTERS", {kind: png._FILTERS[kind]})
        patch.setattr(png, "_BAND_BYTES", data.draw(st.integers(1, 80)))
        written = encode_png(Image.fromarray(pixels))
    chunks(written)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(written))), pixels)


@isal
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_photo_is_no_larger_than_pillows(mode: str) -> None:
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (30, 40, 3), np.uint8)).resize((1200, 900), Image.Resampling.BICUBIC)
    noise = rng.normal(0, 2, (900, 1200, 3))
    image = Image.fromarray(np.clip(np.asarray(small) + noise, 0, 255).astype(np.uint8)).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    written = encode_png(image)
    chunks(written)
    assert Image.open(io.BytesIO(written)).tobytes() == image.tobytes()
    assert len(written) <= len(buffer.getvalue())


@pytest.mark.usefixtures("everything")
def test_metadata_is_as_pillow_writes_it() -> None:
    image = Image.new("RGBA", (20, 10), (1, 2, 3, 4))
    text = PngImagePlugin.PngInfo()
    text.add_text("Author", "Ada")
    text.add_itxt("Title", "Żółw")
    exif = Image.Exif()
    exif[0x0110] = "Camera"
    options: dict[str, Any] = {
        "icc_profile": srgb_profile(),
        "exif": exif.tobytes(),
        "dpi": (300, 299),
        "pnginfo": text,
    }
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    theirs, ours = chunks(buffer.getvalue()), chunks(encode_png(image, **options))
    assert [part for part in ours if part[0] not in ("IDAT",)] == [part for part in theirs if part[0] not in ("IDAT",)]
    back = Image.open(io.BytesIO(encode_png(image, **options)))
    assert back.info["dpi"] == pytest.approx((300, 299), abs=0.01)
    assert back.text == {"Author": "Ada", "Title": "Żółw"}


@pytest.mark.usefixtures("everything")
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "I;16", "RGB", "RGBA"])
@pytest.mark.parametrize("without_isal", [False, True])
def test_every_mode_with_and_without_isal(mode: str, without_isal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if without_isal:
        monkeypatch.setattr(png, "isal_zlib", None)
    image = Image.linear_gradient("L").convert(mode)
    back = Image.open(io.BytesIO(encode_png(image)))
    assert back.mode == mode
    assert back.tobytes() == image.tobytes()


def test_transparent_colours_and_pillows_own_options() -> None:
    image = Image.new("RGB", (1000, 1000), (9, 9, 9))
    image.info["transparency"] = (9, 9, 9)
    assert Image.open(io.BytesIO(encode_png(image))).info["transparency"] == (9, 9, 9)
    assert Image.open(io.BytesIO(encode_png(Image.new("RGB", (1000, 1000)), optimize=True))).size == (1000, 1000)


class TestQuickImage:
    @pytest.fixture
    def image(self) -> Image.Image:
        return quick(Image.radial_gradient("L").resize((1001, 1001)).convert("RGBA"))

    def test_saves_as_any_image(self, image: Image.Image, tmp_path: Any) -> None:
        assert isinstance(image, QuickImage)
        stream = io.BytesIO(b"before")
        stream.seek(0, io.SEEK_END)
        image.save(stream, format="PNG")
        assert stream.getvalue()[6:] == encode_png(image)
        image.save(tmp_path / "a.png")
        image.save(tmp_path / "a.webp", lossless=True)
        for written in (io.BytesIO(stream.getvalue()[6:]), tmp_path / "a.png", tmp_path / "a.webp"):
            assert Image.open(written).convert("RGBA").tobytes() == image.tobytes()

    def test_as_datasets_encodes_it(self, image: Image.Image) -> None:
        datasets = pytest.importorskip("datasets")
        encoded = datasets.Image().encode_example(image)
        assert encoded["bytes"] == encode_png(image)
