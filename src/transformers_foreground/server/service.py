"""What the server does for one request: images in, results out. It knows nothing of the page."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from PIL import Image

from transformers_foreground.errors import ForegroundError, UnsupportedOptionError
from transformers_foreground.images.alpha import to_mask
from transformers_foreground.images.decode import DecodedImage
from transformers_foreground.images.memory import memory_of
from transformers_foreground.runtime.doubt import doubt
from transformers_foreground.runtime.queue import Queue
from transformers_foreground.segmenter import Foreground, Segmenter
from transformers_foreground.server.choices import AUTO, Choice, choice_of, offered
from transformers_foreground.server.decoding import QUICK_PIXELS, Decoders, Turn, Upload, reduced
from transformers_foreground.server.disk import Disk
from transformers_foreground.server.fetching import OpenModels
from transformers_foreground.server.looks import Look
from transformers_foreground.server.masks import Key, Masks, shrunk
from transformers_foreground.server.memory import Memory
from transformers_foreground.server.progress import BusyError, Failure, Note, Settings
from transformers_foreground.server.results import Result, gone, unique_stems, with_previews, write_source

MAX_IMAGES: Final = 100  # of one request, and of one upload
TOO_MANY: Final = f"Send at most {MAX_IMAGES} images at once, or use the command: foreground photos/ -o out/"
_WORKERS: Final = 2
_LARGE: Final = QUICK_PIXELS  # images of more pixels are cut out one at a time, so that one worker is left for others
_AT_ONCE: Final = 2  # images of one request: one is decoded while the model runs on another; so requests take turns
_TICK: Final = 0.5  # seconds between two notes of a request, while there are a few requests
_A_FEW: Final = 5

_NO_PLANE: Final = np.empty((0, 0), np.float32)

T = TypeVar("T")


@dataclass(eq=False)
class Service:
    """Open models, and one queue before them in which all requests take turns.

    Attributes:
        settings: What the server was started with.
        folder: Where results are written.
        choices: The models to choose from.
        disk: Limits what is in the folder.
        masks: Masks of images that were cut out.
        memory: Counts what calls of the API send, or have fetched.
        side: Threads for work that needs no model.
        fetching: Images that are being fetched from addresses.
    """

    settings: Settings
    folder: Path
    choices: tuple[Choice, ...] = ()
    disk: Disk = field(init=False)
    _queue: Queue = field(default_factory=lambda: Queue(_WORKERS))
    _models: OpenModels = field(init=False)
    masks: Masks = field(default_factory=Masks)
    memory: Memory = field(default_factory=Memory)
    side: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(_WORKERS, "foreground-compose"))
    fetching: set[Future[Any]] = field(default_factory=set)
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
        """Take no more images. Those that wait get an error."""
        self._decoders.close()
        self.side.shutdown(wait=False, cancel_futures=True)
        self._queue.close()

    async def remove(
        self, uploads: Sequence[Upload], model: str = "", dtype: str = "", look: Look | None = None
    ) -> AsyncGenerator[Note | Result | Failure, None]:
        """Cut out images, keep their masks, and write previews.

        Args:
            uploads: The images.
            model: As for `run`.
            dtype: As for `run`.
            look: The look of the cut-outs.

        Yields:
            As `run`.

        Raises:
            ForegroundError: As for `run`; or the background cannot be read.
        """
        look = look or Look()
        model, dtype = self._chosen(model, dtype)
        folder = self.folder / secrets.token_hex(16)  # whoever knows a file's address may read it
        stems = unique_stems([upload.name for upload in uploads])
        behind: Any = look.filled

        def then(number: int, foreground: Foreground) -> Result:
            self.disk.need_room()
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
        """Run a model on images. The first request that needs a model loads it, and downloads it if need be.

        Args:
            uploads: The images.
            then: Makes an image's result from its number and its foreground. It runs on another thread.
            model: Id of a model on offer; empty for the server's own.
            dtype: One of its dtypes; empty for the server's own, or `"auto"`.
            edit: Name of a touched-up mask to use instead of the model's.

        Yields:
            Notes on the progress, and each image's result or failure, in the images' order.

        Raises:
            BusyError: Too many requests are under way.
            ForegroundError: There are no images or too many, the model is not on offer, or it cannot be loaded.
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
            # Its error is taken here: asyncio would log it if the visitor has left.
            loaded.add_done_callback(lambda done: done.cancelled() or done.exception())
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
        """Decode an image that no model runs on, such as a background, and shrink it to `QUICK_PIXELS`.

        Raises:
            ImageError: It cannot be read.
        """
        decoded = self._decoders.submit(upload, Turn())
        try:
            image = await asyncio.wrap_future(decoded)
            return await asyncio.wrap_future(self.side.submit(reduced, image))
        finally:
            decoded.add_done_callback(self._released)  # also if it is decoded after the visitor has left

    @contextmanager
    def _place(self) -> Iterator[None]:
        """Count a request while it is under way. All requests are on one event loop, so this needs no lock."""
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
        def kept(job: tuple[int, DecodedImage], foreground: Foreground) -> T:
            number = job[0]
            if key := keys[number]:
                self.masks.keep(key, foreground.mask, doubt(foreground.plane))
            return then(number, foreground)

        turn = Turn()
        steps = loaded.steps(read=lambda job: job[1], then=kept, weigh=lambda job: memory_of(job[1]))

        async def one(number: int) -> T:
            """Decode an image, and run the model on it unless its mask is kept."""
            upload, key, task = uploads[number], keys[number], asyncio.current_task()
            assert task
            self._under_way[task] = None
            decoded = self._decoders.submit(upload, turn)
            try:
                image = await asyncio.wrap_future(decoded)
                async with self._large if image.width * image.height > _LARGE else nullcontext():
                    mask = self.masks.get(key) if key else None
                    if mask is not None:
                        work = self.side.submit(then, number, Foreground(image, mask, _NO_PLANE, 0.0))
                    elif key and key[3]:
                        raise ForegroundError(gone(upload.name))
                    else:
                        work = self._queue.submit((number, image), steps)
                    return await asyncio.wrap_future(work)
            finally:
                del self._under_way[task]
                decoded.add_done_callback(self._released)

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
        finally:  # also when the visitor has left, or pressed "Stop"
            for _, task in joined:
                task.cancel()

    def _released(self, decoded: Future[DecodedImage]) -> None:
        if not decoded.cancelled() and not decoded.exception():
            self._decoders.release(decoded.result())

    @property
    def _tick(self) -> float:
        """Seconds between two notes of a request: the more requests there are, the fewer notes each gets."""
        return _TICK * max(1.0, self._requests / _A_FEW)

    def _progress(self, task: asyncio.Task[Any], done: int, count: int) -> Note:
        before = next((place for place, other in enumerate(self._under_way) if other is task), 0)
        text = f"Image {done + 1} of {count}" if count > 1 else "Removing the background"
        if before:
            text += f"; {before} other{'s' if before > 1 else ''} under way"
        return Note(text, done / count if count > 1 else None)
