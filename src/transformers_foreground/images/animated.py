"""Animated files: images, one after another, as a WebP, PNG or GIF file that plays them.

Pillow keeps all frames of a GIF or PNG until the end. Here each is encoded as a still image by Pillow and put into the
container at once, so that an animation of any length needs the memory of one frame. Each frame is whole: it does not
build on the one before.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import PurePath
from typing import IO, Final, TypeAlias

import numpy as np
from PIL import Image

from transformers_foreground.errors import ImageError, UnsupportedOptionError
from transformers_foreground.images import encode as stills
from transformers_foreground.images.formats import PNG
from transformers_foreground.images.png import chunk, chunks_of

KINDS: Final = ("webp", "png", "gif")

Frames: TypeAlias = Iterable[tuple[Image.Image, float]]
"""Images, all of one size and mode ("L", "RGB" or "RGBA"), and for how many milliseconds each is shown."""
_Timed: TypeAlias = Iterator[tuple[Image.Image, int]]

_MOST_RIFF: Final = 2**32 - 2
_MOST_GIF_SIDE: Final = 65_535
_OPAQUE: Final = 128  # alpha from which a pixel of a GIF is shown
_CLEAR: Final = 255  # a GIF's index of what is not
_SHORTEST_GIF: Final = 2  # hundredths of a second: browsers show less for ten


def kind_of(path: str | PurePath) -> str | None:
    """Return the animated format that a file's suffix means, or `None` if it means none."""
    kind = stills.kind_of(path)
    return kind if kind in KINDS else None


def check(kind: str, quality: int | None = None) -> None:
    """Refuse a format that cannot be written, before any work is done.

    Raises:
        UnsupportedOptionError: It is none that is animated, or the quality is impossible.
    """
    if kind not in KINDS:
        raise UnsupportedOptionError(f"Format {kind!r}: animations are {', '.join(KINDS)}.")
    if kind == "gif" and quality is not None:
        raise UnsupportedOptionError(f"quality={quality}: GIF has none, but 256 colours. Use webp.")
    if kind != "gif":
        stills.check(kind, quality)


def write_animation(
    file: IO[bytes], frames: Frames, kind: str, *, count: int, plays: int = 0, quality: int | None = None
) -> None:
    """Write an animation, frame by frame.

    Args:
        file: The file to write, seekable.
        frames: Taken one at a time. A GIF has 255 colours a frame, and pixels that are seen or not: alpha from 128 on.
        kind: `"webp"`, `"png"` or `"gif"`.
        count: How many frames come.
        plays: How often it is played; 0 for without end.
        quality: 1 to 100, of WebP, which is lossless without it.

    Raises:
        UnsupportedOptionError: See `check`.
        ImageError: The format cannot hold frames of this size, or so many bytes.
    """
    check(kind, quality)
    if kind == "webp":
        _write_webp(file, _timed(frames, 1, 2**24 - 1), plays, quality)
    elif kind == "png":
        _write_png(file, _timed(frames, 1, 2**16 - 1), count, plays)
    else:
        _write_gif(file, _timed(frames, 10, 2**16 - 1, _SHORTEST_GIF), plays)


def _timed(frames: Frames, unit: int, longest: int, shortest: int = 0) -> _Timed:
    """Convert durations to whole units. Rounding does not add up: the sum stays right to half a unit."""
    exact, shown = 0.0, 0
    for image, milliseconds in frames:
        exact += milliseconds
        delay = max(round(exact / unit) - shown, 0)
        if milliseconds > 10:
            delay = max(delay, shortest)
        delay = min(delay, longest)
        shown += delay
        image.info = {}
        yield image, delay


# --- WebP: RFC 9649, section 2.7 --------------------------------------------------------------------------------------


def _write_webp(file: IO[bytes], frames: _Timed, plays: int, quality: int | None) -> None:
    start, length = file.tell(), 0
    for image, delay in frames:
        if not length:
            canvas = _u24(image.width - 1) + _u24(image.height - 1)
            flags = 0x02 | (0x10 if image.mode == "RGBA" else 0)
            length = file.write(b"RIFF\0\0\0\0WEBP" + _riff(b"VP8X", struct.pack("<I", flags) + canvas))
            length += file.write(_riff(b"ANIM", struct.pack("<IH", 0, min(plays, 65_535))))
        still = stills.encode(image, "webp", quality)
        pixels = b"".join(part for name, part in _riff_chunks(still) if name in (b"ALPH", b"VP8 ", b"VP8L"))
        instead = b"\x02"  # replace the frame before, do not blend with it
        length += file.write(_riff(b"ANMF", _u24(0) * 2 + canvas + _u24(delay) + instead + pixels))
        if length > _MOST_RIFF:
            raise ImageError("The animation is too long for WebP, which holds 4 GB: give a quality, or a max_size.")
    file.seek(start + 4)
    file.write(struct.pack("<I", length - 8))
    file.seek(0, 2)


def _riff(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def _riff_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 12
    while position + 8 <= len(data):
        length = struct.unpack_from("<I", data, position + 4)[0]
        end = position + 8 + length + length % 2
        yield data[position : position + 4], data[position:end]
        position = end


def _u24(number: int) -> bytes:
    return struct.pack("<I", number)[:3]


# --- PNG, third edition (W3C 2025), section 11.3.6 --------------------------------------------------------------------


def _write_png(file: IO[bytes], frames: _Timed, count: int, plays: int) -> None:
    sequence = 0
    for image, delay in frames:
        chunks = list(chunks_of(stills.encode(image, "png")))
        if not sequence:
            header = next(data for name, data in chunks if name == b"IHDR")
            file.write(PNG + chunk(b"IHDR", header) + chunk(b"acTL", struct.pack(">II", count, plays)))
        control = struct.pack(">IIIIIHHBB", sequence, *image.size, 0, 0, delay, 1000, 0, 0)
        file.write(chunk(b"fcTL", control))
        first, sequence = not sequence, sequence + 1
        for name, data in chunks:
            if name == b"IDAT" and first:
                file.write(chunk(b"IDAT", data))
            elif name == b"IDAT":
                file.write(chunk(b"fdAT", struct.pack(">I", sequence) + data))
                sequence += 1
    file.write(chunk(b"IEND", b""))


# --- GIF89a (CompuServe 1990) -----------------------------------------------------------------------------------------


def _write_gif(file: IO[bytes], frames: _Timed, plays: int) -> None:
    started = False
    for image, delay in frames:
        if not started:
            started = True
            if max(image.size) > _MOST_GIF_SIDE:
                raise ImageError(f"The frames have {image.width}x{image.height} pixels, and GIF holds 65535 a side.")
            file.write(b"GIF89a" + struct.pack("<HHBBB", *image.size, 0x70, 0, 0))
            if plays != 1:
                repeats = min(max(plays - 1, 0), 65_535)
                file.write(b"!\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<H", repeats) + b"\0")
        clear = image.mode == "RGBA"
        flags = (2 << 2 | 1) if clear else 1 << 2  # where the next frame is clear, this one must not shine through
        file.write(b"!\xf9\x04" + struct.pack("<BHB", flags, delay, _CLEAR if clear else 0) + b"\0")
        file.write(_gif_image(image))
    file.write(b";")


def _gif_image(image: Image.Image) -> bytes:
    """Return the image's descriptor, palette and pixels, as Pillow writes them in a file of their own."""
    pixels = np.asarray(image.convert("RGBA"))
    opaque = pixels[..., 3] >= _OPAQUE
    reduced = Image.fromarray(pixels[..., :3] * opaque[..., None]).quantize(_CLEAR, Image.Quantize.MEDIANCUT)
    indices = np.where(opaque, np.asarray(reduced), np.uint8(_CLEAR))
    indexed = Image.fromarray(indices, "P")
    palette = bytes(reduced.getpalette() or b"")
    indexed.putpalette(palette[: 3 * _CLEAR].ljust(3 * 256, b"\0"))
    buffer = BytesIO()
    indexed.save(buffer, "GIF", optimize=False, interlace=False)
    data = buffer.getvalue()
    size = 3 * 2 ** ((data[10] & 7) + 1)
    table, position = data[13 : 13 + size], 13 + size
    while data[position : position + 1] == b"!":
        position += 2
        while length := data[position]:
            position += 1 + length
        position += 1
    descriptor = data[position : position + 9] + bytes([0x80 | (data[10] & 7)])
    return descriptor + table + data[position + 10 : -1]
