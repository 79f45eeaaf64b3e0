"""What is known of an image: a matte or a mask, gray, in the alpha channel, or as labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from transformers_foreground.errors import ImageError
from transformers_foreground.evaluation.matting import soft_band
from transformers_foreground.evaluation.recipes import DatasetSpec
from transformers_foreground.evaluation.sources import Item
from transformers_foreground.images.decode import decode
from transformers_foreground.images.stored_values import stored_values

_MOST_LABELS: Final = 20  # as VOC has; 21 is already a grade, one person of twelve


@dataclass(frozen=True, eq=False)
class Truth:
    """What is known of one image.

    Attributes:
        mask: Foreground, bool, (H, W).
        alpha: The truth as it is, float64 in [0, 1].
        counted: The pixels that count; `None` for all.
        bands: The pixels of each band.
    """

    mask: NDArray[np.bool_]
    alpha: NDArray[np.float64]
    counted: NDArray[np.bool_] | None
    bands: Mapping[str, NDArray[np.bool_]]


def read_truth(item: Item, spec: DatasetSpec, height: int, width: int) -> Truth:
    """Read what is known of one image.

    Masks of 0 and 1 are taken for 0 and 255, whether 8-bit, 16-bit or with a palette. Masks of more labels are taken
    where the recipe says which are foreground (`binarise: "> 0"`).

    Args:
        item: Where its truth is.
        spec: How the truth is to be understood.
        height: Height of the image in pixels, which the truth must have too.
        width: Width of the image.

    Raises:
        ImageError: A mask cannot be read, has colours, has not the image's size, or holds labels and the recipe does
            not say which of them are foreground; the message says what to add to the recipe.
    """
    plane = _plane(item.truth, "truth", height, width)
    counted = None if spec.ignore is None else plane != spec.ignore
    plane = _without_labels(plane, counted, spec, item.key)
    bands = {}
    for name, band in spec.bands.items():
        if isinstance(band, Mapping):
            bands[name] = soft_band(plane, float(band["grow"]))
        else:
            trimap = _plane(item.bands[name], name, height, width)
            if 0 < trimap.max() <= _MOST_LABELS:
                raise ImageError(f"{item.key}: {name} holds labels up to {trimap.max()}: a trimap has 0, 128 and 255.")
            bands[name] = (trimap != 0) & (trimap != 255)
    return Truth(mask=plane > spec.threshold(), alpha=plane / 255.0, counted=counted, bands=bands)


def _without_labels(
    plane: NDArray[np.uint8], counted: NDArray[np.bool_] | None, spec: DatasetSpec, key: str
) -> NDArray[np.uint8]:
    """Return a plane of 0 and 255 where a mask holds labels, else the plane as it is.

    Raises:
        ImageError: There are labels above 1, and the recipe does not say what they mean.
    """
    values = np.bincount((plane if counted is None else plane[counted]).ravel(), minlength=256)
    labels, top = values[1 : _MOST_LABELS + 1].sum(), int(values.nonzero()[0].max(initial=0))
    unsaid = spec.binarise == DatasetSpec.binarise
    graded = 'Where it is graded, and this is right, write `binarise: ">= 129"`.'
    if unsaid and top == 255 and not values[_MOST_LABELS + 1 : 255].any() and labels > values[255]:
        raise ImageError(
            f"{key}: the truth holds labels and 255, which marks pixels to leave out in such masks. Add `ignore: 255` "
            f'and `binarise: "> 0"` to the data set, where every label is foreground. {graded}'
        )
    if not 0 < top <= _MOST_LABELS:
        return plane
    if top > 1 and spec.threshold() >= top:
        if not unsaid:
            return plane
        raise ImageError(
            f'{key}: the truth has no values above {top}, so these are labels. Add `binarise: "> 0"` to the data set, '
            f"where every label is foreground. {graded}"
        )
    foreground = plane > min(spec.threshold(), top - 1)
    return np.where(foreground, np.uint8(255), np.uint8(0))


def _plane(source: Any, what: str, height: int, width: int) -> NDArray[np.uint8]:
    """Read a gray image, the alpha of one that has some, or the labels of one with a palette, as uint8 (H, W)."""
    image = decode(source)
    pixels = image.pixels
    if pixels.shape[:2] != (height, width):
        raise ImageError(
            f"{image.name}: the {what} has {image.width}×{image.height} pixels, the image {width}×{height}."
        )
    if pixels.shape[2] == 4 and (pixels[..., 3] < 255).any():
        return pixels[..., 3]
    gray = pixels.shape[2] == 1 or bool((pixels[..., :1] == pixels[..., :3]).all())
    if not gray or not pixels[..., 0].any():
        stored = stored_values(source)
        if stored is not None and stored.shape == (height, width) and stored.max() <= 255:
            return stored.astype(np.uint8)
    if not gray:
        raise ImageError(
            f"{image.name}: the {what} has colours; a mask must be gray, in the alpha channel, or a PNG with a palette."
        )
    return pixels[..., 0]
