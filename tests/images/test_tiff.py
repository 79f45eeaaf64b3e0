"""TIFF: the image that a file is about, whatever lies before it, in its true values, or refused with the reason."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from transformers_foreground.errors import ImageError
from transformers_foreground.images.decode import decode
from transformers_foreground.images.tiff import is_sound_exif

RNG = np.random.default_rng(0)
GRAY16 = RNG.integers(0, 65536, (5, 7), np.uint16)
HIGH = (GRAY16 >> 8).astype(np.uint8)
RGB = RNG.integers(0, 256, (6, 4, 3), np.uint8)


class Page(NamedTuple):
    """One image: its samples (H, W) or (H, W, C), and more tags, each one short number."""

    samples: np.ndarray
    tags: Mapping[int, int] = MappingProxyType({})
    data: bytes = b""  # instead of the samples'


def tiff(*pages: Page, order: str = "<", sub: bool = False, loop: bool = False) -> bytes:
    """A TIFF file of these pages; with `sub`, those after the first lie in its sub-directories."""

    def shorts(*values: int) -> bytes:
        return struct.pack(f"{order}{len(values)}H", *values)

    def long(value: int) -> bytes:
        return struct.pack(order + "I", value)

    out = bytearray({"<": b"II*\0", ">": b"MM\0*"}[order] + bytes(4))
    links = [(4, 0)]  # where an offset is to be written, and to which page
    starts = []
    for i, page in enumerate(pages):
        height, width, samples = (*page.samples.shape, 1)[:3]
        data = page.data or page.samples.astype(page.samples.dtype.newbyteorder(order)).tobytes()
        strip, bits = len(out), shorts(*[page.samples.dtype.itemsize * 8] * samples)
        out += data + bits
        tags = {
            **{256: shorts(width), 257: shorts(height), 259: shorts(1), 262: shorts(2 if samples >= 3 else 1)},
            **{258: bits if samples <= 2 else long(strip + len(data)), 277: shorts(samples), 278: shorts(height)},
            **{tag: shorts(value) for tag, value in page.tags.items()},
            **{273: long(strip), 279: long(len(data))},
        }
        if sub and i == 0:
            tags[330] = long(0)
        starts.append(len(out))
        out += shorts(len(tags))
        for tag, value in sorted(tags.items()):
            if tag == 330:
                links.append((len(out) + 8, 1))
            kind = 4 if tag in (273, 279, 330) else 3
            out += (
                shorts(tag, kind) + long(samples if tag == 258 and tag not in page.tags else 1) + value.ljust(4, b"\0")
            )
        if not sub and i + 1 < len(pages):
            links.append((len(out), i + 1))
        elif loop:
            links.append((len(out), 0))
        out += bytes(4)
    for where, number in links:
        out[where : where + 4] = long(starts[number])
    return bytes(out)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("white", [False, True])
def test_gray_of_sixteen_bits(order, white):
    samples = 65535 - GRAY16 if white else GRAY16
    pixels = decode(tiff(Page(samples, {262: 0 if white else 1}), order=order)).pixels
    np.testing.assert_array_equal(pixels[..., 0], HIGH)


@pytest.mark.parametrize("order", ["<", ">"])
def test_gray_of_sixteen_bits_that_lies_on_its_side(order):
    pixels = decode(tiff(Page(65535 - GRAY16, {262: 0, 274: 6}), order=order)).pixels
    np.testing.assert_array_equal(pixels[..., 0], np.rot90(HIGH, -1))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("deflated", [False, True])
def test_gray_and_alpha_of_sixteen_bits(order, deflated):
    samples = np.dstack((GRAY16, GRAY16[::-1]))
    page = Page(samples, {338: 2})
    if deflated:
        raw = samples.astype(samples.dtype.newbyteorder(order)).tobytes()
        page = Page(samples, {338: 2, 259: 8}, zlib.compress(raw))
    pixels = decode(tiff(page, order=order)).pixels
    np.testing.assert_array_equal(pixels, np.dstack((HIGH, HIGH, HIGH, HIGH[::-1])))


def test_twelve_bits_are_not_dark():
    values = RNG.integers(0, 4096, (4, 6))
    bits = "".join(f"{value:012b}" for value in values.ravel())
    packed = int(bits, 2).to_bytes(len(bits) // 8, "big")
    pixels = decode(tiff(Page(values.astype(np.uint16), {258: 12}, packed))).pixels
    np.testing.assert_array_equal(pixels[..., 0], values >> 4)


@pytest.mark.parametrize("sub", [False, True], ids=["next directory", "sub-directory"])
@pytest.mark.parametrize("kind", [254, 255])
def test_a_thumbnail_before_the_image_is_passed_over(sub, kind):
    thumbnail = Page(RGB[::2, ::2], {kind: 1 if kind == 254 else 2})
    np.testing.assert_array_equal(decode(tiff(thumbnail, Page(RGB), sub=sub)).pixels, RGB)


def test_the_first_of_several_pages_and_a_thumbnail_alone():
    np.testing.assert_array_equal(decode(tiff(Page(RGB), Page(255 - RGB))).pixels, RGB)
    np.testing.assert_array_equal(decode(tiff(Page(RGB, {254: 1}))).pixels, RGB)


def test_directories_in_a_circle():
    np.testing.assert_array_equal(decode(tiff(Page(RGB), loop=True)).pixels, RGB)
    np.testing.assert_array_equal(decode(tiff(Page(RGB[:2], {254: 1}), Page(RGB), loop=True)).pixels, RGB)


@pytest.mark.parametrize(
    ("page", "message"),
    [
        (Page(RGB.astype(np.float32), {339: 3}), "floats, which have no set range"),
        (Page(GRAY16, {262: 32803}), "camera's raw file"),
        (Page(GRAY16, {262: 34892}), "camera's raw file"),
        (Page(np.dstack((GRAY16, GRAY16)), {338: 2, 259: 5}), "laid out in a way that is not read"),
        (Page(np.dstack((GRAY16, GRAY16)), {338: 2}, b"short"), "truncated"),
        (Page(np.zeros((1, 60_000, 3), np.uint8), {257: 60_000}, b"x"), "exceed the limit"),
    ],
)
def test_what_is_refused_with_its_reason(page, message):
    with pytest.raises(ImageError, match=message):
        decode(tiff(page))


def test_a_raw_file_behind_its_preview():
    with pytest.raises(ImageError, match="camera's raw file"):
        decode(tiff(Page(RGB, {254: 1}), Page(GRAY16, {262: 32803}), sub=True))


def test_more_strips_than_rows():
    data = tiff(Page(RGB))
    where = data.index(struct.pack("<HHI", 273, 4, 1))
    strips = data[:where] + struct.pack("<HHII", 273, 4, 1_000_000, 8) + data[where + 12 :] + bytes(4_000_000)
    with pytest.raises(ImageError, match="more strips than rows"):
        decode(strips)


def test_values_that_overlap_are_not_sound():
    def exif(offset: int) -> bytes:
        entries = b"".join(struct.pack("<HHII", 0x9000 + i, 7, 1000, 8 + offset * i) for i in range(20))
        return b"Exif\0\0II*\0" + struct.pack("<IH", 8, 20) + entries + bytes(25_000)

    assert is_sound_exif(exif(1000))
    assert not is_sound_exif(exif(0)[:3000])


@given(st.binary(max_size=60))
def test_any_bytes_for_directories(tail):
    for order in (b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08"):
        is_sound_exif(order + tail)
        with pytest.raises(ImageError):
            decode(order + tail)


@pytest.mark.parametrize("deflated", [False, True])
@pytest.mark.parametrize("order", ["first", "last"])
def test_strips_that_hold_more_than_the_image(deflated: bool, order: str) -> None:
    """A thousand strips, each of which is the whole file or unpacks to far more than it is."""
    gray = np.full((1000, 2), 0x7F40, np.uint16)
    rows = np.dstack((gray, gray)).astype("<u2").tobytes()
    bomb = bytes(100_000_000) if deflated else bytes(500_000)
    strips = [rows + bytes(9), bomb] if order == "first" else [bytes(9), bomb]
    parts = [zlib.compress(strip) if deflated else strip for strip in strips]
    table = 8 + sum(map(len, parts))
    starts, lengths = [8] + [8 + len(parts[0])] * 999, [len(parts[0])] + [len(parts[1])] * 999
    tags = [
        *((256, 3, 1, 2), (257, 3, 1, 1000), (258, 3, 2, 0x100010), (259, 3, 1, 8 if deflated else 1), (262, 3, 1, 1)),
        *((273, 4, 1000, table), (277, 3, 1, 2), (278, 3, 1, 1), (279, 4, 1000, table + 4000)),
    ]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    data = struct.pack("<2sHI", b"II", 42, table + 8000) + b"".join(parts) + struct.pack("<2000I", *starts, *lengths)
    tracemalloc.start()
    try:
        image = decode(data + struct.pack("<H", len(tags)) + entries + bytes(4))
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
    assert image.pixels.shape == (1000, 2, 4)
    assert set(np.unique(image.pixels[5:])) == ({0x7F} if order == "first" else {0})


@pytest.mark.parametrize(("width", "height"), [(4112, 4096), (65520, 65520), (16, 65535), (16, 1_048_592)])
def test_tiles_that_are_far_larger_than_the_image(width: int, height: int) -> None:
    """A decoder unpacks all of a tile: half a gigabyte for 64×64 pixels, in a file of half a megabyte."""
    data = tiff(Page(RGB, {322: width, 323: min(height, 65535)}))
    at = data.index(struct.pack("<HHIH", 323, 3, 1, min(height, 65535)))
    data = data[:at] + struct.pack("<HHII", 323, 4, 1, height) + data[at + 12 :]
    if width * height <= 4096 * 4096:
        assert np.array_equal(decode(data).pixels, RGB)
    else:
        with pytest.raises(ImageError, match=f"tiles of {width}x{height} pixels are far larger than the image"):
            decode(data)


def test_tiles_as_large_as_a_large_image() -> None:
    at_most = decode(tiff(Page(np.zeros((4099, 4101), np.uint8), {322: 4112, 323: 4112})))
    assert at_most.pixels.shape == (4099, 4101, 1)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("limit", [30, 300], ids=["refused by Pillow", "warned of by Pillow"])
def test_pillows_own_limit_does_not_count(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow 12 looks at it once more when it decodes TIFF; the limit of this package is another."""
    image = Image.fromarray(np.resize(RGB, (20, 16, 3)))
    file = io.BytesIO()
    image.save(file, "TIFF", compression="tiff_adobe_deflate")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    assert np.array_equal(decode(file.getvalue()).pixels, np.asarray(image))
