"""Contact sheets: many pictures and their cut-outs on one page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from PIL import Image

SIDE: Final = 220
_EDGE: Final = 3
_SQUARE: Final = 12


def checkerboard(width: int, height: int) -> Image.Image:
    """Return the usual background of transparent pictures, mode "RGBA"."""
    rows, columns = np.mgrid[:height, :width] // _SQUARE
    shade = np.where((rows + columns) % 2, 255, 205).astype(np.uint8)
    return Image.fromarray(shade).convert("RGBA")


def cell(picture: Image.Image, result: Image.Image, side: int = SIDE) -> Image.Image:
    """Return a picture above what was made of it, mode "RGB".

    Args:
        picture: Any mode that converts to "RGBA". Not changed.
        result: As `picture`: a cut-out, or a mask.
        side: Of the square that each is fitted into, in pixels.
    """
    both = Image.new("RGB", (side, 2 * side), "white")
    for row, image in enumerate((picture, result)):
        small = image.convert("RGBA") if max(image.size) < 4 * side else image.reduce(max(image.size) // (2 * side))
        small = small.convert("RGBA")
        small.thumbnail((side - 2 * _EDGE, side - 2 * _EDGE), Image.Resampling.LANCZOS)
        flat = Image.alpha_composite(checkerboard(*small.size), small).convert("RGB")
        both.paste(flat, ((side - flat.width) // 2, row * side + (side - flat.height) // 2))
    return both


def contact_sheet(cells: Sequence[Image.Image], columns: int = 5) -> Image.Image:
    """Lay cells of one size out in rows.

    Args:
        cells: At least one.
        columns: Cells in a row; fewer if there are fewer cells.
    """
    columns = min(columns, len(cells))
    width, height = cells[0].size
    sheet = Image.new("RGB", (columns * width, -(-len(cells) // columns) * height), "white")
    for i, image in enumerate(cells):
        sheet.paste(image, (i % columns * width, i // columns * height))
    return sheet
