"""Composition: a cut-out on a colour, on an image, on its own blurred background; its shadow; its crop.

All arithmetic is on the encoded (gamma) values, as in browsers and image editors.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageFilter, ImageOps

from transformers_foreground.errors import ImageError, UnsupportedOptionError
from transformers_foreground.images.boxes import bounds, within
from transformers_foreground.images.decode import decode

Pixels = NDArray[np.uint8]

_BLUR_SIZE: Final = 512  # a blurred image has no detail that a small one could not show
_BLUR: Final = 0.02  # standard deviation, of the longer side
_SHADOW_BLUR: Final = 0.012  # standard deviation, of the longer side
_SHADOW_BELOW: Final = 0.024  # of the longer side: as far as the blur spreads, so that no shadow shows above the object
_SHADOW_ALPHA: Final = 0.4
VISIBLE: Final = 13  # of 255, 5 %: what is fainter neither counts for the crop nor joins parts of a mask
_SHADOWED: Final = 2  # of 255: what is fainter of a shadow, nobody sees


def background_for(choice: Any, rgb: Pixels, mask: Pixels) -> Pixels:
    """Make the new background.

    Args:
        choice: `"blur"`; a colour, as (red, green, blue) or as a string that Pillow's `ImageColor` knows (`"white"`,
            `"#ff8800"`, `"rgb(0, 128, 255)"`); or an image in any form that `images.decode` takes, which is scaled to
            cover, and its middle taken; or what `background_image` returned. A file named like a colour: `"./red"`.
        rgb: The image, uint8, (H, W, 3): its background is what `"blur"` blurs.
        mask: Alpha, uint8, (H, W).

    Returns:
        uint8, (H, W, 3).

    Raises:
        UnsupportedOptionError: A colour with alpha or with impossible values.
        ImageError: The image cannot be read; or a string is neither a colour nor a file.
    """
    height, width = mask.shape
    if isinstance(choice, str) and choice == "blur":
        return _blurred(rgb, mask)
    colour = colour_of(choice)
    if colour is not None:
        return np.broadcast_to(np.array(colour, np.uint8), (height, width, 3))
    background = choice if isinstance(choice, Background) else background_image(choice)
    return np.asarray(ImageOps.fit(background.image, (width, height), Image.Resampling.LANCZOS))


@dataclass(frozen=True, eq=False)
class Background:
    """A background that is an image: read once, and in memory once, for many results.

    Attributes:
        image: Mode "RGB". Not to be changed.
    """

    image: Image.Image


def background_image(choice: Any) -> Background:
    """Read a background that is an image.

    Args:
        choice: As for `background_for`, but neither a colour nor `"blur"`.

    Raises:
        ImageError: It cannot be read; of a string, the message says what else it might have been.
    """
    if isinstance(choice, str) and ":" not in choice and not os.path.exists(choice):
        hint = f"; a colour is written #{choice}" if re.fullmatch(r"[0-9a-fA-F]{6}", choice) else ""
        raise ImageError(
            f"background={choice!r} is neither a colour ('white', '#ff8800'), nor 'blur', nor a file that is there"
            f"{hint}."
        )
    return Background(Image.fromarray(decode(choice).rgb()))


def colour_of(choice: Any) -> tuple[int, int, int] | None:
    """Return the colour that a background is, or `None` if it is none.

    Args:
        choice: As for `background_for`.

    Raises:
        UnsupportedOptionError: A colour with alpha or with impossible values.
    """
    values: Any = choice
    if isinstance(choice, str):
        try:
            values = ImageColor.getrgb(choice)
        except ValueError:
            return None
    elif not isinstance(choice, (tuple, list)):
        return None
    if len(values) != 3 or not all(isinstance(value, int) and 0 <= value <= 255 for value in values):
        raise UnsupportedOptionError(
            f"background={choice!r}: a colour is opaque, as '#rrggbb', a name, or (red, green, blue) from 0 to 255."
        )
    return values[0], values[1], values[2]


def _blurred(rgb: Pixels, mask: Pixels) -> Pixels:
    """Blur what is behind the object, and not the object, which would shine around itself: blur((1−α)I) / blur(1−α)."""
    height, width = mask.shape
    size = within(width, height, _BLUR_SIZE)
    behind = Image.fromarray(rgb).resize(size, Image.Resampling.BOX)
    behind.putalpha(Image.fromarray(255 - mask).resize(size, Image.Resampling.BOX))
    deviation = _BLUR * max(size)
    premultiplied = np.asarray(behind.convert("RGBa"))
    # Twice: close to the object, and, for its middle, where nothing of the background is near, from far away.
    total = np.zeros((size[1], size[0], 4), np.float32)
    for reach, weight in ((1, 1.0), (8, 1e-2)):
        blurred = Image.fromarray(premultiplied, "RGBa").filter(ImageFilter.GaussianBlur(reach * deviation))
        total += np.float32(weight) * np.asarray(blurred, np.float32)
    mean = np.asarray(behind.convert("RGB"), np.float32).mean(axis=(0, 1))
    colours = np.where(total[..., 3:] > 0.01, 255 * total[..., :3] / np.maximum(total[..., 3:], 0.01), mean)
    small = Image.fromarray(np.clip(np.rint(colours), 0, 255).astype(np.uint8))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def over(rgb: Pixels, mask: Pixels, background: Pixels) -> Pixels:
    """Lay a cut-out over a background: `αF + (1 − α)B`, rounded (Porter and Duff's *over*, SIGGRAPH 1984).

    Args:
        rgb: Straight colours, uint8, (H, W, 3).
        mask: Alpha, uint8, (H, W).
        background: uint8, (H, W, 3).
    """
    front, behind = Image.fromarray(rgb), Image.fromarray(np.ascontiguousarray(background))
    return np.asarray(Image.composite(front, behind, Image.fromarray(mask)))


def shadow_of(mask: Pixels) -> Pixels:
    """Return the alpha of a soft shadow, a little below the object.

    Args:
        mask: Alpha, uint8, (H, W).

    Returns:
        uint8, (H, W): up to 40 % where the object is dense.
    """
    height, width = mask.shape
    size = within(width, height, _BLUR_SIZE)
    below = _SHADOW_BELOW * max(size)
    small = Image.fromarray(mask).resize(size, Image.Resampling.BOX)
    small = small.transform(size, Image.Transform.AFFINE, (1, 0, 0, 0, 1, -below), Image.Resampling.BILINEAR)
    small = small.filter(ImageFilter.GaussianBlur(_SHADOW_BLUR * max(size))).point(lambda level: level * _SHADOW_ALPHA)
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def box_of(mask: Pixels, shadow: Pixels | None = None) -> tuple[slice, slice]:
    """Find the rows and columns where something is to be seen; all of them if nothing is.

    Args:
        mask: Alpha, uint8, (H, W). Below 5 % does not count.
        shadow: As `mask`, but fainter counts.
    """
    seen = mask >= VISIBLE
    if shadow is not None:
        seen |= shadow >= _SHADOWED
    return bounds(seen) or (slice(0, mask.shape[0]), slice(0, mask.shape[1]))
