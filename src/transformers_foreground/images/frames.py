"""Frames: an animated GIF, WebP, PNG or AVIF file -> its images, one after another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import IO, Any

import numpy as np
from PIL import Image

from transformers_foreground.errors import ImageError
from transformers_foreground.images.containers import count_gif_frames
from transformers_foreground.images.decode import (
    MAX_BYTES,
    MAX_PIXELS,
    TIMEOUT,
    DecodedImage,
    ImageInput,
    decode_opened,
)
from transformers_foreground.images.identify import Limits, damaged, open_image
from transformers_foreground.images.pixels import loaded
from transformers_foreground.images.sources import name_of, open_stream


@dataclass(frozen=True, eq=False)
class Frame:
    """One image of an animation.

    Attributes:
        image: Its pixels, as large as the whole animation, in sRGB.
        milliseconds: How long it is shown. Browsers show what says 10 or less for 100.
    """

    image: DecodedImage
    milliseconds: float


@dataclass(frozen=True, eq=False)
class Animation:
    """An opened animation. Iterating decodes one frame at a time; only one is in memory.

    Attributes:
        name: How messages call it.
        count: How many frames it has; 1 for a file that is no animation.
        plays: How often it is played; 0 for without end.
    """

    name: str
    count: int
    plays: int
    _opened: Image.Image
    _limits: Limits

    def __iter__(self) -> Iterator[Frame]:
        """Yield each frame.

        Raises:
            ImageError: One is damaged; the message has its number.
        """
        first = int(self._opened.info.get("default_image", False))  # of an APNG, for programs that play none
        size: tuple[int, int] | None = None
        for number in range(1, self.count + 1):
            try:
                self._opened.seek(first + number - 1)
                self._limits.check(*self._opened.size)
                image = self._frame(number)
            except Exception as error:  # readers of broken files raise nearly anything
                raise self._broken(number, error) from error
            size = size or (image.width, image.height)
            if size != (image.width, image.height):  # GIF may leave its canvas
                image = replace(image, pixels=_cropped(image, size))
            yield Frame(image, float(self._opened.info.get("duration", 0)))

    def _frame(self, number: int) -> DecodedImage:
        opened, is_gif = self._opened, self._opened.format == "GIF"
        if is_gif and number == 1:
            shown = loaded(opened)  # as the still image
        else:
            opened.load()
            shown = opened.copy()
        image = decode_opened(shown, self._limits, own_file=True)
        pixels = image.pixels
        if is_gif and pixels.shape[2] == 4:
            pixels = pixels * (pixels[..., 3:] > 0)
        name = f"{self.name}, frame {number}" if self.count > 1 else self.name
        return DecodedImage(pixels, name)

    def _broken(self, number: int, error: Exception) -> ImageError:
        if not isinstance(error, ImageError):
            error = damaged(error, self.name)
        return ImageError(f"{error} This is frame {number} of {self.count}.")


def _cropped(image: DecodedImage, size: tuple[int, int]) -> Any:
    pixels = image.pixels
    return np.asarray(Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).crop((0, 0, *size)))


@contextmanager
def open_animation(source: ImageInput) -> Iterator[Animation]:
    """Open an animation; a still image is one of a single frame.

    Args:
        source: A path, a URL, bytes or a binary file object, as for `decode`, and with its limits.

    Raises:
        ImageError: It cannot be read; the message names it and says why.
    """
    limits = Limits(name_of(source), MAX_PIXELS)
    with open_stream(source, limits.name, TIMEOUT, MAX_BYTES) as stream:
        opened = open_image(stream, limits, frames=True)
        try:
            count = _count(opened, stream)
        except Exception as error:  # readers of broken files raise nearly anything
            raise damaged(error, limits.name) from error
        yield Animation(limits.name, count, _plays(opened), opened, limits)


def _count(opened: Image.Image, stream: IO[bytes]) -> int:
    if opened.format == "GIF":
        stream.seek(0)
        return max(1, count_gif_frames(stream.read()))
    if opened.format not in ("WEBP", "PNG", "AVIF"):  # TIFF's pages are no animation
        return 1
    return max(1, int(getattr(opened, "n_frames", 1)) - bool(opened.info.get("default_image")))


def _plays(opened: Image.Image) -> int:
    """Return how often an animation plays. GIF counts how often it is repeated, and says nothing for once."""
    loop = int(opened.info.get("loop", 1 if opened.format == "GIF" else 0))
    return loop + 1 if opened.format == "GIF" and opened.info.get("loop") else loop
