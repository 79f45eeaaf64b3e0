"""A mask as a PIL image, and an image with a mask as its alpha."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image


class MaskImage(Image.Image):
    """A PIL image of mode "L" over a numpy array: `numpy.asarray(mask)` gives that array, without a copy.

    It is an ordinary PIL image otherwise: what is made from it (a copy, a crop, what a pickle gives back) is a plain
    `PIL.Image.Image`. Once it is drawn on, it has pixels of its own, and converts to numpy with a copy.
    """

    _array: NDArray[np.uint8]

    @property
    def __array_interface__(self) -> dict[str, Any]:
        """The array itself while the image still shares its pixels (Pillow's `readonly`), else Pillow's copy."""
        self.load()  # raises on a closed image
        if self.readonly:
            return dict(self._array.__array_interface__)
        return dict(super().__array_interface__)

    def __eq__(self, other: object) -> bool:
        """Compare as a plain image, since Pillow calls images of two classes different."""
        return self.copy() == (other.copy() if isinstance(other, MaskImage) else other)

    def __reduce__(self) -> Any:
        """Pickle (and `copy.deepcopy`) as a plain image, so that reading it back needs Pillow alone."""
        return Image.Image.copy, (self.copy(),)


def to_mask(array: NDArray[np.uint8]) -> Image.Image:
    """Wrap a mask as a PIL image that shares its memory.

    Args:
        array: uint8, (H, W). It is handed over: what is shared must not change behind the image's back, so it
            becomes read-only.

    Returns:
        A PIL image of mode "L".
    """
    array = np.ascontiguousarray(array)
    array.setflags(write=False)
    image = Image.frombuffer("L", (array.shape[1], array.shape[0]), array, "raw", "L", 0, 1)
    # Pillow has no public way to make an image of another class over existing pixels.
    image.__class__ = MaskImage
    mask = cast(MaskImage, image)
    mask._array = array
    return mask


def put_alpha(rgb: NDArray[np.uint8], mask: NDArray[np.uint8], *, keep_hidden: bool = True) -> Image.Image:
    """Return the image with the mask as its alpha.

    Args:
        rgb: Pixels, uint8, (H, W, 3).
        mask: Alpha, uint8, (H, W). It replaces any alpha that the image had.
        keep_hidden: Keep colours also where alpha is 0, as Transformers.js' `putAlpha` does. Without, they are black:
            what was removed does not hide in a written file, which is smaller, and faster to encode, too.

    Returns:
        A PIL image of mode "RGBA" with straight (not premultiplied) alpha.
    """
    pixels = np.empty((*mask.shape, 4), np.uint8)
    for channel in range(3):  # one by one: several times as fast
        pixels[..., channel] = rgb[..., channel]
    pixels[..., 3] = mask
    if not keep_hidden:
        whole = pixels.view(np.uint32)[..., 0]
        whole *= mask > 0
    return Image.frombuffer("RGBA", (mask.shape[1], mask.shape[0]), pixels, "raw", "RGBA", 0, 1)  # without a copy
