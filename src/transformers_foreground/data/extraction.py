"""Mask, cut-out, alpha plane and doubt of each image of a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from PIL import Image

from transformers_foreground.errors import ForegroundError, ImageError
from transformers_foreground.images.alpha import put_alpha
from transformers_foreground.images.decode import DecodedImage
from transformers_foreground.images.png import quick
from transformers_foreground.runtime.doubt import doubt
from transformers_foreground.segmenter import Foreground, Segmenter


@dataclass(frozen=True, eq=False)
class Extracted:
    """The results of one image, each `None` where no column wants it.

    Attributes:
        mask: Of the image's size, mode "L"; or what `encoded` made of it.
        cutout: The image with the mask as its alpha, mode "RGBA", black where the mask is 0; or as above.
        alpha: The model's own plane, float32 in [0, 1], (h, w), of the model's size.
        doubt: How unsure the model is of the plane, in [0, 1] (see `runtime.doubt`).
    """

    mask: Any
    cutout: Any
    alpha: Any
    doubt: float | None

    def encoded(self, encode: Callable[[Image.Image], Any]) -> Self:
        """Return the same with mask and cut-out encoded: pixels take twenty times the room."""
        images = {"mask": self.mask, "cutout": self.cutout}
        return replace(self, **{kind: None if image is None else encode(image) for kind, image in images.items()})


def extract(
    segmenter: Segmenter,
    images: Sequence[Any],
    read: Callable[[Any], DecodedImage],
    columns: Mapping[str, str | None],
    *,
    batch_size: int = 1,
    num_workers: int | None = None,
    then: Callable[[Extracted], Any] | None = None,
) -> Iterator[Any]:
    """Extract the foreground of the images of a batch of rows.

    Args:
        segmenter: The model.
        images: Anything that `read` takes.
        read: Decodes one image.
        columns: The column for each attribute of `Extracted`; `None` where it is not wanted.
        batch_size: Images in each run of the graph.
        num_workers: Threads for reading and for what comes after the model; 0 for none.
        then: Called with each result, on a worker thread; what it returns is yielded in its place.

    Yields:
        For each image, in order, its result, or the `ImageError` that says why it cannot be read.

    Raises:
        InvalidModelError: The model gives no alpha plane.
        InferenceError: ONNX Runtime failed.
    """
    wanted = {kind for kind, column in columns.items() if column is not None}

    def extracted(_: Any, foreground: Foreground) -> Any:
        image, mask, plane = foreground.image, foreground.mask, foreground.plane
        result = Extracted(
            mask=quick(Image.fromarray(mask)) if "mask" in wanted else None,
            cutout=quick(put_alpha(image.rgb(), mask, keep_hidden=False)) if "cutout" in wanted else None,
            alpha=plane if "alpha" in wanted else None,
            doubt=doubt(plane) if "doubt" in wanted else None,
        )
        return result if then is None else then(result)

    steps = segmenter.steps(read=read, then=extracted, batch_size=batch_size)
    for outcome in segmenter.stream(images, steps, num_workers):
        if isinstance(outcome, ForegroundError) and not isinstance(outcome, ImageError):
            raise outcome
        yield outcome
