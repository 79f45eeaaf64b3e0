"""Refinement: a mask's undecided edge, decided anew from the picture's own edges.

A model sees the picture small, and its mask is brought up to the picture's size: edges come out smooth where the
picture is not. These methods look at the picture itself, within a band around the mask's edge (an automatic trimap).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transformers_foreground.errors import UnsupportedOptionError
from transformers_foreground.extras import need
from transformers_foreground.geometry import bounds, within

Refinement = Literal["guided", "closed-form"]
Floats = NDArray[np.float32]

METHODS: Final = get_args(Refinement)
UNKNOWN: Final = 128
_SURE: Final = 0.05  # an alpha that close to 0 or 1 is decided
_BAND: Final = 0.002  # of the picture's longer side: how far from what is undecided the band reaches
_GUIDED_SIZE: Final = 1024  # the guided filter's coefficients are computed on no more than that
_GUIDED_RADIUS: Final = 2
_GUIDED_EPSILON: Final = np.float32(1e-6)
_CLOSED_FORM_PIXELS: Final = 4_000_000
_CLOSED_FORM_GB: Final = 0.42  # for each million of pixels, measured with a narrow unknown band


def refine(rgb: NDArray[np.uint8], mask: NDArray[np.uint8], method: Refinement) -> NDArray[np.uint8]:
    """Refine a mask near its edges.

    `"guided"` is the fast guided filter (He and Sun, arXiv:1505.00996): cheap, for a small gain.
    `"closed-form"` is closed-form matting (Levin, Lischinski and Weiss, TPAMI 2008) as PyMatting has it (extra
    [matting]): for hair and fur, at some seconds and 0.4 GB or more a megapixel. See docs/cutouts.md for gains.

    Args:
        rgb: The picture, uint8, (H, W, 3).
        mask: Alpha, uint8, (H, W).
        method: `"guided"` or `"closed-form"`.

    Returns:
        The mask, uint8, (H, W); the same where the trimap is decided, or all of it if there is no undecided pixel.

    Raises:
        UnsupportedOptionError: An unknown method, or a picture too large for closed-form matting.
        MissingExtraError: PyMatting is not installed.
    """
    if method not in METHODS:
        raise UnsupportedOptionError(f"refine={method!r}: use 'guided', 'closed-form' or None.")
    if method == "closed-form":  # asked for first, so that what is missing is known before any work
        solve = need("pymatting.alpha.estimate_alpha_cf", "matting", "refine='closed-form'").estimate_alpha_cf
    known = trimap(mask)
    unknown = known == UNKNOWN
    if not unknown.any():
        return mask
    alpha = _guided(rgb, mask) if method == "guided" else _closed_form(rgb, known, solve)
    return np.where(unknown, np.rint(np.clip(alpha, 0, 1) * 255), mask).astype(np.uint8)


def trimap(mask: NDArray[np.uint8], band: int | None = None) -> NDArray[np.uint8]:
    """Make a trimap of a mask: what is surely foreground, surely background, and unknown.

    Args:
        mask: Alpha, uint8, (H, W).
        band: Pixels by which the unknown part reaches beyond what the mask leaves undecided; 0.2 % of the longer side,
            2 at least, by default.

    Returns:
        uint8, (H, W): 0 background, 128 unknown, 255 foreground.
    """
    if band is None:
        band = max(2, round(_BAND * max(mask.shape)))
    low, high = round(_SURE * 255), round((1 - _SURE) * 255)
    some, full = _near(mask > low, band), ~_near(mask < high, band)
    return np.where(full, np.uint8(255), np.where(some, np.uint8(UNKNOWN), np.uint8(0)))


def _near(where: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """Whether any pixel of the square around each one is set."""
    return np.asarray(_windows(where.astype(np.float64), radius) > 0.5)


def _windows(values: NDArray[np.float64], radius: int) -> NDArray[np.float64]:
    """Sum the square of side 2r + 1 around each pixel, as far as it lies within the picture."""
    for axis in (0, 1):
        size = values.shape[axis]
        sums = np.cumsum(values, axis=axis)
        sums = np.concatenate([np.zeros_like(sums.take([0], axis)), sums], axis=axis)
        places = np.arange(size)
        values = sums.take(np.minimum(places + radius + 1, size), axis) - sums.take(
            np.maximum(places - radius, 0), axis
        )
    return values


def _guided(rgb: NDArray[np.uint8], mask: NDArray[np.uint8]) -> Floats:
    """Filter with the colours as the guide: α ≈ a·I + b in each small window, with a and b found on a small copy."""
    height, width = mask.shape
    size = within(width, height, _GUIDED_SIZE)
    guide = np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BOX), np.float64) / 255
    alpha = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.BOX), np.float64) / 255
    count = _windows(np.ones(alpha.shape), _GUIDED_RADIUS)

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(_windows(values, _GUIDED_RADIUS) / count)

    means, mean_alpha = [mean(guide[..., c]) for c in range(3)], mean(alpha)
    covariance = np.empty((*alpha.shape, 3, 3))
    with_alpha = np.empty((*alpha.shape, 3))
    for i in range(3):
        with_alpha[..., i] = mean(guide[..., i] * alpha) - means[i] * mean_alpha
        for j in range(i, 3):
            covariance[..., i, j] = mean(guide[..., i] * guide[..., j]) - means[i] * means[j]
            covariance[..., j, i] = covariance[..., i, j]
    covariance += _GUIDED_EPSILON * np.eye(3)
    slope = np.linalg.solve(covariance, with_alpha[..., None])[..., 0]
    offset = mean_alpha - sum(slope[..., c] * means[c] for c in range(3))
    result = _enlarged(mean(offset), width, height)
    for c in range(3):
        result += _enlarged(mean(slope[..., c]), width, height) * (rgb[..., c] / np.float32(255))
    return result


def _enlarged(plane: NDArray[np.float64], width: int, height: int) -> Floats:
    image = Image.fromarray(plane.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    return np.array(image, np.float32)


def _closed_form(rgb: NDArray[np.uint8], known: NDArray[np.uint8], solve: Callable[..., Any]) -> Floats:
    """Solve for alpha within the box around what is unknown."""
    box = bounds(known == UNKNOWN, margin=2)
    assert box is not None  # `refine` has looked
    part = known[box]
    alpha = (known / np.float32(255)).astype(np.float32)
    if not (part == 0).any() or not (part == 255).any():  # nothing to tell foreground and background apart by
        return alpha
    if part.size > _CLOSED_FORM_PIXELS:
        raise UnsupportedOptionError(
            f"refine='closed-form' on {part.size / 1e6:.1f} megapixels would take "
            f"{_CLOSED_FORM_GB * part.size / 1e6:.1f} GB of memory or more; it takes up to "
            f"{_CLOSED_FORM_PIXELS / 1e6:.0f} megapixels. Shrink the picture first (max_size), or use refine='guided'."
        )
    trimap01 = np.where(part == UNKNOWN, 0.5, part / 255)
    alpha[box] = solve(rgb[box] / 255.0, trimap01)
    return alpha
