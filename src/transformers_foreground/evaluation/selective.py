"""Whether a model is wrong on the images where its doubt is high."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transformers_foreground.evaluation.aggregates import Columns
from transformers_foreground.evaluation.extras import need
from transformers_foreground.evaluation.statistics import bootstrap

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Selection:
    """How well doubt ranks images by their IoU with the truth. Images with an empty truth are left out.

    Attributes:
        images: How many images were ranked.
        aurc: Area under the risk-coverage curve, where risk is 1 − IoU; lower is better.
        aurc_random: The same in random order: the mean risk.
        aurc_best: The same if images are ranked by the risk itself: the lowest possible.
        spearman: Spearman's rank correlation of doubt and IoU, from −1 (best) to 1; `None` if doubt or IoU is the same
            for all images.
        low: Lower end of the 95 % interval of `spearman` (bootstrap percentiles).
        high: Upper end of that interval.
    """

    images: int
    aurc: float
    aurc_random: float
    aurc_best: float
    spearman: float | None
    low: float | None
    high: float | None


def doubts_and_risks(rows: Columns) -> tuple[Values, Values]:
    """Return doubt and 1 − IoU of the images that have both and whose truth is not empty, (n,) each."""
    if "doubt" not in rows or "iou" not in rows:
        return np.empty(0), np.empty(0)
    filled = np.array([empty is False for empty in rows["empty_truth"]], np.bool_)
    known = filled & ~np.isnan(rows["doubt"]) & ~np.isnan(rows["iou"])
    return rows["doubt"][known], 1 - rows["iou"][known]


def risk_coverage(doubts: Values, risks: Values) -> Values:
    """Return the mean risk of the k least doubtful images, for k from 1 to n: the risk at coverage k/n.

    Geifman, El-Yaniv: Selective Classification for Deep Neural Networks, NeurIPS 2017. Images of equal doubt all count
    with their mean risk, the expectation over their orders. The mean of the curve is the area under it, AURC
    (Geifman, Uziel, El-Yaniv: Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers, ICLR 2019).

    Args:
        doubts: Doubt of each image, float64, (n,).
        risks: Risk of each image, float64 in [0, 1], (n,).

    Returns:
        Float64, (n,).
    """
    levels, level_of = np.unique(doubts, return_inverse=True)
    means = np.bincount(level_of, risks, len(levels)) / np.bincount(level_of, minlength=len(levels))
    curve: Values = np.cumsum(means[np.sort(level_of)]) / np.arange(1, len(risks) + 1)
    return curve


def selection(rows: Columns, *, resamples: int, seed: int) -> Selection | None:
    """Return how well doubt ranks the images of one data set; `None` if there are fewer than two."""
    doubts, risks = doubts_and_risks(rows)
    if len(risks) < 2:
        return None
    ious = 1 - risks
    value = low = high = None
    if np.ptp(doubts) > 0 and np.ptp(ious) > 0:
        value = float(_spearman(doubts, ious))
        low, high = bootstrap((doubts, ious), _spearman, resamples, seed)
    return Selection(
        images=len(risks),
        aurc=float(risk_coverage(doubts, risks).mean()),
        aurc_random=float(risks.mean()),
        aurc_best=float(risk_coverage(risks, risks).mean()),
        spearman=value,
        low=low,
        high=high,
    )


def _spearman(first: Values, second: Values, axis: int = -1) -> Any:
    """Return Spearman's correlation along the last axis: Pearson's of the ranks; 0 if one does not vary."""
    rank = need("scipy.stats").rankdata
    a, b = (ranks - ranks.mean(axis=-1, keepdims=True) for ranks in (rank(first, axis=-1), rank(second, axis=-1)))
    product, norm = (a * b).sum(axis=-1), np.sqrt((a**2).sum(axis=-1) * (b**2).sum(axis=-1))
    return np.divide(product, norm, out=np.zeros_like(product), where=norm > 0)
