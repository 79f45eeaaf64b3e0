"""How much memory an image will take, by its header."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, features

from transformers_foreground.images.decode import MAX_PIXELS, decode
from transformers_foreground.images.memory import BYTES_A_PIXEL, memory_of


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


PIXELS = 301 * 202
KINDS: list[tuple[str, dict[str, Any]]] = [
    ("PNG", {}),
    ("JPEG", {}),
    ("JPEG", {"progressive": True, "icc_profile": bytes(200_000), "comment": b"c" * 60_000}),
    ("WEBP", {}),
    ("WEBP", {"lossless": True}),
    ("WEBP", {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"}),
    ("GIF", {}),
    ("BMP", {}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ("JPEG2000", {}),
    ("JPEG2000", {"no_jp2": True}),
    ("PPM", {}),
    ("AVIF", {}),
    ("HEIF", {}),
]


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_each_format(kind: str, options: dict[str, Any], tmp_path: Path) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow writes no AVIF")
    if kind == "HEIF":
        pytest.importorskip("pillow_heif", reason="pillow-heif is not installed").register_heif_opener()
    data = encoded(Image.radial_gradient("L").resize((301, 202)).convert("RGB"), kind, **options)
    (tmp_path / "image").write_bytes(data)
    url = "data:image/x;base64," + base64.b64encode(data).decode()
    for source in (
        data,
        bytearray(data),
        tmp_path / "image",
        str(tmp_path / "image"),
        {"bytes": data, "path": None},
        url,
    ):
        a_pixel = {"WEBP": 18, "AVIF": 12}.get(kind, BYTES_A_PIXEL)
        assert memory_of(source) == pytest.approx(PIXELS * a_pixel, rel=0.01)  # HEIF's parts have even sides
    assert decode(data).pixels.nbytes <= memory_of(data)


def test_what_is_in_memory() -> None:
    image = Image.new("RGB", (30, 20))
    assert memory_of(image) == memory_of(decode(image)) == 600 * BYTES_A_PIXEL
    assert memory_of(np.zeros((20, 30, 3), np.uint8)) == 1800


def test_what_does_not_say_counts_as_the_largest(tmp_path: Path) -> None:
    for data in (encoded(Image.new("RGB", (3, 2)), "TGA"), b"text", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe1\x00\x00"):
        assert memory_of(data) == MAX_PIXELS * BYTES_A_PIXEL
    bomb = bytearray(encoded(Image.new("RGB", (3, 2)), "PNG"))
    bomb[16:24] = b"\x7f\xff\xff\xff" * 2
    assert memory_of(bytes(bomb)) == MAX_PIXELS * BYTES_A_PIXEL


def test_what_is_not_here(tmp_path: Path) -> None:
    stream = io.BytesIO(encoded(Image.new("RGB", (3, 2)), "PNG"))
    for source in ("https://x.org/a.jpg", tmp_path / "none.jpg", str(tmp_path), stream, None, 3, object(), {}):
        assert memory_of(source) == 0
    assert stream.tell() == len(stream.getvalue()) or stream.tell() == 0


def test_nothing_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> bytes:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr("transformers_foreground.images.sources._download", refuse, raising=False)
    monkeypatch.setattr("socket.socket.connect", refuse)
    for url in ("http://127.0.0.1:9/a.png", "HTTPS://x.org/a.png", "zip://a::http://127.0.0.1/b.zip", "hf://a/b"):
        assert memory_of(url) == memory_of({"bytes": None, "path": url}) == 0


def test_a_million_segments_are_not_walked() -> None:
    assert memory_of(b"\xff\xd8\xff" + b"\xe1\x00\x02\xff" * 1_000_000) == MAX_PIXELS * BYTES_A_PIXEL


@given(
    st.binary(max_size=200), st.sampled_from([b"", b"\xff\xd8\xff", b"II*\x00", b"RIFF0000WEBP", b"\0\0\0\0ftypheic"])
)
def test_any_bytes_have_a_weight(data: bytes, start: bytes) -> None:
    assert 0 <= memory_of(start + data) <= MAX_PIXELS * 18  # WebP takes the most
