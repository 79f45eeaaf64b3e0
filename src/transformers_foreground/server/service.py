"""What one request does: images in, results out. It knows nothing of the page."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transformers_foreground.errors import ForegroundError, UnsupportedOptionError
from transformers_foreground.images.alpha import to_mask
from transformers_foreground.images.decode import DecodedImage
from transformers_foreground.images.memory import memory_of
from transformers_foreground.runtime.doubt import doubt
from transformers_foreground.runtime.queue import Queue, Steps
from transformers_foreground.segmenter import Foreground, Segmenter
from transformers_foreground.server.choices import AUTO, Choice, choice_of, offered
from transformers_foreground.server.decoding import QUICK_PIXELS, Decoders, Turn, Upload, reduced
from transformers_foreground.server.disk import FULL, Disk
from transformers_foreground.server.fetching import OpenModels
from transformers_foreground.server.looks import Look
from transformers_foreground.server.masks import Key, Masks, shrunk
from transformers_foreground.server.progress import Failure, Note, Settings
from transformers_foreground.server.results import Result, gone, unique_stems, with_previews, write_source

MAX_IMAGES: Final = 100  # of one request, and of one upload
TOO_MANY: Final = f"Send at most {MAX_IMAGES} images at once, or use the command: foreground photos/ -o out/"
_WORKERS: Final = 2
_LARGE: Final = QUICK_PIXELS  # from here on one at a time, so that large images never take both workers
_AT_ONCE: Final = 2  # images of one request: one before the model while another is decoded; so that visitors take turns
_TICK: Final = 0.5  # seconds between two notes on how far something is, for a few requests
_A_FEW: Final = 5

_NO_PLANE: Final = np.empty((0, 0), np.float32)

T = TypeVar("T")


class BusyError(ForegroundError):
    """The server does as much as it can. Try again later."""


@dataclass(frozen=True, eq=False)
class _Job:
    """A decoded image, and which of its request it is."""

    number: int
    image: DecodedImage


@dataclass(eq=False)
class Service:
    """Models that are open, and the queue before them in which all visitors take turns.

    Attributes:
        settings: What the server was started with.
        folder: Where results go.
        choices: The models to choose from.
        disk: What is in the folder, and its limit.
        masks: Those of images that were cut out.
        side: Threads for what needs no model.
    """

    settings: Settings
    folder: Path
    choices: tuple[Choice, ...] = ()
    disk: Disk = field(init=False)
    _queue: Queue = field(default_factory=lambda: Queue(_WORKERS))
    _models: OpenModels = field(init=False)
    masks: Masks = field(default_factory=Masks)
    side: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(_WORKERS, "foreground-compose"))
    _under_way: dict[asyncio.Task[Any], None] = field(default_factory=dict)
    _decoders: Decoders = field(init=False)
    _large: asyncio.Lock = field(default_factory=asyncio.Lock)
    _requests: int = 0

    def __post_init__(self) -> None:
        s = self.settings
        self.disk = Disk(self.folder, s.max_disk)
        self._models = OpenModels(s.device, local_files_only=s.local_files_only)
        self._decoders = Decoders(s.max_bytes, s.max_pixels)
        self.choices = offered(s.model, s.dtype, local_files_only=s.local_files_only)

    def close(self) -> None:
        """Take no images any more; those that wait get an error."""
        self._decoders.close()
        self.side.shutdown(wait=False, cancel_futures=True)
        self._queue.close()

    async def remove(
        self, uploads: Sequence[Upload], model: str = "", dtype: str = "", look: Look | None = None
    ) -> AsyncGenerator[Note | Result | Failure, None]:
        """Cut out images, keep their masks, and write previews.

        Args:
            uploads: The images, which are files.
            model: As for `run`.
            dtype: As for `run`.
            look: What the cut-outs shall look like.

        Yields:
            As `run`.

        Raises:
            ForegroundError: As `run` says, or the background cannot be read.
        """
        look = look or Look()
        model, dtype = self._chosen(model, dtype)
        folder = self.folder / secrets.token_hex(16)  # whoever knows a file's address may read it
        stems = unique_stems([upload.name for upload in uploads])
        behind: Any = look.filled

        def then(number: int, foreground: Foreground) -> Result:
            if not self.disk.make_room():
                raise ForegroundError(FULL)
            image, upload, file = foreground.image, uploads[number], folder / f"{number}.jpeg"
            result = Result(upload, model, dtype, stems[number], file, file, file, file, look)
            whole = Image.fromarray(image.in_own_space())
            whole.info["icc_profile"] = image.profile
            before = write_source(file, shrunk(whole))
            result = with_previews(result, before, shrunk(to_mask(foreground.mask)), look, behind)
            self.disk.take_files(result.files())
            return replace(result, doubt=self.masks.doubt(result.key)) if upload.path else result

        given = [upload.path for upload in (*uploads, look.background) if isinstance(upload, Upload) and upload.path]
        with self.disk.holding([folder, *given]):
            if isinstance(behind, Upload):
                behind = await self.decode(behind)
            async with aclosing(self.run(uploads, then, model, dtype)) as outcomes:
                async for outcome in outcomes:
                    yield outcome

    async def run(
        self,
        uploads: Sequence[Upload],
        then: Callable[[int, Foreground], T],
        model: str = "",
        dtype: str = "",
        edit: str = "",
    ) -> AsyncGenerator[Note | T | Failure, None]:
        """Run a model on images. It is loaded with the first request, and downloaded if need be.

        Args:
            uploads: The images.
            then: Makes the result of an image, given its number and its foreground, on another thread.
            model: Id of a model on offer; empty for the server's own.
            dtype: One of its dtypes; empty for the server's own, or `"auto"`.
            edit: Name of a touch-up, which takes the place of the model's mask.

        Yields:
            How far it is, again and again, and each image's result or failure, in their order.

        Raises:
            BusyError: Too many requests are under way.
            ForegroundError: Nothing can be done: no images or too many, no such model on offer, or it cannot be loaded.
        """
        model, dtype = self._chosen(model, dtype)
        if not uploads:
            raise UnsupportedOptionError("There is no image yet: drop, paste or choose one first.")
        if len(uploads) > MAX_IMAGES:
            raise UnsupportedOptionError(f"{len(uploads)} images are too many. {TOO_MANY}")
        with self._place():
            yield Note("Starting")
            fetch = self._models.get(model, dtype)
            loaded = asyncio.wrap_future(fetch.result)
            while not (await asyncio.wait([loaded], timeout=self._tick))[0]:
                yield Note(fetch.text, fetch.loaded / fetch.total if fetch.loaded < fetch.total else None)
            keys = [(upload.path, model, dtype, edit) if upload.path else None for upload in uploads]
            async with aclosing(self._cut(uploads, keys, loaded.result(), then)) as outcomes:
                async for outcome in outcomes:
                    yield outcome

    def _chosen(self, model: str, dtype: str) -> tuple[str, str]:
        model = model or self.settings.model
        dtype = dtype or (self.settings.dtype if model == self.settings.model else AUTO)
        choice_of(self.choices, model, dtype)
        return model, dtype

    async def decode(self, upload: Upload) -> DecodedImage:
        """Decode an image that is no model's input, such as a background, and shrink it to `QUICK_PIXELS`.

        Raises:
            ImageError: It cannot be read.
        """
        image = await asyncio.wrap_future(self._decoders.submit(upload, Turn()))
        try:
            return await asyncio.wrap_future(self.side.submit(reduced, image))
        finally:
            self._decoders.release(image)

    @contextmanager
    def _place(self) -> Iterator[None]:
        """Count a request while it is under way. All of them are on one event loop, so no lock is needed."""
        if self._requests >= self.settings.queue:
            raise BusyError(
                f"{self._requests} other requests are under way, as many as this server takes at once. "
                "Try again in a minute."
            )
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1

    async def _cut(
        self,
        uploads: Sequence[Upload],
        keys: Sequence[Key | None],
        loaded: Segmenter,
        then: Callable[[int, Foreground], T],
    ) -> AsyncGenerator[Note | T | Failure, None]:
        def kept(job: _Job, foreground: Foreground) -> T:
            if key := keys[job.number]:
                self.masks.keep(key, foreground.mask, doubt(foreground.plane))
            return then(job.number, foreground)

        def composed(job: _Job, mask: NDArray[np.uint8]) -> T:
            return then(job.number, Foreground(job.image, mask, _NO_PLANE, 0.0))

        def one(number: int) -> Coroutine[Any, Any, T]:
            return self._one(uploads[number], number, keys[number], steps, composed, turn)

        turn = Turn()
        steps = loaded.steps(read=lambda job: job.image, then=kept, weigh=lambda job: memory_of(job.image))
        waiting = iter(enumerate(uploads))
        joined: deque[tuple[Upload, asyncio.Task[T]]] = deque()
        done = 0
        try:
            while True:
                for number, upload in islice(waiting, _AT_ONCE - len(joined)):
                    joined.append((upload, asyncio.create_task(one(number))))
                if not joined:
                    return
                upload, task = joined[0]
                yield self._progress(task, done, len(uploads))
                while not (await asyncio.wait([task], timeout=self._tick))[0]:
                    yield self._progress(task, done, len(uploads))
                joined.popleft()
                done += 1
                try:
                    yield task.result()
                except ForegroundError as error:
                    yield Failure(upload.name, str(error))
        finally:  # the visitor has left, or pressed "Stop"
            for _, task in joined:
                task.cancel()

    async def _one(
        self,
        upload: Upload,
        number: int,
        key: Key | None,
        steps: Steps,
        composed: Callable[[_Job, NDArray[np.uint8]], T],
        turn: Turn,
    ) -> T:
        """Decode an image and run the model on it, unless its mask is kept."""
        task: Any = asyncio.current_task()
        self._under_way[task] = None
        decoded = self._decoders.submit(upload, turn)
        try:
            job = _Job(number, await asyncio.wrap_future(decoded))
            is_large = job.image.width * job.image.height > _LARGE
            async with self._large if is_large else nullcontext():
                mask = self.masks.get(key) if key else None
                if mask is None and key and key[3]:
                    raise ForegroundError(gone(upload.name))
                if mask is None:
                    result: T = await asyncio.wrap_future(self._queue.submit(job, steps))
                    return result
                return await asyncio.wrap_future(self.side.submit(composed, job, mask))
        finally:
            del self._under_way[task]
            decoded.add_done_callback(self._released)

    def _released(self, decoded: Future[DecodedImage]) -> None:
        if not decoded.cancelled() and not decoded.exception():
            self._decoders.release(decoded.result())

    @property
    def _tick(self) -> float:
        """Seconds between two notes. Each is work for the server, so that many requests get fewer."""
        return _TICK * max(1.0, self._requests / _A_FEW)

    def _progress(self, task: asyncio.Task[Any], done: int, count: int) -> Note:
        before = next((place for place, other in enumerate(self._under_way) if other is task), 0)
        text = f"Image {done + 1} of {count}" if count > 1 else "Removing the background"
        if before:
            text += f"; {before} other{'s' if before > 1 else ''} under way"
        return Note(text, done / count if count > 1 else None)
