"""Metadata: which EXIF data and which resolution a result keeps of its image."""

from __future__ import annotations

from math import isfinite
from typing import Final

from PIL import Image
from PIL.ExifTags import IFD, Base

# Not the orientation, which is applied to the pixels; not the place, the thumbnail (which shows the background), the
# serial numbers or the maker's notes.
_KEPT: Final = (Base.ImageDescription, Base.Make, Base.Model, Base.DateTime, Base.Artist, Base.Copyright)
_KEPT_IN_SUBFOLDER: Final = (
    *(Base.DateTimeOriginal, Base.DateTimeDigitized),
    *(Base.OffsetTime, Base.OffsetTimeOriginal, Base.OffsetTimeDigitized),  # from UTC
)


def exif_from(data: bytes) -> Image.Exif:
    """Read EXIF data."""
    exif = Image.Exif()
    exif.load(data)
    return exif


def kept_exif(exif: Image.Exif | None) -> bytes:
    """Return the EXIF data that cut-outs keep.

    Args:
        exif: The image's.

    Returns:
        EXIF data; empty if nothing is to be kept, or if it is broken.
    """
    if not exif:
        return b""
    kept = Image.Exif()
    try:
        kept.update({tag: exif[tag] for tag in _KEPT if tag in exif})
        details = exif.get_ifd(IFD.Exif)
        inner: dict[int, object] = {tag: details[tag] for tag in _KEPT_IN_SUBFOLDER if tag in details}
        if inner:
            kept[IFD.Exif] = inner
        return kept.tobytes() if kept or inner else b""
    except Exception:  # readers of broken data raise nearly anything, and the image does not need it
        return b""


_LYING: Final = (5, 6, 7, 8)  # orientations that exchange width and height
_MOST_DPI: Final = 65_535  # what JPEG can say


def dpi_of(image: Image.Image, exif: Image.Exif | None) -> tuple[float, float] | None:
    """Return the resolution that an image's file gives it.

    Args:
        image: Opened.
        exif: Its EXIF data: the orientation counts.

    Returns:
        Pixels per inch, across and down of the upright image; `None` if the file says nothing that can be meant.
    """
    try:
        across, down = (float(value) for value in image.info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    if not all(isfinite(value) and 1 <= value <= _MOST_DPI for value in (across, down)):
        return None
    return (down, across) if exif and exif.get(Base.Orientation) in _LYING else (across, down)
