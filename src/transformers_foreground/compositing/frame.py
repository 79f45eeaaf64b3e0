"""The frame of a cutout: cropped to the object, and with room around it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from transformers_foreground.compositing import backgrounds
from transformers_foreground.errors import ImageError
from transformers_foreground.images.decode import MAX_PIXELS

Pixels = NDArray[np.uint8]
Room = int | float | tuple[int | float, int | float, int | float, int | float]


@dataclass(frozen=True)
class Frame:
    """What of an image is kept, and what is added around it.

    Attributes:
        box: The rows and the columns that are kept.
        room: Pixels to add above and below, and left and right.
    """

    box: tuple[slice, slice]
    room: tuple[tuple[int, int], tuple[int, int]]

    @classmethod
    def of(
        cls, alpha: Pixels, *, crop: bool = False, pad: Room = 0, square: bool = False, shadow: bool = False
    ) -> Frame:
        """Find the frame of a mask, uint8, (H, W); the options are those of `cutout`."""
        box = slice(0, alpha.shape[0]), slice(0, alpha.shape[1])
        if crop:
            box = backgrounds.box_of(alpha, backgrounds.shadow_of(alpha) if shadow else None)
        sizes = [side.stop - side.start for side in box]
        longer = max(sizes)
        sides = pad if isinstance(pad, tuple) else (pad,) * 4
        top, right, bottom, left = (round(side * longer) if isinstance(side, float) else side for side in sides)
        wanted = [sizes[0] + top + bottom, sizes[1] + left + right]
        missing = [max(wanted) - size if square else 0 for size in wanted]
        rows, columns = (
            (before + less // 2, after + less - less // 2)
            for (before, after), less in zip(((top, bottom), (left, right)), missing, strict=True)
        )
        return cls(box, (rows, columns))

    def check(self, name: str) -> None:
        """Refuse to make an image that nobody could open again, of the image of that name.

        Raises:
            ImageError: It would have too many pixels.
        """
        height, width = (side.stop - side.start + sum(room) for side, room in zip(self.box, self.room, strict=True))
        if width * height > MAX_PIXELS:
            raise ImageError(
                f"{name}: with its room the result would have {width}x{height} pixels, more than {MAX_PIXELS}. Use "
                "less room (--pad, --square), or shrink it with max_size (--max-size)."
            )

    def cut(self, pixels: Pixels) -> Pixels:
        """Cut out pixels, (H, W) or (H, W, C). Beyond the border colours are mirrored, and alpha (H, W) is 0."""
        inside, beyond = [], []
        for side, length, (before, after) in zip(self.box, pixels.shape[:2], self.room, strict=True):
            start, stop = max(0, side.start - before), min(length, side.stop + after)
            inside.append(slice(start, stop))
            beyond.append((start - (side.start - before), side.stop + after - stop))
        part = pixels[tuple(inside)]
        return np.pad(part, beyond) if pixels.ndim == 2 else np.pad(part, [*beyond, (0, 0)], mode="symmetric")
