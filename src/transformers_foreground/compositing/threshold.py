"""Hard masks: every pixel is in or out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from transformers_foreground.errors import UnsupportedOptionError


def check_threshold(threshold: Any) -> None:
    """Refuse a threshold that is not between 0 and 1.

    Raises:
        UnsupportedOptionError: It is not between 0 and 1.
    """
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or not 0 < threshold < 1:
        raise UnsupportedOptionError(f"threshold={threshold!r}: use a share between 0 and 1, as 0.5.")


def hard(mask: NDArray[np.uint8], threshold: float) -> NDArray[np.uint8]:
    """Return 255 where alpha is at least `threshold`, else 0.

    Args:
        mask: Alpha, uint8, (H, W).
        threshold: Between 0 and 1.
    """
    return np.where(mask >= threshold * 255, np.uint8(255), np.uint8(0))
