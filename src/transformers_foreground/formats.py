"""Formats: a picture as the bytes of a file."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import PurePath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from transformers_foreground.errors import UnsupportedOptionError

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES: Final[Mapping[str, str]] = MappingProxyType(
    {
        ".png": "png",
        ".webp": "webp",
        ".tif": "tiff",
        ".tiff": "tiff",
        ".avif": "avif",
        ".jpg": "jpeg",
        ".jpeg": "jpeg",
    }
)
"""Which format a file's suffix means."""
KINDS: Final = tuple(dict.fromkeys(SUFFIXES.values()))

_JPEG_QUALITY: Final = 92
_AVIF_QUALITY: Final = 80
_FOLDER: Final = 0x8769


def kind_of(path: str | PurePath) -> str | None:
    """Return the format that a file's suffix means, or `None` if it means none that can be written."""
    return SUFFIXES.get(PurePath(path).suffix.lower())


def check(kind: str, quality: int | None = None, *, opaque: bool = True) -> None:
    """Refuse a format that cannot be written, before any work is done.

    Args:
        kind: One of `KINDS`.
        quality: As for `encode`.
        opaque: Whether the picture will have no alpha.

    Raises:
        UnsupportedOptionError: The format is unknown, this Pillow cannot write it, it has no alpha, or the quality is
            impossible.
    """
    if kind not in KINDS:
        raise UnsupportedOptionError(f"Format {kind!r}: use {', '.join(KINDS)}.")
    from PIL import features

    if kind in ("webp", "avif") and not features.check(kind):
        raise UnsupportedOptionError(f"This Pillow writes no {kind.upper()}: pip install -U pillow (11.3 or newer).")
    if kind == "jpeg" and not opaque:
        raise UnsupportedOptionError("JPEG has no alpha: give a background, or use png, webp, tiff or avif.")
    if quality is not None and (isinstance(quality, bool) or not isinstance(quality, int) or not 1 <= quality <= 100):
        raise UnsupportedOptionError(f"quality={quality!r}: use a whole number from 1 to 100.")
    if quality is not None and kind in ("png", "tiff"):
        raise UnsupportedOptionError(f"quality={quality}: {kind} is always lossless. Use webp, avif or jpeg.")


def encode(image: Image.Image, kind: str = "png", quality: int | None = None) -> bytes:
    """Encode a picture, with the ICC profile and the EXIF data of its `info`.

    Args:
        image: Mode "L", "RGB" or "RGBA".
        kind: `"png"`, `"webp"`, `"tiff"`, `"avif"` or `"jpeg"`.
        quality: 1 to 100. WebP is lossless without it; AVIF's default is 80, JPEG's 92. Alpha is lossless in WebP.

    Returns:
        The file's bytes. Where alpha is 0 the colours are as they are in the picture, but for AVIF and lossy WebP.

    Raises:
        UnsupportedOptionError: See `check`; or the picture is premultiplied (mode "RGBa").
    """
    check(kind, quality, opaque=image.mode != "RGBA")
    options: dict[str, Any] = {key: image.info[key] for key in ("icc_profile", "exif") if image.info.get(key)}
    if image.mode == "RGBa":
        raise UnsupportedOptionError("A file has straight alpha: use premultiplied=False, or image.convert('RGBA').")
    if kind == "png":
        options |= {"compress_level": 1}  # on photographs level 6 takes five times as long for a tenth less
    elif kind == "webp":
        lossless: dict[str, Any] = {"lossless": True, "quality": 0, "method": 1, "exact": True}
        options |= lossless if quality is None else {"quality": quality, "alpha_quality": 100, "method": 4}
    elif kind == "tiff":
        from PIL import Image

        tags = Image.Exif()
        tags.load(options.pop("exif", b""))
        # TIFF has EXIF's tags for its own, but for the folder of exposure, which libtiff takes from nobody.
        options["tiffinfo"] = {tag: value for tag, value in tags.items() if tag != _FOLDER}
        options |= {"compression": "tiff_adobe_deflate"}
    elif kind == "avif":
        options |= {"quality": quality or _AVIF_QUALITY}
    elif kind == "jpeg":
        options |= {"quality": quality or _JPEG_QUALITY, "subsampling": 0, "optimize": True}
    buffer = io.BytesIO()
    image.save(buffer, kind.upper(), **options)
    return buffer.getvalue()
