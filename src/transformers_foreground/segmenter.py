"""The engine: an opened model, and the one way of an image through it: prepare → run → finish."""

from __future__ import annotations

import multiprocessing
import multiprocessing.reduction
import os
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from transformers_foreground.images.capture import capture
from transformers_foreground.images.decode import TIMEOUT, DecodedImage, decode
from transformers_foreground.images.memory import memory_of
from transformers_foreground.images.remote import download, is_remote
from transformers_foreground.images.sources import enough_memory, name_of
from transformers_foreground.runtime.inline import run_inline
from transformers_foreground.runtime.model import Model, share_in_pools
from transformers_foreground.runtime.model_processing import fitting_size
from transformers_foreground.runtime.postprocessing import postprocess
from transformers_foreground.runtime.preprocessing import preprocess
from transformers_foreground.runtime.processing import Processing
from transformers_foreground.runtime.queue import Queue, Steps

_WORKERS: Final = 2  # threads before and after a run: one decodes while another encodes


@dataclass(frozen=True, eq=False)
class Prepared:
    """An image on its way into the graph.

    Attributes:
        image: Its pixels.
        pixel_values: The graph's input, float32, (1, 3, h, w).
        processing: How the input was made, and how the mask is to be made.
    """

    image: DecodedImage
    pixel_values: NDArray[np.float32]
    processing: Processing


@dataclass(frozen=True, eq=False)
class Ran:
    """An image on its way out of the graph.

    Attributes:
        image: Its pixels.
        plane: The model's own alpha, float32 in [0, 1], (h, w), of the model's size.
        processing: How the mask is to be made.
        seconds: What the run took, shared out among the images of its batch.
    """

    image: DecodedImage
    plane: NDArray[np.float32]
    processing: Processing
    seconds: float


@dataclass(frozen=True, eq=False)
class Foreground:
    """The result for one image.

    Attributes:
        image: Its pixels.
        mask: uint8, (H, W), of the image's size; 255 is foreground.
        plane: The model's own alpha, float32 in [0, 1], (h, w), of the model's size and before any stretching.
        seconds: What the run of the graph took, shared out among the images of its batch.
    """

    image: DecodedImage
    mask: NDArray[np.uint8]
    plane: NDArray[np.float32]
    seconds: float


class Segmenter(Model):
    """A model that gives one alpha plane for each image, and all steps from image to mask.

    The files are found, or downloaded, at once; the session opens with the first image, one in each process.

    Args:
        model: Repository id or folder.
        num_workers: Threads that decode and encode; by default two, or one where the process has one core; 0 does all
            of a stream on the calling thread.
        options: device, dtype and the rest, as for `runtime.model.Model`.

    Raises:
        ForegroundError: As `runtime.model.Model` says.

    Examples:
        >>> with Segmenter("briaai/RMBG-1.4") as segmenter:
        ...     mask = segmenter("photo.jpg").mask
    """

    _of_one_process = (*Model._of_one_process, "_queues")

    def __init__(
        self, model: str | Path = "briaai/RMBG-1.4", *, num_workers: int | None = None, **options: Any
    ) -> None:
        super().__init__(model, **options)
        self.num_workers = num_workers

    def _start(self) -> None:
        super()._start()
        self._queues: dict[int, Queue] = {}

    # --- the way of an image ------------------------------------------------------------------------------------------

    def prepare(
        self,
        image: Any,
        *,
        resampling: str | None = None,
        model_input_size: Any = None,
        timeout: float | None = None,
        processing: Processing | None = None,
    ) -> Prepared:
        """Decode an image and make the graph's input of it.

        Args:
            image: Anything that `images.decode` takes.
            resampling: One of `resampling.RESAMPLINGS`, in place of the model's.
            model_input_size: [height, width] or a number, for graphs of any size.
            timeout: Seconds that a download may take.
            processing: How pixels go in and the plane comes out, in place of the model's.

        Raises:
            ImageError: It cannot be read; the message names it.
            UnsupportedOptionError: The resampling is unknown, or the graph takes no such size.
        """
        processing = processing or self.processing
        if resampling is not None:
            processing = replace(processing, resampling=resampling)
        if model_input_size is not None:
            processing = processing.with_size(*fitting_size(model_input_size, self.graph))
        with enough_memory(name_of(image)):
            decoded = decode(image, timeout=TIMEOUT if timeout is None else timeout)
            return Prepared(decoded, preprocess(decoded.pixels, processing)[None], processing)

    def run(self, batch: Sequence[Prepared]) -> list[Ran]:
        """Run several images; those of one size go through the graph together.

        Returns:
            What came out, in the order of the batch.

        Raises:
            InvalidModelError: The size is not the graph's, or what comes out is not one plane an image.
            InferenceError: ONNX Runtime failed.
        """
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for i, item in enumerate(batch):
            by_shape.setdefault(item.pixel_values.shape, []).append(i)
        ran: dict[int, Ran] = {}
        for places in by_shape.values():
            started = time.perf_counter()
            alphas = self.forward(np.concatenate([batch[i].pixel_values for i in places]))
            seconds = (time.perf_counter() - started) / len(places)
            for i, alpha in zip(places, alphas, strict=True):
                ran[i] = Ran(batch[i].image, alpha[0], batch[i].processing, seconds)
        return [ran[i] for i in range(len(batch))]

    def finish(self, ran: Ran) -> Foreground:
        """Make the mask of what `run` gave for one image.

        Raises:
            ImageError: Memory does not suffice.
        """
        with enough_memory(ran.image.name):
            mask = postprocess(ran.plane, ran.image.height, ran.image.width, ran.processing)
        return Foreground(ran.image, mask, ran.plane, ran.seconds)

    def __call__(self, image: Any, **options: Any) -> Foreground:
        """Extract the foreground of one image, on this thread.

        Args:
            image: Anything that `images.decode` takes.
            options: Those of `prepare`.

        Returns:
            The mask, with the image and the model's own plane.

        Raises:
            ForegroundError: As `prepare`, `run` and `finish` say.
        """
        return self.finish(self.run([self.prepare(image, **options)])[0])

    # --- many images --------------------------------------------------------------------------------------------------

    def steps(
        self,
        *,
        read: Callable[[Any], Any] | None = None,
        then: Callable[[Any, Foreground], Any] | None = None,
        weigh: Callable[[Any], int] = memory_of,
        batch_size: int = 1,
        **options: Any,
    ) -> Steps:
        """Describe what is to be done with each of many images, for `stream` and `submit`.

        Args:
            read: Returns the image of an item: anything that `images.decode` takes. Without it the items are images,
                and are taken from the caller when they are read: they may change or go away afterwards.
            then: Makes the result of an item and its foreground, on a worker thread. Without it the foreground is the
                result.
            weigh: Returns how many bytes an item's image will take in memory. Few large images are held at once.
            batch_size: Images for each run of the graph; more than one pays on GPUs only.
            options: Those of `prepare`.
        """

        def prepare(item: Any) -> tuple[Any, Prepared]:
            return item, self.prepare(item if read is None else read(item), **options)

        def run(batch: Sequence[tuple[Any, Prepared]]) -> list[tuple[Any, Ran]]:
            ran = self.run([prepared for _, prepared in batch])
            return [(item, output) for (item, _), output in zip(batch, ran, strict=True)]

        def finish(output: tuple[Any, Ran]) -> Any:
            item, ran = output
            with enough_memory(ran.image.name):
                foreground = self.finish(ran)
                return foreground if then is None else then(item, foreground)

        if read is not None:
            return Steps(prepare, run, finish, batch_size, weigh=weigh)
        timeout = TIMEOUT if options.get("timeout") is None else options["timeout"]
        fetch = partial(download, timeout=timeout)
        return Steps(prepare, run, finish, batch_size, capture, lambda item: fetch if is_remote(item) else None, weigh)

    def stream(
        self, items: Iterable[Any], steps: Steps | None = None, num_workers: int | None = None
    ) -> Generator[Any, None, None]:
        """Run many images, in order, overlapping reading and writing with the graph; only a few are read ahead.

        Args:
            items: Images, or what `steps` reads them from.
            steps: What `steps` returned.
            num_workers: Threads for this stream alone, in place of the segmenter's; 0 does all on the calling thread.

        Yields:
            For each item, in order, its result, or the `ForegroundError` that was raised for it. Any other exception
            ends the stream.
        """
        steps = steps or self.steps()
        num_workers = self.num_workers if num_workers is None else num_workers
        if num_workers == 0:
            yield from run_inline(items, steps)
        elif num_workers is None or num_workers == self._workers():
            yield from self.queue.stream(items, steps)
        else:
            queue = Queue(num_workers)
            try:
                yield from queue.stream(items, steps)
            finally:
                queue.close()
                queue.wait()

    def submit(self, item: Any, steps: Steps | None = None) -> Future[Any]:
        """Put one item at the end of the queue, for code that waits for it later, or awaits it.

        Args:
            item: An image, or what `steps` reads it from.
            steps: What `steps` returned.

        Returns:
            The result. Cancelled, the item leaves the queue.

        Raises:
            ForegroundError: The model has been disposed of.
        """
        return self.queue.submit(item, steps or self.steps())

    @property
    def queue(self) -> Queue:
        """The queue of this process, which all streams and awaited calls share."""
        process = os.getpid()
        if process not in self._queues:
            self._queues.setdefault(process, Queue(max(1, self._workers())))  # atomic: two threads may come at once
        return self._queues[process]

    def _workers(self) -> int:
        return min(_WORKERS, self.cores()) if self.num_workers is None else self.num_workers

    def dispose(self) -> None:
        """Free the session. Calls that wait get an error; a second call does nothing."""
        self.queue.close()
        super().dispose()


share_in_pools(multiprocessing, Segmenter)
