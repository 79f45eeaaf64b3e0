"""CMYK without a colour profile -> RGB.

There is no right answer, only a usual ink and paper. libvips, and so Transformers.js in Node, takes a profile of coated
paper that is built into it; this is a polynomial of third degree fitted to what that gives: on photographs it is up to
10 levels off, and 4 on average. Pillow's own conversion, by subtraction, is up to 40 levels off, and too bright in
blues and greens.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_TERMS: Final = {
    "c": (-304, -130, -38),
    "k": (-269, -260, -260),
    "m": (-14, -250, -150),
    "y": (-1, -32, -233),
    "cc": (62, 34, 17),
    "ck": (351, 139, 33),
    "cm": (137, 160, 23),
    "cy": (37, 17, 58),
    "kk": (154, 137, 139),
    "mk": (18, 263, 162),
    "mm": (-13, 105, 25),
    "my": (-18, 28, 170),
    "yk": (-5, 36, 247),
    "yy": (13, 17, 48),
    "ccc": (-162, -3, -6),
    "cck": (-2, -31, -4),
    "ccm": (125, -46, -2),
    "ccy": (22, -4, -19),
    "ckk": (-73, -17, -3),
    "cmk": (-149, -119, -6),
    "cmm": (-67, -16, -4),
    "cmy": (-40, -6, -42),
    "cyk": (-22, -9, -55),
    "cyy": (-12, -5, 39),
    "kkk": (-123, -122, -127),
    "mkk": (-4, -44, -27),
    "mmk": (17, -38, -27),
    "mmm": (5, -95, -1),
    "mmy": (9, 7, -32),
    "myk": (18, -24, -143),
    "myy": (2, -13, 4),
    "ykk": (-1, -7, -33),
    "yyk": (-1, -10, -19),
    "yyy": (-6, -4, -80),
}
"""By how much each product of inks (0 to 1) changes red, green and blue from the white of the paper."""


def cmyk_to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of mode "CMYK" to one of mode "RGB"."""
    weights = np.array(list(_TERMS.values()), np.float32).T
    pixels = np.asarray(image).reshape(-1, 4)
    rgb = np.empty((len(pixels), 3), np.uint8)
    for start in range(0, len(pixels), _CHUNK):  # the terms of a whole photograph would take gigabytes
        inks = np.ascontiguousarray(pixels[start : start + _CHUNK].T) * np.float32(1 / 255)
        changes = weights @ _products(dict(zip("cmyk", inks, strict=True)))
        rgb[start : start + _CHUNK] = np.rint(np.clip(255 + changes, 0, 255)).T
    return Image.fromarray(rgb.reshape(image.height, image.width, 3))


_CHUNK: Final = 1 << 15


def _products(inks: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the products of inks, (terms, N); each is a shorter one, which stands before it, times one ink."""
    products = np.empty((len(_TERMS), len(inks["c"])), np.float32)
    rows = dict(zip(_TERMS, products, strict=True))
    for term, row in rows.items():
        np.multiply(rows[term[:-1]] if len(term) > 1 else 1, inks[term[-1]], out=row)
    return products
