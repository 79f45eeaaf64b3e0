"""What may be done to a mask before an image is cut out with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from transformers_foreground.compositing.components import Keep, fill_holes, keep_of, keep_parts
from transformers_foreground.compositing.region import Region, region_of, within_region
from transformers_foreground.compositing.threshold import check_threshold, hard
from transformers_foreground.images.boxes import shrunk
from transformers_foreground.images.decode import DecodedImage

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class MaskEdits:
    """What is done to a mask before it is used.

    Attributes:
        threshold: Make it hard: 255 where it is at least this share, else 0.
        keep: Which connected parts stay: `"largest"`, or those of at least this share of the largest one's size.
        fill_holes: Make opaque what the object encloses.
        roi: Empty it outside this rectangle. See `region.region_of`.
        ignore_alpha: Do not multiply it by the image's own alpha.
    """

    threshold: float | None = None
    keep: Keep | None = None
    fill_holes: bool = False
    roi: Region | None = None
    ignore_alpha: bool = False

    @classmethod
    def of(
        cls,
        *,
        threshold: float | None = None,
        keep: str | float | None = None,
        fill_holes: bool = False,
        roi: str | Sequence[int | float | str] | None = None,
        ignore_alpha: bool = False,
    ) -> MaskEdits:
        """Read the options as people give them.

        Raises:
            UnsupportedOptionError: One has a value that cannot be honoured.
        """
        if threshold is not None:
            check_threshold(threshold)
        parts = None if keep is None else keep_of(keep)
        return cls(threshold, parts, fill_holes, None if roi is None else region_of(roi), ignore_alpha)

    def apply(self, mask: Pixels, image: DecodedImage, max_size: int | None = None) -> Pixels:
        """Edit the mask of an image.

        Args:
            mask: Alpha, uint8, (H, W).
            image: Of the same size.
            max_size: Shrink the mask to this many pixels at the longer side.

        Raises:
            ImageError: The rectangle lies outside the image.
        """
        if image.pixels.shape[2] == 4 and not self.ignore_alpha:
            mask = ((mask.astype(np.uint16) * image.pixels[..., 3] + 127) // 255).astype(np.uint8)
        if self.roi is not None:
            mask = within_region(mask, self.roi, image.name)
        if max_size is not None:
            mask = shrunk(mask, max_size)
        if self.threshold is not None:
            mask = hard(mask, self.threshold)
        if self.keep is not None:
            mask = keep_parts(mask, self.keep)
        return fill_holes(mask) if self.fill_holes else mask
