"""PNG several times as fast as Pillow writes it: filters in numpy, compression by Intel's ISA-L (the package `isal`).

Without `isal`, and for modes and sizes where it would gain nothing, Pillow writes the file.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transformers_foreground.images.formats import PNG

if TYPE_CHECKING:
    from isal import isal_zlib
else:
    try:
        from isal import isal_zlib
    except ImportError:  # there are machines that it has no wheel for
        isal_zlib = None

Bytes = NDArray[np.uint8]

_COLOUR_TYPES: Final = {"RGB": 2, "RGBA": 6}
_FEWEST_PIXELS: Final = 1_000_000  # with fewer Pillow is quick too, and its files of noisy photos are smaller
_PILLOW_LEVEL: Final = 1  # on photographs level 6 takes five times as long for a tenth less
_LEVEL: Final = 1
_BAND_BYTES: Final = 1 << 18  # of the rows that are filtered at once: what the processor's cache holds
_SAMPLED_BANDS: Final = 6
_OWN_OPTIONS: Final = {"icc_profile", "exif", "dpi", "pnginfo"}


def encode_png(image: Image.Image, **options: Any) -> bytes:
    """Encode an image as PNG, without loss.

    Args:
        image: Any mode that PNG has.
        options: As for Pillow's `Image.save`. `compress_level` is 1 by default.

    Returns:
        The file's bytes.
    """
    ours = isal_zlib is not None and image.mode in _COLOUR_TYPES and options.keys() <= _OWN_OPTIONS
    if ours and image.width * image.height >= _FEWEST_PIXELS and "transparency" not in image.info:
        return b"".join(_file(image, options))
    buffer = io.BytesIO()
    Image.Image.save(image, buffer, "PNG", **{"compress_level": _PILLOW_LEVEL, **options})
    return buffer.getvalue()


def _file(image: Image.Image, options: dict[str, Any]) -> Iterator[bytes]:
    """Yield the parts of a file (PNG, third edition, W3C 2025; section 5)."""
    yield PNG
    yield chunk(b"IHDR", struct.pack(">IIBBBBB", *image.size, 8, _COLOUR_TYPES[image.mode], 0, 0, 0))
    yield from _metadata(image, options)
    pixels = _bands(image)
    kind = _best_filter(image, pixels)
    compressor = isal_zlib.compressobj(_LEVEL)
    for top in range(0, image.height, pixels):
        yield from _data(compressor.compress(_filtered(image, top, pixels, kind)))
    yield from _data(compressor.flush())
    yield chunk(b"IEND", b"")


def chunk(name: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG file (section 5.3): length, name, content and checksum."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def chunks_of(file: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and content of each chunk of a sound PNG file."""
    position = len(PNG)
    while position < len(file):
        length, name = struct.unpack_from(">I4s", file, position)
        yield name, file[position + 8 : position + 8 + length]
        position += 12 + length


def _data(compressed: bytes) -> Iterator[bytes]:
    if compressed:
        yield chunk(b"IDAT", compressed)


def _metadata(image: Image.Image, options: dict[str, Any]) -> Iterator[bytes]:
    """Yield the chunks between header and pixels that Pillow writes with these options."""
    tiny = Image.new(image.mode, (1, 1))
    tiny.info = dict(image.info)
    buffer = io.BytesIO()
    tiny.save(buffer, "PNG", **options)
    for name, data in chunks_of(buffer.getvalue()):
        if name not in (b"IHDR", b"IDAT", b"IEND"):
            yield chunk(name, data)


def _bands(image: Image.Image) -> int:
    """Return how many rows are filtered at once."""
    return max(1, _BAND_BYTES // (image.width * len(image.mode)))


def _best_filter(image: Image.Image, rows: int) -> int:
    """Try each filter on some bands of rows, and return the one that makes them smallest."""
    tops = range(0, image.height, rows)
    sample = [tops[(2 * i + 1) * len(tops) // (2 * _SAMPLED_BANDS)] for i in range(_SAMPLED_BANDS)]
    sizes = {
        kind: _COST[kind] * sum(len(isal_zlib.compress(_filtered(image, top, rows, kind), _LEVEL)) for top in sample)
        for kind in _FILTERS
    }
    return min(sizes, key=lambda kind: sizes[kind])


def _filtered(image: Image.Image, top: int, rows: int, kind: int) -> bytes:
    """Return some rows, each after its filter's number (section 9)."""
    channels, first = len(image.mode), max(0, top - 1)
    pixels = np.asarray(image.crop((0, first, image.width, min(top + rows, image.height))))
    pixels = pixels.reshape(len(pixels), -1)
    current = pixels[top - first :]
    above = pixels[:-1] if top else np.concatenate([np.zeros_like(pixels[:1]), pixels[:-1]])
    result = np.empty((len(current), current.shape[1] + 1), np.uint8)
    result[:, 0] = kind
    np.subtract(current, _FILTERS[kind](current, above, channels), out=result[:, 1:])
    return cast(bytes, result.data)


def _left(pixels: Bytes, channels: int) -> Bytes:
    """Return each byte's neighbour in the pixel before."""
    moved = np.zeros_like(pixels)
    moved[:, channels:] = pixels[:, :-channels]
    return moved


def _sub(current: Bytes, above: Bytes, channels: int) -> Bytes:
    return _left(current, channels)


def _up(current: Bytes, above: Bytes, channels: int) -> Bytes:
    return above


def _average(current: Bytes, above: Bytes, channels: int) -> Bytes:
    left = _left(current, channels)
    return (left & above) + ((left ^ above) >> 1)  # the mean, rounded down, without a ninth bit


def _paeth(current: Bytes, above: Bytes, channels: int) -> Bytes:
    left, corner = _left(current, channels), _left(above, channels)
    a, b, c = (plane.astype(np.int16) for plane in (left, above, corner))
    to_left, to_above = np.abs(b - c), np.abs(a - c)
    to_corner = np.abs(a + b - 2 * c)
    nearest = np.where(to_above <= to_corner, above, corner)
    return np.where((to_left <= to_above) & (to_left <= to_corner), left, nearest)


_FILTERS: Final[dict[int, Callable[[Bytes, Bytes, int], Bytes]]] = {2: _up, 1: _sub, 3: _average, 4: _paeth}
_COST: Final = {2: 1.0, 1: 1.0, 3: 1.0, 4: 1.02}  # Paeth's takes five times as long: only where it saves 2 % or more


class QuickImage(Image.Image):
    """An image that `save` writes with `encode_png`, also where others call it, such as `datasets`.

    Copies and pickles are plain, so that reading them back needs Pillow alone.
    """

    def save(self, fp: Any, format: str | None = None, **params: Any) -> None:
        """Save as `PIL.Image.Image.save` does, PNG into a stream fast."""
        if format is not None and format.upper() == "PNG" and hasattr(fp, "write") and not params.get("save_all"):
            fp.write(encode_png(self, **params))
        else:
            super().save(fp, format, **{"compress_level": _PILLOW_LEVEL, **params})

    def __reduce__(self) -> Any:
        return Image.Image.copy, (self.copy(),)


def quick(image: Image.Image) -> Image.Image:
    """Make an image one that is saved fast as PNG. It is changed in place."""
    image.__class__ = QuickImage  # Pillow has no public way to make an image of another class
    return image
