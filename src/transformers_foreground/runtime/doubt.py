"""Doubt: one number that says how unsure a model is of its own mask."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

HIGH = 0.3333  # one soft pixel to two in the foreground: worth a look
SOFT = 0.1, 0.9  # alpha between these is soft: neither clearly background nor clearly foreground


def doubt(plane: NDArray[np.floating[Any]]) -> float:
    """Return how unsure a model is of a mask.

    With `r = #(0.1 < α < 0.9) / #(α > 0.5)`, soft pixels to foreground ones, this is `r / (1 + r)`, which ranks images
    as `r` does, but lies in [0, 1]. So `r` of 0.5 and 0.7 are a doubt of 0.333 and 0.412. Source: this project's own
    measurements; docs/evaluation.md says how well the share ranks images by their IoU with the truth (Spearman, and the
    area under the risk-coverage curve), and on which data it does not.

    It compares images of one model. Hair, fur and glass are soft in a perfect mask too, so that it is no probability
    of an error.

    Args:
        plane: Alpha as the model gave it, before it is resized to the image; any shape, usually (h, w); in [0, 1].

    Returns:
        0 where no pixel is soft (an empty mask among them), 1 where all that was found is soft and at most 0.5.
    """
    low, high = SOFT
    soft = np.count_nonzero((plane > low) & (plane < high))
    foreground = np.count_nonzero(plane > 0.5)
    return soft / (soft + foreground) if soft else 0.0


def is_high(doubt: float) -> bool:
    """Return whether somebody should look at a mask: its doubt is at least 1/3, to the four decimals that reports show.

    Args:
        doubt: In [0, 1], rounded to four decimals or not.
    """
    return round(doubt, 4) >= HIGH
