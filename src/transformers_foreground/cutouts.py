"""Cutouts: a picture and its mask, made into what people keep."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transformers_foreground import composition, decontamination, refinement
from transformers_foreground.errors import ImageError, UnsupportedOptionError
from transformers_foreground.geometry import within
from transformers_foreground.images import DecodedImage, ImageInput, decode
from transformers_foreground.metadata import kept_exif
from transformers_foreground.output import put_alpha, without_hidden
from transformers_foreground.refinement import Refinement

Pixels = NDArray[np.uint8]


def cutout(
    image: ImageInput,
    mask: ImageInput,
    *,
    background: Any = None,
    decontaminate: bool = True,
    refine: Refinement | None = None,
    crop: bool = False,
    pad: int | float | str = 0,
    shadow: bool = False,
    max_size: int | None = None,
    premultiplied: bool = False,
    keep_hidden: bool = False,
) -> Image.Image:
    """Cut a picture out, or lay it on a new background.

    Example:
        >>> mask = segmenter("photo.jpg", subtask="foreground-extraction")[0]["mask"]
        >>> cutout("photo.jpg", mask, background="white", crop=True, pad=0.1).save("product.png")

    Args:
        image: The picture, in any form that `images.decode` takes.
        mask: Its mask: a PIL image of mode "L", an array (H, W), or the path of one; or what a pipeline gave for the
            picture. Of an RGBA picture, the alpha.
        background: `None` for none; a colour (`"white"`, `"#ff8800"`, `(255, 136, 0)`); a picture, which is scaled to
            cover, in any form that `image` may have; or `"blur"`, the picture's own background, blurred.
        decontaminate: Give soft edges the foreground's own colours, so that they drag none of the old background along.
            See `decontamination.decontaminate`.
        refine: `"guided"` or `"closed-form"`: decide the mask's edge anew. See `refinement.refine`.
        crop: Crop to what is visible.
        pad: Room to add on each side: pixels (12, `"12"`), or a share (0.1, `"10%"`) of the longer side (of the
            object's, if cropped). Beyond the picture's border there is nothing, or the new background.
        shadow: Lay a soft shadow below the object.
        max_size: Shrink to this many pixels at the longer side, before room is added.
        premultiplied: Return colours multiplied by alpha, as Pillow's mode "RGBa", for programs that want them so.
        keep_hidden: Keep the old colours also where alpha is 0. By default nothing of the background hides there.

    Returns:
        A PIL image: mode "RGBA" with straight alpha ("RGBa" if `premultiplied`), or "RGB" with a background. Its
        `info` has the picture's ICC profile, where the colours are still in it, and its time, camera, author,
        copyright and description as EXIF.

    Raises:
        ImageError: A picture cannot be read, or the mask is not of the picture's size.
        UnsupportedOptionError: An option has a value that cannot be honoured.
        MissingExtraError: `refine="closed-form"` needs the extra [matting].
    """
    pad = pad_of(pad)
    _check(background, max_size, premultiplied)
    picture = decode(image)
    # A colour or another picture is in sRGB; without one, or with itself blurred, the picture stays in its own space.
    own_colours = background is None or (isinstance(background, str) and background == "blur")
    rgb = picture.in_own_space() if own_colours else picture.rgb()
    alpha = _alpha(mask, picture)
    if max_size is not None and max(alpha.shape) > max_size:
        rgb, alpha = _shrunk(rgb, max_size), _shrunk(alpha, max_size)
    if refine is not None:
        alpha = refinement.refine(rgb, alpha, refine)
    colours = decontamination.decontaminate(rgb, alpha) if decontaminate else rgb
    if crop or pad:
        box = slice(0, alpha.shape[0]), slice(0, alpha.shape[1])
        if crop:
            box = composition.box_of(alpha, composition.shadow_of(alpha) if shadow else None)
        longer = max(side.stop - side.start for side in box)
        room = round(pad * longer) if isinstance(pad, float) else pad
        rgb, colours, alpha = (_framed(plane, box, room) for plane in (rgb, colours, alpha))
    result = _composed(rgb, colours, alpha, background, shadow, keep_hidden)
    if premultiplied:
        result = result.convert("RGBa")
    if own_colours and picture.profile:
        result.info["icc_profile"] = picture.profile
    if exif := kept_exif(picture.exif):
        result.info["exif"] = exif
    return result


def pad_of(pad: int | float | str) -> int | float:
    """Read the room to add on each side: pixels (12, `"12"`), or a share of the longer side (0.1, `"10%"`).

    Returns:
        Pixels as an int, or a share as a float.

    Raises:
        UnsupportedOptionError: It is neither, or beyond 10,000 pixels or five times the side.
    """
    room: Any = pad
    if isinstance(pad, str):
        match = re.fullmatch(r"(\d+)|(\d+\.?\d*|\.\d+) ?%", pad.strip(), re.ASCII)
        room = match and (int(match[1]) if match[1] else float(match[2]) / 100)
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


def _alpha(mask: Any, picture: DecodedImage) -> Pixels:
    """Return the mask's plane, uint8, (H, W)."""
    if isinstance(mask, list) and len(mask) == 1:  # a pipeline's whole result
        mask = mask[0]
    if isinstance(mask, Mapping):
        mask = mask.get("mask", mask)
    decoded = decode(mask)
    if decoded.pixels.shape[2] == 3:
        raise ImageError(f"The mask {decoded.name} has colours; give a gray picture, or one with alpha.")
    if decoded.pixels.shape[:2] != picture.pixels.shape[:2]:
        raise ImageError(
            f"The mask of {picture.name} is {decoded.width}x{decoded.height}, and the picture is "
            f"{picture.width}x{picture.height} when upright. Give the mask that was made of it."
        )
    return decoded.pixels[..., -1]


def _shrunk(pixels: Pixels, max_size: int) -> Pixels:
    image = Image.fromarray(pixels)
    return np.asarray(image.resize(within(*image.size, max_size), Image.Resampling.LANCZOS, reducing_gap=3.0))


def _framed(pixels: Pixels, box: tuple[slice, slice], room: int) -> Pixels:
    """Cut out a box with some room around it. Beyond the border the picture is mirrored, and there is no alpha."""
    before = [min(room, side.start) for side in box]
    after = [min(room, length - side.stop) for side, length in zip(box, pixels.shape, strict=False)]
    inside = tuple(slice(side.start - b, side.stop + a) for side, b, a in zip(box, before, after, strict=True))
    beyond = [(room - b, room - a) for b, a in zip(before, after, strict=True)]
    if pixels.ndim == 2:
        return np.pad(pixels[inside], beyond)
    return np.pad(pixels[inside], [*beyond, (0, 0)], mode="symmetric")


def _composed(
    rgb: Pixels, colours: Pixels, alpha: Pixels, background: Any, shadow: bool, keep_hidden: bool
) -> Image.Image:
    """Lay the object over its shadow, and both over the background, where there are such."""
    shade = composition.shadow_of(alpha) if shadow else None
    if background is not None:
        behind = composition.background_for(background, rgb, alpha)
        if shade is not None:
            behind = composition.over(np.zeros_like(colours), shade, behind)
        return Image.fromarray(composition.over(colours, alpha, behind))
    if not keep_hidden:
        colours = without_hidden(colours, alpha)
    if shade is not None:  # black below straight colours: theirs is the share that alpha has of the whole
        whole = alpha + ((255 - alpha.astype(np.uint16)) * shade + 127) // 255
        share = alpha.astype(np.float32) / np.maximum(whole, 1)
        colours, alpha = np.rint(colours * share[..., None]).astype(np.uint8), whole.astype(np.uint8)
    return put_alpha(colours, alpha)
