"""Decode: anything that shows an image -> uint8 pixels as Transformers.js' `RawImage.read` has them in Node.

Upright (EXIF orientation applied), in sRGB, first frame, with the channels of the file: 1, 3 or 4.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import IO, Any, Final, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from transformers_foreground.errors import ImageError
from transformers_foreground.images.arrays import from_array, from_tensor, is_tensor
from transformers_foreground.images.containers import ContainerError, is_animated
from transformers_foreground.images.exif import dpi_of
from transformers_foreground.images.identify import Limits, damaged, open_image
from transformers_foreground.images.pixels import eight_bit, exif_of, has_own_space, high_bytes, loaded, upright
from transformers_foreground.images.sources import name_of, open_stream, unreadable

__all__ = ["MAX_BYTES", "MAX_PIXELS", "TIMEOUT", "DecodedImage", "ImageInput", "decode", "name_of"]

TIMEOUT: Final = 20.0  # seconds
MAX_BYTES: Final = 256 * 1024 * 1024
MAX_PIXELS: Final = 200_000_000  # the largest phone cameras make 199.8 million


class Tensor(Protocol):
    """What is needed of a `torch.Tensor`; torch itself is never imported."""

    def detach(self) -> Any: ...
    def cpu(self) -> Any: ...


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """An image in memory.

    Attributes:
        pixels: uint8 (H, W, C), contiguous, C being 1 (gray), 3 (RGB) or 4 (RGB and straight alpha). Not to
            be written to: it may be the caller's own array.
        name: How to call the image in messages.
        profile: Its ICC profile, if it was converted from that; else empty.
        exif: Its EXIF data, if it has any.
        dpi: Its resolution across and down, in pixels per inch, if the file says it.
        animated: Whether the file has more frames than this one, which is the first.
    """

    pixels: NDArray[np.uint8]
    name: str
    profile: bytes = b""
    exif: Image.Exif | None = None
    dpi: tuple[float, float] | None = None
    animated: bool = False
    _unconverted: Image.Image | None = None  # upright, with the profile's own values

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    def rgb(self) -> NDArray[np.uint8]:
        """Return uint8 (H, W, 3), contiguous: gray is repeated, alpha is dropped and not composited."""
        if self.pixels.shape[2] == 1:
            return np.repeat(self.pixels, 3, axis=2)
        return np.ascontiguousarray(self.pixels[..., :3])

    def in_own_space(self) -> NDArray[np.uint8]:
        """Return uint8 (H, W, 3) as `rgb`, but in the colour space of `profile` if there is one."""
        return self.rgb() if self._unconverted is None else np.asarray(self._unconverted.convert("RGB"))


ImageInput: TypeAlias = (
    str
    | os.PathLike[str]
    | bytes
    | bytearray
    | memoryview
    | IO[bytes]
    | Image.Image
    | NDArray[Any]
    | Tensor
    | Mapping[str, Any]
    | DecodedImage
)


def decode(
    source: ImageInput, *, timeout: float = TIMEOUT, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS
) -> DecodedImage:
    """Read one image.

    Args:
        source: A path; a "file:", "http:", "https:" or "data:" URL; the bytes of an image file; a binary file
            object (read from where it stands, not closed); a PIL image (its EXIF orientation is applied); a
            numpy array (H, W) or (H, W, C), or a torch tensor (H, W) or (C, H, W), with C being 1, 3 (RGB) or
            4 (RGBA), as uint8, bool, or floats in [0, 1]; a `datasets.Image` dict ("bytes" win over "path"); or what
            this function returned, as it is.
        timeout: Seconds that a download may take.
        max_bytes: Most bytes to take from a URL or a file object.
        max_pixels: Most pixels (width x height) of an encoded or PIL image, checked before they are decoded.

    Returns:
        The image, uint8 (H, W, C).

    Raises:
        ImageError: The source is not an image that can be read; the message names it and says why.
    """
    if isinstance(source, DecodedImage):
        return source
    name = name_of(source)
    limits = Limits(name, max_pixels)
    if isinstance(source, Image.Image):
        limits.check(*source.size)
        if isinstance(source, ImageFile.ImageFile) and source.tile and source.format in _UNSAFE:
            raise unreadable(name, f"{source.format} may start a program; if you trust it, call its load() first")
        return decode_opened(source, limits, own_file=False)
    if isinstance(source, np.ndarray):
        return DecodedImage(from_array(source, name, channels_first=False), name)
    if is_tensor(source):
        return DecodedImage(from_array(from_tensor(source, name), name, channels_first=True), name)
    with open_stream(source, name, timeout, max_bytes) as stream:
        animated = _is_animated(stream)
        image = decode_opened(open_image(stream, limits), limits, own_file=True)
    return replace(image, animated=True) if animated else image


_UNSAFE: Final = ("EPS", "WMF", "IPTC", "FPX", "MIC")  # or what is nested in them


def _is_animated(stream: IO[bytes]) -> bool:
    try:
        return is_animated(stream)
    except (OSError, ContainerError):  # `open_image` says what is wrong
        return False


def decode_opened(image: Image.Image, limits: Limits, *, own_file: bool) -> DecodedImage:
    """Decode an opened image, or the frame at which it is.

    Args:
        image: What `open_image` returned, or the caller's own.
        limits: What it may have.
        own_file: Whether it was opened here.

    Raises:
        ImageError: It is damaged, or beyond the limits.
    """
    name = limits.name
    try:
        decoded = loaded(image)
        limits.check(*decoded.size)
        exif = exif_of(image, own_file=own_file)
        dpi = dpi_of(image, exif)
        image = upright(decoded, exif)
        if image.mode.startswith("I"):
            return DecodedImage(high_bytes(image, decoded, name), name, exif=exif, dpi=dpi)
        if image.mode == "F":
            raise unreadable(name, "PIL mode F has no set range; scale it to 0..255 and convert it to 'L'")
        pixels = np.asarray(eight_bit(image))
    except ImageError:
        raise
    except Exception as error:  # readers of broken files raise nearly anything
        raise damaged(error, name) from error
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if has_own_space(image):
        return DecodedImage(pixels, name, image.info["icc_profile"], exif, dpi, _unconverted=image)
    return DecodedImage(pixels, name, exif=exif, dpi=dpi)
