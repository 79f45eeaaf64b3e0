"""An image that stays encoded until its pixels are asked for."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image, PngImagePlugin

from transformers_foreground.images.png import encode_png


class EncodedImage(PngImagePlugin.PngImageFile):
    """A PNG in memory that is saved as it is: a batch of thousands takes the room of its bytes, not of its pixels.

    Copies and pickles are ordinary images, so that reading them back needs Pillow alone.

    Args:
        image: Mode "L", "RGB" or "RGBA".
    """

    def __init__(self, image: Image.Image) -> None:
        self._encoded: bytes | None = encode_png(image)
        super().__init__(io.BytesIO(self._encoded))
        self.filename = ""  # None with older Pillows, which datasets takes for a path

    def load(self) -> Any:
        """Decode the pixels, which may then be changed."""
        self._encoded = None
        return super().load()

    def save(self, fp: Any, format: str | None = None, **params: Any) -> None:
        """Save as `PIL.Image.Image.save` does; as PNG into a stream, the very bytes."""
        if self._encoded is not None and format == "PNG" and hasattr(fp, "write") and not params:
            fp.write(self._encoded)
        else:
            self.copy().save(fp, format, **params)

    def __reduce__(self) -> Any:
        return Image.Image.copy, (self.copy(),)
