"""Decode images from strangers: within limits, requests in turn, and few large images in memory at once.

There are two lanes, each with its own threads and its own share of memory. An image first goes to the quick lane. If it
takes more than a moment there, or is large, it is stopped, and starts again in the slow lane. So no slow image, hostile
or just large, holds up the others.
"""

from __future__ import annotations

import heapq
import itertools
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from transformers_foreground.errors import ForegroundError
from transformers_foreground.images.bounded import BeyondLimitsError, decode_bounded
from transformers_foreground.images.boxes import shrunk
from transformers_foreground.images.decode import DecodedImage
from transformers_foreground.images.identify import TooManyPixelsError
from transformers_foreground.images.sources import enough_memory, unreadable

QUICK_SECONDS: Final = 2.0  # of CPU: ten times what a photo from a phone takes
QUICK_PIXELS: Final = 25_000_000
SLOW_SECONDS: Final = 10.0
_THREADS: Final = 2  # of each lane
_BYTES_A_SECOND: Final = 5_000_000  # estimate of a decoder's speed
_HELD: Final = 500_000_000  # bytes of decoded images in memory, at which a lane waits before it decodes the next


@dataclass(frozen=True)
class Upload:
    """An image that a visitor sent.

    Attributes:
        name: The visitor's name for it.
        path: Its file; `None` if it is in memory.
        data: Its bytes, if it is in memory.
    """

    name: str
    path: Path | None = None
    data: bytes = b""

    @property
    def size(self) -> int:
        """Its size in bytes; 0 if its file has been deleted."""
        try:
            return self.path.stat().st_size if self.path else len(self.data)
        except OSError:
            return 0


def reduced(image: DecodedImage) -> DecodedImage:
    """Shrink an image to at most `QUICK_PIXELS`: it stays in memory while its request waits."""
    scale = math.sqrt(QUICK_PIXELS / (image.width * image.height))
    if scale >= 1:
        return image
    pixels = image.pixels if image.pixels.shape[2] == 4 else image.rgb()
    return DecodedImage(shrunk(pixels, math.floor(scale * max(image.width, image.height))), image.name)


@dataclass(eq=False)
class Turn:
    """A request's turn among the others: the more time its images have taken, the later its next image comes.

    This is fair queueing: images are ordered by the time at which each would be done if its request had a server of its
    own. Demers, Keshav and Shenker, "Analysis and simulation of a fair queueing algorithm", SIGCOMM 1989.
    """

    _done: float = 0.0

    def next(self, cost: float) -> float:
        """Return the order of the request's next image, which is expected to take that many seconds."""
        self._done = max(time.monotonic(), self._done) + cost
        return self._done

    def spent(self, seconds: float) -> None:
        """Count the seconds that an image took longer than expected."""
        self._done += max(0.0, seconds)


class Lane:
    """Threads that run jobs, lowest order first, and pause while their results fill the memory.

    Args:
        name: The beginning of the threads' names.
    """

    def __init__(self, name: str) -> None:
        self._held = 0  # bytes
        self._jobs: list[tuple[float, int, Future[Any], Callable[[], Any]]] = []
        self._count = itertools.count()
        self._changed = threading.Condition()
        self._closed = False
        for number in range(_THREADS):
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True).start()

    def submit(self, order: float, work: Callable[[], Any]) -> Future[Any]:
        """Add a job to those that wait.

        Returns:
            The job's result. If the lane is closed, it is a `ForegroundError`.
        """
        future: Future[Any] = Future()
        with self._changed:
            if not self._closed:
                heapq.heappush(self._jobs, (order, next(self._count), future, work))
                self._changed.notify()
                return future
        future.set_exception(ForegroundError("The server is ending."))
        return future

    def hold(self, size: int) -> None:
        """Count bytes of a job's result, while it is in memory. A negative number gives them back."""
        with self._changed:
            self._held += size
            self._changed.notify_all()

    def close(self) -> None:
        """Cancel jobs that wait, and end the threads."""
        with self._changed:
            self._closed = True
            for *_, future, _ in self._jobs:
                future.cancel()
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or (self._jobs and self._held < _HELD))
                if self._closed:
                    return
                *_, future, work = heapq.heappop(self._jobs)
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = work()
            except BaseException as error:  # for those who wait
                future.set_exception(error)
            else:
                future.set_result(result)
                del result
            del future, work  # else they stay in memory until the next job


@dataclass(eq=False)
class Decoders:
    """Decodes uploads in two lanes.

    Attributes:
        max_bytes: Largest file of an image.
        max_pixels: Largest width times height of an image.
    """

    max_bytes: int
    max_pixels: int
    _quick: Lane = field(default_factory=lambda: Lane("foreground-decode"))
    _slow: Lane = field(default_factory=lambda: Lane("foreground-decode-slow"))
    _held: dict[int, Lane] = field(default_factory=dict)  # by id of an image: the lane that made it

    def submit(self, upload: Upload, turn: Turn) -> Future[DecodedImage]:
        """Decode an upload when it is its request's turn.

        Returns:
            The image, which counts as held in memory until `release`; or an `ImageError`.
        """
        result: Future[DecodedImage] = Future()
        cost = upload.size / _BYTES_A_SECOND

        def run(lane: Lane, seconds: float, max_pixels: int, again: Callable[[], None] | None) -> None:
            def work() -> DecodedImage:
                started = time.monotonic()
                try:
                    image = self._decode(upload, seconds, max_pixels)
                    self._held[id(image)] = lane
                    lane.hold(image.pixels.nbytes)
                    return image
                finally:
                    turn.spent(time.monotonic() - started - cost)

            def settle(done: Future[DecodedImage]) -> None:
                error = None if done.cancelled() else done.exception()
                if again and isinstance(error, BeyondLimitsError | TooManyPixelsError) and not result.cancelled():
                    again()
                elif done.cancelled():
                    result.cancel()
                elif not result.set_running_or_notify_cancel():  # cancelled: the visitor has left
                    if not error:
                        self.release(done.result())
                elif error:
                    result.set_exception(error)
                else:
                    result.set_result(done.result())

            job = lane.submit(turn.next(cost), work)
            job.add_done_callback(settle)
            result.add_done_callback(lambda _: job.cancel())

        def slowly() -> None:
            run(self._slow, SLOW_SECONDS, self.max_pixels, None)

        run(self._quick, QUICK_SECONDS, min(QUICK_PIXELS, self.max_pixels), slowly)
        return result

    def release(self, image: DecodedImage) -> None:
        """Stop counting an image as held in memory."""
        self._held.pop(id(image)).hold(-image.pixels.nbytes)

    def close(self) -> None:
        """Stop decoding."""
        self._quick.close()
        self._slow.close()

    def _decode(self, upload: Upload, seconds: float, max_pixels: int) -> DecodedImage:
        with enough_memory(upload.name):
            try:
                return decode_bounded(self._read(upload), upload.name, max_pixels=max_pixels, cpu_seconds=seconds)
            except TooManyPixelsError as error:  # its remedy is for Python; here the limit is an option of the command
                reason = str(error).partition(";")[0]
                raise TooManyPixelsError(f"{reason}; shrink it, or serve with a higher --max-pixels.") from error

    def _read(self, upload: Upload) -> bytes:
        if upload.size > self.max_bytes:
            size = f"its {upload.size / 1e6:.1f} MB exceed the limit of {self.max_bytes / 1e6:g} MB"
            raise unreadable(upload.name, size)
        try:
            return upload.path.read_bytes() if upload.path else upload.data
        except FileNotFoundError as error:
            raise unreadable(upload.name, "the upload is gone; give the image again") from error
