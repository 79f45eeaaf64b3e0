"""Pixels: an opened PIL image -> upright uint8 in sRGB, with the channels of Transformers.js' `RawImage` in Node."""

from __future__ import annotations

import io
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile
from PIL.ExifTags import Base

from transformers_foreground.images.cmyk import cmyk_to_rgb
from transformers_foreground.images.color_profiles import srgb_profile
from transformers_foreground.images.sources import unreadable
from transformers_foreground.images.tiff import is_sound_exif

_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_MIN_IS_WHITE: Final = 0
_BROKEN_PROFILE: Final = (ImageCms.PyCMSError, OSError, TypeError, ValueError)  # the last: names that are no ASCII


def exif_of(image: Image.Image, *, own_file: bool) -> Image.Exif | None:
    """Return an image's EXIF data, if it has any that can be read within its own length.

    Args:
        image: Opened.
        own_file: Whether it was opened here. Then an orientation in XMP does not count, as it does not in Node.
    """
    if own_file:
        image.info.pop("xmp", None)
    exif = image.info.get("exif")
    if isinstance(exif, bytes) and not is_sound_exif(exif):
        return None
    try:
        found = image.getexif()
        found.get(Base.Orientation)  # values are read when they are asked for
        return found or None
    except Exception:  # broken EXIF data is no reason to refuse the image
        return None


def upright(image: Image.Image, exif: Image.Exif | None) -> Image.Image:
    """Apply the orientation."""
    # Not ImageOps.exif_transpose: it copies upright images too, and rewrites EXIF data, which may fail.
    orientation = exif.get(Base.Orientation) if exif else None
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def loaded(image: Image.Image) -> Image.Image:
    """Decode; of a GIF in Node's channels and colours: nothing lies under transparency or beyond the frame."""
    kind, box = image.format, image.tile[0][1] if isinstance(image, ImageFile.ImageFile) and image.tile else None
    if kind == "TIFF" and getattr(image, "_im", image) is None and (whole := getattr(image, "_tile_size", None)):
        # Else Pillow 12 refuses, or warns, by a limit of its own.
        image.im = Image.core.new(image.mode, whole)  # type: ignore[attr-defined]
    image.load()
    if kind == "AVIF" and image.mode in ("L", "LA"):
        return _with_info(image.convert("RGB" if image.mode == "L" else "RGBA"), image)
    if kind != "GIF" or not box:
        return image
    has_alpha = image.has_transparency_data
    shown = image.convert("RGBA" if has_alpha else "RGB")
    if not has_alpha and box == (0, 0, *image.size):
        return _with_info(shown, image)
    pixels, (left, top, right, bottom) = np.array(shown), box
    pixels[:top] = pixels[bottom:] = pixels[:, :left] = pixels[:, right:] = 0
    if has_alpha:
        pixels[pixels[..., 3] == 0] = 0
    return _with_info(Image.fromarray(pixels), image)


def _with_info(made: Image.Image, image: Image.Image) -> Image.Image:
    made.info = {key: value for key, value in image.info.items() if key != "transparency"}
    return made


def high_bytes(image: Image.Image, as_opened: Image.Image, name: str) -> NDArray[np.uint8]:
    """Bring 12-, 16- and 32-bit gray to (H, W, 1) by its highest 8 bits, as Node does.

    Args:
        image: Upright.
        as_opened: The same before it was turned, with the tags that a TIFF has.
        name: How messages call it.

    Raises:
        ImageError: Values beyond 0..65535.
    """
    plane = np.asarray(image)
    if plane.dtype.itemsize > 2 and (plane.min() < 0 or plane.max() > 65535):
        raise unreadable(name, "its 32-bit values go beyond 0..65535; scale it to 0..255, convert it to 'L'")
    tags = getattr(as_opened, "tag_v2", {})
    twelve = tags.get(Base.BitsPerSample, (16,))[0] == 12
    high = (plane >> (4 if twelve else 8)).astype(np.uint8)
    if tags.get(Base.PhotometricInterpretation) == _MIN_IS_WHITE:
        high = 255 - high
    return high[..., None]


def has_own_space(image: Image.Image) -> bool:
    """Whether an image was in RGB by an ICC profile of its own."""
    profile = image.info.get("icc_profile")
    return bool(profile) and image.mode in ("RGB", "RGBA") and _space(profile) == "RGB"


def _space(profile: Any) -> str:
    """Return an ICC profile's colour space, such as "RGB" or "GRAY"; empty if it cannot be read."""
    try:
        return str(ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.xcolor_space.strip())
    except _BROKEN_PROFILE:
        return ""


def eight_bit(image: Image.Image) -> Image.Image:
    """Bring any 8-bit mode to L, RGB or RGBA in sRGB."""
    profile = image.info.get("icc_profile")
    if image.mode == "CMYK":
        converted = _converted(image, profile)
        return (cmyk_to_rgb(image) if converted is None else converted).convert("RGBA")  # four channels in Node too
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        image = image if image.mode == "RGBA" else image.convert("RGBA")
        if not profile:
            return image
        alpha, image = image.getchannel("A"), _to_srgb(image.convert("RGB"), profile)
        image.putalpha(alpha)
        return image
    if image.mode in ("1", "L"):
        image = image.convert("L")
        converted = _converted(image, profile) if _space(profile) == "GRAY" else None
        return image if converted is None else converted.getchannel("G")
    return _to_srgb(image, profile)


def _to_srgb(image: Image.Image, profile: Any) -> Image.Image:
    image = image if image.mode == "RGB" else image.convert("RGB")
    converted = _converted(image, profile)
    return image if converted is None else converted


def _converted(image: Image.Image, profile: Any) -> Image.Image | None:
    """Convert to sRGB; `None` without a profile, or, as in Node, with one that is broken or for another mode."""
    if not profile:
        return None
    try:
        source, target = (ImageCms.ImageCmsProfile(io.BytesIO(p)) for p in (profile, srgb_profile()))
        return ImageCms.profileToProfile(image, source, target, ImageCms.Intent.PERCEPTUAL, "RGB")
    except _BROKEN_PROFILE:
        return None
