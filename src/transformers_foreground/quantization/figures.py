"""How far a quantised model is from its fp32 original, and both from the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

NEARLY_EMPTY: Final = 0.002  # share of the pixels; the IoU of smaller masks is left out


@dataclass(frozen=True)
class Bounds:
    """Limits that a quantised model must keep to count as safe.

    Attributes:
        mean_difference: Most that α may differ from fp32 on average over all images.
        worst_iou: Least IoU with fp32 of any image's mask at 0.5; images whose fp32 mask is nearly empty are left out.
        s_measure_drop: Most that the S-measure may fall on any set with true masks.
        images: Least number of held-out images with an IoU.
    """

    mean_difference: float = 0.01
    worst_iou: float = 0.97
    s_measure_drop: float = 0.005
    images: int = 12


@dataclass(frozen=True)
class ImageFigures:
    """Figures of one image.

    Attributes:
        name: The image's set and name.
        difference: Mean |Δα| between the planes of fp32 and of the quantised graph.
        iou: IoU of the two masks at 0.5; `None` if fp32's is nearly empty.
        s_measure: `(fp32, quantised)`, of the masks at the image's own size; `None` without a true mask.
        mae: Mean absolute error, in the same way.
    """

    name: str
    difference: float
    iou: float | None
    s_measure: tuple[float, float] | None = None
    mae: tuple[float, float] | None = None


@dataclass(frozen=True)
class Figures:
    """Figures of a set of images. The IoU is `None` where all are nearly empty: there is none to speak of."""

    images: int
    nearly_empty: int
    mean_difference: float
    worst_difference: float
    mean_iou: float | None
    worst_iou: float | None
    s_measure: tuple[float, float] | None
    mae: tuple[float, float] | None

    def to_dict(self) -> dict[str, Any]:
        """Return the figures, rounded, ready for JSON."""
        return {key: _rounded(value) for key, value in asdict(self).items()}


def _rounded(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_rounded(v) for v in value]
    return round(value, 5) if isinstance(value, float) else value


def intersection_over_union(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Return |A ∩ B| / |A ∪ B| of two planes' masks at 0.5; 1 if both are empty."""
    first, second = a > 0.5, b > 0.5
    union = int(np.count_nonzero(first | second))
    return int(np.count_nonzero(first & second)) / union if union else 1.0


def summarise(images: Sequence[ImageFigures]) -> Figures:
    """Return the figures of a set of images; at least one image."""
    ious = [p.iou for p in images if p.iou is not None]

    def means(pairs: Sequence[tuple[float, float] | None]) -> tuple[float, float] | None:
        known = [pair for pair in pairs if pair is not None and not np.isnan(pair).any()]
        if not known:
            return None
        first, second = np.mean(known, axis=0).tolist()
        return first, second

    return Figures(
        images=len(images),
        nearly_empty=len(images) - len(ious),
        mean_difference=float(np.mean([p.difference for p in images])),
        worst_difference=max(p.difference for p in images),
        mean_iou=float(np.mean(ious)) if ious else None,
        worst_iou=min(ious, default=None),
        s_measure=means([p.s_measure for p in images]),
        mae=means([p.mae for p in images]),
    )


def shown(iou: float | None) -> str:
    """Return an IoU for tables and lines; a dash where there is none."""
    return "–" if iou is None else f"{iou:.4f}"


def failures(all_images: Figures, sets: Sequence[Figures], bounds: Bounds) -> list[str]:
    """Return which bounds are not kept; none means that the model is safe."""
    result = []
    if all_images.images - all_images.nearly_empty < bounds.images:
        result.append(f"only {all_images.images - all_images.nearly_empty} images, {bounds.images} needed")
    if not all_images.mean_difference <= bounds.mean_difference:
        result.append(f"mean |Δα| {all_images.mean_difference:.4f} > {bounds.mean_difference}")
    if all_images.worst_iou is not None and not all_images.worst_iou >= bounds.worst_iou:
        result.append(f"worst IoU {all_images.worst_iou:.4f} < {bounds.worst_iou}")
    drops = [f.s_measure[0] - f.s_measure[1] for f in sets if f.s_measure]
    if drops and not max(drops) <= bounds.s_measure_drop:
        result.append(f"S-measure falls by {max(drops):.4f} > {bounds.s_measure_drop}")
    return result


def mean_absolute_error(alpha: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """Return mean |α − truth|, both in [0, 1]; in a truth of 0, 128/255 and 1 only, 128 is unknown and is left out."""
    error = np.abs(alpha - truth)
    unknown = np.rint(truth * 255) == 128
    if unknown.any() and set(np.unique(truth[~unknown])) == {0, 1}:
        error = error[~unknown]
    return float(error.mean())
