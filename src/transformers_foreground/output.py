"""Output: a mask as a PIL image, a picture with a mask as its alpha, and either as a file."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transformers_foreground.unfinished import unfinished


class MaskImage(Image.Image):
    """A PIL image of mode "L" over a numpy array: `numpy.asarray(mask)` gives that array, without a copy.

    It is an ordinary PIL image otherwise: what is made from it (a copy, a crop, what a pickle gives back) is a plain
    `PIL.Image.Image`. Once it is drawn on, it has pixels of its own, and converts to numpy with a copy.
    """

    _array: NDArray[np.uint8]

    @property
    def __array_interface__(self) -> dict[str, Any]:
        """The array itself while the picture still shares its pixels (Pillow's `readonly`), else Pillow's copy."""
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
        array: uint8, (H, W). It is handed over: what is shared must not change behind the picture's back, so it
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


def put_alpha(rgb: NDArray[np.uint8], mask: NDArray[np.uint8]) -> Image.Image:
    """Return the picture with the mask as its alpha.

    Args:
        rgb: Pixels, uint8, (H, W, 3).
        mask: Alpha, uint8, (H, W). It replaces any alpha that the picture had.

    Returns:
        A PIL image of mode "RGBA" with straight (not premultiplied) alpha. Colours are kept also where alpha is 0, as
        Transformers.js' `putAlpha` keeps them.
    """
    image = Image.fromarray(rgb)
    image.putalpha(Image.fromarray(mask))
    return image


def without_hidden(rgb: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the colours with black where the mask is 0.

    What was removed must not hide in a written file; without it the file is smaller, and faster to encode, too.

    Args:
        rgb: Pixels, uint8, (H, W, 3).
        mask: Alpha, uint8, (H, W).
    """
    return rgb * (mask > 0)[..., None]


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that its name never stands for half of it.

    Folders on the way are made. Through a symbolic link, the file that it points to is replaced, and the link stays.
    What is no regular file (a pipe, `/dev/null`) is written to as it is. What a killed process left of the same file is
    removed.

    Args:
        path: Where.
        data: The contents.

    Raises:
        OSError: It cannot be written; what was there before is still there.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        path.write_bytes(data)
        return
    # Not tempfile's: its files are private (0600), and the umask cannot be read without changing it for all threads.
    temporary = unfinished(path)
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _O_BINARY, 0o666), "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


_O_BINARY = getattr(os, "O_BINARY", 0)  # Windows alone has it, and would translate line ends without it
