"""How sure a figure is, and whether two models really differ. Everything is seeded, and pictures are the units."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Reduce = Callable[[Values], Values]

_CELLS: Final = 4_000_000  # of the matrix of resamples × pictures that is in memory at a time


@dataclass(frozen=True)
class Difference:
    """A paired comparison of two models.

    Attributes:
        value: The first model's figure less the second's.
        low: Lower end of its interval.
        high: Upper end.
        p: Two-sided p-value that there is no difference.
    """

    value: float
    low: float
    high: float
    p: float


def interval(
    values: Values, reduce: Reduce, *, resamples: int = 2000, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Return a bootstrap percentile interval. Efron, Tibshirani: An Introduction to the Bootstrap, 1993, chapter 13.

    Args:
        values: One row a picture, (n, k).
        reduce: From means over pictures, (..., k), to figures, (...).
        resamples: How often pictures are drawn anew, with replacement.
        seed: Of the draws.
        level: How much of the resampled figures the interval holds.

    Returns:
        Lower and upper end; NaN with fewer than two pictures.
    """
    if len(values) < 2:
        return float("nan"), float("nan")
    figures = np.concatenate([reduce(w @ values) for w in _weights(len(values), resamples, seed)])
    return _ends(figures, level)


def difference(
    first: Values, second: Values, reduce: Reduce, *, resamples: int = 2000, seed: int = 0, level: float = 0.95
) -> Difference:
    """Compare two models on the same pictures.

    The interval is a paired bootstrap: both figures of each resample are of the same pictures. The p-value is of an
    approximate randomisation test: were there no difference, it would not matter which model gave which result, so
    results are swapped between the models, picture by picture, at random (Noreen: Computer-Intensive Methods for
    Testing Hypotheses, 1989); `p = (1 + #{|d*| ≥ |d|}) / (1 + R)` (Phipson, Smyth, 2010), R being five times
    `resamples`. It supposes no distribution, and holds for maxima over thresholds, too.

    Args:
        first: One row a picture, (n, k).
        second: The same pictures' rows of the other model.
        reduce: From means over pictures, (..., k), to figures, (...).
        resamples: How often pictures are drawn anew.
        seed: Of the draws.
        level: Of the interval.
    """
    value = float(reduce(first.mean(axis=0)) - reduce(second.mean(axis=0)))
    if len(first) < 2:
        return Difference(value, float("nan"), float("nan"), 1.0)
    drawn = [reduce(w @ first) - reduce(w @ second) for w in _weights(len(first), resamples, seed)]
    low, high = _ends(np.concatenate(drawn), level)
    count, as_large, change = 5 * resamples, 0, (second - first) / len(first)
    for swapped in _swaps(len(first), count, seed):
        moved = swapped @ change
        figures = reduce(first.mean(axis=0) + moved) - reduce(second.mean(axis=0) - moved)
        as_large += int(np.count_nonzero(np.abs(figures) >= abs(value) - 1e-12))
    return Difference(value, low, high, (1 + as_large) / (1 + count))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for how many they are. Holm: A Simple Sequentially Rejective Multiple Test Procedure, 1979."""
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def _chunks(pictures: int, count: int) -> Iterator[int]:
    step = max(1, _CELLS // pictures)
    for start in range(0, count, step):
        yield min(step, count - start)


def _weights(pictures: int, resamples: int, seed: int) -> Iterator[Values]:
    """Yield, some resamples at a time, the share of each picture in them."""
    rng = np.random.default_rng(seed)
    even = np.full(pictures, 1 / pictures)
    for count in _chunks(pictures, resamples):
        yield rng.multinomial(pictures, even, size=count) / pictures


def _swaps(pictures: int, count: int, seed: int) -> Iterator[Values]:
    rng = np.random.default_rng([seed, 1])
    for size in _chunks(pictures, count):
        yield rng.integers(0, 2, size=(size, pictures)).astype(np.float64)


def _ends(figures: Values, level: float) -> tuple[float, float]:
    low, high = np.quantile(figures, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
