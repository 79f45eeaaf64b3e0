"""TIFF's directories, of a file or of EXIF data: walked within bounds before Pillow reads them.

Pillow copies each tag's value, and follows what offsets say: sixty thousand tags that all point at the same megabyte
are sixty gigabytes, in a file of two megabytes. A sound file's values do not overlap, so together they are no longer
than the file.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Final

from PIL.ExifTags import IFD, Base

_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_INTEGERS: Final = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_FOLDERS: Final = (Base.SubIFDs, IFD.Exif, IFD.GPSInfo, IFD.Interop)
_MAX_DIRECTORIES: Final = 64
_LARGEST_TILE: Final = 4096 * 4096
"""Pixels of a tile that may be larger than its image. A decoder unpacks whole tiles, whatever the image's size."""
_SENSOR: Final = (32803, 34892)  # photometric: colour filter array, linear raw


class TiffError(Exception):
    """A TIFF that is not read; the message says why."""


@dataclass(frozen=True)
class Directory:
    """One image of a file.

    Attributes:
        offset: Where it starts, in bytes.
        tags: Of each tag its type, its count, and where its value starts.
    """

    offset: int
    tags: dict[int, tuple[int, int, int]]


class Tiff:
    """The directories of a TIFF, read from a stream.

    Args:
        read: `read(offset, size)` gives at most that many bytes.
        size: Of the file, in bytes.

    Raises:
        TiffError: The values of a directory are longer than the file.
        struct.error: It is cut off, or no TIFF.
    """

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        self._read, self._size = read, size
        head = read(0, 16)
        self._order = {b"II": "<", b"MM": ">"}.get(head[:2], "")
        if not self._order:
            raise struct.error("no TIFF")
        version, first = self._unpack("HI", head[2:])
        self.big = version == 43
        if self.big:
            (first,) = self._unpack("Q", head[8:])
        self.directories = list(self._walk(first))

    def numbers(self, directory: Directory, tag: int, default: int = 0) -> list[int]:
        """Return a tag's whole numbers, the first thousand; without the tag the default."""
        kind, count, where = directory.tags.get(tag, (0, 0, 0))
        if kind not in _INTEGERS or not count:
            return [default]
        count = min(count, 1000)
        return list(self._unpack(f"{count}{_INTEGERS[kind]}", self._read(where, count * _SIZES[kind])))

    def number(self, directory: Directory, tag: int, default: int = 0) -> int:
        """Return a tag's first number."""
        return self.numbers(directory, tag, default)[0]

    def size(self, directory: Directory) -> tuple[int, int]:
        """Return an image's width and height."""
        return self.number(directory, Base.ImageWidth), self.number(directory, Base.ImageLength)

    def _unpack(self, format: str, data: bytes) -> tuple[int, ...]:
        return struct.unpack_from(self._order + format, data)

    def _walk(self, first: int) -> Iterator[Directory]:
        waiting, seen = [first], set[int]()
        while waiting and len(seen) < _MAX_DIRECTORIES:
            offset = waiting.pop(0)
            if not offset or offset in seen:  # directories may go round in a circle
                continue
            seen.add(offset)
            try:
                directory, following = self._directory(offset)
            except struct.error:
                if len(seen) == 1:
                    raise
                continue
            waiting += [following]
            for tag in _FOLDERS:
                if tag in directory.tags:
                    waiting += self.numbers(directory, tag)[:_MAX_DIRECTORIES]
            yield directory

    def _directory(self, offset: int) -> tuple[Directory, int]:
        head, entry, inline = ("Q", "HHQ", 8) if self.big else ("H", "HHI", 4)
        skip, length = struct.calcsize("<" + head), struct.calcsize("<" + entry) + inline
        (count,) = self._unpack(head, self._read(offset, skip))
        if count * length > self._size:
            raise TiffError("a directory has more entries than the file has bytes")
        table = self._read(offset + skip, count * length + inline)
        tags, total = {}, 0
        for i in range(count):
            tag, kind, number = self._unpack(entry, table[i * length :])
            where = offset + skip + (i + 1) * length - inline
            size = _SIZES.get(kind, 0) * number
            if size > inline:
                (where,) = self._unpack("Q" if self.big else "I", table[(i + 1) * length - inline :])
                total += min(size, max(0, self._size - where))
            tags[tag] = kind, number, where
        if total > self._size:
            raise TiffError("the values of its tags are longer than the file")
        end = table[count * length :]
        following = self._unpack("Q" if self.big else "I", end)[0] if len(end) == inline else 0
        return Directory(offset, tags), following


def is_sound_exif(exif: bytes) -> bool:
    """Whether reading EXIF data costs no more than its length."""
    exif = exif.removeprefix(b"Exif\x00\x00")
    try:
        Tiff(lambda offset, size: exif[offset : offset + size], len(exif))
    except TiffError:
        return False
    except (struct.error, OverflowError):
        pass  # not readable by anyone
    return True


def main_image(stream: IO[bytes]) -> tuple[Tiff, Directory]:
    """Find a TIFF file's main image: the first that is no reduced copy of another.

    Args:
        stream: The file.

    Raises:
        TiffError: It is a camera's raw file; or reading it would cost more than its size, or the image's, allows.
        struct.error: It is damaged.
    """
    size = stream.seek(0, 2)

    def read(offset: int, length: int) -> bytes:
        if offset > size:
            return b""
        stream.seek(offset)
        return stream.read(length)

    tiff = Tiff(read, size)
    images = [directory for directory in tiff.directories if Base.ImageWidth in directory.tags]
    raw = any(
        tiff.number(image, Base.PhotometricInterpretation) in _SENSOR or Base.DNGVersion in image.tags
        for image in images
    )
    if raw or read(8, 2) == b"CR":
        raise TiffError("it is a camera's raw file (DNG, CR2, NEF, ARW…); develop it, and pass on the JPEG or TIFF")
    if not images:
        raise struct.error("no image")
    full = [image for image in images if not _is_reduced(tiff, image)]
    chosen = (full or images)[0]
    rows = tiff.number(chosen, Base.ImageLength) * max(1, tiff.number(chosen, Base.SamplesPerPixel))
    if chosen.tags.get(Base.StripOffsets, (0, 0, 0))[1] > max(rows, 1):
        raise TiffError("it has more strips than rows")
    wide, high = (tiff.number(chosen, tag) for tag in (Base.TileWidth, Base.TileLength))
    padded = [-(-tiff.number(chosen, tag) // 16) * 16 for tag in (Base.ImageWidth, Base.ImageLength)]
    if wide * high > max(_LARGEST_TILE, padded[0] * padded[1]):
        raise TiffError(f"its tiles of {wide}x{high} pixels are far larger than the image; save it anew, or as PNG")
    return tiff, chosen


def _is_reduced(tiff: Tiff, image: Directory) -> bool:
    return bool(tiff.number(image, Base.NewSubfileType) & 1) or tiff.number(image, Base.SubfileType) == 2


def starting_with(data: bytes, tiff: Tiff, image: Directory) -> bytes:
    """Return a TIFF file whose first image is that one."""
    order = "<" if data[:2] == b"II" else ">"
    at, format = (8, "Q") if tiff.big else (4, "I")
    offset = struct.pack(order + format, image.offset)
    return data[:at] + offset + data[at + len(offset) :]
