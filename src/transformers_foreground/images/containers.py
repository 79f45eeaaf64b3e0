"""Containers: PNG, JPEG and GIF files without the parts that no pixel needs.

Pillow reads every part, and takes quadratic time for some (a million Exif segments), refuses the file for others (a
damaged or large text), or keeps all in memory. What is kept here is what pixels, colour, orientation and resolution
need. One pass, linear in the file's length, over at most `MAX_PARTS` parts.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator
from itertools import islice
from typing import IO, Final

from transformers_foreground.images.formats import PNG
from transformers_foreground.images.tiff import is_sound_exif

MAX_PARTS: Final = 100_000
MAX_SCANS: Final = 200
"""Of a progressive JPEG; each costs a pass over all pixels. Encoders make ten or so."""
MAX_PROFILE: Final = 16 * 1024 * 1024
"""Bytes of an unpacked ICC profile. The largest in use have three million."""
_MAX_EXIF_SEGMENTS: Final = 16
_EXIF: Final = b"Exif\x00\x00"
_ICC: Final = b"ICC_PROFILE\x00"


class ContainerError(Exception):
    """A container has more parts than any image needs."""


Part = tuple[int, int]
"""Where it starts and ends, in bytes."""


def essential(data: bytes, *, frames: bool = False) -> tuple[bytes, bytes | None]:
    """Return an image file without what decoding does not need.

    Args:
        data: A file of any format; all but PNG, JPEG and GIF are returned as they are.
        frames: Keep all frames of an animation, and not only the first.

    Returns:
        The file, and an ICC profile that was taken out of it, if any. Pillow reads none of more than 1 MB from PNG.

    Raises:
        ContainerError: It has too many parts.
    """
    profile: list[bytes] = []
    if data.startswith(PNG):
        parts = _png(data, profile, frames)
    elif data.startswith(b"\xff\xd8\xff"):
        parts = _jpeg(data)
    elif data.startswith((b"GIF87a", b"GIF89a")):
        parts = _gif(data, frames)
    else:
        return data, None
    view = memoryview(data)
    return b"".join(view[start:end] for start, end in parts), profile[0] if profile else None


def _too_many(what: str, limit: int) -> ContainerError:
    return ContainerError(f"it has more than {limit} {what}; save it anew in an image editor")


_PNG_KEPT: Final = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}
_PNG_KEPT_IF_SOUND: Final = {b"tRNS", b"pHYs", b"eXIf"}
_PNG_FRAMES: Final = {b"acTL", b"fcTL", b"fdAT"}


def _png(data: bytes, profile: list[bytes], frames: bool) -> Iterator[Part]:
    """Without text, and what has a wrong checksum though no pixel needs it (as libpng does)."""
    kept = _PNG_KEPT | _PNG_FRAMES if frames else _PNG_KEPT
    yield 0, 8
    position = 8
    seen = set[bytes]()
    for _ in range(MAX_PARTS):
        if position + 8 > len(data):
            return
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + length + 12
        body = slice(position + 8, end - 4)
        if kind == b"CgBI":
            raise ContainerError("it is in Apple's own form, not PNG; use: pngcrush -revert-iphone-optimizations")
        if kind in kept:
            yield position, end
        elif kind not in seen and (kind in _PNG_KEPT_IF_SOUND or kind == b"iCCP"):
            seen.add(kind)  # one of each is allowed; to look at a thousand costs as much as a thousand images
            value = data[body]
            if data[end - 4 : end] != struct.pack(">I", zlib.crc32(value, zlib.crc32(kind))):
                pass
            elif kind != b"iCCP":
                if kind != b"eXIf" or is_sound_exif(value):
                    yield position, end
            elif not profile and (unpacked := _unpacked_profile(value)):
                profile.append(unpacked)
        if kind == b"IEND":
            return
        position = end
    raise _too_many("chunks", MAX_PARTS)


def _unpacked_profile(value: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        profile = unpacker.decompress(value[value.index(b"\x00") + 2 :], MAX_PROFILE)
    except (ValueError, zlib.error):
        return b""
    return b"" if unpacker.unconsumed_tail else profile


_MARKER: Final = re.compile(rb"\xff+([\x01-\xfe])")
_NOT_RESTART: Final = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")
_SOS, _EOI = 0xDA, 0xD9
_WITHOUT_LENGTH: Final = {0x01, *range(0xD0, 0xDA)}


def _jpeg(data: bytes) -> Iterator[Part]:
    """Without comments, thumbnails, XMP, the index of an MPO's other images, and filling between segments."""
    yield 0, 2
    position, scans, first_scan, exif = 2, 0, 0, list[Part]()
    for _ in range(MAX_PARTS):
        match = (_NOT_RESTART if scans else _MARKER).search(data, position)
        if match is None or match[1][0] == _EOI:
            break
        marker, start = match[1][0], match.end() - 2
        length = 0 if marker in _WITHOUT_LENGTH else int.from_bytes(data[start + 2 : start + 4], "big")
        position = start + 2 + length
        if marker == _SOS:
            scans, first_scan = scans + 1, first_scan or start
            if scans == 1 and data.count(b"\xff\xda", start) <= MAX_SCANS:  # rarely more, mostly behind the end
                break
            if scans > MAX_SCANS:
                raise _too_many("scans", MAX_SCANS)
        elif scans or not length:
            continue
        elif marker == 0xE1 and data.startswith(_EXIF, start + 4):
            exif.append((start, position))
        elif not 0xE0 <= marker <= 0xFE or marker in (0xE0, 0xEE) or data.startswith(_ICC, start + 4):
            yield start, position
    else:
        raise _too_many("segments", MAX_PARTS)
    if len(exif) <= _MAX_EXIF_SEGMENTS and is_sound_exif(b"".join(data[start + 10 : end] for start, end in exif)):
        yield from exif
    if first_scan:
        yield first_scan, len(data)


_LOOP: Final = (b"NETSCAPE2.0", b"ANIMEXTS1.0")


def _gif(data: bytes, frames: bool) -> Iterator[Part]:
    """Without comments and application data. Without `frames`, all from the first image on is kept unread."""
    position = 13 + _palette(data, 10)
    yield 0, position
    for _ in range(MAX_PARTS):
        start, kind = position, data[position : position + 2]
        if (not frames and kind[:1] != b"!") or kind[:1] not in (b"!", b","):  # or damaged, which Pillow reports
            yield position, len(data)
            return
        position += 2 if kind[:1] == b"!" else 11 + _palette(data, position + 9)
        for _ in range(MAX_PARTS):
            length = data[position] if position < len(data) else 0
            position += 1 + length
            if not length:
                break
        else:
            raise _too_many("blocks in one part", MAX_PARTS)
        if kind[:1] == b"," or kind == b"!\xf9" or (frames and data[start + 3 : start + 14] in _LOOP):
            yield start, position
    raise _too_many("parts", MAX_PARTS)


def _palette(data: bytes, at: int) -> int:
    """Return how many bytes a palette has, of which the flags are there."""
    flags = data[at] if at < len(data) else 0
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _gif_frames(data: bytes) -> Iterator[Part]:
    return ((start, end) for start, end in _gif(data, frames=True) if data[start : start + 1] == b",")


def count_gif_frames(data: bytes) -> int:
    """Return how many images a GIF file begins; Pillow does not count one that is cut off.

    Raises:
        ContainerError: It has too many parts.
    """
    return sum(1 for _ in _gif_frames(data))


def is_animated(stream: IO[bytes]) -> bool:
    """Whether a file has more than one frame: GIF, WebP, PNG and AVIF may.

    Args:
        stream: The file, seekable; it is left at its start.
    """
    head = stream.read(32)
    stream.seek(0)
    if head.startswith(b"GIF8"):
        data = stream.read()
        stream.seek(0)
        return len(list(islice(_gif_frames(data), 2))) == 2
    if head.startswith(PNG):
        frames = _count_png_frames(stream)
        stream.seek(0)
        return frames > 1
    if head.startswith(b"RIFF"):
        return head[8:16] == b"WEBPVP8X" and len(head) > 20 and bool(head[20] & 2)
    return head[4:12] == b"ftypavis"


def _count_png_frames(stream: IO[bytes]) -> int:
    """Return how many frames a PNG file says it has; what says so comes before the pixels, which are not read."""
    stream.seek(8)
    for _ in range(MAX_PARTS):
        head = stream.read(12)  # length, name, and the first four bytes of the content
        if len(head) < 12 or head[4:8] == b"IDAT":
            return 1
        if head[4:8] == b"acTL":
            return int.from_bytes(head[8:], "big")
        stream.seek(int.from_bytes(head[:4], "big"), io.SEEK_CUR)  # the rest of the content, and its checksum
    return 1
