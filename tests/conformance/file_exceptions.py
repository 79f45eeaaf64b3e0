"""Files whose pixels are knowingly not those of Transformers.js in Node: which, by how much at most, and why.

The tests hold it against the oracle, and docs/conformance.md prints it.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
KINDS = Path(os.environ.get("FOREGROUND_SHARED", ROOT.parent / "shared")) / "oracle" / "kinds"


def recorded_files() -> dict[str, dict[str, Any]]:
    """Return what Node made of every file, by its name; empty without the oracle."""
    path = KINDS / "pictures.json"
    files: dict[str, dict[str, Any]] = json.loads(path.read_text())["pictures"] if path.is_file() else {}
    return files


@dataclass(frozen=True)
class FileException:
    """A kind of file.

    Attributes:
        names: Patterns of the oracle's files.
        levels: By how many of 255 levels a decoded sample differs at most; `None`: refused here.
        mean: By how many levels on average over the image at most.
        mask: By how many levels the mask differs at most.
        reason: Why it is left so.
    """

    names: tuple[str, ...]
    levels: int | None
    mean: float
    mask: int
    reason: str


FILE_EXCEPTIONS = (
    FileException(
        ("*.avif",),
        83,
        1.6,
        20,
        "AVIF: decoded by libavif here, by libheif there, which bring colours of half resolution up differently; "
        "of full resolution (4:4:4) they are 1 or 2 levels apart.",
    ),
    FileException(
        ("cmyk.tif", "cmyk_lzw.tif", "cmyk_ic.jpg", "cmyk_rgbicc.jpg", "ycck_adobe_inv.jpg"),
        10,
        3.0,
        8,
        "CMYK without a profile for CMYK: libvips has one built in, which is not ours to ship; a polynomial fitted to "
        "it stands for it.",
    ),
    FileException(
        ("icc_lin_rgb16.png", "icc_p3_rgb16.png", "icc_pilsrgb_rgb16.png", "icc_srgb_rgb16.png"),
        37,
        1.9,
        12,
        "16-bit RGB with an ICC profile: the true colours here (the high byte, converted in 8 bits); there, lcms's "
        "16-bit table is up to 42 levels off them, even from sRGB to sRGB.",
    ),
    FileException(
        ("icc_lab.jpg", "icc_lab.tif", "icc_lab.webp"),
        7,
        0.7,
        3,
        "RGB with an abstract Lab profile, which is none for RGB: ignored here; there the pixels pass through another.",
    ),
    FileException(
        ("t_assoc.tif",), 1, 0.001, 1, "Premultiplied TIFF: colours are divided by alpha with another rounding."
    ),
    FileException(("ycbcr.tif",), 148, 58, 85, "Uncompressed YCbCr TIFF: converted to RGB here; there, taken for RGB."),
    FileException(
        ("f32.tif", "t_f32rgb.tif"),
        None,
        0,
        0,
        "Float TIFF: has no set range, so it is refused with that reason; there, gray floats from 0 to 1 become black.",
    ),
)


WORKS_HERE = {
    *("anim.avif", "lab.tif", "png_ga8.png", "png_gray1_trns.png", "png_gray4_trns.png"),
    *("x.bmp", "x.ico", "x.pcx", "x.tga"),
}
"""Refused there for no fault of the file's, and read here; the others that are refused there are refused here, too."""


def exception_for(name: str) -> FileException | None:
    """Return the exception that a file of the oracle falls under, if any."""
    return next((known for known in FILE_EXCEPTIONS if any(fnmatch(name, p) for p in known.names)), None)
