"""Measures of a mask's boundary that pysodmetrics lacks: boundary IoU and boundary accuracy."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from transformers_foreground.evaluation.extras import need

Mask = NDArray[np.bool_]

_NEAR: Final = 0.02  # of the diagonal


def inner_boundary(mask: Mask) -> Mask:
    """Return the pixels of a mask within d steps (8-connected) of its edge; the image's border counts as an edge.

    d is 2 % of the image's diagonal, rounded, at least 1.
    """
    cv2 = need("cv2")
    height, width = mask.shape
    distance = max(1, round(_NEAR * math.hypot(height, width)))
    padded = np.pad(mask.astype(np.uint8), 1)
    eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=distance)[1:-1, 1:-1]
    near: Mask = mask & (eroded == 0)
    return near


def boundary_iou(prediction: Mask, truth: Mask) -> float:
    """Boundary IoU: `|(P_d ∩ P) ∩ (G_d ∩ G)| / |(P_d ∩ P) ∪ (G_d ∩ G)|`.

    `P_d` and `G_d` are the pixels within d of the contours, d being 2 % of the image's diagonal. Cheng, Girshick,
    Dollár, Berg, Kirillov: Boundary IoU: Improving Object-Centric Image Segmentation Evaluation, CVPR 2021.

    Args:
        prediction: Predicted mask, bool, (H, W).
        truth: True mask, bool, (H, W).

    Returns:
        0 to 1; 1 where both masks are empty, 0 where only one is.
    """
    first, second = inner_boundary(prediction), inner_boundary(truth)
    union = np.count_nonzero(first | second)
    return float(np.count_nonzero(first & second) / union) if union else 1.0


def boundary_accuracy(prediction: Mask, truth: Mask) -> float:
    """Mean boundary accuracy (mBA): the share of correct pixels near the true contour, averaged over five widths.

    `mBA = 1/5 Σ_r |{x ∈ B_r : P(x) = G(x)}| / |B_r|`, where B_r is the dilation of G by a disk of radius r minus its
    erosion, and r = 1 + the whole part of `i/5 · ((W + H)/300 − 1)`, for i = 0..4. Cheng, Chung, Tai, Tang:
    CascadePSP: Toward Class-Agnostic and Very High-Resolution Segmentation via Global and Local Refinement, CVPR 2020.
    Disks are OpenCV's ellipses, as in the authors' code.

    Args:
        prediction: Predicted mask, bool, (H, W).
        truth: True mask, bool, (H, W).

    Returns:
        0 to 1; NaN if the truth has no contour (empty, or the whole image).
    """
    cv2 = need("cv2")
    height, width = truth.shape
    plane, steps, total = truth.astype(np.uint8), 5, 0.0
    for i in range(steps):
        radius = 1 + int(((width + height) / 300 - 1) / steps * i)
        disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
        near = cv2.morphologyEx(plane, cv2.MORPH_GRADIENT, disk) > 0
        if not near.any():
            return math.nan
        total += float(np.mean(prediction[near] == truth[near]))
    return total / steps
