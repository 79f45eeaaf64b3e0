"""A bounded pipeline: prepare on threads, run in batches, finish on threads; results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from os import PathLike
from typing import Any, TypeVar

from PIL import Image

from transformers_foreground.errors import ForegroundError

Input = TypeVar("Input")
Prepared = TypeVar("Prepared")
Result = TypeVar("Result")
Output = TypeVar("Output")


def stream(
    inputs: Iterable[Input],
    prepare: Callable[[Input], Prepared],
    run: Callable[[Sequence[Prepared]], Sequence[Result]],
    finish: Callable[[Prepared, Result], Output],
    *,
    batch_size: int = 1,
    workers: int = 2,
) -> Iterator[Output | ForegroundError]:
    """Run inputs through three stages, overlapping them.

    Args:
        inputs: Read on the calling thread, at most a few batches ahead: it may be endless.
        prepare: First stage, on a worker thread.
        run: Second stage, on the calling thread, one batch at a time.
        finish: Last stage, on a worker thread.
        batch_size: How many prepared inputs `run` is given at once.
        workers: Threads for the first and the last stage; 0 does all on the calling thread, one input at a time.

    Yields:
        For each input, in order, what `finish` returned, or the `ForegroundError` that a stage raised for it. Any
        other exception ends the stream.
    """
    if workers <= 0:
        pool: _Inline | ThreadPoolExecutor = _Inline()
        ahead = batch_size
    else:
        pool = ThreadPoolExecutor(workers, thread_name_prefix="foreground")
        ahead = 2 * batch_size + workers
    source = iter(inputs)
    prepared: deque[Future[Prepared]] = deque()
    finished: deque[Future[Output]] = deque()
    try:
        while True:
            prepared.extend(pool.submit(prepare, item) for item in islice(source, ahead - len(prepared)))
            if not prepared:
                break
            batch = [prepared.popleft() for _ in range(min(batch_size, len(prepared)))]
            finished.extend(_run_batch(batch, run, finish, pool))
            while finished and (finished[0].done() or len(finished) > ahead):
                yield _outcome(finished.popleft())
        while finished:
            yield _outcome(finished.popleft())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _run_batch(
    batch: Sequence[Future[Prepared]],
    run: Callable[[Sequence[Prepared]], Sequence[Result]],
    finish: Callable[[Prepared, Result], Output],
    pool: _Inline | ThreadPoolExecutor,
) -> list[Future[Output]]:
    """Run those of a batch that could be prepared; return a future for each, in order."""
    ready = [future.result() for future in batch if future.exception() is None]
    futures: list[Future[Output]]
    try:
        results = iter(run(ready)) if ready else iter(())
    except ForegroundError as error:
        return [_failed(future.exception() or error) for future in batch]
    futures = []
    for future in batch:
        failure = future.exception()
        futures.append(_failed(failure) if failure else pool.submit(finish, future.result(), next(results)))
    return futures


def _failed(error: BaseException) -> Future[Output]:
    future: Future[Output] = Future()
    future.set_exception(error)
    return future


def _outcome(future: Future[Any]) -> Any:
    try:
        return future.result()
    except ForegroundError as error:
        return error


class _Inline:
    """An executor without threads."""

    def submit(self, function: Callable[..., Output], *args: object) -> Future[Output]:
        future: Future[Output] = Future()
        try:
            future.set_result(function(*args))
        except ForegroundError as error:
            future.set_exception(error)
        return future

    def shutdown(self, wait: bool, cancel_futures: bool) -> None:
        """There is nothing to stop."""


def is_many(inputs: Any) -> bool:
    """Whether the inputs are many pictures: a list or a tuple, a column, a dataset or an iterator."""
    if isinstance(inputs, (list, tuple)):
        return True
    if isinstance(inputs, (str, bytes, bytearray, memoryview, PathLike, Mapping, Image.Image)):
        return False
    if hasattr(inputs, "read") or hasattr(inputs, "__array__"):
        return False
    return hasattr(inputs, "__iter__") or (hasattr(inputs, "__getitem__") and hasattr(inputs, "__len__"))


def items_of(inputs: Any) -> Iterable[Any]:
    """Iterate over inputs, also over a torch dataset that can only be indexed."""
    if hasattr(inputs, "__iter__"):
        return inputs  # type: ignore[no-any-return]
    return (inputs[i] for i in range(len(inputs)))
