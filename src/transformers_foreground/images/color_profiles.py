"""The sRGB colour profile that embedded profiles are converted to.

It is generated rather than shipped, with the numbers of libvips' own profile (Transformers.js decodes with
libvips in Node, through sharp), so that converted pixels are equal. Pillow's `ImageCms.createProfile("sRGB")`
gives pixels that are up to one level off.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

# X, Y, Z of red, green and blue: IEC 61966-2-1's four-digit matrix, Bradford-adapted from its white to D50.
_COLORANTS: Final = {
    b"rXYZ": (0.43604, 0.22244, 0.01390),
    b"gXYZ": (0.38510, 0.71693, 0.09708),
    b"bXYZ": (0.14307, 0.06062, 0.71393),
}
_D50: Final = (0.9642, 1.0, 0.8249)
# g, a, b, c and d of the standard's curve, whose 2.4 is 2.40004 in libvips' profile.
_CURVE: Final = (2.40004, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def _numbers(values: Iterable[float]) -> bytes:
    """Pack numbers as ICC's s15Fixed16."""
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def srgb_profile() -> bytes:
    """Return a version 4.2 ICC display profile for sRGB."""
    curve = struct.pack(">4s4xHxx", b"para", 3) + _numbers(_CURVE)
    tags = {b"wtpt": struct.pack(">4s4x", b"XYZ ") + _numbers(_D50)}
    tags |= {tag: struct.pack(">4s4x", b"XYZ ") + _numbers(xyz) for tag, xyz in _COLORANTS.items()}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    table, data = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for tag, value in tags.items():
        table += struct.pack(">4sII", tag, start + len(data), len(value))
        data += value
    header = struct.pack(
        ">I4xI4s4s4s12x4s28x12s48x",
        start + len(data),
        0x04200000,
        b"mntr",
        b"RGB ",
        b"XYZ ",
        b"acsp",
        _numbers(_D50),
    )
    return header + table + data
