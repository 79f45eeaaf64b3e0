"""Confidence intervals of figures, and tests of differences, by scipy: seeded, with images as the units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from transformers_foreground.evaluation.extras import need

Values = NDArray[np.float64]
Reduce = Callable[[Values], Values]

_CELLS: Final = 4_000_000  # most resamples × images in memory at a time
_DIGITS: Final = 12  # rounds away what the order of a sum changes, so that equal figures stay equal


@dataclass(frozen=True)
class Difference:
    """A paired comparison of two models.

    Attributes:
        value: The first model's figure minus the second's.
        low: Lower end of its 95 % interval; NaN with fewer than two images.
        high: Upper end of that interval.
        p: Two-sided p-value that there is no difference.
    """

    value: float
    low: float
    high: float
    p: float


def interval(values: Values, reduce: Reduce, *, resamples: int = 2000, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % bootstrap percentile interval of a figure.

    Images are drawn with replacement. Efron, Tibshirani: An Introduction to the Bootstrap, 1993, chapter 13.

    Args:
        values: One row an image, float64, (n, k).
        reduce: Takes means over images, (..., k); returns figures, (...).
        resamples: How many resamples to draw.
        seed: Seed of the draws.

    Returns:
        Lower and upper end; NaN with fewer than two images.
    """
    places = np.arange(len(values))
    return bootstrap((places,), lambda drawn, axis: reduce(_means(values, drawn)), resamples, seed)


def difference(first: Values, second: Values, reduce: Reduce, *, resamples: int = 2000, seed: int = 0) -> Difference:
    """Compare two models on the same images.

    The interval is from a paired bootstrap: both figures of a resample are of the same images. The p-value is from a
    randomisation test: if the models did not differ, swapping their results on any image would change nothing (Noreen:
    Computer-Intensive Methods for Testing Hypotheses, 1989). All 2ⁿ ways of swapping are tried if these are at most
    R = 5 · `resamples`, else R random ones, with `p = 2 · (1 + #{as extreme}) / (1 + R)` of the smaller tail (Phipson,
    Smyth, 2010). No distribution is assumed, and the test is right for maxima over thresholds, too.

    Args:
        first: One row an image, float64, (n, k).
        second: The other model's rows of the same images.
        reduce: Takes means over images, (..., k); returns figures, (...).
        resamples: How many resamples to draw.
        seed: Seed of the draws.
    """
    both, count = np.concatenate([first, second]), len(first)
    places = np.arange(2 * count).reshape(2, count)

    def gap(a: NDArray[np.intp], b: NDArray[np.intp], axis: int = -1) -> Values:
        return np.round(reduce(_means(both, a)) - reduce(_means(both, b)), _DIGITS)

    value = float(reduce(first.mean(axis=0)) - reduce(second.mean(axis=0)))
    if count < 2:
        return Difference(value, np.nan, np.nan, 1.0)
    low, high = bootstrap(tuple(places), gap, resamples, seed)
    test = need("scipy.stats").permutation_test(
        tuple(places),
        gap,
        permutation_type="samples",
        vectorized=True,
        n_resamples=5 * resamples,
        batch=max(1, _CELLS // (2 * count)),
        rng=np.random.default_rng([seed, 1]),
    )
    return Difference(value, low, high, min(1.0, float(test.pvalue)))


def smallest_p(images: int, resamples: int) -> float:
    """Return the smallest p-value that `difference` can give, however much two models differ."""
    ways, drawn = 2.0**images, 5 * resamples
    return min(1.0, 2 / ways if ways <= drawn else 2 / (1 + drawn))


def bootstrap(
    samples: tuple[NDArray[Any], ...], statistic: Callable[..., Values], resamples: int, seed: int
) -> tuple[float, float]:
    """Return the 95 % percentile interval of a statistic of paired samples, (n,) each; NaN if n is below 2."""
    if len(samples[0]) < 2:
        return np.nan, np.nan
    found = need("scipy.stats").bootstrap(
        samples,
        statistic,
        paired=True,
        vectorized=True,
        n_resamples=resamples,
        batch=max(1, _CELLS // len(samples[0])),
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for multiple testing. Holm: A Simple Sequentially Rejective Multiple Test Procedure, 1979."""
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def _means(values: Values, places: NDArray[np.intp]) -> Values:
    """Return the means of the rows at `places`, (..., n), as (..., k). A matrix product saves copying the rows."""
    drawn = np.asarray(places, np.intp).reshape(-1, places.shape[-1])
    cells = drawn + np.arange(len(drawn))[:, None] * len(values)
    counts = np.bincount(cells.ravel(), minlength=len(drawn) * len(values)).reshape(len(drawn), len(values))
    means: Values = counts @ values / places.shape[-1]
    return means.reshape(*places.shape[:-1], values.shape[1])
