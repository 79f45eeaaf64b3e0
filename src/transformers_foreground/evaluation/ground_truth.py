"""Ground truth of one image: a mask or a matte, read from a gray image, an alpha channel, 0 and 1, or labels."""

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
from transformers_foreground.images.decode import MAX_PIXELS, decode, decode_opened, name_of
from transformers_foreground.images.identify import Limits
from transformers_foreground.images.stored_values import has_colours, stored_values, without_profile

_MOST_LABELS: Final = 20  # VOC's classes; 21 may be a grade already: one of twelve people chose the pixel


@dataclass(frozen=True, eq=False)
class Truth:
    """The ground truth of one image.

    Attributes:
        mask: Foreground, bool, (H, W).
        alpha: The values of the file, float64 in [0, 1], (H, W); 0 and 1 where it holds labels.
        counted: The pixels that are measured, bool, (H, W); `None` for all.
        bands: Name of each band to its pixels, bool, (H, W).
    """

    mask: NDArray[np.bool_]
    alpha: NDArray[np.float64]
    counted: NDArray[np.bool_] | None
    bands: Mapping[str, NDArray[np.bool_]]


def read_truth(item: Item, spec: DatasetSpec, height: int, width: int) -> Truth:
    """Read the ground truth of one image.

    Masks of 0 and 1 count as 0 and 255, whether 8-bit, 16-bit or with a palette. Other labels are read only where the
    recipe says which of them are foreground (`binarise: "> 0"`). Colour profiles are ignored: they would change values.

    Args:
        item: Where the mask is.
        spec: How to read it: `binarise`, `ignore`, `bands`, `measures`.
        height: Height of the image in pixels, which the mask must have, too.
        width: Width of the image.

    Raises:
        ImageError: A mask cannot be read, has colours or another size than the image, or holds labels and the recipe
            does not say which of them are foreground; the message says what to change.
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
                raise ImageError(
                    f"{item.key}: {name} holds labels up to {trimap.max()}, and a trimap has 0, 128 and 255. Save it "
                    "with these values."
                )
            bands[name] = (trimap != 0) & (trimap != 255)
    return Truth(mask=plane > spec.threshold(), alpha=plane / 255.0, counted=counted, bands=bands)


def _without_labels(
    plane: NDArray[np.uint8], counted: NDArray[np.bool_] | None, spec: DatasetSpec, key: str
) -> NDArray[np.uint8]:
    """Return a plane of 0 and 255 where a mask holds labels, else the plane as it is.

    Raises:
        ImageError: There are labels above 1, and the recipe does not say which are foreground.
    """
    values = np.bincount((plane if counted is None else plane[counted]).ravel(), minlength=256)
    labels, top = values[1 : _MOST_LABELS + 1].sum(), int(values.nonzero()[0].max(initial=0))
    unsaid, threshold = spec.binarise is None, spec.threshold()
    choice = 'if every label is foreground, or `binarise: "> 128"` if the values are shades of gray.'
    if unsaid and top == 255 and not values[_MOST_LABELS + 1 : 255].any() and labels > values[255]:
        raise ImageError(
            f"{key}: the truth holds labels and 255, which in such masks marks pixels to leave out. To the data set in "
            f'the recipe, add `ignore: 255` and `binarise: "> 0"` {choice}'
        )
    # Nothing would be foreground; mattes alone may be as faint as they like.
    if unsaid and 1 < top <= (_MOST_LABELS if set(spec.measures) == {"alpha"} else threshold):
        raise ImageError(
            f'{key}: the truth has no values above {top}. To the data set in the recipe, add `binarise: "> 0"` {choice}'
        )
    # Of a recipe that calls such small values foreground, faint masks are labels, too.
    most = _MOST_LABELS if unsaid or threshold >= _MOST_LABELS else 128
    if not 0 < top <= most or (top > 1 and threshold >= top):
        return plane
    return np.where(plane > min(threshold, top - 1), np.uint8(255), np.uint8(0))


def _plane(source: Any, what: str, height: int, width: int) -> NDArray[np.uint8]:
    """Return a mask as uint8, (H, W): its alpha if it has some, its gray values, or the indices of its palette."""
    name, plain = name_of(source), without_profile(source)
    pixels = (
        decode(source) if plain is source else decode_opened(plain, Limits(name, MAX_PIXELS), own_file=True)
    ).pixels
    if (size := pixels.shape[:2]) != (height, width):
        remedy = "Give the mask that was made of this image."
        if size == (width, height):
            remedy = "The image is read upright, as its EXIF orientation says: turn the mask in the same way."
        raise ImageError(f"{name}: the {what} has {size[1]}×{size[0]} pixels, the image {width}×{height}. {remedy}")
    if pixels.shape[2] == 4 and (pixels[..., 3] < 255).any():
        return pixels[..., 3]
    gray = pixels.shape[2] == 1 or bool((pixels[..., :1] == pixels[..., :3]).all())
    stored = stored_values(plain)
    if stored is not None and stored.shape == size:
        if stored.max() <= 255 and not (gray and pixels[..., 0].any()):
            return stored.astype(np.uint8)
        if stored.itemsize > 1 and pixels.max() <= _MOST_LABELS:  # 16 bits with labels above 255
            return np.asarray(np.minimum(stored, _MOST_LABELS), np.uint8)
    if has_colours(pixels):
        raise ImageError(f"{name}: the {what} has colours. Give a gray image, one with alpha, or a PNG with a palette.")
    return pixels[..., 0]
