"""A folder of product photos -> cut-outs on white, cropped to the product, square.

    python examples/product_photos.py photos/ shop/ --model imgly/isnet-general-use --kind webp --size 1000

Photos stream through the pipeline: while the model works on one, the next is decoded.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from transformers_foreground import ForegroundError, cutout, pipeline
from transformers_foreground.atomic_write import write_whole
from transformers_foreground.images.encode import encode

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".heic", ".avif"}


def product_image(
    photo: Path, mask: Image.Image, *, background: str = "white", pad: float = 0.08, size: int | None = None
) -> Image.Image:
    """Cut a product out, and set it in the middle of a square.

    Args:
        photo: The photo's path.
        mask: Its mask.
        background: The colour behind it.
        pad: Room on each side, as a share of the product's longer side.
        size: Side of the square in pixels; by default it is as large as the product needs.
    """
    product = cutout(photo, mask, background=background, crop=True, pad=pad)
    side = size or max(product.size)
    image = ImageOps.pad(product, (side, side), Image.Resampling.LANCZOS, background)
    image.info.update(product.info)  # who took it, and when
    return image


def reason(segmenter: Any, photo: Path) -> str:
    """Say why a photo cannot be read."""
    try:
        segmenter(photo)
    except ForegroundError as error:
        return str(error)
    return f"{photo}: it can be read now; run this again"


def main(arguments: Sequence[str] | None = None) -> int:
    """Do all photos; return the exit code, which is 1 if some failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="folder of photos")
    parser.add_argument("output", type=Path, help="folder for the images")
    parser.add_argument("--model", default="xuebinqin/u2netp")
    parser.add_argument("--kind", choices=["png", "webp"], default="png")
    parser.add_argument("--size", type=int, help="side of the square; by default what the product needs")
    parser.add_argument("--background", default="white")
    options = parser.parse_args(arguments)

    photos = sorted(path for path in options.photos.iterdir() if path.suffix.lower() in SUFFIXES)
    if not photos:
        raise FileNotFoundError(f"no photos in {options.photos}")
    stems = Counter(path.stem for path in photos)
    failed: list[str] = []
    with pipeline("image-segmentation", options.model) as segmenter:
        # An iterator is read only a little ahead, so that a folder of any size needs the memory of a few photos.
        masks = segmenter(iter(photos), return_mask=True, on_error="none")
        for photo, mask in zip(photos, masks, strict=True):
            if mask is None:
                failed.append(reason(segmenter, photo))
            elif mask.getextrema()[1] < 128:
                failed.append(f"{photo}: no product found")
            else:
                image = product_image(photo, mask, background=options.background, size=options.size)
                name = photo.stem if stems[photo.stem] == 1 else photo.name  # a.jpg and a.png must not meet
                quality = 90 if options.kind == "webp" else None
                write_whole(options.output / f"{name}.{options.kind}", encode(image, options.kind, quality))
    print(f"{options.output}: {len(photos) - len(failed)} of {len(photos)} photos", *failed, sep="\n")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ForegroundError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")
