"""A line of pictures before one session, which callers on any thread and event loop share."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from transformers_foreground.errors import ForegroundError

_DOWNLOADS: Final = 8  # at once


@dataclass(frozen=True, eq=False)
class Steps:
    """What becomes of a picture.

    Attributes:
        prepare: Makes the model's input of it, on a worker thread.
        run: Runs several inputs, on the one thread that does so.
        finish: Makes the result of what `run` gave for it, on a worker thread.
        batch_size: How many inputs `run` is given at most.
    """

    prepare: Callable[[Any], Any]
    run: Callable[[Sequence[Any]], Sequence[Any]]
    finish: Callable[[Any], Any]
    batch_size: int = 1


@dataclass(eq=False)
class _Job:
    """One picture on its way. Its `result` is pending until all is done, so that it can be cancelled at any time."""

    picture: Any
    steps: Steps
    result: Future[Any] = field(default_factory=Future)
    prepared: Future[Any] | None = None

    def prepare(self) -> Any:
        picture, self.picture = self.picture, None
        return None if self.result.done() else self.steps.prepare(picture)


class Line:
    """Pictures before one session: first come, first served, one run at a time.

    What is before and after a run happens on other threads meanwhile. Only the next few pictures are decoded, however
    many wait. Threads start with the first picture, and end with `close`, or when nobody holds the line any more.

    Args:
        workers: Threads for what is before and after a run.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        # Never held while a result is given, which calls back; reentrant, since the garbage collector may end a
        # forgotten coroutine, and so cancel what it waits for, at any point.
        self._lock = threading.RLock()
        self._unfinished: dict[Future[Any], _Job] = {}
        self._waiting: OrderedDict[Future[Any], _Job] = OrderedDict()
        self._begun: deque[_Job] = deque()  # decoded, or being so, and not run yet
        self._held = 0  # pictures in memory, until each has its result
        self._closed = False
        self._side = ThreadPoolExecutor(workers, "async-foreground")
        self._model = ThreadPoolExecutor(1, "async-foreground-model")
        self._downloads = ThreadPoolExecutor(_DOWNLOADS, "async-foreground-download")

    def room(self, batch_size: int) -> int:
        """Return how many pictures may be in memory: one batch in a run, one ready for it, and one for each worker."""
        return 2 * batch_size + self._workers

    def join(self, picture: Any, steps: Steps, fetch: Callable[[Any], Any] | None = None) -> Future[Any]:
        """Put a picture at the end of the line.

        Args:
            picture: What `prepare` takes.
            steps: What becomes of it.
            fetch: Slow, and no work for this machine, such as a download: gives what then joins the line in place of
                the picture. Nobody waits behind it.

        Returns:
            The result. Cancelled, it leaves the line; no step of it begins any more.

        Raises:
            ForegroundError: The line is closed.
        """
        job = _Job(picture, steps)
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
        return job.result

    def close(self) -> None:
        """End the line: all that has no result yet gets an error. A run that has begun ends by itself, unheard."""
        with self._lock:
            self._closed = True
            self._waiting.clear()
            unfinished = list(self._unfinished.values())
        for job in unfinished:
            self._give(job, error=_disposed())
        for pool in (self._downloads, self._side, self._model):
            pool.shutdown(wait=False, cancel_futures=True)

    def wait(self) -> None:
        """Wait until the threads of a closed line have ended."""
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
            job.picture = fetch(job.picture)
        except BaseException as error:  # on a thread nobody would see it
            self._give(job, error=error)
            return
        with self._lock:
            if job.result in self._unfinished:
                self._waiting[job.result] = job
                self._admit()

    def _admit(self) -> None:
        """Begin with those at the head of the line, as far as there is room. The lock is held."""
        while self._waiting and self._held < self.room(next(iter(self._waiting.values())).steps.batch_size):
            _, job = self._waiting.popitem(last=False)
            self._held += 1
            job.prepared = self._side.submit(job.prepare)
            self._begun.append(job)
            self._model.submit(self._serve)

    def _serve(self) -> None:
        """Run the next batch: the first picture, and those behind it that are ready. On the model's thread."""
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
        """Wait until a job is prepared. One that has failed, or that nobody waits for, goes."""
        assert job.prepared is not None
        try:
            job.prepared.result()
        except BaseException as error:  # CancelledError too: the line was closed
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
            else:  # callers are strangers: one must not fail for another's picture
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
        """Make room for the next picture, and give the result."""
        job.prepared = None
        with self._lock:
            self._held -= 1
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
