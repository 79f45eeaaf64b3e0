"""What a cut-out shall look like: its background, crop, shadow, size and format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from PIL import Image

from transformers_foreground.compositing.cutout import cutout, pad_of
from transformers_foreground.compositing.frame import Frame
from transformers_foreground.server.decoding import Upload

SUFFIXES: Final = {"png": "png", "webp": "webp", "jpeg": "jpg"}
_ROOM: Final = "5%"  # around an object that is cropped to


@dataclass(frozen=True)
class Look:
    """What a cut-out shall look like.

    Attributes:
        background: As for `cutout`, but an image is an `Upload`.
        crop: Crop to the object, with a little room around it.
        square: Add room on two sides, so that it is square.
        shadow: Lay a soft shadow below the object.
        size: Shrink to this many pixels at the longer side.
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
        """The background; white for JPEG, which has no transparency, where there is none."""
        return "white" if self.background is None and self.kind == "jpeg" else self.background

    @property
    def options(self) -> dict[str, Any]:
        """Options of `cutout` but for the background and the size."""
        pad = _ROOM if self.crop else 0
        return {"crop": self.crop, "square": self.square, "shadow": self.shadow, "pad": pad}

    def before(self, before: Image.Image, mask: Image.Image) -> Image.Image:
        """Frame an image as its cut-out, so that the two can be laid over each other."""
        if not (self.crop or self.square):
            return before
        frame = Frame.of(np.asarray(mask), **{**self.options, "pad": pad_of(self.options["pad"])})
        framed = Image.fromarray(frame.cut(np.asarray(before.convert("RGB"))))
        framed.info.update(before.info)
        return framed

    def preview(self, before: Image.Image, mask: Image.Image, behind: Any, *, quick: bool = False) -> Image.Image:
        """Compose a small cut-out.

        Args:
            before: The image, shrunk.
            mask: Its mask, mode "L", of the same size.
            behind: The background: what `cutout` takes.
            quick: Leave the colours at soft edges as they are, as in a thumbnail.
        """
        return cutout(before, mask, background=behind, decontaminate=not quick, **self.options)
