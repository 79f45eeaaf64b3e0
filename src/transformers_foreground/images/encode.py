"""Formats: an image as the bytes of a file."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import PurePath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from transformers_foreground.errors import ImageError, UnsupportedOptionError

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES: Final[Mapping[str, str]] = MappingProxyType(
    {
        ".png": "png",
        ".apng": "png",
        ".webp": "webp",
        ".tif": "tiff",
        ".tiff": "tiff",
        ".avif": "avif",
        ".jpg": "jpeg",
        ".jpeg": "jpeg",
        ".gif": "gif",
    }
)
"""Which format a file's suffix means."""
KINDS: Final = tuple(dict.fromkeys(SUFFIXES.values()))

_JPEG_QUALITY: Final = 92
_AVIF_QUALITY: Final = 80
_LONGEST: Final = {"webp": 16_383, "jpeg": 65_500, "avif": 65_535}  # libjpeg stops short of JPEG's own 65,535
_MOST_JPEG_EXIF: Final = 65_533


def kind_of(path: str | PurePath) -> str | None:
    """Return the format that a file's suffix means, or `None` if it means none that can be written."""
    return SUFFIXES.get(PurePath(path).suffix.lower())


def check(kind: str, quality: int | None = None, *, opaque: bool = True) -> None:
    """Refuse a format that cannot be written, before any work is done.

    Args:
        kind: One of `KINDS`.
        quality: As for `encode`.
        opaque: Whether the image will have no alpha.

    Raises:
        UnsupportedOptionError: The format is unknown, this Pillow cannot write it, it has no alpha, or the quality is
            impossible.
    """
    if kind not in KINDS:
        raise UnsupportedOptionError(f"Format {kind!r}: use {', '.join(KINDS)}.")
    if kind == "gif":
        raise UnsupportedOptionError("GIF is for animations (--animate, or cutout_animation). Use png or webp.")
    from PIL import features

    # Pillow before 11.3 warns of a feature that it has not heard of.
    if kind in ("webp", "avif") and not (kind in features.modules and features.check(kind)):
        raise UnsupportedOptionError(f"This Pillow writes no {kind.upper()}: pip install -U pillow (11.3 or newer).")
    if kind == "jpeg" and not opaque:
        raise UnsupportedOptionError("JPEG has no alpha: give a background, or use png, webp, tiff or avif.")
    if quality is not None and (isinstance(quality, bool) or not isinstance(quality, int) or not 1 <= quality <= 100):
        raise UnsupportedOptionError(f"quality={quality!r}: use a whole number from 1 to 100.")
    if quality is not None and kind in ("png", "tiff"):
        raise UnsupportedOptionError(f"quality={quality}: {kind} is always lossless. Use webp, avif or jpeg.")


def encode(image: Image.Image, kind: str = "png", quality: int | None = None) -> bytes:
    """Encode an image, with the ICC profile, the EXIF data and the resolution (`dpi`) of its `info`.

    Args:
        image: Mode "L", "RGB" or "RGBA".
        kind: `"png"`, `"webp"`, `"tiff"`, `"avif"` or `"jpeg"`.
        quality: 1 to 100. WebP is lossless without it; AVIF's default is 80, JPEG's 92. Alpha is lossless in WebP.

    Returns:
        The file's bytes. Where alpha is 0 the colours are as they are in the image, but for AVIF and lossy WebP.

    Raises:
        UnsupportedOptionError: See `check`; or the image is premultiplied (mode "RGBa").
        ImageError: The format cannot hold this image, or its metadata.
    """
    from PIL.ExifTags import IFD, Base  # here, since the command asks for `kind_of` at once

    from transformers_foreground.images.exif import exif_from
    from transformers_foreground.images.png import encode_png

    check(kind, quality, opaque=image.mode != "RGBA")
    if image.mode == "RGBa":
        raise UnsupportedOptionError("A file has straight alpha: use premultiplied=False, or image.convert('RGBA').")
    options: dict[str, Any] = {key: image.info[key] for key in ("icc_profile", "exif", "dpi") if image.info.get(key)}
    _check_limits(image, kind, options)
    if kind == "png":
        return encode_png(image, **options)
    if kind == "webp":
        lossless: dict[str, Any] = {"lossless": True, "quality": 0, "method": 1, "exact": True}
        options |= lossless if quality is None else {"quality": quality, "alpha_quality": 100, "method": 4}
    elif kind == "tiff":
        # TIFF has EXIF's tags for its own, but for the folder of exposure, which libtiff takes from nobody.
        tags = exif_from(options.pop("exif", b""))
        options["tiffinfo"] = {tag: value for tag, value in tags.items() if tag != IFD.Exif}
        options |= {"compression": "tiff_adobe_deflate"}
    elif kind == "avif":
        options |= {"quality": quality or _AVIF_QUALITY}
    elif kind == "jpeg":
        options |= {"quality": quality or _JPEG_QUALITY, "subsampling": 0, "optimize": True}
    if kind in ("webp", "avif") and "dpi" in options:  # they have no field for it but EXIF's
        tags = exif_from(options.get("exif", b""))
        tags[Base.XResolution], tags[Base.YResolution] = options.pop("dpi")
        tags[Base.ResolutionUnit] = 2  # inches
        options["exif"] = tags.tobytes()
    buffer = io.BytesIO()
    try:
        image.save(buffer, kind.upper(), **options)
    except Exception as error:  # encoders raise nearly anything, and none says what to do
        size = f"{image.width}x{image.height}"
        raise ImageError(
            f"The {size} result cannot be written as {kind.upper()} ({error or type(error).__name__}): use PNG or TIFF."
        ) from error
    return buffer.getvalue()


def _check_limits(image: Image.Image, kind: str, options: Mapping[str, Any]) -> None:
    """Refuse what a format cannot hold, with the remedy, which the encoders do not name."""
    longest = _LONGEST.get(kind)
    if longest is not None and max(image.size) > longest:
        raise ImageError(
            f"The result has {image.width}x{image.height} pixels, and {kind.upper()} holds {longest} a side: shrink it "
            "with max_size (--max-size), or use PNG or TIFF."
        )
    exif = len(options.get("exif", b""))
    if kind == "jpeg" and exif > _MOST_JPEG_EXIF:
        raise ImageError(
            f"Its EXIF data (description, author and the like) is {exif} bytes, and JPEG holds {_MOST_JPEG_EXIF}: "
            "shorten the image's description, or use PNG, WebP or TIFF."
        )
