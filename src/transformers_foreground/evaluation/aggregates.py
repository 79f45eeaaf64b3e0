"""From rows, one an image, to the figures of a data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Columns: TypeAlias = Mapping[str, NDArray[Any]]
Values: TypeAlias = NDArray[np.float64]

BETA2: Final = 0.3  # β² of the F-measure, as Achanta et al. (CVPR 2009) and all after them have it
LEVELS: Final = 256  # thresholds, from 255 down to 0


@dataclass(frozen=True)
class Aggregate:
    """One figure of a data set: `reduce` of the mean over images of `values`.

    Intervals and tests resample the images and compute that again, so they are right for a maximum over thresholds,
    too.

    Attributes:
        name: Key in the summary.
        title: Its name in tables.
        values: Takes the rows' columns; returns float64, (n, k), one row an image.
        reduce: Takes means over images, (..., k); returns figures, (...).
        higher: Whether higher is better.
        digits: Decimals in tables.
        columns: The columns that `values` reads.
    """

    name: str
    title: str
    values: Callable[[Columns], Values]
    reduce: Callable[[Values], Values]
    higher: bool
    digits: int
    columns: tuple[str, ...]

    def of(self, rows: Columns) -> float:
        """Return the figure of these rows; NaN if no row has a value."""
        values = self.values(rows)
        values = values[defined(values)]
        return float(self.reduce(values.mean(axis=0))) if len(values) else float("nan")


def defined(values: Values) -> NDArray[np.bool_]:
    """Return which images have a value."""
    return np.asarray(~np.isnan(values).any(axis=1))


def f_measure(precision: Values, recall: Values) -> Values:
    """Return F_β: `(1 + β²) · P · R / (β² · P + R)`, 0 where both are 0. Achanta et al., CVPR 2009."""
    denominator = BETA2 * precision + recall
    zero = np.zeros_like(denominator)
    return np.divide((1 + BETA2) * precision * recall, denominator, out=zero, where=denominator != 0)


def _f_curves(rows: Columns) -> Values:
    return f_measure(rows["precision"], rows["recall"])


def _pr_curves(rows: Columns) -> Values:
    return np.concatenate([rows["precision"], rows["recall"]], axis=1)


def _e_curves(rows: Columns) -> Values:
    return np.asarray(rows["e_curve"], np.float64)


def _f_of_means(means: Values) -> Values:
    return f_measure(means[..., :LEVELS], means[..., LEVELS:])


def _max(means: Values) -> Values:
    return np.asarray(means.max(axis=-1))


def _mean(means: Values) -> Values:
    return np.asarray(means.mean(axis=-1))


def _only(means: Values) -> Values:
    return means[..., 0]


def _scalar(name: str, title: str, higher: bool, digits: int = 4) -> Aggregate:
    return Aggregate(
        name, title, lambda rows: np.asarray(rows[name], np.float64)[:, None], _only, higher, digits, (name,)
    )


_PR: Final = ("precision", "recall")
_ALPHA: Final = (("sad", "SAD", 3), ("mad", "MAD", 5), ("mse", "MSE", 5), ("grad", "Grad", 3), ("conn", "Conn", 3))

BINARY: Final = (
    _scalar("mae", "MAE", False),
    Aggregate("f_max", "max F (mean of curves)", _f_curves, _max, True, 4, _PR),
    Aggregate("f_mean", "mean F (mean of curves)", _f_curves, _mean, True, 4, _PR),
    Aggregate("f_pr_max", "max F (of mean P, R)", _pr_curves, lambda m: _max(_f_of_means(m)), True, 4, _PR),
    Aggregate("f_pr_mean", "mean F (of mean P, R)", _pr_curves, lambda m: _mean(_f_of_means(m)), True, 4, _PR),
    _scalar("f_adaptive", "adaptive F", True),
    _scalar("f_weighted", "weighted F", True),
    _scalar("s", "S-measure", True),
    Aggregate("e_max", "max E", _e_curves, _max, True, 4, ("e_curve",)),
    Aggregate("e_mean", "mean E", _e_curves, _mean, True, 4, ("e_curve",)),
    _scalar("e_adaptive", "adaptive E", True),
    _scalar("iou", "IoU", True),
    _scalar("ber", "BER", False),
)
BOUNDARY: Final = (_scalar("biou", "boundary IoU", True), _scalar("mba", "mBA", True))
CORRECTION: Final = (_scalar("hce", "HCE", False, 1),)


def alpha(bands: Sequence[str] = ()) -> tuple[Aggregate, ...]:
    """Return the measures of mattes: of the whole image, and of each band."""
    whole = tuple(_scalar(name, title, False, digits) for name, title, digits in _ALPHA)
    inside = (_scalar(f"{n}@{band}", f"{t} in {band}", False, d) for band in bands for n, t, d in _ALPHA)
    return (*whole, *inside)


GROUPS: Final = ("binary", "boundary", "correction", "alpha")
CURVES: Final = ("precision", "recall", "e_curve")


def aggregates(groups: Sequence[str], bands: Sequence[str] = ()) -> tuple[Aggregate, ...]:
    """Return the figures of these `GROUPS`, and of a data set's bands, in the order of the tables."""
    known = {"binary": BINARY, "boundary": BOUNDARY, "correction": CORRECTION, "alpha": alpha(bands)}
    return tuple(aggregate for group in GROUPS if group in groups for aggregate in known[group])


def columns(groups: Sequence[str], bands: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the names of the columns that these groups fill, each once."""
    return tuple(dict.fromkeys(name for aggregate in aggregates(groups, bands) for name in aggregate.columns))
