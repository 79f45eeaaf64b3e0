"""Contact sheets: many images and their cut-outs on one page."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterator, Sequence
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIDE: Final = 220  # pixels, of the square that an image is fitted into
_COLUMNS: Final = 5
_EDGE: Final = 3
_SQUARE: Final = 12  # pixels, of the checkerboard
_GAP: Final = 12  # pixels between cells
_FRAME: Final = (190, 190, 190)
_MARK: Final = (230, 110, 0)
_NAME: Final = 22  # pixels for a line of text
_TEXT: Final = 12  # pixels, of the letters
_FONTS: Final = (
    *("DejaVuSans.ttf", "NotoSans-Regular.ttf", "NotoSansCJK-Regular.ttc", "wqy-zenhei.ttc"),  # Linux
    *("Arial Unicode.ttf", "PingFang.ttc"),  # macOS
    *("segoeui.ttf", "msyh.ttc", "YuGothM.ttc", "malgun.ttf"),  # Windows
)
"""Tried in this order, where installed, for names that Pillow's own font, with its English letters, cannot write."""


def checkerboard(width: int, height: int) -> Image.Image:
    """Return the usual background of transparent images, mode "RGBA"."""
    rows, columns = np.mgrid[:height, :width] // _SQUARE
    shade = np.where((rows + columns) % 2, 255, 205).astype(np.uint8)
    return Image.fromarray(shade).convert("RGBA")


def cell(photo: Image.Image, result: Image.Image) -> Image.Image:
    """Return an image above what was made of it, mode "RGB", each fitted into a square of `SIDE` pixels.

    Args:
        photo: Mode "L", "LA", "RGB" or "RGBA". Not changed.
        result: As `photo`: a cut-out, or a mask.
    """
    both = Image.new("RGB", (SIDE, 2 * SIDE), "white")
    for row, image in enumerate((photo, result)):
        small = image if max(image.size) < 4 * SIDE else image.reduce(max(image.size) // (2 * SIDE))
        small = small.convert("RGBA")  # a copy
        small.thumbnail((SIDE - 2 * _EDGE, SIDE - 2 * _EDGE), Image.Resampling.LANCZOS)
        flat = Image.alpha_composite(checkerboard(*small.size), small).convert("RGB")
        both.paste(flat, ((SIDE - flat.width) // 2, row * SIDE + (SIDE - flat.height) // 2))
    return both


def contact_sheet(cells: Sequence[Image.Image], names: Sequence[str], marked: Collection[int] = ()) -> Image.Image:
    """Lay cells of one size out in rows of up to five, each in a frame together with its name.

    Args:
        cells: At least one.
        names: As many. A long one is shortened in the middle; characters that no font here has are escaped.
        marked: Places of the cells, from 0 on, that get a thick orange frame: look at these first.
    """
    columns = min(_COLUMNS, len(cells))
    width, height = cells[0].size
    rows = -(-len(cells) // columns)
    across, down = width + _GAP, height + _NAME + _GAP
    sheet = Image.new("RGB", (columns * across + _GAP, rows * down + _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    fonts = list(_fonts())
    for i, (image, name) in enumerate(zip(cells, names, strict=True)):
        left, top = _GAP + i % columns * across, _GAP + i // columns * down
        sheet.paste(image, (left, top))
        text, font = _printable(name, fonts)
        text = _fitted(text, font, width - 2 * _EDGE)
        box = (left - 1, top - 1, left + width, top + height + _NAME)
        draw.rectangle(box, outline=_MARK if i in marked else _FRAME, width=_EDGE if i in marked else 1)
        draw.text((left + width / 2, top + height + _NAME / 2), text, "black", font, anchor="mm")
    return sheet


def _fonts() -> Iterator[ImageFont.FreeTypeFont]:
    yield ImageFont.load_default(_TEXT)  # type: ignore[misc]  # with a size it is such a one
    for name in _FONTS:
        try:
            yield ImageFont.truetype(name, _TEXT)
        except OSError:  # it is not installed
            continue


def _printable(name: str, fonts: Sequence[ImageFont.FreeTypeFont]) -> tuple[str, ImageFont.FreeTypeFont]:
    """Return a name as it can be drawn, and the font for it."""
    name = unicodedata.normalize("NFC", name)  # macOS has letters and their accents apart
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
    for font in fonts:
        lacking = bytes(font.getmask("\uffff"))  # the box, which is drawn for what a font has not
        if all(c == " " or bytes(font.getmask(c)) != lacking for c in set(text)):
            return text, font
    return text.encode("unicode_escape").decode(), fonts[0]


def _fitted(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    short, kept = text, len(text)
    while font.getlength(short) > width:
        kept -= 1
        short = f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"
    return short
