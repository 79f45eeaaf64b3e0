"""The measures of one image, by group. They fill a row; `aggregates` makes figures of rows.

Predictions are float in [0, 1] and are never stretched: pysodmetrics is called with `normalize=False`, since its
default, a min–max stretch of every prediction, hides real differences.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from transformers_foreground.evaluation import matting
from transformers_foreground.evaluation.boundary import boundary_accuracy, boundary_iou
from transformers_foreground.evaluation.extras import need

Plane: TypeAlias = NDArray[np.float64]
Mask: TypeAlias = NDArray[np.bool_]
Row: TypeAlias = dict[str, Any]

THRESHOLD: Final = 0.5  # a prediction above it is foreground, where a measure wants a mask


def measure(
    group: str,
    prediction: Plane,
    truth: NDArray[Any],
    counted: Mask | None = None,
    bands: Mapping[str, Mask] | None = None,
) -> Row:
    """Measure one image by one group of measures.

    Args:
        group: One of `aggregates.GROUPS`.
        prediction: Float64 in [0, 1], (H, W).
        truth: Bool, or for "alpha" float64 in [0, 1]; (H, W).
        counted: The pixels that count; all by default.
        bands: For "alpha": name to pixels that are measured on their own, bool, (H, W).

    Returns:
        Name to value: floats, and curves over 256 thresholds from 255 down to 0, float64, (256,).

    Raises:
        ValueError: The shapes differ, or no pixel counts.
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"The prediction's shape {prediction.shape} is not the truth's {truth.shape}.")
    return _GROUPS[group](prediction, truth, counted, bands or {})


def _binary(prediction: Plane, truth: Mask, counted: Mask | None, _: Mapping[str, Mask]) -> Row:
    """Return the measures of salient object detection, by pysodmetrics.

    P, R, TP, FP, TN and FN are of the prediction S cut at a threshold, G is the truth:

    - `mae`: `mean |S − G|`. Perazzi et al., CVPR 2012.
    - `f_*`: `F = (1 + β²) P R / (β² P + R)`, β² = 0.3. Achanta et al., CVPR 2009. In two conventions: `f_max`,
      `f_mean` average each image's curve of F over 256 thresholds, and take the maximum or mean of that curve, as
      pysodmetrics does; `f_pr_max`, `f_pr_mean` average precision and recall over images and take F of these, as
      most papers' tables do (U²-Net's among them). `f_adaptive` cuts at twice the prediction's mean, at
      most 1: if the mean is above ½, only pixels of exactly 255 are left, and it says little.
    - `f_weighted`: F (β² = 1) of precision and recall with errors weighted by place. Margolin et al., CVPR 2014.
    - `s`: `0.5 S_object + 0.5 S_region`. Fan et al., ICCV 2017. NaN where the truth's centroid is on the last row or
      column, which leaves a quarter of the image empty.
    - `e_max`, `e_mean`, `e_adaptive`: `mean (1 + ξ)² / 4`, ξ the alignment of prediction and truth less their means.
      Fan et al., IJCAI 2018. As in its authors' code the sum is divided by one pixel less than there are: a perfect
      image of N pixels has N / (N − 1).
    - `iou`: `TP / (TP + FP + FN)`; `ber`: `1 − (TP / (TP + FN) + TN / (TN + FP)) / 2`; both of the prediction cut at
      > 0.5.

    With an empty truth pysodmetrics gives meaningful `mae`, `s` (`1 − mean S`) and `e_*` (the share that is predicted
    as background); all F and `iou` are 0 whatever is predicted, and `ber` at least 0.5. Rows of such images are marked
    (`empty_truth`), so that they can be left out.

    If some pixels do not count, MAE, F, E, IoU and BER leave them out; `s` and `f_weighted` need the whole image and
    are NaN.
    """
    sod = need("py_sod_metrics")
    curve: Mapping[str, bool] = {"with_dynamic": True, "with_adaptive": False}
    cut: Mapping[str, bool] = {"with_dynamic": False, "with_adaptive": False, "with_binary": True}
    handlers = {
        "precision": sod.PrecisionHandler(**curve),
        "recall": sod.RecallHandler(**curve),
        "f": sod.FmeasureHandler(with_dynamic=False, with_adaptive=True),
        "iou": sod.IOUHandler(**cut),
        "ber": sod.BERHandler(**cut),
    }
    parts = {"f": sod.FmeasureV2(handlers), "mae": sod.MAE(), "e": sod.Emeasure()}
    whole = {"wf": sod.WeightedFmeasure()} if counted is None else {}
    pairs = prediction, truth
    if counted is not None:  # as one row of pixels: these measures only count, wherever the pixels are
        pairs = prediction[counted][None], truth[counted][None]
    if pairs[0].size == 0:
        raise ValueError("No pixel counts: the truth has the value of `ignore` everywhere.")
    for part in (*parts.values(), *whole.values()):
        part.step(*pairs, normalize=False)
    results = {name: part.get_results() for name, part in {**parts, **whole}.items()}
    f, e = results["f"], results["e"]["em"]
    return {
        "mae": float(results["mae"]["mae"]),
        "precision": f["precision"]["dynamic"],
        "recall": f["recall"]["dynamic"],
        "f_adaptive": float(f["f"]["adaptive"]),
        "f_weighted": float(results["wf"]["wfm"]) if whole else float("nan"),
        "s": s_measure(prediction, truth) if whole else float("nan"),
        "e_curve": e["curve"],
        "e_adaptive": float(e["adp"]),
        "iou": float(f["iou"]["binary"]),
        "ber": float(f["ber"]["binary"]),
    }


def s_measure(prediction: Plane, truth: Mask) -> float:
    """Return the structure measure, by pysodmetrics: `0.5 S_object + 0.5 S_region`. Fan et al., ICCV 2017.

    Args:
        prediction: Float64 in [0, 1], (H, W); it is not stretched.
        truth: Foreground, bool, (H, W).

    Returns:
        0 to 1; NaN where the truth's centroid is on the last row or column.
    """
    measure = need("py_sod_metrics").Smeasure()
    measure.step(prediction, truth, normalize=False)
    return float(measure.get_results()["sm"])


def _boundary(prediction: Plane, truth: Mask, counted: Mask | None, _: Mapping[str, Mask]) -> Row:
    """Return `biou` and `mba` (see `boundary`) of the prediction cut at > 0.5; NaN where some pixels do not count."""
    if counted is not None:
        return {"biou": float("nan"), "mba": float("nan")}
    mask = prediction > THRESHOLD
    return {"biou": boundary_iou(mask, truth), "mba": boundary_accuracy(mask, truth)}


def _correction(prediction: Plane, truth: Mask, counted: Mask | None, _: Mapping[str, Mask]) -> Row:
    """Return `hce`, human correction efforts, by pysodmetrics: how many clicks would correct the mask.

    `HCE_γ = #points of the polygons around false regions + #isolated false regions`, of the prediction cut at > 0.5,
    without false regions so thin that an erosion by γ = 5 removes them. Qin et al., Highly Accurate Dichotomous Image
    Segmentation, ECCV 2022. NaN where some pixels do not count.
    """
    if counted is not None:
        return {"hce": float("nan")}
    effort = need("py_sod_metrics").HumanCorrectionEffortMeasure()
    effort.step(prediction, truth, normalize=False)
    return {"hce": float(effort.get_results()["hce"])}


def _alpha(prediction: Plane, truth: Plane, counted: Mask | None, bands: Mapping[str, Mask]) -> Row:
    """Return `sad`, `mad`, `mse`, `grad` and `conn` (see `matting`), and those of each band, such as `sad@unknown`."""
    maps = matting.error_maps(prediction, truth)
    row = {name: matting.total(name, plane, counted) for name, plane in maps.items()}
    for band, mask in bands.items():
        where = mask if counted is None else mask & counted
        row.update({f"{name}@{band}": matting.total(name, plane, where) for name, plane in maps.items()})
    return row


_GROUPS: Final[Mapping[str, Callable[[Any, Any, Mask | None, Mapping[str, Mask]], Row]]] = {
    "binary": _binary,
    "boundary": _boundary,
    "correction": _correction,
    "alpha": _alpha,
}
