"""The one queue before a session: streams and awaited calls, on any thread and event loop, share it."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from transformers_foreground.errors import ForegroundError
from transformers_foreground.runtime.source import END, Source

_DOWNLOADS: Final = 8  # at once
_THREADS: Final = "foreground"  # what their names begin with
_MAX_BYTES: Final = 2**30  # of images in memory at once; one that is larger is there alone


@dataclass(frozen=True, eq=False)
class Steps:
    """What is done with an image, step by step.

    Attributes:
        prepare: Makes the model's input of it, on a worker thread.
        run: Runs several inputs, on the one thread that does so.
        finish: Makes the result of what `run` gave for it, on a worker thread.
        batch_size: How many inputs `run` is given at most.
        take: Applied to what the caller gives, on the caller's thread and before anything waits: copies what the
            caller may change or exhaust afterwards.
        fetch: Returns what downloads an image that is far away, or `None` for one that is here. Others do not wait for
            a download.
        weigh: Returns how many bytes of memory an image will take, without decoding it. Called when it is here, on any
            thread; it must be quick.
    """

    prepare: Callable[[Any], Any]
    run: Callable[[Sequence[Any]], Sequence[Any]]
    finish: Callable[[Any], Any]
    batch_size: int = 1
    take: Callable[[Any], Any] = lambda image: image
    fetch: Callable[[Any], Callable[[Any], Any] | None] = lambda image: None
    weigh: Callable[[Any], int] = lambda image: 0


@dataclass(eq=False)
class _Job:
    """One image on its way. Its `result` is pending until all is done, so that it can be cancelled at any time."""

    image: Any
    steps: Steps
    result: Future[Any] = field(default_factory=Future)
    prepared: Future[Any] | None = None
    weight: int = 0  # bytes

    def prepare(self) -> Any:
        image, self.image = self.image, None
        return None if self.result.done() else self.steps.prepare(image)


class Queue:
    """Images before one session: first come, first served, one run at a time.

    What is before and after a run happens on other threads meanwhile. Only the next few images are decoded, however
    many wait: of large ones fewer, of the largest one at a time. Threads start with the first image, and end with
    `close`, or when nobody holds the queue any more.

    Args:
        workers: Threads for what is before and after a run, at least one.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        # Never held while a result is given, which calls back; reentrant, since the garbage collector may end a
        # forgotten coroutine, and so cancel what it waits for, at any point.
        self._lock = threading.RLock()
        self._unfinished: dict[Future[Any], _Job] = {}
        self._waiting: OrderedDict[Future[Any], _Job] = OrderedDict()
        self._begun: deque[_Job] = deque()  # decoded, or being so, and not run yet
        self._held = 0  # images in memory, until each has its result
        self._held_bytes = 0
        self._closed = False
        self._side = ThreadPoolExecutor(workers, _THREADS)
        self._model = ThreadPoolExecutor(1, f"{_THREADS}-model")
        self._downloads = ThreadPoolExecutor(_DOWNLOADS, f"{_THREADS}-download")

    def room(self, batch_size: int) -> int:
        """Return how many small images may be in memory: a batch in a run, one ready, one for each worker but one."""
        return max(3, 2 * batch_size + self._workers - 1)

    def submit(self, image: Any, steps: Steps) -> Future[Any]:
        """Put an image at the end of the queue.

        Args:
            image: What `steps.take` takes.
            steps: What is done with it.

        Returns:
            The result. Cancelled, it leaves the queue; no step of it begins any more.

        Raises:
            ForegroundError: The queue is closed.
        """
        return self._submit(image, steps).result

    def _submit(self, image: Any, steps: Steps) -> _Job:
        job = _Job(None, steps)
        try:
            job.image = steps.take(image)
            fetch = steps.fetch(job.image)
            job.weight = 0 if fetch is not None else steps.weigh(job.image)
        except ForegroundError as error:
            job.result.set_exception(error)
            return job
        with self._lock:
            if self._closed:
                raise _disposed()
            self._unfinished[job.result] = job
            if fetch is None:
                self._waiting[job.result] = job
                self._admit()
            else:
                self._downloads.submit(self._fetch, job, fetch)
        job.result.add_done_callback(self._leave)
        return job

    def stream(self, images: Iterable[Any], steps: Steps) -> Iterator[Any]:
        """Run many images, reading only a little ahead: the source may be endless.

        Args:
            images: Read on the calling thread.
            steps: What is done with each.

        Yields:
            For each image, in order, its result, or the `ForegroundError` that a step raised for it. Any other
            exception ends the stream; the source's own comes after the results of what it gave. Closing the
            generator takes out of the queue what has not begun.
        """
        source = Source(images)
        waiting: deque[_Job] = deque()
        try:
            while True:
                # Results that nobody has taken yet are in memory, too.
                while not source.ended and self._may_read(waiting, steps):
                    if (image := source.read()) is not END:
                        waiting.append(self._submit(image, steps))
                if not waiting:
                    source.raise_error()
                    return
                try:
                    result = waiting.popleft().result.result()
                except ForegroundError as error:
                    result = error
                yield result
        finally:
            for job in waiting:
                job.result.cancel()

    def _may_read(self, waiting: deque[_Job], steps: Steps) -> bool:
        few = len(waiting) < self.room(steps.batch_size)
        return few and sum(job.weight for job in waiting) < _MAX_BYTES

    def close(self) -> None:
        """End the queue: all that has no result yet gets an error. The result of a run that has begun is dropped."""
        with self._lock:
            self._closed = True
            self._waiting.clear()
            unfinished = list(self._unfinished.values())
        for job in unfinished:
            self._give(job, error=_disposed())
        for pool in (self._downloads, self._side, self._model):
            pool.shutdown(wait=False, cancel_futures=True)

    def wait(self) -> None:
        """Wait until the threads of a closed queue have ended.

        On a queue's own thread, where the garbage collector may end a forgotten stream, it would wait for itself.
        """
        if threading.current_thread().name.startswith(_THREADS):
            return
        for pool in (self._downloads, self._side, self._model):
            pool.shutdown(wait=True)

    def _leave(self, result: Future[Any]) -> None:
        """Forget a job that was cancelled, or has its result."""
        with self._lock:
            self._unfinished.pop(result, None)
            self._waiting.pop(result, None)

    def _fetch(self, job: _Job, fetch: Callable[[Any], Any]) -> None:
        if job.result.done():
            return
        try:
            job.image = fetch(job.image)
            job.weight = job.steps.weigh(job.image)
        except BaseException as error:  # on a thread nobody would see it
            self._give(job, error=error)
            return
        with self._lock:
            if job.result in self._unfinished:
                self._waiting[job.result] = job
                self._admit()

    def _admit(self) -> None:
        """Start the first jobs of the queue, as many as there is room for. The lock is held."""
        while self._waiting and self._has_room(next(iter(self._waiting.values()))):
            _, job = self._waiting.popitem(last=False)
            self._held += 1
            self._held_bytes += job.weight
            job.prepared = self._side.submit(job.prepare)
            self._begun.append(job)
            self._model.submit(self._serve)

    def _has_room(self, job: _Job) -> bool:
        few = self._held < self.room(job.steps.batch_size)
        return few and (self._held == 0 or self._held_bytes + job.weight <= _MAX_BYTES)

    def _serve(self) -> None:
        """Run the next batch: the first image, and those behind it that are ready. On the model's thread."""
        with self._lock:
            if not self._begun:  # the batch before had it
                return
            head = self._begun.popleft()
        if not self._is_ready(head):
            return
        others: list[_Job] = []
        with self._lock:
            while self._begun and len(others) + 1 < head.steps.batch_size and _is_prepared(self._begun[0]):
                others.append(self._begun.popleft())
        self._run([head, *(job for job in others if self._is_ready(job))])

    def _is_ready(self, job: _Job) -> bool:
        """Wait until a job is prepared. One that has failed or was cancelled is dropped."""
        assert job.prepared is not None
        try:
            job.prepared.result()
        except BaseException as error:  # CancelledError too: the queue was closed
            self._end(job, error=error)
            return False
        if job.result.done():
            self._end(job)
            return False
        return True

    def _run(self, batch: Sequence[_Job]) -> None:
        try:
            outputs = batch[0].steps.run([job.prepared.result() for job in batch if job.prepared])
        except BaseException as error:
            if len(batch) == 1:
                self._end(batch[0], error=error)
            else:  # callers are strangers: one must not fail for another's image
                for job in batch:
                    self._run([job])
            return
        for job, output in zip(batch, outputs, strict=True):
            job.prepared = None
            with self._lock:
                if not self._closed:
                    self._side.submit(self._finish, job, output)

    def _finish(self, job: _Job, output: Any) -> None:
        try:
            result = None if job.result.done() else job.steps.finish(output)
        except BaseException as error:
            self._end(job, error=error)
        else:
            self._end(job, result)

    def _end(self, job: _Job, result: Any = None, error: BaseException | None = None) -> None:
        """Make room for the next image, and give the result."""
        job.prepared = None
        with self._lock:
            self._held -= 1
            self._held_bytes -= job.weight
            if not self._closed:
                self._admit()
        self._give(job, result, error)

    def _give(self, job: _Job, result: Any = None, error: BaseException | None = None) -> None:
        """Give the result, unless the job was cancelled, or `close` gave an error."""
        with self._lock:
            awaited = self._unfinished.pop(job.result, None)
        if awaited is None or not job.result.set_running_or_notify_cancel():
            return
        if error is None:
            job.result.set_result(result)
        else:
            job.result.set_exception(error)


def _is_prepared(job: _Job) -> bool:
    return job.prepared is not None and job.prepared.done()


def _disposed() -> ForegroundError:
    return ForegroundError(
        "This pipeline has been disposed of, and with it the calls that still waited. Load it again with pipeline()."
    )
