"""What one request does: pictures in, results out. It knows nothing of the page."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transformers_foreground.cutouts import cutout
from transformers_foreground.errors import ForegroundError, ImageError, UnsupportedOptionError
from transformers_foreground.images import DecodedImage, decode
from transformers_foreground.line import Line, Steps
from transformers_foreground.loading import LoadedModel, load
from transformers_foreground.page.choices import AUTO, Choice, choice_of, offered
from transformers_foreground.page.disk import FULL, Disk
from transformers_foreground.page.fetching import Fetch, start
from transformers_foreground.page.results import Result, archive, file_names, write_result
from transformers_foreground.postprocessing import postprocess
from transformers_foreground.preprocessing import preprocess
from transformers_foreground.sessions import forward
from transformers_foreground.sources import enough_memory, unreadable

MAX_PICTURES: Final = 100  # of one request, and of one upload
TOO_MANY: Final = f"Send at most {MAX_PICTURES} pictures at once, or use the command: foreground photos/ -o out/"
_WORKERS: Final = 2
_IN_LINE: Final = 2  # of one request: one before the model while another is read; so that visitors take turns
_OPEN_MODELS: Final = 2
_LOADS: Final = 3  # at once
_TICK: Final = 0.5  # seconds between two notes on how far something is, for a few requests
_A_FEW: Final = 5


@dataclass(frozen=True)
class Settings:
    """What the server was started with.

    Attributes:
        model: The model that is chosen at first.
        device: What models run on.
        dtype: The first model's dtype.
        max_bytes: Size of a picture's file.
        max_pixels: Width times height of a picture.
        queue: How many requests may be under way.
        max_disk: Bytes that uploads and results may take.
        local_files_only: Never open a connection.
    """

    model: str
    device: str = "cpu"
    dtype: str = AUTO
    max_bytes: int = 50_000_000
    max_pixels: int = 100_000_000
    queue: int = 20
    max_disk: int = 5_000_000_000
    local_files_only: bool = False


@dataclass(frozen=True)
class Upload:
    """A picture that a visitor gave: its name, and where it lies."""

    name: str
    path: Path


@dataclass(frozen=True)
class Note:
    """How far a request is.

    Attributes:
        text: In words.
        share: Of the whole, where that is known.
    """

    text: str
    share: float | None = None


@dataclass(frozen=True)
class Failure:
    """A picture that gave no result, and why."""

    name: str
    why: str


@dataclass(eq=False)
class Service:
    """Models that are open, and the one line before them in which all visitors stand.

    Attributes:
        settings: What the server was started with.
        folder: Where results go.
        choices: The models to choose from.
        disk: What is in the folder, and its limit.
    """

    settings: Settings
    folder: Path
    choices: tuple[Choice, ...] = ()
    disk: Disk = field(init=False)
    _line: Line = field(default_factory=lambda: Line(_WORKERS))
    _open: OrderedDict[tuple[str, str], Fetch] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _in_line: dict[Future[Result], None] = field(default_factory=dict)
    _requests: int = 0

    def __post_init__(self) -> None:
        s = self.settings
        self.disk = Disk(self.folder, s.max_disk)
        self.choices = offered(s.model, s.dtype, local_files_only=s.local_files_only)

    def close(self) -> None:
        """Take no pictures any more; those that wait get an error."""
        self._line.close()

    async def remove(
        self, uploads: Sequence[Upload], model: str = "", dtype: str = "", background: Any = None
    ) -> AsyncIterator[Note | Result | Failure]:
        """Cut out pictures. The model is loaded with the first request, and downloaded if need be.

        Args:
            uploads: The pictures.
            model: Id of a model on offer; empty for the server's own.
            dtype: One of its dtypes; empty for the server's own, or `"auto"`.
            background: As for `cutouts.cutout`, but a picture is an `Upload`.

        Yields:
            How far it is, again and again, and each picture's result or failure, in their order.

        Raises:
            ForegroundError: Nothing can be done: no pictures or too many, too many requests, no such model on offer, it
                cannot be loaded, or the background cannot be read.
        """
        model = model or self.settings.model
        dtype = dtype or (self.settings.dtype if model == self.settings.model else AUTO)
        choice_of(self.choices, model, dtype)
        if not uploads:
            raise UnsupportedOptionError("There is no picture yet: drop, paste or choose one first.")
        if len(uploads) > MAX_PICTURES:
            raise UnsupportedOptionError(f"{len(uploads)} pictures are too many. {TOO_MANY}")
        folder = self.folder / secrets.token_hex(16)  # whoever knows a file's address may read it
        given = [upload.path for upload in (*uploads, background) if isinstance(upload, Upload)]
        with self._place(), self.disk.holding([folder, *given]):
            yield Note("Starting")
            if isinstance(background, Upload):
                background = await asyncio.to_thread(self._read, background)
            fetch = self._fetch(model, dtype)
            loaded = asyncio.wrap_future(fetch.result)
            while not (await asyncio.wait([loaded], timeout=self._tick))[0]:
                yield Note(fetch.text, fetch.loaded / fetch.total if fetch.loaded < fetch.total else None)
            async for outcome in self._cut(uploads, folder, loaded.result(), background):
                yield outcome

    @contextmanager
    def _place(self) -> Iterator[None]:
        """Count a request while it is under way. All of them are on one event loop, so no lock is needed."""
        if self._requests >= self.settings.queue:
            raise ForegroundError(
                f"{self._requests} other requests are under way, as many as this server takes at once. "
                "Try again in a minute."
            )
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1

    def _fetch(self, model: str, dtype: str) -> Fetch:
        """Return the load of a model: the one that is under way or done, or a new one."""
        s = self.settings
        with self._lock:
            fetch = self._open.pop((model, dtype), None)
            if fetch is None or (fetch.result.done() and fetch.result.exception()):
                if sum(not other.result.done() for other in self._open.values()) >= _LOADS:
                    raise ForegroundError("Other models are being loaded. Try again in a minute.")
                options = {"device": s.device, "dtype": dtype, "local_files_only": s.local_files_only}
                fetch = start(model, load, **options)
            self._open[model, dtype] = fetch  # the last is the one used last
            for key in [key for key, other in self._open.items() if other.result.done()][:-_OPEN_MODELS]:
                del self._open[key]
        return fetch

    async def _cut(
        self, uploads: Sequence[Upload], folder: Path, loaded: LoadedModel, background: Any
    ) -> AsyncIterator[Note | Result | Failure]:
        steps = self._steps(loaded, folder, background)
        waiting = iter(zip(uploads, file_names([upload.name for upload in uploads]), strict=True))
        joined: deque[tuple[Upload, Future[Result]]] = deque()
        done = 0
        try:
            while True:
                for upload, name in islice(waiting, _IN_LINE - len(joined)):
                    future = self._line.join((upload, name), steps)
                    self._in_line[future] = None
                    future.add_done_callback(lambda f: self._in_line.pop(f, None))
                    joined.append((upload, future))
                if not joined:
                    return
                upload, future = joined[0]
                outcome = asyncio.wrap_future(future)
                yield self._progress(future, done, len(uploads))
                while not (await asyncio.wait([outcome], timeout=self._tick))[0]:
                    yield self._progress(future, done, len(uploads))
                joined.popleft()
                done += 1
                try:
                    yield outcome.result()
                except ForegroundError as error:
                    yield Failure(upload.name, str(error))
        finally:  # the visitor has left, or pressed "Stop"
            for _, future in joined:
                future.cancel()

    @property
    def _tick(self) -> float:
        """Seconds between two notes. Each is work for the server, so that many requests get fewer."""
        return _TICK * max(1.0, self._requests / _A_FEW)

    def _before(self, future: Future[Result]) -> int:
        """Count the pictures in line before one."""
        line = list(self._in_line)
        return line.index(future) if future in line else 0

    def _progress(self, future: Future[Result], done: int, count: int) -> Note:
        before = self._before(future)
        text = f"Picture {done + 1} of {count}" if count > 1 else "Removing the background"
        if before:
            text += f"; {before} other{'s' if before > 1 else ''} first"
        return Note(text, done / count if count > 1 else None)

    def _steps(self, loaded: LoadedModel, folder: Path, background: Any) -> Steps:
        """Say what becomes of a picture in the line."""

        def prepare(job: tuple[Upload, str]) -> tuple[str, DecodedImage, NDArray[np.float32]]:
            image = self._read(job[0])
            with enough_memory(image.name):
                return job[1], image, preprocess(image.pixels, loaded.processing)[None]

        def run(batch: Sequence[tuple[str, DecodedImage, NDArray[np.float32]]]) -> list[Any]:
            return [(name, image, forward(loaded.graph, values)) for name, image, values in batch]

        def finish(output: tuple[str, DecodedImage, NDArray[np.float32]]) -> Result:
            name, image, alpha = output
            if not self.disk.make_room():
                raise ForegroundError(FULL)
            with enough_memory(image.name):
                mask = postprocess(alpha[0, 0], image.height, image.width, loaded.processing)
                result = cutout(image, mask, background=background)
                before = Image.fromarray(image.in_own_space())
                before.info["icc_profile"] = image.profile
                written = write_result(image.name, folder / name, before, result)
            self.disk.take_files([written.file, written.before, written.after])
            return written

        return Steps(prepare, run, finish)

    def _read(self, upload: Upload) -> DecodedImage:
        """Decode an upload under the visitor's name for it."""
        s = self.settings
        try:
            size = upload.path.stat().st_size
            if size > s.max_bytes:
                raise unreadable(upload.name, f"its {size / 1e6:.1f} MB exceed the limit of {s.max_bytes / 1e6:g} MB")
            data = upload.path.read_bytes()
        except FileNotFoundError as error:
            raise unreadable(upload.name, "the upload is gone; give the picture again") from error
        with enough_memory(upload.name):
            try:
                return decode({"bytes": data, "path": upload.name}, max_pixels=s.max_pixels)
            except ImageError as error:  # the page's visitors can do nothing in Python; its limit is an option
                known, limit, _ = str(error).partition(f"exceed the limit of {s.max_pixels}")
                told = f"{known}{limit}; shrink it, or serve with a higher --max-pixels." if limit else known
                raise ImageError(told) from error

    async def pack(self, results: Sequence[Result]) -> Path | None:
        """Put several cut-outs of a request into one archive; `None` where they are not there any more."""
        file = await asyncio.to_thread(archive, results)
        if file is not None:
            self.disk.take_files([file])
        return file
