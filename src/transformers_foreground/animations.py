"""Animations: every frame of a GIF, WebP, PNG or AVIF file cut out, and written as one that plays as before."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transformers_foreground.atomic_write import whole_file
from transformers_foreground.compositing.cutout import cutout
from transformers_foreground.compositing.smoothing import WEIGHT, check_weight, smooth
from transformers_foreground.errors import ForegroundError, UnsupportedOptionError
from transformers_foreground.images import animated
from transformers_foreground.images.alpha import to_mask
from transformers_foreground.images.decode import DecodedImage, ImageInput
from transformers_foreground.images.frames import Animation, Frame, open_animation
from transformers_foreground.segmenter import Foreground, Segmenter

Render = Callable[[DecodedImage, NDArray[np.uint8]], Image.Image]
"""Makes a frame of the result, of the image and its smoothed mask, uint8, (H, W). All are of one size and mode."""


@dataclass(frozen=True, eq=False)
class CutFrame:
    """A frame that is done.

    Attributes:
        image: What `Render` made.
        milliseconds: How long it is shown.
        foreground: What the model gave.
        mask: The smoothed mask, uint8, (H, W).
    """

    image: Image.Image
    milliseconds: float
    foreground: Foreground
    mask: NDArray[np.uint8]


def cut_frames(
    animation: Animation, segmenter: Segmenter, render: Render, *, weight: float = WEIGHT
) -> Generator[CutFrame, None, None]:
    """Cut out each frame; only a few are read ahead. Close it, so that nothing goes on in other threads.

    Args:
        animation: The opened file.
        segmenter: The model.
        render: Makes the result's frames.
        weight: See `smoothing.smooth`.

    Raises:
        ForegroundError: A frame cannot be read, or the model failed.
    """

    def good(outcomes: Iterator[Any]) -> Iterator[tuple[Frame, Foreground]]:
        for outcome in outcomes:
            if isinstance(outcome, ForegroundError):
                raise outcome
            yield outcome

    steps = segmenter.steps(
        read=lambda frame: frame.image,
        then=lambda frame, foreground: (frame, foreground),
        weigh=lambda frame: 8 * frame.image.pixels.size,
    )
    with closing(segmenter.stream(animation, steps)) as outcomes:
        ours, for_masks = itertools.tee(good(outcomes))
        masks = smooth((foreground.mask for _, foreground in for_masks), weight)
        for (frame, foreground), mask in zip(ours, masks, strict=True):
            yield CutFrame(render(frame.image, mask), frame.milliseconds, foreground, mask)


def cutout_animation(
    image: ImageInput,
    output: str | Path,
    segmenter: Any,
    *,
    quality: int | None = None,
    weight: float = WEIGHT,
    on_frame: Callable[[int, int], None] | None = None,
    **options: Any,
) -> int:
    """Cut out every frame of an animation, and write an animation with the same timing and loop.

    Only a few frames are in memory, however many there are. The file has its name only when all of it is written.

    Examples:
        >>> segmenter = pipeline("image-segmentation", "imgly/isnet-general-use")
        >>> cutout_animation("dance.gif", "dance.cutout.webp", segmenter)
        24

    Args:
        image: A GIF, WebP, PNG or AVIF file: a path, a URL, bytes or a file object.
        output: A file that ends with `.webp`, `.png`, `.apng` or `.gif`. GIF has no soft edges, and 255 colours.
        segmenter: A `Segmenter`, or what `pipeline` returned.
        quality: Of WebP, 1 to 100; it is lossless without.
        weight: How much a new mask counts against those before it, which calms flickering edges; 1 is no smoothing.
        on_frame: Called after each frame with how many are done, and of how many.
        options: Those of `cutout`, except `crop`, which would give each frame another size, and `premultiplied`.

    Returns:
        How many frames there are.

    Raises:
        ImageError: A frame cannot be read (the message has its number), or the format cannot hold the result.
        UnsupportedOptionError: An option has a value that cannot be honoured.
    """
    output = Path(output)
    kind = animated.kind_of(output)
    if kind is None:
        raise UnsupportedOptionError(f"{output}: an animation's name ends with .webp, .png, .apng or .gif.")
    for name in ("crop", "premultiplied"):
        if options.get(name):
            raise UnsupportedOptionError(f"{name}={options[name]!r}: animations have no such option.")
    if isinstance(image, str | os.PathLike) and os.path.exists(image) and output.exists() and output.samefile(image):
        raise UnsupportedOptionError(f"{output} is the animation itself, which would be lost: choose another name.")
    animated.check(kind, quality)
    check_weight(weight)

    def render(frame: DecodedImage, mask: NDArray[np.uint8]) -> Image.Image:
        return cutout(frame, to_mask(mask), **options)

    with open_animation(image) as animation, whole_file(output) as file:
        done = itertools.count(1)

        engine = getattr(segmenter, "segmenter", segmenter)

        def frames() -> Generator[tuple[Image.Image, float], None, None]:
            with closing(cut_frames(animation, engine, render, weight=weight)) as cut:
                for frame in cut:
                    yield frame.image, frame.milliseconds
                    if on_frame is not None:
                        on_frame(next(done), animation.count)

        with seekable(file) as target, closing(frames()) as made:
            animated.write_animation(target, made, kind, count=animation.count, plays=animation.plays, quality=quality)
    return animation.count


@contextmanager
def seekable(file: IO[bytes], *, at_once: bool = False) -> Iterator[IO[bytes]]:
    """Return a file that can be written out of order: itself, or one whose contents go into a pipe at the end.

    Args:
        file: Where the contents go.
        at_once: Write nothing to it before all of it is there.
    """
    if file.seekable() and not at_once:
        yield file
        return
    with tempfile.TemporaryFile() as temporary:
        yield temporary
        temporary.seek(0)
        shutil.copyfileobj(temporary, file)
        file.flush()
