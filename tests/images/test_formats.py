"""Formats: what is wanted is read, whatever its name; nothing nested is opened, and nothing starts a program."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from transformers_foreground.errors import ImageError, UnsupportedOptionError
from transformers_foreground.images.decode import decode
from transformers_foreground.images.encode import check
from transformers_foreground.images.formats import FORMATS, SUFFIXES, is_image

RGB = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8))
WRITABLE = {"JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "DIB", "JPEG2000", "ICO", "PPM", "PCX", "TGA"}


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", sorted(WRITABLE))
def test_wanted_formats_are_read_from_their_bytes(kind):
    data = encoded(RGB, kind, **({"sizes": [(12, 9)]} if kind == "ICO" else {}))
    assert decode(data).pixels.shape == (9, 12, 3)
    assert is_image(data) or kind == "TGA"


def test_suffixes_are_those_of_these_formats_alone():
    assert {".jpg", ".jfif", ".mpo", ".heic", ".tif", ".pgm", ".jp2", ".avif"} <= SUFFIXES
    assert not {".eps", ".wmf", ".svg", ".dng", ".fpx", ".pdf"} & SUFFIXES
    assert set(FORMATS) > WRITABLE


def test_what_is_no_image():
    assert not is_image(b"%!PS-Adobe-3.0 EPSF-3.0" + bytes(20))
    assert not is_image(b"once upon a time")
    assert not is_image(b"")


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nshowpage\n%%EOF\n"


def iptc(inner: bytes) -> bytes:
    """An IPTC record of 64 x 64 pixels whose content is another file."""

    def field(record: int, dataset: int, value: bytes) -> bytes:
        return struct.pack(">BBBH", 0x1C, record, dataset, len(value)) + value

    head = field(3, 60, b"\x01\0") + field(3, 20, b"\0\x40") + field(3, 30, b"\0\x40") + field(3, 120, b"\x05")
    return head + field(8, 10, inner)


@pytest.mark.parametrize("data", [EPS, iptc(EPS), iptc(encoded(RGB, "PNG"))], ids=["eps", "eps in iptc", "png in iptc"])
def test_nothing_starts_a_program_or_is_nested(data, tmp_path: Path, monkeypatch):
    called = tmp_path / "called"
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {called}\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None, raising=False)
    (tmp_path / "photo.jpg").write_bytes(data)
    with pytest.raises(ImageError, match=r"photo\.jpg"):
        decode(tmp_path / "photo.jpg")
    with Image.open(io.BytesIO(data)) as opened, pytest.raises(ImageError):
        decode(opened)
    assert not called.exists()


def icon(inner: bytes, width: int = 16, height: int = 16) -> bytes:
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, width, height, 0, 0, 1, 32, len(inner), 22) + inner


def bare_png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, value: bytes) -> bytes:
        return struct.pack(">I", len(value)) + kind + value + struct.pack(">I", zlib.crc32(kind + value))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    "inner", [bare_png(13300, 13300), struct.pack("<IiiHHIIiiII", 40, 9000, 18000, 1, 32, *[0] * 6)]
)
def test_an_icon_is_as_large_as_the_image_in_it(inner):
    with pytest.raises(ImageError, match="icons have at most 1024"):
        decode(icon(inner))


def test_icons_of_every_size_are_read():
    for side in (16, 48, 256):
        assert decode(encoded(Image.new("RGBA", (side, side)), "ICO", sizes=[(side, side)])).width == side
    assert decode(icon(encoded(RGB, "PNG"), 12, 9)).pixels.shape == (9, 12, 3)


def test_the_size_is_checked_again_after_decoding(monkeypatch):
    """A reader may find another size inside than the header said."""
    from PIL import PngImagePlugin

    def load(self):
        self._size = (9000, 9000)
        return Image.Image.load(self)

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", load)
    with pytest.raises(ImageError, match="9000x9000 pixels exceed the limit"):
        decode(encoded(RGB, "PNG"), max_pixels=1000)


def test_a_pillow_that_knows_no_avif_is_refused_without_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(features.modules, "avif", raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UnsupportedOptionError, match=r"writes no AVIF: pip install -U pillow"):
            check("avif")


@pytest.mark.parametrize("brand", [b"avif", b"heic"])
def test_an_image_of_very_many_parts(brand):
    """Forty thousand tiles of 64×64 took 44 s."""
    head = b"\x00\x00\x00\x14ftyp" + brand + b"\x00\x00\x00\x00mif1"
    with pytest.raises(ImageError, match="made of more than 1000 parts"):
        decode(head + b"infe" * 1001)
    with pytest.raises(ImageError) as error:
        decode(head + b"infe" * 1000)
    assert "parts" not in str(error.value)
