"""The measures of matting benchmarks: SAD, MSE, MAD, gradient and connectivity error.

As Rhemann, Rother, Wang, Gelautz, Kohli, Rott define them in: A Perceptually Motivated Online Benchmark for Image
Matting, CVPR 2009; with the constants and the scale (sums in thousands) of the code that Xu, Price, Cohen, Huang
published with: Deep Image Matting, CVPR 2017. One thing differs: before the gradient error that code stretches both
planes to 0..1 (`mat2gray`), and this one does not.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from transformers_foreground.evaluation.extras import need

Alpha = NDArray[np.float64]
Where = NDArray[np.bool_] | None

THOUSAND = 1000.0
_THETA = 0.15


@cache
def gradient_taps() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the two factors of the kernel for ∂/∂x: the Gaussian along y, and its derivative along x."""
    sigma, epsilon = 1.4, 0.01  # the kernel ends where the Gaussian falls to epsilon
    half = math.ceil(sigma * math.sqrt(-2 * math.log(math.sqrt(2 * math.pi) * sigma * epsilon)))
    x = np.arange(-half, half + 1, dtype=np.float64)
    gauss = np.exp(-(x**2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))
    derivative = -x * gauss / sigma**2
    return gauss / np.linalg.norm(gauss), derivative / np.linalg.norm(derivative)


def gradient(plane: Alpha) -> Alpha:
    """Return the magnitude of a plane's gradient, as `grad` uses it."""
    ndimage = need("scipy.ndimage")
    gauss, derivative = gradient_taps()
    smooth = ndimage.convolve1d(plane, gauss, axis=0, mode="nearest")
    along_x = ndimage.convolve1d(smooth, derivative, axis=1, mode="nearest")
    smooth = ndimage.convolve1d(plane, gauss, axis=1, mode="nearest")
    along_y = ndimage.convolve1d(smooth, derivative, axis=0, mode="nearest")
    magnitude: Alpha = np.hypot(along_x, along_y)
    return magnitude


def _connectivity_map(prediction: Alpha, truth: Alpha) -> Alpha:
    level = np.zeros(truth.shape)
    both = np.minimum(prediction, truth)
    inside = np.ones(truth.shape, np.bool_)
    for step in range(1, 11):
        inside &= _largest(both >= step / 10)
        if not inside.any():
            break
        level[inside] = step / 10
    return np.abs(_phi(prediction - level) - _phi(truth - level))


def _phi(distance: Alpha) -> Alpha:
    return 1 - np.where(distance >= _THETA, distance, 0.0)


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest 4-connected region; of equal ones the first."""
    labels, count = need("scipy.ndimage").label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    largest: NDArray[np.bool_] = labels == sizes.argmax()
    return largest


def soft_band(truth: NDArray[np.uint8], grow: float) -> NDArray[np.bool_]:
    """Return the pixels near soft ones (0 < α < 255) or near a hard edge: an unknown band where there is no trimap.

    Args:
        truth: Alpha, uint8, (H, W).
        grow: How near: Euclidean distance in pixels.
    """
    ndimage = need("scipy.ndimage")
    sure = (truth == 0) | (truth == 255)
    for axis in (0, 1):  # a hard edge has no soft pixels: take those on both sides
        jumps = np.diff(truth.astype(np.int16), axis=axis) != 0
        for side in ((1, 0), (0, 1)):
            pad = [(0, 0), (0, 0)]
            pad[axis] = side
            sure &= ~np.pad(jumps, pad)
    if sure.all():
        return np.zeros(truth.shape, np.bool_)
    near: NDArray[np.bool_] = ndimage.distance_transform_edt(sure) <= grow
    return near


def error_maps(prediction: Alpha, truth: Alpha) -> dict[str, Alpha]:
    """Return the error of each measure, pixel by pixel; `total` adds it up, for any number of bands.

    - `sad`, sum of absolute differences, in thousands: `Σ |α − α*| / 1000`; `mad`, their mean; `mse`, the mean of
      `(α − α*)²`.
    - `grad`, gradient error, in thousands: `Σ (‖∇α‖ − ‖∇α*‖)² / 1000`. ∇ is the convolution with the derivatives of a
      Gaussian of σ = 1.4, 9 × 9, normalised so that their squares sum to 1; pixels beyond the border repeat it.
    - `conn`, connectivity error, in thousands: `Σ |φ(α, Ω) − φ(α*, Ω)| / 1000`. Ω, the source, is the largest
      4-connected region where both alphas reach a threshold. `φ(α_i) = 1 − d_i` where `d_i = α_i − l_i` is at least
      θ = 0.15, else 1; l_i is the largest of the thresholds 0, 0.1, …, 1 at which pixel i is in Ω. Ω is sought in the
      whole image, also where only a band counts.

    Args:
        prediction: Alpha in [0, 1], (H, W).
        truth: Alpha in [0, 1], (H, W).
    """
    difference = np.abs(prediction - truth)
    return {
        "sad": difference,
        "mad": difference,
        "mse": difference**2,
        "grad": (gradient(prediction) - gradient(truth)) ** 2,
        "conn": _connectivity_map(prediction, truth),
    }


def total(measure: str, error_map: Alpha, where: Where = None) -> float:
    """Sum up a map of `error_maps`: the mean for `mad` and `mse` (NaN of no pixels), else the sum in thousands."""
    values = error_map if where is None else error_map[where]
    if measure in ("mad", "mse"):
        return float(values.mean()) if values.size else math.nan
    return float(values.sum()) / THOUSAND
