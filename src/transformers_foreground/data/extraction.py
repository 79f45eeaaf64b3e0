"""What rows get of their images: masks, cut-outs, planes, doubt."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transformers_foreground.errors import ForegroundError, ImageError
from transformers_foreground.images.alpha import put_alpha
from transformers_foreground.images.decode import DecodedImage
from transformers_foreground.images.png import quick
from transformers_foreground.runtime.doubt import doubt
from transformers_foreground.segmenter import Foreground, Segmenter


@dataclass(frozen=True, eq=False)
class Extracted:
    """What one image gives; what no column wants is `None`.

    Attributes:
        mask: Of the image's size, mode "L".
        cutout: The image with the mask as its alpha, mode "RGBA", black where the mask is 0.
        alpha: The model's own plane, float32 in [0, 1], (h, w), of the model's size.
        doubt: How unsure the model is of the plane, in [0, 1] (see `runtime.doubt`).
    """

    mask: Image.Image | None
    cutout: Image.Image | None
    alpha: NDArray[np.float32] | None
    doubt: float | None


def extract(
    segmenter: Segmenter,
    images: Sequence[Any],
    read: Callable[[Any], DecodedImage],
    columns: Mapping[str, str | None],
    *,
    batch_size: int = 1,
    num_workers: int | None = None,
    then: Callable[[Extracted], Any] = lambda extracted: extracted,
) -> Iterator[Any]:
    """Extract the foreground of a batch of rows' images.

    Args:
        segmenter: The model.
        images: Anything that `read` takes.
        read: Decodes one image.
        columns: The column for each attribute of `Extracted`; `None` for what is not wanted.
        batch_size: Images for each run of the graph.
        num_workers: Threads for reading and for what comes after the model; 0 for none.
        then: Makes what a row stores of what an image gives, on a worker thread.

    Yields:
        For each image, in order, what `then` returned, or the `ImageError` that says why it cannot be read.

    Raises:
        InvalidModelError: The model cannot do this.
        InferenceError: ONNX Runtime failed.
    """
    wanted = {kind for kind, column in columns.items() if column is not None}

    def extracted(_: Any, foreground: Foreground) -> Any:
        image, mask, plane = foreground.image, foreground.mask, foreground.plane
        return then(
            Extracted(
                mask=quick(Image.fromarray(mask)) if "mask" in wanted else None,
                cutout=quick(put_alpha(image.rgb(), mask, keep_hidden=False)) if "cutout" in wanted else None,
                alpha=plane if "alpha" in wanted else None,
                doubt=doubt(plane) if "doubt" in wanted else None,
            )
        )

    steps = segmenter.steps(read=read, then=extracted, batch_size=batch_size)
    for outcome in segmenter.stream(images, steps, num_workers):
        if isinstance(outcome, ForegroundError) and not isinstance(outcome, ImageError):
            raise outcome
        yield outcome
