"""Images that are broken or made to do harm: a fixed corpus, and random damage."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, features

SIZE = 64, 48


def images() -> dict[str, bytes]:
    """Return one valid image of each kind, by its suffix."""
    image = Image.fromarray(np.random.default_rng(0).integers(90, 160, (*SIZE[::-1], 3), np.uint8))
    ImageDraw.Draw(image).ellipse([12, 8, 52, 40], fill=(250, 240, 230))
    kinds = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "gif": "GIF", "tif": "TIFF", "bmp": "BMP"}
    if features.check("avif"):
        kinds["avif"] = "AVIF"
    options = {"tif": {"compression": "tiff_adobe_deflate"}}
    return {suffix: encoded(image, kind, **options.get(suffix, {})) for suffix, kind in kinds.items()}


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return one chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes, bits: int = 1, colour: int = 0) -> bytes:
    """Return a PNG of these chunks after its header."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def black(width: int, height: int) -> bytes:
    """Return the compressed data of a black 1-bit image, made without holding it."""
    packer = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    return chunk(b"IDAT", b"".join(packer.compress(row) for _ in range(height)) + packer.flush())


def tiff(width: int, height: int, *, following: int = 0, offset: int = 8) -> bytes:
    """Return a TIFF header of a gray image without its pixels; `following` is the offset of the next directory."""
    tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, offset), (277, 1), (278, height)]
    tags.append((279, width * height & 0xFFFFFFFF))
    body = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8) + body + struct.pack("<I", following)


def jpeg_header(width: int, height: int) -> bytes:
    """Return a JPEG that ends after the header with its size."""
    frame = struct.pack(">BHH", 8, height, width) + b"\x03\x01\x11\x00\x02\x11\x00\x03\x11\x00"
    return (
        b"\xff\xd8\xff\xc0"
        + struct.pack(">H", len(frame) + 2)
        + frame
        + b"\xff\xda\x00\x0c\x03\x01\0\x02\0\x03\0\0\x3f\0"
    )


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """Return the bytes of an image."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def corpus() -> Iterator[tuple[str, bytes]]:
    """Yield names and contents, the same each time."""
    sound = images()
    chance = random.Random(0)
    for suffix, data in sound.items():
        yield f"sound.{suffix}", data
        for part in range(1, 16):
            yield f"cut-{part:02}-of-16.{suffix}", data[: len(data) * part // 16]
        for turn in range(16):
            broken = bytearray(data)
            for _ in range(chance.randint(1, 8)):
                broken[chance.randrange(len(broken))] ^= 1 << chance.randrange(8)
            yield f"flipped-{turn:02}.{suffix}", bytes(broken)
        yield f"misnamed-{suffix}.{'png' if suffix == 'jpg' else 'jpg'}", data
        yield f"tail.{suffix}", data + b"\0" * 1000
    yield "empty.png", b""
    yield "byte.jpg", b"\xff"
    yield "text.jpg", b"this is no image\n" * 50
    yield "page.png", b"<!doctype html><title>404</title>"
    yield "drawing.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>"
    yield "postscript.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/tmp/owned) (w) file pop\n"
    yield "pdf.jpg", b"%PDF-1.4\n%%EOF\n"
    for width, height in ((1, 1), (1, 20000), (20000, 1), (2, 3)):
        yield f"size-{width}x{height}.png", encoded(Image.new("RGB", (width, height), (200, 10, 10)), "PNG")
    huge = 20000, 20000
    yield "promise.png", png(*huge, bits=8, colour=2)
    yield "promise.jpg", jpeg_header(*huge)
    yield "promise.gif", b"GIF89a" + struct.pack("<HH", *huge) + b"\0\0\0"
    yield "promise.bmp", b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, *huge, 1, 24, 0, 0, 0, 0, 0, 0)
    yield "promise.tif", tiff(*huge)
    yield "promise.webp", b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff\x3f\x00" * 2
    yield "promise-within-the-limit.png", png(14000, 14000, bits=8, colour=2)
    yield "bomb.png", png(*huge, black(*huge))
    yield "bomb-text.png", png(8, 8, chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(200_000_000), 9)), black(8, 8))
    profile = b"icc\0\0" + zlib.compress(bytes(200_000_000), 9)
    yield "bomb-profile.png", png(8, 8, chunk(b"iCCP", profile), black(8, 8))
    yield "bomb-frames.gif", sound["gif"][:-1] + sound["gif"][13:-1] * 2000 + b";"
    yield "circle.tif", tiff(8, 8, following=8) + bytes(64)
    yield "beyond.tif", tiff(8, 8, offset=0xFFFFFF00)
    yield (
        "pages.tif",
        encoded(Image.new("L", (8, 8)), "TIFF", save_all=True, append_images=[Image.new("L", (9, 9))] * 50),
    )
    yield "no-profile.jpg", encoded(Image.new("CMYK", SIZE, (0, 90, 200, 10)), "JPEG", icc_profile=b"\0" * 200)
    for turn in (0, 9, 65535):
        exif = Image.Exif()
        exif[0x0112] = turn
        yield f"turn-{turn}.jpg", encoded(Image.new("RGB", SIZE, (9, 99, 199)), "JPEG", exif=exif)
    yield "exif.jpg", encoded(Image.new("RGB", SIZE), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(99))


def mutations(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield valid images with random damage: bytes changed, removed, repeated, inserted or overwritten."""
    chance = random.Random(seed)
    sound = images()
    for number in range(count):
        suffix, data = chance.choice(sorted(sound.items()))
        broken = bytearray(data)
        for _ in range(chance.randint(1, 6)):
            start = chance.randrange(len(broken) or 1)
            end = min(len(broken), start + chance.choice((1, 2, 4, 16, 64, 512)))
            piece = broken[start:end]
            match chance.randrange(5):
                case 0:
                    broken[start:end] = chance.randbytes(len(piece))
                case 1:
                    del broken[start:end]
                case 2:
                    broken[start:start] = piece
                case 3:
                    broken[start:start] = chance.randbytes(chance.choice((1, 4, 64)))
                case 4:
                    broken[start:end] = chance.choice((b"\0", b"\xff")) * len(piece)
        yield f"mutation-{seed}-{number:05}.{suffix}", bytes(broken)


def write(folder: Path, found: Iterator[tuple[str, bytes]]) -> list[Path]:
    """Write images into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, data in found:
        (folder / name).write_bytes(data)
        paths.append(folder / name)
    return paths
