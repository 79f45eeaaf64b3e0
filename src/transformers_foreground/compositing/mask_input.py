"""Masks in all forms that people have -> one plane of alpha."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transformers_foreground.errors import ImageError
from transformers_foreground.images.alpha import MaskImage
from transformers_foreground.images.arrays import is_tensor
from transformers_foreground.images.capture import capture
from transformers_foreground.images.decode import DecodedImage, decode
from transformers_foreground.images.sources import file_of
from transformers_foreground.images.stored_values import has_colours, stored_values

_MOST_LABELS: Final = 32  # stored values up to this, and none above but 255, are labels


def read_mask(mask: Any, image: DecodedImage) -> NDArray[np.uint8]:
    """Read the mask of an image.

    Args:
        mask: See `cutout`. Gray, in the alpha channel, or with a palette. One that holds only 0 and 1 (8 or 16 bits,
            or with a palette) is taken for 0 and 255. A pipeline's own is not: its 1 is an alpha of 1/255.
        image: What it is the mask of.

    Returns:
        Alpha, uint8, (H, W).

    Raises:
        ImageError: It cannot be read, has colours, has not the image's size, or holds labels.
    """
    if isinstance(mask, list) and len(mask) == 1:  # a pipeline's whole result
        mask = mask[0]
    if isinstance(mask, Mapping):
        mask = mask.get("mask", mask)
    if isinstance(mask, np.ndarray) and mask.dtype == np.uint16 and mask.ndim == 2:
        mask = Image.fromarray(mask)
    if hasattr(file_of(mask), "read"):  # it can be read once
        mask = capture(mask)
    decoded = decode(mask)
    if decoded.pixels.shape[:2] != image.pixels.shape[:2]:
        raise ImageError(
            f"The mask of {image.name} is {decoded.width}x{decoded.height}, and the image is "
            f"{image.width}x{image.height} when upright. Give the mask that was made of it."
        )
    if isinstance(mask, MaskImage):
        return decoded.pixels[..., 0]
    pixels = decoded.pixels
    if pixels.shape[2] == 4 and (pixels[..., 3] < 255).any():
        return pixels[..., 3]
    gray = pixels.shape[2] == 1 or bool((pixels[..., :1] == pixels[..., :3]).all())
    stored = stored_values(mask) if not gray or pixels.max(initial=0) <= 1 else None
    if stored is not None and stored.shape == pixels.shape[:2] and stored.max(initial=0) <= 255:
        return _without_labels(stored.astype(np.uint8), decoded.name)
    if has_colours(pixels):
        raise ImageError(
            f"The mask {decoded.name} has colours; give a gray image, one with alpha, or a PNG with a palette."
        )
    plane = pixels[..., 0]
    top = int(plane.max(initial=0))
    of_file = not isinstance(mask, np.ndarray | Image.Image) and not is_tensor(mask)
    # A mask that is merely faint has all values below its highest; labels leave some out.
    if of_file and 1 < top <= _MOST_LABELS and len(np.unique(plane)) <= top:
        return _without_labels(plane, decoded.name)
    return plane * np.uint8(255) if top == 1 else plane


def _without_labels(plane: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    """Return alpha for stored values: 0 and 255 for 0 and 1, others if they are no labels.

    Raises:
        ImageError: They are labels.
    """
    top = int(plane.max(initial=0))
    if top == 1:
        return plane * np.uint8(255)
    values = np.bincount(plane.ravel(), minlength=256)
    labels = np.flatnonzero(values[1 : _MOST_LABELS + 1]) + 1
    if len(labels) and not values[_MOST_LABELS + 1 : 255].any():  # 255 is "leave out" in such masks, as PASCAL VOC's
        raise ImageError(
            f"The mask {name} holds labels ({', '.join(map(str, labels[:8]))}) and not alpha. Say which of them are "
            f"the object: mask=numpy.asarray(PIL.Image.open(FILE)) == {labels[0]}"
        )
    return plane
