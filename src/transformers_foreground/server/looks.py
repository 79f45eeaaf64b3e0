"""The look of a cut-out: its background, crop, shadow, size and format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from PIL import Image

from transformers_foreground.compositing.cutout import cutout, pad_of
from transformers_foreground.compositing.frame import Frame
from transformers_foreground.server.decoding import Upload

SUFFIXES: Final = {"png": "png", "webp": "webp", "jpeg": "jpg"}
_ROOM: Final = "5%"  # around the object, with `crop`


@dataclass(frozen=True)
class Look:
    """The look of a cut-out.

    Attributes:
        background: A colour, "blur" or an image; `None` for a transparent one.
        crop: Crop to the object, with a little room around it.
        square: Add room on two sides to make it square.
        shadow: Add a soft shadow below the object.
        size: Shrink to this many pixels on the longer side; `None` keeps the size.
        kind: `"png"`, `"webp"` or `"jpeg"`.
    """

    background: str | Upload | None = None
    crop: bool = False
    square: bool = False
    shadow: bool = False
    size: int | None = None
    kind: str = "png"

    @property
    def filled(self) -> str | Upload | None:
        """The background to lay the object on: white for a JPEG without one, since JPEG has no transparency."""
        return "white" if self.background is None and self.kind == "jpeg" else self.background

    @property
    def options(self) -> dict[str, Any]:
        """Options of `cutout`, without background and size."""
        pad = _ROOM if self.crop else 0
        return {"crop": self.crop, "square": self.square, "shadow": self.shadow, "pad": pad}

    def before(self, before: Image.Image, mask: Image.Image) -> Image.Image:
        """Crop and pad an image as its cut-out is, so that the two fit over each other."""
        if not (self.crop or self.square):
            return before
        frame = Frame.of(np.asarray(mask), **{**self.options, "pad": pad_of(self.options["pad"])})
        framed = Image.fromarray(frame.cut(np.asarray(before.convert("RGB"))))
        framed.info.update(before.info)
        return framed

    def preview(self, before: Image.Image, mask: Image.Image, behind: Any, *, quick: bool = False) -> Image.Image:
        """Compose a preview of the cut-out.

        Args:
            before: The image, shrunk.
            mask: Its mask, mode "L", of the same size.
            behind: `filled`, decoded if it is an image.
            quick: Keep the old background's colours at soft edges. Nobody sees them in a thumbnail.
        """
        return cutout(before, mask, background=behind, decontaminate=not quick, **self.options)
