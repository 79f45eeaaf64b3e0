"""Where to clip: the largest absolute value that each channel keeps, from its histogram."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from transformers_foreground.quantization.calibration import ChannelHistogram

STEPS = 64


def percentile(histogram: ChannelHistogram, percent: float) -> NDArray[np.float64]:
    """Return for each channel this percentile of its absolute values, at most the largest of them."""
    counts = histogram.counts
    wanted = counts.sum(axis=1, keepdims=True) * (percent / 100)
    position = (np.cumsum(counts, axis=1) < wanted).sum(axis=1) + 1
    return np.asarray(np.minimum(position * histogram.upper / counts.shape[1], histogram.largest))


def least_squares(histogram: ChannelHistogram) -> NDArray[np.float64]:
    """Return for each channel the clipping point with the least expected squared error.

    The error of clipping at `t` is `Σ_{|x|>t} (|x| − t)²` plus `(t / 255)² / 12` for each other value that
    is not zero. Source: Banner, Nahshan, Soudry, "Post training 4-bit quantization of convolutional networks", NeurIPS
    2019, section 3, with the measured histogram in place of their Laplace distribution.
    """
    counts = histogram.counts.astype(np.float64)
    bins = counts.shape[1]
    middles = (np.arange(bins) + 0.5) / bins * histogram.upper[:, None]
    best = histogram.largest.copy()
    least = np.full(len(best), np.inf)
    for step in range(STEPS, 0, -1):
        limit = histogram.largest * (step / STEPS)
        outside = np.maximum(middles - limit[:, None], 0)
        inside = (counts[:, 1:] * (middles[:, 1:] <= limit[:, None])).sum(axis=1)
        error = (counts * outside**2).sum(axis=1) + inside * (limit / 255) ** 2 / 12
        better = error < least
        best[better], least[better] = limit[better], error[better]
    return best


def thresholds(histogram: ChannelHistogram, method: str, percent: float) -> NDArray[np.float64]:
    """Return each channel's clipping point by `"max"`, `"percentile"` or `"mse"`."""
    if method == "percentile":
        return percentile(histogram, percent)
    return least_squares(histogram) if method == "mse" else histogram.largest
