"""What the command makes of a picture and its mask."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transformers_foreground import formats
from transformers_foreground.composition import background_picture, colour_of
from transformers_foreground.cutouts import cutout
from transformers_foreground.errors import UnsupportedOptionError
from transformers_foreground.images import DecodedImage
from transformers_foreground.output import to_mask
from transformers_foreground.refinement import refine

_OF_MASKS: Final = ("refine", "decontaminate")


@dataclass(frozen=True)
class Style:
    """How results look, and in which format they are written.

    Attributes:
        mask_only: Write the mask, not the cut-out.
        kind: See `formats.KINDS`.
        quality: See `formats.encode`.
        options: Of `cutouts.cutout`.
    """

    mask_only: bool = False
    kind: str = "png"
    quality: int | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, *, mask_only: bool, kind: str, quality: int | None, **options: Any) -> Style:
        """Read the options. A background that is a picture is read once, for all.

        Raises:
            UnsupportedOptionError: An option has a value that cannot be honoured, or none for a mask.
            ImageError: The background is neither a colour nor a picture that can be read.
        """
        given = [name for name, value in options.items() if value not in (None, False, 0) and name not in _OF_MASKS]
        if mask_only and given:
            raise UnsupportedOptionError(
                f"--mask-only writes the mask as it is, without --{given[0].replace('_', '-')}."
            )
        background = options.pop("background")
        if background not in (None, "blur") and colour_of(background) is None:
            background = background_picture(background)
        style = cls(mask_only, kind, quality, {**options, "background": background})
        style.check()
        return style

    def check(self) -> None:
        """Refuse what cannot be honoured, before any model is loaded.

        Raises:
            UnsupportedOptionError: See `formats.check` and `cutouts.cutout`.
            ImageError: The background cannot be read.
        """
        opaque = self.mask_only or self.options.get("background") is not None
        formats.check(self.kind, self.quality, opaque=opaque)
        self.render(DecodedImage(np.zeros((2, 2, 3), np.uint8), "<probe>"), np.full((2, 2), 255, np.uint8))

    def render(self, image: DecodedImage, mask: NDArray[np.uint8]) -> Image.Image:
        """Make the result of a picture and its mask, uint8, (H, W)."""
        if not self.mask_only:
            return cutout(image, mask, **self.options)
        method = self.options.get("refine")
        return to_mask(mask if method is None else refine(image.rgb(), mask, method))

    def encode(self, result: Image.Image) -> bytes:
        """Return the bytes of the file."""
        return formats.encode(result, self.kind, self.quality)
