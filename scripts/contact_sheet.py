"""Make a contact sheet of cut-outs: `python scripts/contact_sheet.py OUT.png PICTURE... [--model M] [--columns N]`.

Each cell shows the picture, and below it its cut-out on a checkerboard.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from transformers_foreground import pipeline


def checkerboard(width: int, height: int, side: int = 12) -> Image.Image:
    """Return the usual background of transparent pictures, mode "RGBA"."""
    rows, columns = np.mgrid[:height, :width] // side
    shade = np.where((rows + columns) % 2, 255, 205).astype(np.uint8)
    return Image.fromarray(shade).convert("RGBA")


def cell(picture: Image.Image, cutout: Image.Image, side: int) -> Image.Image:
    """Return the picture above its cut-out, each in a square of this side."""
    result = Image.new("RGB", (side, 2 * side), "white")
    for row, image in enumerate((picture.convert("RGBA"), cutout)):
        image.thumbnail((side - 6, side - 6), Image.Resampling.LANCZOS)
        flat = Image.alpha_composite(checkerboard(*image.size), image).convert("RGB")
        result.paste(flat, ((side - flat.width) // 2, row * side + (side - flat.height) // 2))
    return result


def contact_sheet(cells: list[Image.Image], columns: int) -> Image.Image:
    """Lay cells of one size out in rows."""
    width, height = cells[0].size
    rows = -(-len(cells) // columns)
    sheet = Image.new("RGB", (columns * width, rows * height), "white")
    for i, image in enumerate(cells):
        sheet.paste(image, (i % columns * width, i // columns * height))
    return sheet


def main() -> None:
    """Cut out every picture and save the sheet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("pictures", type=Path, nargs="+")
    parser.add_argument("--model", default="briaai/RMBG-1.4")
    parser.add_argument("--dtype", default=None)
    parser.add_argument("--columns", type=int, default=5)
    parser.add_argument("--side", type=int, default=220, help="side of a cell, in pixels")
    options = parser.parse_args()
    with pipeline("background-removal", options.model, dtype=options.dtype) as remover:
        cutouts = remover(options.pictures)
    cells = [
        cell(Image.open(path), cutout, options.side) for path, cutout in zip(options.pictures, cutouts, strict=True)
    ]
    contact_sheet(cells, options.columns).save(options.output)


if __name__ == "__main__":
    main()
