"""Decontamination: the foreground's own colours where a soft edge shows some of the old background.

An image is `I = αF + (1 − α)B`. Pasted on a new background with `I` for its colours, a soft edge drags the old
background along: a halo. What belongs there is `F`.

F and B vary slowly. So they are solved for on a sample of at most 640 × 640 pixels, near soft ones only, with the
equations of Germer, Uelwer, Conrad and Harmeling, "Fast Multi-Level Foreground Estimation", ICPR 2020
(arXiv:2006.14970). Detail comes from the image: at full size each soft pixel's F is corrected by what `αF + (1 − α)B`
leaves unexplained of it, as in Forte, "Approximate Fast Foreground Colour Estimation", ICIP 2021.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Indices = NDArray[np.int32]
Mask = NDArray[np.bool_]

_SAMPLED_SIZE: Final = 640  # pixels of the sample's longer side
_REGULARIZATION: Final = np.float32(1e-5)  # the paper's ε: neighbours are alike, if weakly, everywhere
_SMALL: Final = 32  # levels up to this size have the more sweeps
_SWEEPS: Final = {True: 10, False: 8}  # small, large
_NOISE: Final = np.float32(0.15)  # in the correction: less trust in the image where alpha is low
_ROWS: Final = 64  # rows that are corrected at once: their values stay in the processor's cache


@dataclass(frozen=True)
class _Level:
    """Those pixels of one size of the image for which an estimate is made, as lists.

    Every other pixel comes first, as the white squares of a chess-board, then the rest: of two neighbours one is white.
    """

    places: NDArray[np.intp]  # (N,), flat indices
    whites: int
    width: int
    lookup: Indices  # for each flat index where it is in the lists, or 0
    neighbours: Indices  # (4, N), indices into the lists; a pixel's own where it has no neighbour
    alpha: Floats  # (N,)
    colours: Floats  # (3, N), 0 to 255


def decontaminate(rgb: Pixels, mask: Pixels) -> Pixels:
    """Estimate the foreground's colours.

    The equations, for each pixel i with its four neighbours j: the least of
    `(αᵢFᵢ + (1 − αᵢ)Bᵢ − Iᵢ)² + Σⱼ (ε + |αᵢ − αⱼ|)((Fᵢ − Fⱼ)² + (Bᵢ − Bⱼ)²)`, from coarse to fine.

    Args:
        rgb: The image, uint8, (H, W, 3).
        mask: Alpha, uint8, (H, W).

    Returns:
        uint8, (H, W, 3): other colours where the mask is between 0 and 255, the same elsewhere. The array is `rgb`
        itself if there is no such pixel.
    """
    step = -(-max(mask.shape) // _SAMPLED_SIZE)
    band = _soft_blocks(mask, step)
    if not band.any():
        return rgb
    middles = np.ix_(*(np.minimum(np.arange(0, side, step) + step // 2, side - 1) for side in mask.shape))
    level, both = _solved(rgb[middles], mask[middles], _grown(_grown(band)))
    return _corrected(rgb, mask, step, level, both)


def _soft(mask: Pixels) -> Mask:
    """Whether alpha is between 0 and 255."""
    return np.asarray(mask - np.uint8(1) < np.uint8(254))


def _soft_blocks(mask: Pixels, step: int) -> Mask:
    """Whether any pixel of each square of `step` pixels is soft: bool, (⌈H / step⌉, ⌈W / step⌉)."""
    height, width = mask.shape
    blocks = np.zeros((-(-height // step), -(-width // step)), np.bool_)
    for y in range(step):
        rows = _soft(mask[y::step])
        for x in range(step):
            part = rows[:, x::step]
            blocks[: part.shape[0], : part.shape[1]] |= part
    return blocks


def _corrected(rgb: Pixels, mask: Pixels, step: int, level: _Level, both: Floats) -> Pixels:
    """Bring F and B up to the image's size for its soft pixels, and let the image correct F there.

    The correction is `F + g(I − αF − (1 − α)B)`. With `g = α / (α² + σ)` it would be the likeliest F, given B and noise
    in I; below 1 it would blur what has little alpha, and so g is at least 1.
    """
    height, width = mask.shape
    alpha = np.arange(256, dtype=np.float32) / np.float32(255)
    of_image = np.maximum(alpha / (alpha * alpha + _NOISE), np.float32(1))
    of_foreground, of_background = 1 - of_image * alpha, -of_image * (1 - alpha)
    rows = step * max(1, _ROWS // step)
    y, x = np.arange(rows, dtype=np.int32) // step, np.arange(width, dtype=np.int32) // step
    blocks = (y[:, None] * level.width + x).ravel()
    result = rgb.copy()
    for top in range(0, height, rows):
        part = mask[top : top + rows].ravel()
        places = np.flatnonzero(_soft(part))
        alphas = part.take(places)
        there = level.lookup[top // step * level.width :].take(blocks.take(places))
        factors = [table.take(alphas) for table in (of_image, of_foreground, of_background)]
        values = result[top : top + rows].reshape(-1)
        places *= 3
        for channel in range(3):
            colour = factors[0] * values.take(places)
            colour += factors[1] * both[channel].take(there)
            colour += factors[2] * both[channel + 3].take(there)
            np.clip(colour, 0, 255, out=colour)
            colour += np.float32(0.5)
            values[places] = colour.astype(np.uint8)
            places += 1
    return result


def _solved(rgb: Pixels, mask: Pixels, band: Mask) -> tuple[_Level, Floats]:
    """Return the finest level, and F and B for its pixels: float32, (6, N), 0 to 255."""
    bands = [band]
    while max(bands[-1].shape) > 2:
        bands.append(_grown(_halved(bands[-1])))
    coarser: _Level | None = None
    for depth in range(len(bands) - 1, -1, -1):
        step = 2**depth
        level = _level(rgb[::step, ::step], mask[::step, ::step], bands[depth])
        if coarser is None:
            means = np.concatenate([_mean(rgb, mask), _mean(rgb, 255 - mask)])
            both = np.repeat(means[:, None], len(level.places), axis=1)
        else:
            y, x = np.divmod(level.places, level.width)
            both = both.take(coarser.lookup.take(y // 2 * coarser.width + x // 2), axis=1)
        _relax(level, both, _SWEEPS[max(bands[depth].shape) <= _SMALL])
        coarser = level
    return level, both


def _mean(rgb: Pixels, weights: Pixels) -> Floats:
    """Return the mean colour, (3,), of what is wholly of one side; if nothing is, of what is most."""
    return np.asarray(rgb[weights == weights.max()].mean(axis=0, dtype=np.float32))


def _level(rgb: Pixels, mask: Pixels, band: Mask) -> _Level:
    """Gather a level's pixels."""
    height, width = band.shape
    white = (np.arange(height)[:, None] + np.arange(width)) % 2 == 0
    whites = np.flatnonzero(band & white)
    places = np.concatenate([whites, np.flatnonzero(band & ~white)])
    own = np.arange(len(places), dtype=np.int32)
    lookup = np.zeros(height * width, np.int32)
    lookup[places] = own
    padded = np.pad(band, 1)
    sides = (-width, padded[:-2, 1:-1]), (width, padded[2:, 1:-1]), (-1, padded[1:-1, :-2]), (1, padded[1:-1, 2:])
    neighbours = [
        np.where(is_there.ravel()[places], lookup.take(places + d, mode="clip"), own) for d, is_there in sides
    ]
    colours = np.ascontiguousarray(rgb.reshape(-1, 3)[places].T, np.float32)
    alpha = mask.ravel()[places] / np.float32(255)
    return _Level(places, len(whites), width, lookup, np.stack(neighbours), alpha, colours)


def _relax(level: _Level, both: Floats, sweeps: int) -> None:
    """Solve each pixel's two equations for F and B, again and again, with its neighbours' latest (Gauss–Seidel)."""
    halves = [_Half(level, slice(0, level.whites)), _Half(level, slice(level.whites, None))]
    for _ in range(sweeps):
        for half in halves:
            half.solve(both)


class _Half:
    """The equations of the white pixels, or of the black: what stays the same from sweep to sweep."""

    def __init__(self, level: _Level, part: slice) -> None:
        alpha, colours = level.alpha[part], level.colours[:, part]
        self.part, self.neighbours = part, level.neighbours[:, part]
        self.weights = _REGULARIZATION + np.abs(alpha - level.alpha.take(self.neighbours))
        rest, total = 1 - alpha, self.weights.sum(axis=0)
        self.data = np.concatenate([alpha * colours, rest * colours])
        matrix = np.stack([rest * rest + total, -alpha * rest, alpha * alpha + total])  # the inverse, symmetric
        self.inverse = matrix / (matrix[0] * matrix[2] - matrix[1] * matrix[1])
        # What is seen through nothing is known.
        self.opaque, self.empty = np.flatnonzero(alpha == 1), np.flatnonzero(alpha == 0)
        self.of_opaque, self.of_empty = colours[:, self.opaque], colours[:, self.empty]

    def solve(self, both: Floats) -> None:
        """Write this half's new F and B into `both`, (6, N)."""
        right = self.data.copy()
        for weight, near in zip(self.weights, self.neighbours, strict=True):
            right += weight * both.take(near, axis=1)
        mine = both[:, self.part]
        mine[:3] = self.inverse[0] * right[:3] + self.inverse[1] * right[3:]
        mine[3:] = self.inverse[1] * right[:3] + self.inverse[2] * right[3:]
        mine[:3, self.opaque], mine[3:, self.empty] = self.of_opaque, self.of_empty
        np.clip(mine, 0, 255, out=mine)


def _grown(band: Mask) -> Mask:
    """Add the four neighbours of each pixel."""
    grown = band.copy()
    grown[1:] |= band[:-1]
    grown[:-1] |= band[1:]
    grown[:, 1:] |= band[:, :-1]
    grown[:, :-1] |= band[:, 1:]
    return grown


def _halved(band: Mask) -> Mask:
    """Halve the size: true where any of two by two pixels is."""
    height, width = band.shape
    padded = np.pad(band, ((0, height % 2), (0, width % 2)))
    blocks = padded.reshape(padded.shape[0] // 2, 2, padded.shape[1] // 2, 2)
    return np.asarray(blocks.any(axis=(1, 3)))
