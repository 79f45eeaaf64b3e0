"""Connected parts of a mask: keep the object and drop specks, fill holes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from transformers_foreground.compositing.backgrounds import VISIBLE
from transformers_foreground.compositing.region import pixels_or_share
from transformers_foreground.errors import UnsupportedOptionError

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Keep = Literal["largest"] | float

_HALF: Final = 128
_RIM: Final = 0.004  # of the longer side: how wide the soft rim of a hole is at most


def keep_of(keep: str | float) -> Keep:
    """Read which parts are to be kept: `"largest"`, or a share as `"5%"` or 0.05.

    Raises:
        UnsupportedOptionError: It is neither.
    """
    share: Any = keep
    if keep == "largest":
        return "largest"
    if isinstance(keep, str):
        share = pixels_or_share(keep) if "%" in keep else None
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share <= 1:
        raise UnsupportedOptionError(
            f"keep={keep!r}: use 'largest', or the least size of a part as a share of the largest one's (5%)."
        )
    return cast(float, share)


def keep_parts(mask: Pixels, keep: Keep) -> Pixels:
    """Drop the small parts of a mask.

    Args:
        mask: Alpha, uint8, (H, W). Parts hang together where alpha is 5 % or more, also by corners.
        keep: `"largest"`: only that; or a share: all that have at least so many of the largest one's pixels.

    Returns:
        uint8, (H, W): 0 where a part was dropped, and where what is fainter hangs on none that is kept.
    """
    parts = _runs(mask >= VISIBLE, diagonal=True)
    if not len(parts.labels):
        return mask
    sizes = np.bincount(parts.labels, parts.lengths)
    kept = np.arange(len(sizes)) == sizes.argmax() if keep == "largest" else sizes >= keep * sizes.max()
    dropped = parts.painted(~kept[parts.labels])
    haze = _runs((mask > 0) & ~dropped, diagonal=True)
    seen = parts.painted(kept[parts.labels])
    touching = np.zeros(int(haze.labels.max()) + 1, np.bool_)
    totals = np.concatenate([[0], np.cumsum(seen, dtype=np.int64)])
    starts = haze.rows * seen.shape[1] + haze.starts
    touching[haze.labels[totals[starts + haze.lengths] > totals[starts]]] = True
    return np.where(haze.painted(touching[haze.labels]), mask, np.uint8(0))


def fill_holes(mask: Pixels) -> Pixels:
    """Make opaque what the object encloses on all sides.

    Args:
        mask: Alpha, uint8, (H, W). A hole is where it is below a half, without a way to the image's border.

    Returns:
        uint8, (H, W): 255 in holes and on their soft rims.
    """
    gaps = _runs(mask < _HALF, diagonal=False)
    if not len(gaps.labels):
        return mask
    height, width = mask.shape
    at_border = (gaps.rows == 0) | (gaps.rows == height - 1) | (gaps.starts == 0)
    at_border |= gaps.starts + gaps.lengths == width
    open_parts = np.zeros(int(gaps.labels.max()) + 1, np.bool_)
    open_parts[gaps.labels[at_border]] = True
    is_hole = ~open_parts[gaps.labels]
    if not is_hole.any():
        return mask
    holes, outside = gaps.painted(is_hole), gaps.painted(~is_hole)
    reach = max(1, round(_RIM * max(mask.shape)))
    return np.where(_near(holes, reach) & ~_near(outside, reach) | holes, np.uint8(255), mask)


def _near(where: Mask, radius: int) -> Mask:
    """Whether any pixel of the square around each one is set."""
    image = Image.fromarray(where.astype(np.uint8) * np.uint8(255))
    for size in ((radius, 0), (0, radius)):
        image = image.filter(ImageFilter.BoxBlur(size)).point([0] + [255] * 255)
    return np.asarray(image) > 0


@dataclass(frozen=True)
class _Runs:
    """Pixels that are set, as runs along rows, in reading order."""

    shape: tuple[int, int]
    rows: NDArray[np.int64]  # (N,)
    starts: NDArray[np.int64]  # (N,), columns
    lengths: NDArray[np.int64]  # (N,)
    labels: NDArray[np.int64]  # (N,), which part each belongs to, from 0

    def painted(self, chosen: Mask) -> Mask:
        """Return the pixels of some runs: bool, (H, W)."""
        height, width = self.shape
        steps = np.zeros((height, width + 1), np.int8)
        steps[self.rows[chosen], self.starts[chosen]] = 1
        steps[self.rows[chosen], (self.starts + self.lengths)[chosen]] = -1
        return np.cumsum(steps, axis=1, dtype=np.int8)[:, :-1] > 0


def _runs(where: Mask, *, diagonal: bool) -> _Runs:
    """Find the connected parts of a mask (He, Chao and Suzuki, "A Run-Based Two-Scan Labeling Algorithm", 2008).

    Args:
        where: bool, (H, W).
        diagonal: Whether pixels that share but a corner are connected.
    """
    height, width = where.shape
    steps = np.diff(where.astype(np.int8), axis=1, prepend=0, append=0)
    rows, starts = np.nonzero(steps == 1)
    stops = np.nonzero(steps == -1)[1]
    reach = 1 if diagonal else 0
    # Of the row above: from the first run that ends after this one starts, to the last that starts before it ends.
    wide = width + 2
    first = np.searchsorted(rows * wide + stops, (rows - 1) * wide + starts - reach, side="right")
    last = np.searchsorted(rows * wide + starts, (rows - 1) * wide + stops + reach, side="left")
    counts = np.maximum(last - first, 0)
    below = np.repeat(np.arange(len(rows)), counts)
    above = np.repeat(first, counts) + np.arange(len(below)) - np.repeat(np.cumsum(counts) - counts, counts)
    return _Runs((height, width), rows, starts, stops - starts, _joined(len(rows), above, below))


def _joined(count: int, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number the connected parts of a graph from 0, by the edges between its `count` nodes."""
    parents = np.arange(count)
    while True:
        a, b = parents[left], parents[right]
        different = a != b
        if not different.any():
            return np.asarray(np.unique(parents, return_inverse=True)[1]).reshape(-1)
        left, right, a, b = left[different], right[different], a[different], b[different]
        np.minimum.at(parents, np.maximum(a, b), np.minimum(a, b))
        while (parents[parents] != parents).any():
            parents = parents[parents]
