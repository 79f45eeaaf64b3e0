"""Photoshop files: the channels of the merged image, where it has more than its colours.

Pillow takes a fourth channel of RGB for transparency, though it may be a selection that was saved; and it looks for
compressed pixels in the wrong place where there are more channels than it reads.
"""

from __future__ import annotations

import struct
from typing import IO, Final

import numpy as np
from PIL import ImageFile

from transformers_foreground.images.containers import ContainerError

MAX_SIDE: Final = 30_000
"""Pixels of a side, by the format's specification; Pillow reads a number for each row before it checks anything."""
_COLOURS: Final = {"L": 1, "P": 1, "RGB": 3, "RGBA": 3, "LAB": 3, "CMYK": 4}
_ALPHA_IDENTIFIERS: Final = 1053
_RAW, _PACKED = 0, 1


def size_of(head: bytes) -> tuple[int, int]:
    """Return width and height, by a file's first 26 bytes or more."""
    height, width = struct.unpack_from(">II", head, 14)
    return width, height


def correct_channels(image: ImageFile.ImageFile, stream: IO[bytes]) -> None:
    """Correct what Pillow opened: the right channels at the right places, and alpha only where it is transparency.

    Args:
        image: Not loaded yet. Changed.
        stream: The file.

    Raises:
        ContainerError: It is cut off, or compressed in a way that is not read.
    """
    try:
        stream.seek(12)
        (channels,) = struct.unpack(">H", stream.read(2))
        stream.seek(26)
        for _ in range(2):  # the palette, and the resources, which `image` has
            _skip(stream)
        transparent = _has_negative_count(stream) or _says_transparent(image)
        _skip(stream)
        (compression,) = struct.unpack(">H", stream.read(2))
        if compression not in (_RAW, _PACKED):
            raise ContainerError(
                "its pixels are compressed in a way that is not read; save it with maximised compatibility"
            )
        if channels == _COLOURS.get(image.mode, channels):
            return
        if image.mode in ("RGB", "RGBA"):
            image._mode = "RGBA" if transparent else "RGB"
        box, inverted = (0, 0, *image.size), ";I" if image.mode == "CMYK" else ""
        places = _places(stream, channels, image.size, compression)
        kind = "packbits" if compression == _PACKED else "raw"
        bands = image.mode if image.mode in ("RGB", "RGBA", "LAB", "CMYK") else [image.mode]
        tile = getattr(ImageFile, "_Tile", lambda *parts: parts)  # a plain tuple in older ones of Pillow
        image.tile = [tile(kind, box, at, band + inverted) for band, at in zip(bands, places, strict=False)]
    except struct.error as error:
        raise ContainerError("the file is truncated; get the whole of it") from error


def _skip(stream: IO[bytes]) -> None:
    """Skip a section, which begins with its length."""
    (length,) = struct.unpack(">I", stream.read(4))
    stream.seek(length, 1)


def _has_negative_count(stream: IO[bytes]) -> bool:
    """Whether the number of layers is negative, which says that there is transparency. The stream stays where it is."""
    start = stream.tell()
    section, layers, count = struct.unpack(">IIh", stream.read(10).ljust(10, b"\0"))
    stream.seek(start)
    return bool(section > 0 and layers > 0 and count < 0)


def _says_transparent(image: ImageFile.ImageFile) -> bool:
    """Whether the list of extra channels begins with 0, which stands for transparency."""
    resources = getattr(image, "resources", ())
    return any(kind == _ALPHA_IDENTIFIERS and data[:4] == bytes(4) for kind, _, data in resources)


def _places(stream: IO[bytes], channels: int, size: tuple[int, int], compression: int) -> list[int]:
    """Return where each channel starts. The stream is behind the compression."""
    width, height = size
    start = stream.tell()
    if compression == _RAW:
        return [start + channel * width * height for channel in range(channels)]
    table = stream.read(2 * channels * height)
    if len(table) < 2 * channels * height:
        raise struct.error("cut off")
    lengths = np.frombuffer(table, ">u2").reshape(channels, height).sum(axis=1, dtype=np.int64)
    return [start + len(table), *(start + len(table) + np.cumsum(lengths)[:-1]).tolist()]
