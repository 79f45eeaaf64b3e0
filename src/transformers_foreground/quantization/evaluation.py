"""How far a quantised model is from its fp32 original, and both from the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

NEARLY_EMPTY: Final = 0.002
_EPSILON: Final = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Bounds:
    """What a quantised model must keep to count as safe.

    Attributes:
        mean_difference: Largest mean |Δα| against fp32 over all pictures.
        worst_iou: Smallest IoU of the masks at 0.5 against fp32, over all pictures whose fp32 mask is not nearly empty.
        s_measure_drop: Most that the S-measure may fall on any set with truth.
        pictures: Fewest held-out pictures that prove anything.
    """

    mean_difference: float = 0.01
    worst_iou: float = 0.97
    s_measure_drop: float = 0.005
    pictures: int = 12


@dataclass(frozen=True)
class Picture:
    """Figures of one picture.

    Attributes:
        name: The picture's set and name.
        difference: Mean |Δα| against fp32, of planes of the model's size.
        iou: Against fp32; `None` where fp32's mask has less than 0.2 % of the pixels.
        s_measure: `(fp32, quantised)` at the size of the truth, or `None` without truth.
        mae: As `s_measure`.
    """

    name: str
    difference: float
    iou: float | None
    s_measure: tuple[float, float] | None = None
    mae: tuple[float, float] | None = None


@dataclass(frozen=True)
class Figures:
    """Figures of a set of pictures."""

    pictures: int
    nearly_empty: int
    mean_difference: float
    worst_difference: float
    mean_iou: float
    worst_iou: float
    s_measure: tuple[float, float] | None
    mae: tuple[float, float] | None

    def to_dict(self) -> dict[str, Any]:
        """Return the figures, rounded, ready for JSON."""
        return {key: _rounded(value) for key, value in asdict(self).items()}


def _rounded(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_rounded(v) for v in value]
    return round(value, 5) if isinstance(value, float) else value


def intersection_over_union(a: NDArray[np.float32], b: NDArray[np.float32], threshold: float = 0.5) -> float:
    """Return |A ∩ B| / |A ∪ B| of two planes' masks, 1 where both are empty."""
    first, second = a > threshold, b > threshold
    union = int(np.count_nonzero(first | second))
    return int(np.count_nonzero(first & second)) / union if union else 1.0


def summarise(pictures: Sequence[Picture]) -> Figures:
    """Bring the figures of pictures together; at least one picture."""
    ious = [p.iou for p in pictures if p.iou is not None]

    def means(pairs: Sequence[tuple[float, float] | None]) -> tuple[float, float] | None:
        known = [pair for pair in pairs if pair is not None]
        return (
            (float(np.mean([first for first, _ in known])), float(np.mean([second for _, second in known])))
            if known
            else None
        )

    return Figures(
        pictures=len(pictures),
        nearly_empty=len(pictures) - len(ious),
        mean_difference=float(np.mean([p.difference for p in pictures])),
        worst_difference=max(p.difference for p in pictures),
        mean_iou=float(np.mean(ious)) if ious else 1.0,
        worst_iou=min(ious, default=1.0),
        s_measure=means([p.s_measure for p in pictures]),
        mae=means([p.mae for p in pictures]),
    )


def failures(all_pictures: Figures, sets: Sequence[Figures], bounds: Bounds) -> list[str]:
    """Say which bounds are not kept; nothing means that the model is safe."""
    result = []
    if all_pictures.pictures - all_pictures.nearly_empty < bounds.pictures:
        result.append(f"only {all_pictures.pictures - all_pictures.nearly_empty} pictures, {bounds.pictures} needed")
    if not all_pictures.mean_difference <= bounds.mean_difference:
        result.append(f"mean |Δα| {all_pictures.mean_difference:.4f} > {bounds.mean_difference}")
    if not all_pictures.worst_iou >= bounds.worst_iou:
        result.append(f"worst IoU {all_pictures.worst_iou:.4f} < {bounds.worst_iou}")
    drops = [f.s_measure[0] - f.s_measure[1] for f in sets if f.s_measure]
    if drops and not max(drops) <= bounds.s_measure_drop:
        result.append(f"S-measure falls by {max(drops):.4f} > {bounds.s_measure_drop}")
    return result


def s_measure(alpha: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """Return the structure measure, `0.5·object + 0.5·region`.

    Source: Fan, Cheng, Liu, Li, Borji, "Structure-measure: A New Way to Evaluate Foreground Maps", ICCV 2017, with
    PySODMetrics' details: unbiased deviations, centroid rounded, no min-max stretch of the prediction.

    Args:
        alpha: Prediction in [0, 1], shape (H, W).
        truth: Foreground, same shape.
    """
    share = float(truth.mean())
    if share == 0:
        return float(1 - alpha.mean())
    if share == 1:
        return float(alpha.mean())
    similarity = share * _object(alpha[truth]) + (1 - share) * _object(1 - alpha[~truth])
    return max(0.0, 0.5 * similarity + 0.5 * _region(alpha, truth))


def _object(values: NDArray[np.float64]) -> float:
    mean = float(values.mean())
    deviation = float(values.std(ddof=1)) if values.size > 1 else 0.0
    return 2 * mean / (mean**2 + 1 + deviation + _EPSILON)


def _region(alpha: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    height, width = truth.shape
    rows, columns = np.nonzero(truth)
    y, x = round(float(rows.mean())) + 1, round(float(columns.mean())) + 1
    total = 0.0
    for rows_part in (slice(0, y), slice(y, height)):
        for columns_part in (slice(0, x), slice(x, width)):
            part = truth[rows_part, columns_part]
            if part.size:
                weight = part.size / truth.size
                total += weight * _ssim(alpha[rows_part, columns_part], part.astype(np.float64))
    return total


def _ssim(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return structural similarity over one window, without constants."""
    number = max(first.size - 1, 1)
    a, b = float(first.mean()), float(second.mean())
    variance_a, variance_b = float(((first - a) ** 2).sum()) / number, float(((second - b) ** 2).sum()) / number
    covariance = float(((first - a) * (second - b)).sum()) / number
    numerator, denominator = 4 * a * b * covariance, (a**2 + b**2) * (variance_a + variance_b)
    if numerator != 0:
        return numerator / (denominator + _EPSILON)
    return 1.0 if denominator == 0 else 0.0


def mean_absolute_error(alpha: NDArray[np.float64], truth: NDArray[np.uint8]) -> float:
    """Return mean |α − truth/255|; in a truth of 0, 128 and 255 only, 128 means unknown and is left out."""
    error = np.abs(alpha - truth / 255)
    if set(np.unique(truth)) == {0, 128, 255}:
        error = error[truth != 128]
    return float(error.mean())
