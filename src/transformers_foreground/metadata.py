"""Metadata: what of a picture's EXIF data goes along into what is made of it."""

from __future__ import annotations

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
        exif: The picture's.

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
    except Exception:  # readers of broken data raise nearly anything, and the picture does not need it
        return b""
