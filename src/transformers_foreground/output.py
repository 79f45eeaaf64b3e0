"""Output: a mask as a PIL image, a picture with a mask as its alpha, and either as a file."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


class MaskImage(Image.Image):
    """A PIL image of mode "L" over a numpy array: `numpy.asarray(mask)` gives that array, without a copy.

    It is an ordinary PIL image otherwise. Once it is drawn on, it has pixels of its own, and converts with a copy.
    """

    _array: NDArray[np.uint8]

    @property
    def __array_interface__(self) -> dict[str, Any]:
        """The array itself while the picture still shares its pixels (Pillow's `readonly`), else Pillow's copy."""
        if self.readonly:
            return dict(self._array.__array_interface__)
        return dict(super().__array_interface__)


def to_mask(array: NDArray[np.uint8]) -> Image.Image:
    """Wrap a mask, uint8 (H, W), as a PIL image of mode "L" that shares its memory."""
    array = np.ascontiguousarray(array)
    array.setflags(write=False)  # what is shared must not change behind the picture's back
    plain = Image.frombuffer("L", (array.shape[1], array.shape[0]), array, "raw", "L", 0, 1)
    mask = MaskImage()
    mask.im, mask._mode, mask._size, mask.readonly = plain.im, "L", plain.size, 1
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
    """
    return rgb * (mask > 0)[..., None]


def encode_png(image: Image.Image) -> bytes:
    """Encode as PNG, at zlib's level 1: on photographs level 6 takes five times as long for a tenth less."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that its name never stands for half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
