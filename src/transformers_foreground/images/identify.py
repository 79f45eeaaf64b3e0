"""Identify: an encoded image -> an opened PIL image, of a format that is wanted, and of a size that is allowed."""

from __future__ import annotations

import io
import re
import struct
import zlib
from dataclasses import dataclass
from typing import IO, Final

import numpy as np
from PIL import Image, ImageFile
from PIL.ExifTags import Base

from transformers_foreground.errors import ImageError
from transformers_foreground.extras import install
from transformers_foreground.images import psd
from transformers_foreground.images.containers import ContainerError, essential
from transformers_foreground.images.formats import FORMATS, PNG, TIFF, is_avif, is_heif, load_plugin
from transformers_foreground.images.sources import unreadable
from transformers_foreground.images.tiff import TiffError, is_sound_exif, main_image, starting_with
from transformers_foreground.images.tiff_samples import read_samples

_PSD: Final = b"8BPS"
_ICO: Final = b"\x00\x00\x01\x00"
_ICON_SIDE: Final = 1024
_HEAD: Final = 1024  # bytes
_MAX_COMMENTS: Final = 1000  # in the text of a plain netpbm file: Pillow takes each out by itself
_MAX_EXIF: Final = 64
"""Places where EXIF data may start in a HEIF or AVIF file; each is read."""
_MAX_ITEMS: Final = 1000
"""Images and metadata in a HEIF or AVIF file, as libheif has it. Phones' large photos have a hundred."""
_MAX_RLE_WIDTH: Final = 65_535
"""Of a run-length encoded BMP: one skip may add 255 rows, which Pillow makes at once whatever the image's height."""
_PPM_HEADER: Final = re.compile(rb"P(?:[14](?:(?:\s|#[^\r\n]*[\r\n])+\d+){2}|[2356](?:(?:\s|#[^\r\n]*[\r\n])+\d+){3})")


class TooManyPixelsError(ImageError):
    """An image is larger than allowed."""


@dataclass(frozen=True)
class Limits:
    """What an image may have.

    Attributes:
        name: How messages call it.
        max_pixels: Width times height.
    """

    name: str
    max_pixels: int

    def check(self, width: int, height: int) -> None:
        """Refuse a size.

        Raises:
            TooManyPixelsError: Too many pixels.
            ImageError: No pixels.
        """
        if width * height == 0:
            raise unreadable(self.name, f"it has no pixels ({width}x{height})")
        if width * height > self.max_pixels:
            # The commands have no such option, and the pipelines take what `decode` gives.
            other = "in Python, pass on images.decode(image, max_pixels=...)"
            size = f"{width}x{height} pixels exceed the limit of {self.max_pixels}"
            raise TooManyPixelsError(str(unreadable(self.name, f"its {size}; shrink it, or, {other}")))


def open_image(stream: IO[bytes], limits: Limits, *, frames: bool = False) -> Image.Image:
    """Find the format and read the header.

    This is `Image.open(formats=...)` without its size check, which warns from 89 million pixels on: to silence a
    warning would change the filters of every thread.

    Args:
        stream: The file, seekable.
        limits: What it may have.
        frames: Whether all frames of an animation are wanted, and not only the first.

    Returns:
        The image; its pixels are mostly not decoded yet.

    Raises:
        ImageError: It is damaged, of no format that is read, or beyond the limits.
    """
    name = limits.name
    try:
        head = stream.read(_HEAD)
        stream.seek(0)
    except OSError as error:
        raise unreadable(name, f"reading the file failed ({error.strerror})") from error
    if not head:
        raise unreadable(name, "it is empty (0 bytes)")
    try:
        if head.startswith(TIFF):
            return _open_tiff(stream, limits)
        if head.startswith(_ICO):
            _check_icons(stream, name)
        _check_header(head, name)
        data, profile = b"", None
        if head.startswith((PNG, b"\xff\xd8\xff", b"GIF8")):
            data, profile = essential(stream.read(), frames=frames)
            stream = io.BytesIO(data)
        elif head[4:8] == b"ftyp":
            _check_parts(stream.read(), name)
        elif head[:2] in (b"P1", b"P2", b"P3") and stream.read().count(b"#") > _MAX_COMMENTS:
            raise unreadable(name, f"it has more than {_MAX_COMMENTS} comments; convert it to PNG first")
        elif head.startswith(_PSD) and max(psd.size_of(head.ljust(26, b"\0"))) > psd.MAX_SIDE:
            raise unreadable(name, f"a PSD file has at most {psd.MAX_SIDE} pixels a side")
        image = _open(stream, head, name)
        limits.check(*image.size)
        if image.format == "PSD":
            psd.correct_channels(image, stream)
        if profile:
            image.info["icc_profile"] = profile
    except (ContainerError, TiffError) as error:
        raise unreadable(name, str(error)) from error
    if not data.startswith(PNG) or "transparency" not in image.info:
        return image
    try:
        return image if getattr(image, "is_animated", False) else _with_exact_key(image, data)
    except Exception as error:  # readers of broken files raise nearly anything
        raise damaged(error, name) from error


def _open(stream: IO[bytes], head: bytes, name: str) -> ImageFile.ImageFile:
    why, cause = _not_raster(head), None
    if is_heif(head):
        _register_heif(name)
    for kind in filter(load_plugin, FORMATS):
        factory, accept = Image.OPEN[kind]
        known: bool | str = False  # stays so for the formats that have no magic number
        try:
            known = accept(head[:16]) if accept else False
            if (known or not accept) and not isinstance(known, str):  # a str says what Pillow was built without
                stream.seek(0)
                return factory(stream, "")
        except Exception as error:  # readers of broken files raise nearly anything
            if known:
                why = f"this {kind} file cannot be read, it may be damaged or truncated ({_reason(error)})"
                cause = error
    raise unreadable(name, why) from cause


def _open_tiff(stream: IO[bytes], limits: Limits) -> Image.Image:
    """Open a TIFF's main image: a thumbnail may come before it."""
    try:
        tiff, main = main_image(stream)
        limits.check(*tiff.size(main))
        image = read_samples(stream, tiff, main)
    except (struct.error, OverflowError, zlib.error) as error:
        why = f"this TIFF file cannot be read, it may be damaged or truncated ({error})"
        raise unreadable(limits.name, why) from error
    if image is not None:
        image.getexif()[Base.Orientation] = tiff.number(main, Base.Orientation, 1)
    else:
        if main.offset != tiff.directories[0].offset:
            stream.seek(0)
            stream = io.BytesIO(starting_with(stream.read(), tiff, main))
        stream.seek(0)
        head = stream.read(16)
        image = _open(stream, head, limits.name)
    limits.check(*image.size)
    return image


def _check_header(head: bytes, name: str) -> None:
    """Refuse headers for which Pillow would take far more time or memory than the image needs."""
    if head[:1] == b"P" and head[1:2] in b"123456" and len(head) == _HEAD and not _PPM_HEADER.match(head):
        raise unreadable(name, f"its size does not stand in the first {_HEAD} bytes")
    bitmap = head[14:] if head.startswith(b"BM") else head  # a DIB is a BMP without the first header
    if bitmap[1:4] == bytes(3) and bitmap[0] >= 16 and len(bitmap) >= 20:
        width, compression = struct.unpack_from("<i8xI", bitmap, 4)
        if compression in (1, 2) and width > _MAX_RLE_WIDTH:
            raise unreadable(
                name, f"a run-length encoded BMP of {width} pixels a row; they have {_MAX_RLE_WIDTH} at most"
            )


def _check_icons(stream: IO[bytes], name: str) -> None:
    """Check the sizes of the images in an icon file: Pillow decodes one at once, whatever the directory says of it."""
    data = stream.read()
    for i in range(int.from_bytes(data[4:6], "little")):
        start = int.from_bytes(data[18 + 16 * i : 22 + 16 * i], "little")
        inner = data[start : start + 24].ljust(24, b"\0")
        png = inner.startswith(PNG)
        width, height = struct.unpack(">II", inner[16:24]) if png else struct.unpack("<ii", inner[4:12])
        if max(abs(width), abs(height) // (1 if png else 2)) > _ICON_SIDE:  # a bitmap's height counts its mask too
            raise unreadable(name, f"an icon of {width}x{height} pixels; icons have at most {_ICON_SIDE} a side")


def _check_parts(data: bytes, name: str) -> None:
    """Check a HEIF or AVIF file's EXIF data, and how many images it is made of: each costs a decoder of its own."""
    if data.count(b"infe") > _MAX_ITEMS:
        raise unreadable(name, f"it is made of more than {_MAX_ITEMS} parts; convert it to PNG first")
    for count, match in enumerate(re.finditer(rb"II\*\x00|MM\x00\*", data)):
        if count == _MAX_EXIF:
            raise unreadable(name, f"it has more than {_MAX_EXIF} parts of EXIF data")
        if not is_sound_exif(data[match.start() :]):
            raise unreadable(name, "the values of its EXIF data are longer than the file")


def _with_exact_key(image: ImageFile.ImageFile, data: bytes) -> Image.Image:
    """Make alpha of the transparent colour of a PNG of 16 bits, which Pillow compares in 8 bits or not at all."""
    key = image.info["transparency"]
    if image.mode.startswith("I"):
        samples = np.asarray(image)
        alpha = samples != key
        high = np.repeat((samples >> 8).astype(np.uint8)[..., None], 3, axis=2)
    elif isinstance(key, tuple) and image.tile and image.tile[0][3] == "RGB;16B":
        low = Image.OPEN["PNG"][0](io.BytesIO(data), "")
        low.tile = [(*low.tile[0][:3], "RGB;16L")]  # type: ignore[list-item] # the other byte of each sample
        high = np.asarray(image)
        alpha = ((high.astype(np.uint16) << 8 | np.asarray(low)) != key).any(axis=2)
    else:
        return image
    keyed = Image.fromarray(np.dstack((high, alpha.astype(np.uint8) * np.uint8(255))))
    keyed.info |= {key: value for key, value in image.info.items() if key != "transparency"}
    return keyed


def _register_heif(name: str) -> None:
    try:
        import pillow_heif
    except ImportError as error:
        raise unreadable(name, f"HEIF needs a plugin: {install('heif')}") from error
    pillow_heif.register_heif_opener()


def _not_raster(head: bytes) -> str:
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in text or b"<!doctype svg" in text:
        return "SVG is a drawing, not a raster image; convert it to PNG first"
    if text.startswith((b"%pdf", b"%!ps")):
        return "PDF and PostScript are pages, not raster images; convert it to PNG first"
    if text.startswith((b"<!doctype html", b"<html")):
        return "this is an HTML page, not an image; use the address of the image itself"
    if is_avif(head):
        return "this Pillow reads no AVIF; Pillow 11.3 and newer do: pip install -U pillow"
    return "its bytes are not an image in a known format; convert it to PNG or JPEG first"


def damaged(error: Exception, name: str) -> ImageError:
    """Return the error to raise for the image of that name when Pillow cannot decode it."""
    what = _reason(error)
    why = "the file is truncated; get the whole of it" if "truncated" in what else "its data is damaged"
    return unreadable(name, f"{why} ({what})")


def _reason(error: Exception) -> str:
    """Return what an error of Pillow's says, in a message."""
    if isinstance(error, MemoryError):
        return "not enough memory for its pixels"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"{error} See PIL.Image.MAX_IMAGE_PIXELS"
    return str(error) or type(error).__name__
