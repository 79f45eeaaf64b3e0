"""How results look: from an image and its mask to a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transformers_foreground.compositing.backgrounds import background_image, colour_of
from transformers_foreground.compositing.cutout import cutout
from transformers_foreground.compositing.mask_edits import MaskEdits
from transformers_foreground.errors import UnsupportedOptionError
from transformers_foreground.images import animated
from transformers_foreground.images import encode as formats
from transformers_foreground.images.alpha import to_mask
from transformers_foreground.images.decode import DecodedImage

_OF_MASKS: Final = ("threshold", "keep", "fill_holes", "roi", "ignore_alpha")


@dataclass(frozen=True)
class Style:
    """How results look, and in which format they are written.

    Attributes:
        mask_only: Write the mask, not the cut-out.
        kind: The format, of `formats.KINDS`.
        quality: The quality, as for `formats.encode`.
        edits: Changes to masks.
        options: The options of `cutout`.
        animate: Whether all frames of an animation are cut out.
    """

    mask_only: bool = False
    kind: str = "png"
    quality: int | None = None
    edits: MaskEdits = field(default_factory=MaskEdits)
    options: dict[str, Any] = field(default_factory=dict)
    animate: bool = False

    @classmethod
    def of(cls, *, mask_only: bool, kind: str, quality: int | None, animate: bool = False, **options: Any) -> Style:
        """Read the options. A background that is an image is read once, for all.

        Raises:
            UnsupportedOptionError: An option has an impossible value, or does not go with --mask-only.
            ImageError: The background is neither a colour nor an image that can be read.
        """
        of_masks = {name: options.pop(name) for name in _OF_MASKS if name in options}
        edits = MaskEdits.of(**of_masks)
        given = [name for name, value in options.items() if value not in (None, False, 0) and name != "decontaminate"]
        if mask_only and given:
            raise UnsupportedOptionError(
                f"--mask-only writes the mask alone, and has no use for --{given[0].replace('_', '-')}."
            )
        background = options.pop("background")
        if background not in (None, "blur") and colour_of(background) is None:
            background = background_image(background)
        options |= {"background": background, "threshold": edits.threshold}  # again, where max_size shrinks the mask
        if animate and options.get("crop"):
            raise UnsupportedOptionError("--crop would give each frame another size. Use it without --animate.")
        style = cls(mask_only, kind, quality, edits, options, animate)
        style.check()
        return style

    def check(self) -> None:
        """Refuse impossible options before any model is loaded.

        Raises:
            UnsupportedOptionError: See `formats.check` and `cutout`.
            ImageError: The background cannot be read.
        """
        opaque = self.mask_only or self.options.get("background") is not None
        if self.animate:
            animated.check(self.kind, self.quality)
        else:
            formats.check(self.kind, self.quality, opaque=opaque)
        self.render(DecodedImage(np.zeros((2, 2, 3), np.uint8), "<probe>"), np.full((2, 2), 255, np.uint8))

    def mask(self, image: DecodedImage, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Edit the model's mask of an image, uint8, (H, W).

        Raises:
            ImageError: `roi` lies outside the image.
        """
        return self.edits.apply(mask, image)

    def render(self, image: DecodedImage, mask: NDArray[np.uint8]) -> Image.Image:
        """Make the result of an image and its edited mask, uint8, (H, W)."""
        return to_mask(mask) if self.mask_only else cutout(image, to_mask(mask), ignore_alpha=True, **self.options)

    def encode(self, result: Image.Image) -> bytes:
        """Return the bytes of the file."""
        return formats.encode(result, self.kind, self.quality)
