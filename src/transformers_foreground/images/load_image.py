"""`load_image`: one image as every way in of this package reads it."""

from __future__ import annotations

from PIL import Image

from transformers_foreground.images.decode import TIMEOUT, ImageInput, decode


def load_image(source: ImageInput, *, timeout: float = TIMEOUT) -> Image.Image:
    """Read one image: upright, in sRGB, with 8 bits a channel, as the model will see it.

    Args:
        source: Anything that the pipelines take: a path, a URL, bytes, a file object, a PIL image, an array, ...
        timeout: Seconds that a download may take.

    Returns:
        A PIL image of mode "L", "RGB" or "RGBA".

    Raises:
        ImageError: It cannot be read; the message names it and says why.

    Examples:
        >>> load_image("photo.jpg").size
        (640, 480)
    """
    pixels = decode(source, timeout=timeout).pixels
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
