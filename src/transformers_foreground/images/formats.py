"""Image formats that are read: the only place that lists them.

What is not here is refused whatever Pillow could do with it: formats that hold other files (IPTC, FPX, MIC, ICNS),
that start a program (EPS, WMF), or that nobody's photo folder has.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True)
class Format:
    """A format.

    Attributes:
        suffixes: Of its files, with the dot, in lower case.
        plugin: The module that reads it; it registers itself with Pillow under the format's name.
    """

    suffixes: tuple[str, ...]
    plugin: str


FORMATS: Final[Mapping[str, Format]] = MappingProxyType(
    {
        "JPEG": Format((".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"), "PIL.JpegImagePlugin"),
        "PNG": Format((".png", ".apng"), "PIL.PngImagePlugin"),
        "WEBP": Format((".webp",), "PIL.WebPImagePlugin"),
        "GIF": Format((".gif",), "PIL.GifImagePlugin"),
        "TIFF": Format((".tif", ".tiff"), "PIL.TiffImagePlugin"),
        "BMP": Format((".bmp",), "PIL.BmpImagePlugin"),
        "DIB": Format((".dib",), "PIL.BmpImagePlugin"),
        "AVIF": Format((".avif", ".avifs"), "PIL.AvifImagePlugin"),
        "HEIF": Format((".heic", ".heif", ".heics", ".heifs", ".hif"), "pillow_heif"),
        "JPEG2000": Format((".jp2", ".j2k", ".jpx", ".jpf", ".j2c", ".jpc"), "PIL.Jpeg2KImagePlugin"),
        "ICO": Format((".ico",), "PIL.IcoImagePlugin"),
        "PPM": Format((".ppm", ".pgm", ".pbm", ".pnm"), "PIL.PpmImagePlugin"),
        "PSD": Format((".psd",), "PIL.PsdImagePlugin"),
        "PCX": Format((".pcx",), "PIL.PcxImagePlugin"),
        "TGA": Format((".tga",), "PIL.TgaImagePlugin"),  # last: it has no magic number
    }
)
"""By Pillow's name, in the order in which they are tried."""

SUFFIXES: Final = frozenset(suffix for format in FORMATS.values() for suffix in format.suffixes)
"""Suffixes that image files have."""

PNG: Final = b"\x89PNG\r\n\x1a\n"
TIFF: Final = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
"""What files of these formats begin with."""


def is_image(head: bytes) -> bool:
    """Whether a file looks like one that `decode` reads, by its first 16 bytes or more; TGA never does."""
    from PIL import Image

    head = head.ljust(16, b"\0")
    if is_heif(head) or is_avif(head):
        return True
    for name in FORMATS:
        accept = load_plugin(name) and Image.OPEN[name][1]
        if accept and accept(head[:16]) is True:
            return True
    return False


_HEIF: Final = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}


def is_heif(head: bytes) -> bool:
    """Whether a file's first bytes are those of HEIF."""
    return head[4:8] == b"ftyp" and head[8:12] in _HEIF


def is_avif(head: bytes) -> bool:
    """Whether a file's first bytes are those of AVIF."""
    return head[4:12] in (b"ftypavif", b"ftypavis")


def load_plugin(name: str) -> bool:
    """Import the plugin that reads a format (`identify` registers HEIF's); return whether there is one."""
    from PIL import Image

    if name != "HEIF" and name not in Image.OPEN:
        try:
            importlib.import_module(FORMATS[name].plugin)
        except ImportError:  # AVIF before Pillow 11.3
            return False
    return name in Image.OPEN
