"""How much memory an image will take, by its header alone: for queues that hold several at once."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Mapping
from typing import IO, Any, Final

import numpy as np
from PIL import Image

from transformers_foreground.errors import ImageError
from transformers_foreground.images import psd
from transformers_foreground.images.decode import MAX_BYTES, MAX_PIXELS, DecodedImage
from transformers_foreground.images.formats import PNG, TIFF
from transformers_foreground.images.remote import is_remote
from transformers_foreground.images.sources import name_of, open_stream
from transformers_foreground.images.tiff import main_image

BYTES_A_PIXEL: Final = 8
"""At the peak of decoding: Pillow's own pixels, four bytes each, beside a copy of four channels at most."""

_WEBP_BYTES: Final = 18  # measured: two canvases of an animation, though there is one frame, and copies of both
_AVIF_BYTES: Final = 12
_HEAD: Final = 1 << 16
_MAX_SEGMENTS: Final = 1000
_FRAMES: Final = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # the JPEG segments that say the size
_PPM: Final = re.compile(rb"P[1-6](?:\s|#[^\n]*\n)+(\d{1,9})(?:\s|#[^\n]*\n)+(\d{1,9})\s")


def memory_of(source: Any) -> int:
    """Estimate how many bytes an image takes while it is decoded and held.

    Args:
        source: Anything that `decode` takes. It is not used up: of a file or of bytes the header is read.

    Returns:
        Bytes. As much as the largest image that `decode` takes where the header does not say (TGA, PCX, icons, damaged
        files); 0 for what is still far away, for file objects, and for what is no image.
    """
    if isinstance(source, DecodedImage | Image.Image):
        return source.width * source.height * BYTES_A_PIXEL
    if isinstance(source, np.ndarray):
        return source.nbytes
    if isinstance(source, Mapping):
        inner = source.get("bytes")
        return memory_of(source.get("path") if inner is None else inner)
    if is_remote(source) or not isinstance(source, str | os.PathLike | bytes | bytearray | memoryview):
        return 0
    try:
        with open_stream(source, name_of(source), timeout=0, max_bytes=MAX_BYTES) as stream:
            width, height = _size(stream)
            stream.seek(0)
            a_pixel = _bytes_a_pixel(stream.read(12))
    except ImageError:  # it will not be decoded either
        return 0
    except Exception:  # headers of broken files raise nearly anything
        width, height, a_pixel = MAX_PIXELS, 1, BYTES_A_PIXEL
    return min(width * height, MAX_PIXELS) * a_pixel


def _bytes_a_pixel(head: bytes) -> int:
    """Return `BYTES_A_PIXEL`, or more where the decoder has copies of its own, by a file's first twelve bytes."""
    if head.startswith(b"RIFF"):
        return _WEBP_BYTES
    return _AVIF_BYTES if head[4:] in (b"ftypavif", b"ftypavis") else BYTES_A_PIXEL


def _size(stream: IO[bytes]) -> tuple[int, int]:
    """Read width and height from a header.

    Raises:
        Exception: Of many kinds: it does not say.
    """
    head = stream.read(32)
    if head.startswith(PNG):
        return _unpacked(">II", head, 16)
    if head.startswith(b"\xff\xd8\xff"):
        return _jpeg(stream)
    if head.startswith(b"GIF8"):
        return _unpacked("<HH", head, 6)
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return _webp(head)
    if head.startswith(b"BM"):
        width, height = _unpacked("<ii", head, 18)
        return abs(width), abs(height)
    if head.startswith(b"8BPS"):
        return psd.size_of(head)
    if head.startswith(TIFF):
        stream.seek(0)
        tiff, main = main_image(stream)
        return tiff.size(main)
    head += stream.read(_HEAD)
    if head[4:8] == b"ftyp":  # HEIF and AVIF: the largest of the sizes that its parts have
        sizes = [_unpacked(">II", head, match.end() + 4) for match in re.finditer(b"ispe", head)]
        return max(sizes, key=lambda size: size[0] * size[1])
    if head[4:8] == b"jP  ":
        height, width = _unpacked(">II", head, head.index(b"ihdr") + 4)
        return width, height
    if head.startswith(b"\xff\x4f\xff\x51"):
        return _unpacked(">II", head, 8)
    if match := _PPM.match(head):
        return int(match[1]), int(match[2])
    raise ValueError("no known header")


def _unpacked(format: str, data: bytes, at: int) -> tuple[int, int]:
    first, second = struct.unpack_from(format, data, at)
    return first, second


def _jpeg(stream: IO[bytes]) -> tuple[int, int]:
    position = 2
    for _ in range(_MAX_SEGMENTS):
        stream.seek(position)
        marker, length = struct.unpack(">HH", stream.read(4))
        while marker == 0xFFFF:  # filling before a marker
            position += 1
            stream.seek(position)
            marker, length = struct.unpack(">HH", stream.read(4))
        if marker & 0xFF in _FRAMES:
            height, width = _unpacked(">HH", stream.read(5), 1)
            return width, height
        if marker >> 8 != 0xFF or length < 2:
            break
        position += 2 + length
    raise ValueError("no frame among the first segments")


def _webp(head: bytes) -> tuple[int, int]:
    kind = head[12:16]
    if kind == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = _unpacked("<HH", head, 26)
    return width & 0x3FFF, height & 0x3FFF
