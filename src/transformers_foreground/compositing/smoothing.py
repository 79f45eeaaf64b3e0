"""Smoothing: the masks of a video or an animation, averaged over time so that soft edges do not flicker."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from transformers_foreground.errors import UnsupportedOptionError

WEIGHT: Final = 0.5
"""How much a new mask counts against those before it.

The model looks at each frame alone, so soft edges flicker. The average's noise is √(w / (2 − w)) of a single mask's,
and it lags (1 − w) / w frames behind: at 0.5, four tenths of the flicker go, for a lag of one frame; 1 is no smoothing.
"""
MOTION: Final = 64
"""A pixel that differs by more than this (of 255) from the average has not flickered: something moved there, or it is
another scene. It takes its new value at once, so that what moves has no trail."""


def check_weight(weight: Any) -> None:
    """Refuse a weight that is not above 0 and up to 1.

    Raises:
        UnsupportedOptionError: It is not above 0 and up to 1.
    """
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 < weight <= 1:
        raise UnsupportedOptionError(f"weight={weight!r}: use a number above 0 and up to 1, which is no smoothing.")


def smooth(masks: Iterable[NDArray[np.uint8]], weight: float = WEIGHT) -> Iterator[NDArray[np.uint8]]:
    """Average masks over time, exponentially, where nothing moves.

    Args:
        masks: Each uint8, (H, W), all of one size.
        weight: Of the newest mask, above 0 and up to 1.

    Yields:
        As many masks; one plane is kept in between.

    Raises:
        UnsupportedOptionError: See `check_weight`.
    """
    check_weight(weight)
    average: NDArray[np.float32] | None = None
    for mask in masks:
        new = mask.astype(np.float32)
        if average is None:
            average = new
        change = new - average
        average += np.where(np.abs(change) > MOTION, 1, np.float32(weight)) * change
        yield np.rint(average).astype(np.uint8)
