"""Pixels: colours and channels of kinds of files whose bytes alone do not say what is to be seen."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms
from tiny_data import gray_profile

from transformers_foreground.errors import ImageError
from transformers_foreground.images.decode import decode

RNG = np.random.default_rng(0)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def palette(indices: np.ndarray) -> Image.Image:
    image = Image.fromarray(indices.astype(np.uint8)).convert("P")
    image.putpalette([200, 10, 20, 30, 210, 40, 50, 60, 220, 250, 250, 250])
    return image


COLOURS = np.array([[200, 10, 20], [30, 210, 40], [50, 60, 220], [250, 250, 250]], np.uint8)
INDICES = RNG.integers(0, 4, (6, 8))


def test_gif_has_nothing_under_transparency():
    pixels = decode(encoded(palette(INDICES), "GIF", transparency=3)).pixels
    expected = np.dstack((COLOURS[INDICES], np.full(INDICES.shape, 255, np.uint8)))
    expected[INDICES == 3] = 0
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("options", [{}, {"transparency": 3}])
def test_gif_has_nothing_beyond_a_frame_that_is_smaller(options):
    data = bytearray(encoded(palette(INDICES), "GIF", **options))
    data[6:10] = struct.pack("<HH", 20, 15)
    frame = data.index(b"\x2c\0\0\0\0")
    data[frame + 1 : frame + 5] = struct.pack("<HH", 5, 4)
    pixels = decode(bytes(data)).pixels
    assert pixels.shape == (15, 20, 4 if options else 3)
    inside = pixels[4:10, 5:13]
    np.testing.assert_array_equal(inside[INDICES < 3][:, :3], COLOURS[INDICES[INDICES < 3]])
    assert pixels.sum() == inside.sum()


def test_gray_gif_has_three_channels():
    assert decode(encoded(Image.fromarray(RNG.integers(0, 256, (4, 4), np.uint8)), "GIF")).pixels.shape[2] == 3


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_gray_is_converted_by_a_gray_profile(kind):
    gray = np.full((8, 8), 128, np.uint8)
    pixels = decode(encoded(Image.fromarray(gray), kind, icc_profile=gray_profile(1.0))).pixels
    assert pixels.shape == (8, 8, 1)
    assert abs(int(pixels[0, 0, 0]) - 188) <= 1  # sRGB's curve of 128/255
    of_colour = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    np.testing.assert_array_equal(
        decode(encoded(Image.fromarray(gray), "PNG", icc_profile=of_colour)).pixels[..., 0], gray
    )


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "CMYK"])
def test_a_profile_for_a_space_without_a_name_is_ignored(mode):
    profile = bytearray(gray_profile(1.0))
    profile[16:20] = b"\xdeGB "
    image = Image.new(mode, (3, 2))
    plain = decode(image).pixels
    image.info["icc_profile"] = bytes(profile)
    np.testing.assert_array_equal(decode(image).pixels, plain)


def png16(color: int, samples: np.ndarray, key: tuple[int, ...]) -> bytes:
    def chunk(kind: bytes, value: bytes) -> bytes:
        return struct.pack(">I", len(value)) + kind + value + struct.pack(">I", zlib.crc32(kind + value))

    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, 16, color, 0, 0, 0)
    chunks = (
        (b"IHDR", header),
        (b"tRNS", struct.pack(f">{len(key)}H", *key)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, value) for kind, value in chunks)


@pytest.mark.parametrize("key", [(777, 5, 6), (0, 0, 0)])
def test_a_transparent_colour_of_sixteen_bits_is_compared_in_sixteen(key):
    samples = RNG.integers(0, 65536, (5, 7, 3), np.uint16)
    samples[1], samples[2] = key, (key[0], key[1], key[2] + 1)  # the second has the same high bytes
    pixels = decode(png16(2, samples, key)).pixels
    np.testing.assert_array_equal(pixels[..., :3], samples >> 8)
    assert (pixels[1, :, 3] == 0).all()
    assert (pixels[2, :, 3] == 255).all()


@pytest.mark.parametrize("key", [777, 0])
def test_a_transparent_gray_of_sixteen_bits(key):
    samples = RNG.integers(1, 65536, (5, 7), np.uint16)
    samples[1] = key
    pixels = decode(png16(0, samples, (key,))).pixels
    np.testing.assert_array_equal(pixels[..., 0], samples >> 8)
    np.testing.assert_array_equal(pixels[..., 3], np.where(samples == key, 0, 255))


def test_a_truncated_one_says_so():
    with pytest.raises(ImageError, match="truncated"):
        decode(png16(2, RNG.integers(0, 65536, (90, 90, 3), np.uint16), (1, 2, 3))[:9000])


def test_cmyk_without_a_profile():
    inks = np.array(
        [[[0, 0, 0, 0], [255, 0, 0, 0], [0, 255, 0, 0], [0, 0, 255, 0], [0, 0, 0, 255], [255] * 4]], np.uint8
    )
    white, cyan, magenta, yellow, black, all_inks = decode(Image.fromarray(inks, "CMYK")).pixels[0].astype(int)
    assert white.tolist() == [255] * 4
    # Printed inks, not a screen's primaries: cyan is no (0, 255, 255).
    assert np.abs(cyan - [0, 153, 227, 255]).max() <= 25
    assert np.abs(magenta - [234, 0, 128, 255]).max() <= 25
    assert np.abs(yellow - [255, 240, 0, 255]).max() <= 25
    assert black[:3].max() <= 40
    assert all_inks[:3].max() <= 20


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_an_orientation_in_xmp_alone_does_not_count(kind):
    """As in Node, where EXIF alone does."""
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    image = Image.new("RGB", (9, 5))
    if kind == "PNG":
        from PIL import PngImagePlugin

        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp.decode())
        data = encoded(image, kind, pnginfo=info)
    elif kind == "WEBP":
        data = encoded(image, kind, xmp=xmp)
    else:
        jpeg = encoded(image, kind)
        value = b"http://ns.adobe.com/xap/1.0/\0" + xmp
        data = jpeg[:2] + struct.pack(">HH", 0xFFE1, len(value) + 2) + value + jpeg[2:]
    assert decode(data).width == 9
