"""Containers: what no pixel needs costs little time, and no file is refused for it."""

from __future__ import annotations

import io
import struct
import time
import tracemalloc
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from transformers_foreground.errors import ImageError
from transformers_foreground.images.containers import MAX_PARTS, MAX_SCANS, essential
from transformers_foreground.images.decode import decode

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
RGB = Image.fromarray(PIXELS)
SECONDS = 5  # of CPU; what is guarded against takes minutes


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, value: bytes, crc: int | None = None) -> bytes:
    checksum = zlib.crc32(kind + value) if crc is None else crc
    return struct.pack(">I", len(value)) + kind + value + struct.pack(">I", checksum)


def with_chunks(*chunks: bytes, png: bytes | None = None) -> bytes:
    """A PNG with more chunks after its header."""
    png = png or encoded(RGB, "PNG")
    return png[:33] + b"".join(chunks) + png[33:]


def segment(marker: int, value: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(value) + 2) + value


def quickly(data: bytes) -> None:
    """Decode, or refuse with a typed error, in bounded time."""
    start = time.process_time()
    with suppress(ImageError):
        decode(data)
    assert time.process_time() - start < SECONDS


TEXT = b"Comment\0\0" + zlib.compress(b"x" * 1_200_000)
LARGE_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"zTXt", TEXT),
        chunk(b"iTXt", b"Comment\0\1\0\0\0" + TEXT[9:]),
        chunk(b"tEXt", b"Comment\0" + b"x" * 2_000_000),
        chunk(b"pHYs", struct.pack(">IIB", 1, 1, 1), crc=7),
        chunk(b"tIME", bytes(7), crc=7),
        chunk(b"iCCP", b"x\0\0no zlib", crc=7),
        chunk(b"iCCP", b"x\0\0no zlib"),
        chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(40_000_000))),
        chunk(b"eXIf", b"no exif"),
        chunk(b"acTL", b""),
    ],
    ids=["zTXt", "iTXt", "tEXt", "pHYs crc", "tIME crc", "iCCP crc", "iCCP", "iCCP bomb", "eXIf", "acTL"],
)
def test_png_is_read_whatever_its_ancillary_chunks(extra):
    np.testing.assert_array_equal(decode(with_chunks(extra)).pixels, PIXELS)


def test_a_critical_chunk_must_be_sound():
    png = bytearray(encoded(RGB, "PNG"))
    png[29] ^= 1  # the header's checksum
    with pytest.raises(ImageError, match="damaged"):
        decode(bytes(png))


def test_a_profile_of_more_than_a_megabyte_in_a_png_counts():
    padded = bytearray(LARGE_PROFILE + bytes(1_500_000))
    padded[:4] = struct.pack(">I", len(padded))
    image = decode(with_chunks(chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(padded)))))
    assert image.profile == bytes(padded)


def test_many_exif_segments_cost_no_more_than_their_length():
    jpeg = encoded(RGB, "JPEG")
    quickly(jpeg[:2] + segment(0xE1, b"Exif\0\0") * (MAX_PARTS - 100) + jpeg[2:])
    quickly(jpeg[:2] + segment(0xE1, b"Exif\0\0" + bytes(60_000)) * 300 + jpeg[2:])
    with pytest.raises(ImageError, match="segments; save it anew"):
        decode(jpeg[:2] + segment(0xE1, b"Exif\0\0") * 1_000_000 + jpeg[2:])


@pytest.mark.parametrize("filling", [b"\xff", b"\x00", b"\xff\x00", b"\x12\x34"])
def test_filling_between_segments_costs_little(filling):
    jpeg = encoded(RGB, "JPEG")
    quickly(jpeg[:2] + filling * 10_000_000 + jpeg[2:])


def test_a_jpeg_of_thousands_of_scans_is_refused():
    jpeg = encoded(RGB, "JPEG", progressive=True)
    scan = jpeg.rindex(b"\xff\xda")
    many = jpeg[:-2] + jpeg[scan:-2] * (MAX_SCANS + 1) + jpeg[-2:]
    with pytest.raises(ImageError, match="scans"):
        decode(many)
    # Behind the end (as in phones' moving photos), nothing is counted.
    np.testing.assert_array_equal(decode(jpeg + b"\xff\xda\0\0" * 999).pixels, decode(jpeg).pixels)


def test_jpeg_keeps_orientation_profile_and_resolution():
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a hat"
    extra = segment(0xFE, b"comment") + segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>") + segment(0xED, b"8BIM")
    jpeg = encoded(RGB, "JPEG", exif=exif, icc_profile=LARGE_PROFILE, dpi=(300, 300))
    image = decode(jpeg[:2] + extra + jpeg[2:])
    assert (image.width, image.height) == (24, 32)
    assert image.exif is not None
    assert image.exif[0x010E] == "a hat"
    assert image.profile == LARGE_PROFILE


@pytest.mark.parametrize("size", [1, 2, 255])
def test_gif_comments_cost_no_more_than_their_length(size):
    gif = encoded(RGB.quantize(), "GIF")
    start = 13 + 3 * 2 ** ((gif[10] & 7) + 1)
    comment = b"!\xfe" + (bytes([size]) + b"x" * size) * (5_000_000 // (size + 1)) + b"\0"
    quickly(gif[:start] + comment + gif[start:])
    quickly(gif[:start] + b"!\xfe\1x\0" * 1_000_000 + gif[start:])
    small = gif[:start] + b"!\xfe\3abc\0" * 1000 + gif[start:]
    np.testing.assert_array_equal(decode(small).pixels, decode(gif).pixels)


def overlapping(tags: int, each: int) -> bytes:
    """EXIF data whose tags all have the same bytes for their value."""
    entries = b"".join(struct.pack("<HHII", 0x9000 + i, 7, each, 8) for i in range(tags))
    return b"II*\0" + struct.pack("<IH", 8, tags) + entries + bytes(4) + bytes(each)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
def test_exif_whose_values_overlap_takes_no_memory(kind):
    tracemalloc = pytest.importorskip("tracemalloc")
    exif = overlapping(4000, 12_000)  # 48 MB in all
    if kind == "TIFF":
        data = exif
    elif kind == "PNG":
        data = with_chunks(chunk(b"eXIf", exif))
    elif kind == "JPEG":
        jpeg = encoded(RGB, "JPEG")
        data = jpeg[:2] + segment(0xE1, b"Exif\0\0" + exif) + jpeg[2:]
    else:
        pytest.importorskip(f"PIL.{'WebP' if kind == 'WEBP' else 'Avif'}ImagePlugin")
        try:
            data = encoded(RGB, kind, exif=exif)
        except (KeyError, OSError):
            pytest.skip(f"this Pillow writes no {kind}")
    tracemalloc.start()
    try:
        quickly(data)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


@given(st.sampled_from(["PNG", "JPEG", "GIF"]), st.integers(0, 10_000), st.binary(max_size=30))
def test_any_damage_gives_pixels_or_a_typed_error(kind, where, noise):
    data = bytearray(encoded(RGB, kind))
    where %= len(data)
    data[where : where + len(noise)] = noise
    with suppress(ImageError):
        decode(bytes(data))


@given(st.binary(max_size=200), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a"]))
def test_essential_never_makes_a_file_longer(tail, head):
    assert len(essential(head + tail)[0]) <= len(head + tail)


@pytest.mark.parametrize("value", [b"a\0\0" + zlib.compress(bytes(17_000_000), 9)])
def test_a_second_profile_of_a_png_is_not_unpacked(value: bytes) -> None:
    started = time.process_time()
    assert decode(with_chunks(*[chunk(b"iCCP", value)] * 300)).pixels.shape == (24, 32, 3)
    assert time.process_time() - started < 1.5


def rle_bmp(width: int, height: int, runs: bytes) -> bytes:
    start = 14 + 40 + 1024
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(runs), 0, 0, 256, 256)
    return b"BM" + struct.pack("<IHHI", start + len(runs), 0, 0, start) + header + bytes(1024) + runs


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\0\0\0\x20ftypavif" + b"II*\0" * 30_000, id="EXIF data at each word of an AVIF"),
        pytest.param(b"P6\n#" + b"x" * 10_000_000 + b"\n2 2\n255\n" + bytes(12), id="a long comment in a PPM"),
        pytest.param(b"P6\n2 2" + b" " * 10_000_000 + b"255\n" + bytes(12), id="a long space in a PPM"),
        pytest.param(rle_bmp(10_000_000, 1, b"\0\2\0\xff\0\1"), id="a BMP that skips 255 rows of one"),
        pytest.param(rle_bmp(10_000_000, 1, b"\0\2\0\xff\0\1")[14:], id="the same without a BMP's first header"),
    ],
)
def test_headers_that_cost_more_than_their_image(data: bytes) -> None:
    """They are refused at once, before Pillow reads, copies or fills anything."""
    tracemalloc.start()
    started = time.process_time()
    try:
        with pytest.raises(ImageError, match=r"EXIF data|first 1024 bytes|a row"):
            decode(data)
        assert time.process_time() - started < 0.5
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()


def test_a_plain_netpbm_file_of_comments_is_refused_at_once() -> None:
    text = b"P3\n2 2\n255\n" + b"#\n" * 5_000_000 + b"1 2 3 " * 4
    with pytest.raises(ImageError, match="more than 1000 comments"):
        decode(text)
    assert decode(b"P3\n2 2\n255\n" + b"#\n" * 9 + b"1 2 3 " * 4).pixels.shape == (2, 2, 3)


@pytest.mark.parametrize("comment", [b"", b"# made by hand\n# twice\n"])
def test_small_netpbm_and_rle_files_are_read(comment: bytes) -> None:
    assert decode(b"P6\n" + comment + b"40 40 # size\n255\n" + bytes(4800)).pixels.shape == (40, 40, 3)
    assert decode(b"P4\n" + comment + b"400 40\n" + bytes(2000)).pixels.shape[:2] == (40, 400)
    assert decode(rle_bmp(4, 1, b"\4\1\0\1")).pixels.shape[:2] == (1, 4)


def test_a_png_in_apples_own_form() -> None:
    png = encoded(RGB, "PNG")
    with pytest.raises(ImageError, match=r"Apple's own form.*pngcrush"):
        decode(png[:8] + chunk(b"CgBI", bytes(4)) + png[8:])


def test_a_gif_that_is_cut_off_anywhere() -> None:
    """Also in a frame that is not shown, where Pillow's `is_animated` raises nearly anything."""
    frames = [RGB.rotate(90 * turn).quantize(16) for turn in range(3)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], loop=3)
    shown = 0
    for length in range(0, len(data), 3):
        with suppress(ImageError):
            shown += decode(data[:length]).pixels.shape == (24, 32, 3)
    assert shown > 50


def test_a_webp_of_its_first_bytes() -> None:
    data = b"RIFF\x1a\0\0\0WEBPVP8X\x0a\0\0\0\x02"
    for length in range(len(data) + 1):
        with pytest.raises(ImageError):
            decode(data[:length])
