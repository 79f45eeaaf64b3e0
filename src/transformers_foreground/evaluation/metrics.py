"""Measures as objects: `update` with each picture, which gives its row, then `compute` for all.

Predictions are float in [0, 1] and are never stretched: pysodmetrics is called with `normalize=False`, since its
default, a min–max stretch of every prediction, hides real differences.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from transformers_foreground.evaluation import matting
from transformers_foreground.evaluation.aggregates import aggregates
from transformers_foreground.evaluation.boundary import boundary_accuracy, boundary_iou
from transformers_foreground.evaluation.extras import need

Plane: TypeAlias = NDArray[np.float64]
Mask: TypeAlias = NDArray[np.bool_]
Row: TypeAlias = dict[str, Any]

THRESHOLD: Final = 0.5  # a prediction above it is foreground, where a measure wants a mask


class Measures(ABC):
    """A group of measures.

    Attributes:
        rows: What `update` gave, picture by picture.
    """

    group: str

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def update(
        self,
        prediction: Plane,
        truth: NDArray[Any],
        counted: Mask | None = None,
        bands: Mapping[str, Mask] | None = None,
    ) -> Row:
        """Measure one picture.

        Args:
            prediction: Float64 in [0, 1], (H, W).
            truth: Bool, or for `AlphaMeasures` float64 in [0, 1]; (H, W).
            counted: The pixels that count; all by default.
            bands: Parts of the picture that `AlphaMeasures` tells apart, by name.

        Returns:
            Its values by name: floats, and curves over 256 thresholds from 255 down to 0.

        Raises:
            ValueError: The shapes differ.
        """
        if prediction.shape != truth.shape:
            raise ValueError(f"The prediction's shape {prediction.shape} is not the truth's {truth.shape}.")
        row = self.measure(prediction, truth, counted, bands or {})
        self.rows.append(row)
        return row

    @abstractmethod
    def measure(self, prediction: Plane, truth: NDArray[Any], counted: Mask | None, bands: Mapping[str, Mask]) -> Row:
        """Return one picture's values."""

    def compute(self) -> dict[str, float]:
        """Return the figures for all pictures so far; NaN where no picture has a value."""
        if not self.rows:
            return {aggregate.name: float("nan") for aggregate in aggregates([self.group])}
        columns = {name: np.asarray([row[name] for row in self.rows], np.float64) for name in self.rows[0]}
        bands = dict.fromkeys(name.partition("@")[2] for name in columns if "@" in name)
        return {aggregate.name: aggregate.of(columns) for aggregate in aggregates([self.group], list(bands))}


class BinaryMeasures(Measures):
    """The measures of salient object detection, by pysodmetrics.

    With P, R, and TP, FP, TN, FN of the prediction cut at a threshold, G the truth and S the prediction:

    - `mae`: `mean |S − G|`. Perazzi et al., CVPR 2012.
    - `f_*`: `F = (1 + β²) P R / (β² P + R)`, β² = 0.3. Achanta et al., CVPR 2009. In two conventions: `f_max`,
      `f_mean` average each picture's curve of F over 256 thresholds, and take the maximum or mean of that curve, as
      pysodmetrics does; `f_pr_max`, `f_pr_mean` average precision and recall over pictures and take F of these, as
      most papers' tables do (U²-Net's among them). `f_adaptive` cuts at twice the prediction's mean, at
      most 1: where the mean is above ½, only pixels of exactly 255 are left, and it says little.
    - `f_weighted`: F (β² = 1) of precision and recall with errors weighted by place. Margolin et al., CVPR 2014.
    - `s`: `0.5 S_object + 0.5 S_region`. Fan et al., ICCV 2017. NaN where the truth's centroid is on the last row or
      column, which leaves a quarter of the picture empty.
    - `e_max`, `e_mean`, `e_adaptive`: `mean (1 + ξ)² / 4`, ξ the alignment of prediction and truth less their means.
      Fan et al., IJCAI 2018. As in its authors' code the sum is divided by one pixel less than there are: a perfect
      picture of N pixels has N / (N − 1).
    - `iou`: `TP / (TP + FP + FN)`; `ber`: `1 − (TP / (TP + FN) + TN / (TN + FP)) / 2`; both of the prediction cut at
      > 0.5.

    An empty truth is as pysodmetrics has it: `mae`, `s` (which is `1 − mean S`) and `e_*` (the share of background
    predicted) stay meaningful; all F and `iou` are 0 whatever is predicted, and `ber` at least 0.5. Rows of such
    pictures are marked, so that they can be left out.

    Where some pixels do not count, MAE, F, E, IoU and BER leave them out; `s` and `f_weighted`, which need the whole
    picture, are NaN.
    """

    group = "binary"

    def measure(self, prediction: Plane, truth: NDArray[Any], counted: Mask | None, bands: Mapping[str, Mask]) -> Row:
        """Return one picture's values."""
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
        whole = {"s": sod.Smeasure(), "wf": sod.WeightedFmeasure()} if counted is None else {}
        pairs = prediction, truth
        if counted is not None:  # one row of pixels: these measures ask for counts alone, not for places
            pairs = prediction[counted][None], truth[counted][None]
        if pairs[0].size == 0:
            raise ValueError("No pixel counts: the truth says ignore everywhere.")
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
            "s": float(results["s"]["sm"]) if whole else float("nan"),
            "e_curve": e["curve"],
            "e_adaptive": float(e["adp"]),
            "iou": float(f["iou"]["binary"]),
            "ber": float(f["ber"]["binary"]),
        }


class BoundaryMeasures(Measures):
    """`biou` and `mba` (see `boundary`) of the prediction cut at > 0.5; NaN where some pixels do not count."""

    group = "boundary"

    def measure(self, prediction: Plane, truth: NDArray[Any], counted: Mask | None, bands: Mapping[str, Mask]) -> Row:
        """Return one picture's values."""
        if counted is not None:
            return {"biou": float("nan"), "mba": float("nan")}
        mask = prediction > THRESHOLD
        return {"biou": boundary_iou(mask, truth), "mba": boundary_accuracy(mask, truth)}


class CorrectionMeasures(Measures):
    """`hce`, human correction efforts, by pysodmetrics: how many clicks would correct the mask.

    `HCE_γ = #points of the polygons around false regions + #false regions on their own`, false regions being those
    that an erosion by γ = 5 leaves. Of the prediction cut at > 0.5. Qin et al., Highly Accurate Dichotomous Image
    Segmentation, ECCV 2022. NaN where some pixels do not count.
    """

    group = "correction"

    def measure(self, prediction: Plane, truth: NDArray[Any], counted: Mask | None, bands: Mapping[str, Mask]) -> Row:
        """Return one picture's values."""
        if counted is not None:
            return {"hce": float("nan")}
        measure = need("py_sod_metrics").HumanCorrectionEffortMeasure()
        measure.step(prediction, truth, normalize=False)
        return {"hce": float(measure.get_results()["hce"])}


class AlphaMeasures(Measures):
    """`sad`, `mad`, `mse`, `grad` and `conn` of mattes (see `matting`).

    Of the whole picture, and of each band: those are named like `sad@unknown`.
    """

    group = "alpha"

    def measure(self, prediction: Plane, truth: NDArray[Any], counted: Mask | None, bands: Mapping[str, Mask]) -> Row:
        """Return one picture's values."""
        maps = matting.error_maps(prediction, truth)
        row = {name: matting.total(name, plane, counted) for name, plane in maps.items()}
        for band, mask in bands.items():
            where = mask if counted is None else mask & counted
            row.update({f"{name}@{band}": matting.total(name, plane, where) for name, plane in maps.items()})
        return row


ALL: Final[Mapping[str, type[Measures]]] = {
    kind.group: kind for kind in (BinaryMeasures, BoundaryMeasures, CorrectionMeasures, AlphaMeasures)
}
