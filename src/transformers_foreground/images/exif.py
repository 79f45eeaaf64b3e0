"""Metadata: which EXIF data and which resolution a result keeps of its image."""

from __future__ import annotations

from math import isfinite
from typing import Final

from PIL import Image

# Not the orientation, which is applied to the pixels; not the place, the thumbnail (which shows the background), the
# serial numbers or the maker's notes.
_KEPT: Final = (0x010E, 0x010F, 0x0110, 0x0132, 0x013B, 0x8298)
"""Description, make, model, time, artist, copyright."""
_SUBFOLDER: Final = 0x8769
_KEPT_IN_SUBFOLDER: Final = (0x9003, 0x9004, 0x9010, 0x9011, 0x9012)
"""Times of exposure and of digitising, and the three offsets from UTC."""


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
        details = exif.get_ifd(_SUBFOLDER)
        inner: dict[int, object] = {tag: details[tag] for tag in _KEPT_IN_SUBFOLDER if tag in details}
        if inner:
            kept[_SUBFOLDER] = inner
        return kept.tobytes() if kept or inner else b""
    except Exception:  # readers of broken data raise nearly anything, and the image does not need it
        return b""


_ORIENTATION: Final = 0x0112
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
    return (down, across) if exif and exif.get(_ORIENTATION) in _LYING else (across, down)
