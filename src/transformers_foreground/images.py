"""Decode: anything that shows a picture -> uint8 pixels as Transformers.js' `RawImage.read` has them in Node.

Upright (EXIF orientation applied), in sRGB, first frame, with the channels of the file: 1, 3 or 4.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any, Final, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from .arrays import from_array, from_tensor
from .errors import ImageError
from .sources import name_of, open_stream, unreadable
from .srgb import srgb_profile

__all__ = ["MAX_BYTES", "MAX_PIXELS", "TIMEOUT", "DecodedImage", "ImageInput", "decode", "name_of"]

TIMEOUT: Final = 20.0  # seconds
MAX_BYTES: Final = 256 * 1024 * 1024
MAX_PIXELS: Final = 200_000_000  # the largest phone cameras make 199.8 million


class Tensor(Protocol):
    """What is needed of a `torch.Tensor`; torch itself is never imported."""

    def detach(self) -> Any: ...
    def cpu(self) -> Any: ...


_PROGRAMS: Final = {"EPS", "WMF"}  # their readers hand the file to Ghostscript or to Windows
_HEIF: Final = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_ORIENTATION: Final = 0x0112
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """A picture in memory.

    Attributes:
        pixels: uint8 (H, W, C), contiguous, C being 1 (gray), 3 (RGB) or 4 (RGB and straight alpha). Not to
            be written to: it may be the caller's own array.
        name: How to call the picture in messages.
        profile: Its ICC profile, if it was converted from that; else empty.
        exif: Its EXIF data, if it has any.
    """

    pixels: NDArray[np.uint8]
    name: str
    profile: bytes = b""
    exif: Image.Exif | None = None
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
    """Read one picture.

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
        The picture, uint8 (H, W, C).

    Raises:
        ImageError: The source is not a picture that can be read; the message names it and says why.
    """
    if isinstance(source, DecodedImage):
        return source
    name = name_of(source)
    if isinstance(source, Image.Image):
        return _decoded(source, name, max_pixels)
    if isinstance(source, np.ndarray):
        return DecodedImage(from_array(source, name, channels_first=False), name)
    if hasattr(source, "detach") and hasattr(source, "cpu"):
        return DecodedImage(from_array(from_tensor(source, name), name, channels_first=True), name)
    with open_stream(source, name, timeout, max_bytes) as stream:
        return _decoded(_identify(stream, name), name, max_pixels)


def _identify(stream: IO[bytes], name: str) -> Image.Image:
    """Find the format and read the header.

    This is `Image.open` without its size check, which warns from 89 million pixels on: to silence a warning
    would change the filters of every thread. `_pixels` checks the size instead.
    """
    try:
        head = stream.read(1024)
    except OSError as error:
        raise unreadable(name, f"reading the file failed ({error.strerror})") from error
    if not head:
        raise unreadable(name, "it is empty (0 bytes)")
    why, cause, tried = _not_raster(head), None, set(_PROGRAMS)
    for register in (Image.preinit, Image.init, lambda: _register_heif(head, name)):
        register()
        for kind in [kind for kind in Image.ID if kind not in tried]:
            tried.add(kind)
            factory, accept = Image.OPEN[kind]
            known: bool | str = False  # stays so for the formats that have no magic number
            try:
                known = accept(head[:16]) if accept else False
                if (known or not accept) and not isinstance(known, str):  # a str says what Pillow was built without
                    stream.seek(0)
                    return factory(stream, "")
            except Exception as error:  # readers of broken files raise nearly anything
                if known:
                    why = f"this {kind} file cannot be read, it may be damaged or truncated ({_reason(error)})"
                    cause = error
    raise unreadable(name, why) from cause


def _not_raster(head: bytes) -> str:
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in text or b"<!doctype svg" in text:
        return "SVG is a drawing, not a raster image; convert it to PNG first"
    if text.startswith((b"%pdf", b"%!ps")):
        return "PDF and PostScript are pages, not raster images; convert it to PNG first"
    if text.startswith((b"<!doctype html", b"<html")):
        return "this is an HTML page, not an image; use the address of the image itself"
    if head[4:12] in (b"ftypavif", b"ftypavis"):
        return "this Pillow reads no AVIF; Pillow 11.3 and newer do: pip install -U pillow"
    return "its bytes are not an image in a known format; convert it to PNG or JPEG first"


def _register_heif(head: bytes, name: str) -> None:
    if head[4:8] != b"ftyp" or head[8:12] not in _HEIF:
        return
    try:
        import pillow_heif
    except ImportError as error:
        raise unreadable(name, "HEIF needs a plugin: pip install 'transformers-foreground[heif]'") from error
    pillow_heif.register_heif_opener()


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "not enough memory for its pixels"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"{error} See PIL.Image.MAX_IMAGE_PIXELS"
    return str(error) or type(error).__name__


def _decoded(image: Image.Image, name: str, max_pixels: int) -> DecodedImage:
    """Decode an opened image."""
    width, height = image.size
    if width * height == 0:
        raise unreadable(name, f"it has no pixels ({width}x{height})")
    if width * height > max_pixels:
        # The commands have no such option, and the pipelines take what `decode` gives.
        other = "in Python, pass on images.decode(picture, max_pixels=...)"
        raise unreadable(name, f"its {width}x{height} pixels exceed the limit of {max_pixels}; shrink it, or, {other}")
    try:
        image.load()
        exif = _exif(image)
        image = _upright(image, exif)
        if image.mode.startswith("I"):
            return DecodedImage(_high_byte(np.asarray(image), name), name, exif=exif)
        if image.mode == "F":
            raise unreadable(name, "PIL mode F has no set range; scale it to 0..255 and convert it to 'L'")
        converted = _eight_bit(image)
        pixels = np.asarray(converted)
    except ImageError:
        raise
    except Exception as error:  # as in _identify
        reason = _reason(error)
        why = "the file is truncated; get the whole of it" if "truncated" in reason else "its data is damaged"
        raise unreadable(name, f"{why} ({reason})") from error
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    profile = image.info.get("icc_profile")
    if profile and image.mode in ("RGB", "RGBA") and _is_rgb(profile):
        return DecodedImage(pixels, name, profile, exif, image)
    return DecodedImage(pixels, name, exif=exif)


def _exif(image: Image.Image) -> Image.Exif | None:
    try:
        exif = image.getexif()
        exif.get(_ORIENTATION)  # values are read when they are asked for
        return exif or None
    except Exception:  # broken EXIF data is no reason to refuse the picture
        return None


def _is_rgb(profile: Any) -> bool:
    """Whether an ICC profile can be read, and is one for RGB."""
    try:
        return ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.xcolor_space.strip() == "RGB"
    except (ImageCms.PyCMSError, OSError, TypeError):
        return False


def _upright(image: Image.Image, exif: Image.Exif | None) -> Image.Image:
    # Not ImageOps.exif_transpose: it copies upright images too, and rewrites EXIF data, which may fail.
    orientation = exif.get(_ORIENTATION) if exif else None
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _high_byte(plane: NDArray[Any], name: str) -> NDArray[np.uint8]:
    if plane.dtype.itemsize > 2 and (plane.min() < 0 or plane.max() > 65535):
        raise unreadable(name, "its 32-bit values go beyond 0..65535; scale it to 0..255, convert it to 'L'")
    return (plane >> 8).astype(np.uint8)[..., None]


def _eight_bit(image: Image.Image) -> Image.Image:
    """Bring any 8-bit mode to L, RGB or RGBA in sRGB."""
    profile = image.info.get("icc_profile")
    if image.mode == "CMYK":
        return _to_srgb(image, profile).convert("RGBA")  # four channels in Node too
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
        return image.convert("L") if image.mode == "1" else image
    return _to_srgb(image, profile)


def _to_srgb(image: Image.Image, profile: Any) -> Image.Image:
    if image.mode not in ("RGB", "CMYK"):
        image = image.convert("RGB")
    if profile:
        try:
            source, target = (ImageCms.ImageCmsProfile(io.BytesIO(p)) for p in (profile, srgb_profile()))
            converted = ImageCms.profileToProfile(image, source, target, ImageCms.Intent.PERCEPTUAL, "RGB")
            if converted is not None:
                return converted
        except (ImageCms.PyCMSError, OSError, TypeError):
            pass  # as in Node: pixels stay as they are under a profile that is broken or for another mode
    return image if image.mode == "RGB" else image.convert("RGB")
