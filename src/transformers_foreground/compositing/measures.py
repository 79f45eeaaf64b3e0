"""What can be said of a mask in numbers: where the object is, and how much of the image it is."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from transformers_foreground.compositing.backgrounds import VISIBLE
from transformers_foreground.images.boxes import bounds


def measures(mask: NDArray[np.uint8]) -> dict[str, Any]:
    """Measure a mask.

    Args:
        mask: Alpha, uint8, (H, W).

    Returns:
        `"box"`: left, top, width and height, in pixels, of what is 5 % opaque or more, or `None` if nothing is;
        `"foreground"`: the mean of alpha, 0 to 1: the object's share of the image.
    """
    found = bounds(mask >= VISIBLE)
    box = None
    if found is not None:
        rows, columns = found
        box = [columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start]
    return {"box": box, "foreground": round(float(np.mean(mask)) / 255, 4)}
