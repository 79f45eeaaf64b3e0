"""Cutouts: an image and its mask, made into what people keep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transformers_foreground.compositing import backgrounds, foreground_colors
from transformers_foreground.compositing.frame import Frame, Room
from transformers_foreground.compositing.mask_edits import MaskEdits
from transformers_foreground.compositing.mask_input import read_mask
from transformers_foreground.compositing.region import pixels_or_share
from transformers_foreground.errors import UnsupportedOptionError
from transformers_foreground.images.alpha import put_alpha
from transformers_foreground.images.boxes import shrunk
from transformers_foreground.images.decode import ImageInput, decode
from transformers_foreground.images.exif import kept_exif
from transformers_foreground.option_names import check_names

Pixels = NDArray[np.uint8]
P = ParamSpec("P")


def _with_known_options(function: Callable[P, Image.Image]) -> Callable[P, Image.Image]:
    """Refuse an option that the function does not have with an error that lists those it has."""

    @wraps(function)
    def checked(*args: P.args, **options: P.kwargs) -> Image.Image:
        check_names(options.keys() - {"image", "mask"}, function)
        return function(*args, **options)

    return checked


@_with_known_options
def cutout(
    image: ImageInput,
    mask: ImageInput,
    *,
    background: Any = None,
    decontaminate: bool = True,
    crop: bool = False,
    pad: int | float | str | Sequence[int | float | str] = 0,
    square: bool = False,
    shadow: bool = False,
    max_size: int | None = None,
    threshold: float | None = None,
    keep: str | float | None = None,
    fill_holes: bool = False,
    roi: str | Sequence[int | float | str] | None = None,
    ignore_alpha: bool = False,
    premultiplied: bool = False,
    keep_hidden: bool = False,
) -> Image.Image:
    """Cut an image out, or lay it on a new background.

    Examples:
        >>> mask = segmenter("photo.jpg", subtask="foreground-extraction")[0]["mask"]
        >>> cutout("photo.jpg", mask, background="white", crop=True, pad=0.1).save("product.png")

    Args:
        image: The image, in any form that `images.decode` takes.
        mask: Its mask: a PIL image of mode "L", an array (H, W), or the path of one; or what a pipeline gave for the
            image. Of an RGBA image, the alpha. A mask that holds only 0 and 1, also with a palette or in 16 bits, is
            taken for 0 and 255.
        background: `None` for none; a colour (`"white"`, `"#ff8800"`, `(255, 136, 0)`); an image, which is scaled to
            cover, in any form that `image` may have; or `"blur"`, the image's own background, blurred.
        decontaminate: Give soft edges the foreground's own colours, so that they drag none of the old background along.
            See `foreground_colors.decontaminate`.
        crop: Crop to what is visible.
        pad: Room to add on each side: pixels (12, `"12"`), or a share (0.1, `"10%"`) of the longer side (of the
            object's, if cropped); or four of these: top, right, bottom, left. Beyond the image's border there is
            nothing, or the new background.
        shadow: Lay a soft shadow below the object.
        square: Make the result a square, with the object in its middle: room is added on two sides, after `pad`.
        max_size: Shrink to this many pixels at the longer side, before room is added.
        threshold: Make the mask hard: opaque where alpha is at least this share (0.5), else empty.
        keep: Which connected parts of the mask stay: `"largest"`, or all of at least a share of the largest one's size
            (`"5%"`, 0.05). The others, such as specks, go.
        fill_holes: Make opaque what the object encloses on all sides.
        roi: Look only there: (left, top, width, height), or a string of these with commas, each in pixels (12), or as a
            share of the image's width or height (0.1, `"10%"`). Outside, nothing is foreground.
        ignore_alpha: Replace the image's own alpha with the mask. By default they are multiplied, so that what was
            erased before stays erased.
        premultiplied: Return colours multiplied by alpha, as Pillow's mode "RGBa", for programs that want them so.
        keep_hidden: Keep the old colours also where alpha is 0. By default nothing of the background hides there.

    Returns:
        A PIL image: mode "RGBA" with straight alpha ("RGBa" if `premultiplied`), or "RGB" with a background. Its
        `info` has the image's ICC profile, where the colours are still in it, its resolution (`dpi`), and its time,
        camera, author, copyright and description as EXIF.

    Raises:
        ImageError: An image cannot be read; the mask is not of the image's size, has colours, or holds labels; `roi`
            lies outside the image; or with its room the result would have more than 200 million pixels.
        UnsupportedOptionError: An option has a value that cannot be honoured.
    """
    pad = pad_of(pad)
    _check(background, max_size, premultiplied)
    edits = MaskEdits.of(threshold=threshold, keep=keep, fill_holes=fill_holes, roi=roi, ignore_alpha=ignore_alpha)
    decoded = decode(image)
    # A colour or another image is in sRGB; without one, or with itself blurred, the image stays in its own space.
    own_colours = background is None or (isinstance(background, str) and background == "blur")
    rgb = decoded.in_own_space() if own_colours else decoded.rgb()
    alpha = edits.apply(read_mask(mask, decoded), decoded, max_size)
    if max_size is not None:
        rgb = shrunk(rgb, max_size)
    colours = foreground_colors.decontaminate(rgb, alpha) if decontaminate else rgb
    if crop or pad or square:
        frame = Frame.of(alpha, crop=crop, pad=pad, square=square, shadow=shadow)
        frame.check(decoded.name)
        rgb, colours, alpha = (frame.cut(plane) for plane in (rgb, colours, alpha))
    result = _composed(rgb, colours, alpha, background, shadow, keep_hidden)
    if premultiplied:
        result = result.convert("RGBa")
    if own_colours and decoded.profile:
        result.info["icc_profile"] = decoded.profile
    if exif := kept_exif(decoded.exif):
        result.info["exif"] = exif
    if decoded.dpi:
        result.info["dpi"] = decoded.dpi
    return result


def pad_of(pad: int | float | str | Sequence[int | float | str]) -> Room:
    """Read the room to add: pixels (12, `"12"`), or a share of the longer side (0.1, `"10%"`); or four of these.

    Returns:
        Pixels as an int, or a share as a float; or four of these for top, right, bottom and left.

    Raises:
        UnsupportedOptionError: It is neither, or beyond 10,000 pixels or five times the side.
    """
    if isinstance(pad, (tuple, list)) and len(pad) == 4 and not any(isinstance(side, (tuple, list)) for side in pad):
        return cast("Room", tuple(pad_of(side) for side in pad))
    room: Any = pad
    if isinstance(pad, str):
        room = pixels_or_share(pad)
    known = isinstance(room, (int, float)) and not isinstance(room, bool)
    if not known or not 0 <= room <= (5.0 if isinstance(room, float) else 10_000):
        raise UnsupportedOptionError(
            f"pad={pad!r}: use pixels (12), or a share of the longer side (10%, in Python also 0.1), up to 500%."
        )
    return cast("int | float", room)


def _check(background: Any, max_size: int | None, premultiplied: bool) -> None:
    if max_size is not None and (isinstance(max_size, bool) or not isinstance(max_size, int) or max_size < 1):
        raise UnsupportedOptionError(f"max_size={max_size!r}: use a whole number of pixels, or None.")
    if premultiplied and background is not None:
        raise UnsupportedOptionError("premultiplied=True is for cut-outs; with a background there is no alpha.")


def _composed(
    rgb: Pixels, colours: Pixels, alpha: Pixels, background: Any, shadow: bool, keep_hidden: bool
) -> Image.Image:
    """Lay the object over its shadow, and both over the background, where there are such."""
    shade = backgrounds.shadow_of(alpha) if shadow else None
    if background is not None:
        behind = backgrounds.background_for(background, rgb, alpha)
        if shade is not None:
            behind = backgrounds.over(np.zeros_like(colours), shade, behind)
        return Image.fromarray(backgrounds.over(colours, alpha, behind))
    if shade is not None:  # black below straight colours: theirs is the share that alpha has of the whole
        whole = alpha + ((255 - alpha.astype(np.uint16)) * shade + 127) // 255
        share = alpha.astype(np.float32) / np.maximum(whole, 1)
        colours, alpha = np.rint(colours * share[..., None]).astype(np.uint8), whole.astype(np.uint8)
    return put_alpha(colours, alpha, keep_hidden=keep_hidden)
