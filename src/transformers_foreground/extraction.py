"""Extract the foreground of many pictures with an opened model, without torch and transformers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transformers_foreground.errors import ForegroundError, ImageError
from transformers_foreground.images import DecodedImage, decode
from transformers_foreground.loading import LoadedModel
from transformers_foreground.output import put_alpha, without_hidden
from transformers_foreground.postprocessing import postprocess
from transformers_foreground.preprocessing import preprocess
from transformers_foreground.sessions import Graph, forward
from transformers_foreground.streaming import stream


@dataclass(frozen=True, eq=False)
class Extracted:
    """What one picture gives.

    Attributes:
        mask: Of the picture's size, mode "L".
        cutout: The picture with the mask as its alpha, mode "RGBA", black where the mask is 0; `None` if not asked for.
        alpha: The model's own plane, float32 in [0, 1], (h, w), of the model's size; `None` if not asked for.
    """

    mask: Image.Image
    cutout: Image.Image | None
    alpha: NDArray[np.float32] | None


def extract(
    loaded: LoadedModel,
    pictures: Iterable[Any],
    *,
    cutouts: bool = False,
    alphas: bool = False,
    batch_size: int = 1,
    workers: int = 2,
    read: Callable[[Any], DecodedImage] = decode,
) -> Iterator[Extracted | ImageError]:
    """Extract the foreground of pictures, reading only a little ahead.

    Args:
        loaded: The model.
        pictures: Anything that `read` takes.
        cutouts: Give cut-outs too.
        alphas: Give the model's own planes too.
        batch_size: Pictures for each run of the graph.
        workers: Threads for reading and for what comes after the model; 0 for none.
        read: Decodes one picture.

    Yields:
        For each picture, in order, what it gives, or why it cannot be read.

    Raises:
        InvalidModelError: The model cannot do this.
        InferenceError: ONNX Runtime failed.
    """

    def prepare(picture: Any) -> tuple[DecodedImage, NDArray[np.float32]]:
        image = read(picture)
        return image, preprocess(image.rgb(), loaded.processing)[None]

    def finish(prepared: tuple[DecodedImage, Any], alpha: NDArray[np.float32]) -> Extracted:
        image, plane = prepared[0], alpha[0]
        mask = postprocess(plane, image.height, image.width, loaded.processing)
        cutout = _quick(put_alpha(without_hidden(image.rgb(), mask), mask)) if cutouts else None
        return Extracted(_quick(Image.fromarray(mask)), cutout, plane if alphas else None)

    run = partial(_run, loaded.graph)
    for outcome in stream(pictures, prepare, run, finish, batch_size=batch_size, workers=workers):
        if isinstance(outcome, ForegroundError) and not isinstance(outcome, ImageError):
            raise outcome
        yield outcome


def _run(graph: Graph, batch: Sequence[tuple[DecodedImage, NDArray[np.float32]]]) -> list[NDArray[np.float32]]:
    """Run several pictures; those of one size go through the graph together. Gives (1, h, w) for each."""
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for i, (_, values) in enumerate(batch):
        by_shape.setdefault(values.shape, []).append(i)
    alphas: dict[int, NDArray[np.float32]] = {}
    for indices in by_shape.values():
        alphas.update(zip(indices, forward(graph, np.concatenate([batch[i][1] for i in indices])), strict=True))
    return [alphas[i] for i in range(len(batch))]


class _QuickImage(Image.Image):
    """A picture that is encoded at zlib's level 1 (see `formats.encode`), also by `datasets`, which sets no level.

    Copies and pickles are plain, so that reading them back needs Pillow alone.
    """

    def save(self, fp: Any, format: str | None = None, **params: Any) -> None:
        super().save(fp, format, **{"compress_level": 1, **params})

    def __reduce__(self) -> Any:
        return Image.Image.copy, (self.copy(),)


def _quick(image: Image.Image) -> Image.Image:
    image.__class__ = _QuickImage  # Pillow has no public way to make an image of another class
    return image
