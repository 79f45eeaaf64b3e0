"""Decontamination: the foreground's own colours where a soft edge shows some of the old background.

A picture is `I = αF + (1 − α)B`. Pasted on a new background with `I` for its colours, a soft edge drags the old
background along: a halo. What belongs there is `F`.

Source: Germer, Uelwer, Conrad and Harmeling, "Fast Multi-Level Foreground Estimation", ICPR 2020 (arXiv:2006.14970).
PyMatting has its authors' implementation, which compiles for most of a minute when it is first imported, and brings
300 MB of packages. This one solves the same equations in numpy, at each level only near the soft pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from transformers_foreground.geometry import bounds

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

_REGULARIZATION: Final = np.float32(1e-5)  # the paper's ε: neighbours are alike, if weakly, everywhere
_SMALL: Final = 32  # levels up to this size have the more iterations
_ITERATIONS: Final = {True: 20, False: 4}  # small, large; the paper's 10 and 2 are sweeps that use new values at once


@dataclass(frozen=True)
class _Level:
    """Those pixels of one size of the picture for which an estimate is made, as lists."""

    places: NDArray[np.intp]  # (N,), flat indices, ascending
    width: int
    lookup: NDArray[np.int32]  # for each flat index where it is in the lists, or -1
    neighbours: NDArray[np.intp]  # (4, N), indices into the lists; a pixel's own where it has no neighbour
    alpha: Floats  # (N, 1)
    colours: Floats  # (N, 3), 0 to 1


def decontaminate(rgb: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Estimate the foreground's colours.

    The equations, for each pixel i with its four neighbours j: the least of
    `(αᵢFᵢ + (1 − αᵢ)Bᵢ − Iᵢ)² + Σⱼ (ε + |αᵢ − αⱼ|)((Fᵢ − Fⱼ)² + (Bᵢ − Bⱼ)²)`, from coarse to fine.

    Args:
        rgb: The picture, uint8, (H, W, 3).
        mask: Alpha, uint8, (H, W).

    Returns:
        uint8, (H, W, 3): other colours where the mask is between 0 and 255, the same elsewhere. The array is `rgb`
        itself if there is no such pixel.
    """
    soft = (mask > 0) & (mask < 255)
    box = bounds(soft, margin=2)
    if box is None:
        return rgb
    fine, foreground = _estimate(rgb[box], mask[box], _grown(_grown(soft[box])))
    result = rgb.copy()
    changed = soft[box].ravel()[fine.places]
    y, x = np.divmod(fine.places[changed], fine.width)
    result[box][y, x] = np.rint(foreground[changed] * 255).astype(np.uint8)
    return result


def _estimate(rgb: NDArray[np.uint8], mask: NDArray[np.uint8], band: Mask) -> tuple[_Level, Floats]:
    """Return the finest level, and F for its pixels."""
    bands = [band]
    while max(bands[-1].shape) > 2:
        bands.append(_grown(_halved(bands[-1])))
    coarser: _Level | None = None
    for depth in range(len(bands) - 1, -1, -1):
        step = 2**depth
        level = _level(rgb[::step, ::step], mask[::step, ::step], bands[depth])
        if coarser is None:
            foreground, background = (_mean(rgb, of, level.colours.shape) for of in (mask, 255 - mask))
        else:
            y, x = np.divmod(level.places, level.width)
            parents = coarser.lookup[y // 2 * coarser.width + x // 2]
            foreground, background = foreground[parents], background[parents]
        foreground, background = _solve(level, foreground, background, _ITERATIONS[max(bands[depth].shape) <= _SMALL])
        coarser = level
    return level, foreground


def _mean(rgb: NDArray[np.uint8], weights: NDArray[np.uint8], shape: tuple[int, ...]) -> Floats:
    """Return the mean colour of what is wholly of one side; if nothing is, of what is most."""
    colours = rgb[weights == weights.max()]
    return np.broadcast_to(colours.mean(axis=0, dtype=np.float32) / np.float32(255), shape)


def _level(rgb: NDArray[np.uint8], mask: NDArray[np.uint8], band: Mask) -> _Level:
    """Gather a level's pixels."""
    height, width = band.shape
    places = np.flatnonzero(band)
    lookup = np.full(height * width, -1, np.int32)
    lookup[places] = np.arange(len(places), dtype=np.int32)
    y, x = np.divmod(places, width)
    own = np.arange(len(places))
    neighbours = np.empty((4, len(places)), np.intp)
    for k, (offset, inside) in enumerate(((-width, y > 0), (width, y < height - 1), (-1, x > 0), (1, x < width - 1))):
        found = lookup[np.where(inside, places + offset, places)]
        neighbours[k] = np.where(found < 0, own, found)
    alpha = mask[y, x, None].astype(np.float32) / np.float32(255)
    colours = rgb[y, x].astype(np.float32) / np.float32(255)
    return _Level(places, width, lookup, neighbours, alpha, colours)


def _solve(level: _Level, foreground: Floats, background: Floats, iterations: int) -> tuple[Floats, Floats]:
    """Solve each pixel's two equations for F and B in turn with its neighbours' (Jacobi)."""
    alpha, rest, colours = level.alpha, 1 - level.alpha, level.colours
    weights = [_REGULARIZATION + np.abs(alpha - alpha[near]) for near in level.neighbours]
    total = sum(weights[1:], weights[0])
    of_foreground, of_both, of_background = alpha * alpha + total, alpha * rest, rest * rest + total
    scale = 1 / (of_foreground * of_background - of_both * of_both)
    opaque, empty = alpha[:, 0] == 1, alpha[:, 0] == 0
    for _ in range(iterations):
        right_foreground, right_background = alpha * colours, rest * colours
        for weight, near in zip(weights, level.neighbours, strict=True):
            right_foreground += weight * foreground[near]
            right_background += weight * background[near]
        foreground = (of_background * right_foreground - of_both * right_background) * scale
        background = (of_foreground * right_background - of_both * right_foreground) * scale
        # What is seen through nothing is known.
        foreground[opaque], background[empty] = colours[opaque], colours[empty]
        np.clip(foreground, 0, 1, out=foreground)
        np.clip(background, 0, 1, out=background)
    return foreground, background


def _grown(band: Mask) -> Mask:
    """Add the four neighbours of each pixel."""
    grown = band.copy()
    grown[1:] |= band[:-1]
    grown[:-1] |= band[1:]
    grown[:, 1:] |= band[:, :-1]
    grown[:, :-1] |= band[:, 1:]
    return grown


def _halved(band: Mask) -> Mask:
    """Join two by two pixels: true where any of them is."""
    height, width = band.shape
    padded = np.zeros((height + height % 2, width + width % 2), np.bool_)
    padded[:height, :width] = band
    blocks = padded.reshape(padded.shape[0] // 2, 2, padded.shape[1] // 2, 2)
    return np.asarray(blocks.any(axis=(1, 3)))
