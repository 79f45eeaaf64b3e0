"""Awaited calls of a pipeline."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from transformers_foreground.errors import ImageError, UnsupportedOptionError
from transformers_foreground.images import MAX_BYTES, TIMEOUT
from transformers_foreground.line import Line, Steps
from transformers_foreground.sessions import usable_cpus
from transformers_foreground.sources import name_of, open_stream
from transformers_foreground.streaming import is_many

_Self = TypeVar("_Self", bound="AsyncCalls")


class AsyncCalls:
    """`await pipeline.acall(...)` and `async with pipeline`, for a pipeline whose calls have the steps of `Line`."""

    extracts_foreground: bool
    _num_workers: int | None
    _preprocess_params: dict[str, Any]
    _lines: dict[int, Line]  # by process: threads do not survive a fork

    def _steps(self, options: dict[str, Any]) -> tuple[Steps, str]:
        """Return what a call with these options does, and its `on_error`."""
        raise NotImplementedError

    def dispose(self) -> None:
        """Free the session; calls that wait get an error."""
        self._line().close()

    async def acall(self, inputs: Any = None, **options: Any) -> Any:
        """Extract the foreground of one picture, or of a list of them, without blocking the event loop.

        All callers of a pipeline, from whichever event loops and threads, stand in one line: first come, first served.
        The model runs one picture (or batch) at a time; the next pictures are decoded and the last masks are made
        meanwhile, on `num_workers` threads of the pipeline. Only the next few pictures are decoded, however many
        wait; of a list, only a few stand in the line at once, so that others get their turn. URLs are downloaded before
        they join the line. Cancelling the task takes its pictures out; a run that has begun ends by itself, unheard.

        Example:
            >>> async with pipeline("image-segmentation", "briaai/RMBG-1.4") as segmenter:
            ...     results = await asyncio.gather(*(segmenter.acall(photo) for photo in photos))

        Args:
            inputs: One picture, in any form that a call takes, or a list of pictures.
            options: Those of a call, but for `num_workers`: the threads are shared, and the pipeline's. `batch_size`
                pictures that are ready go through the graph together, whosever they are.

        Returns:
            What the call without `await` returns.

        Raises:
            ForegroundError: As for the call without `await`; or the pipeline was disposed of meanwhile.
            UnsupportedOptionError: Neither one picture nor a list; or `num_workers`.
        """
        inputs = options.pop("images", inputs)
        many = is_many(inputs)
        if many and not isinstance(inputs, (list, tuple)):
            raise UnsupportedOptionError(
                f"acall() takes one picture or a list, not {type(inputs).__name__}: await a call for each picture, "
                "or make a list() of them."
            )
        if options.pop("num_workers", None) is not None:
            raise UnsupportedOptionError(
                "acall() has no num_workers: all calls share the pipeline's threads. Give num_workers to pipeline()."
            )
        line = self._line()
        if not self.extracts_foreground:  # another pipeline's call cannot be taken apart
            return await _result(line.join(inputs, _undivided(self, options)))
        steps, on_error = self._steps(options)
        timeout = {**self._preprocess_params, **options}.get("timeout")
        fetch = partial(_download, timeout=TIMEOUT if timeout is None else timeout)

        def join(picture: Any) -> Future[Any]:
            return line.join(picture, steps, fetch if _is_remote(picture) else None)

        if many:
            return await _all(inputs, join, line.room(steps.batch_size), on_error)
        try:
            return await _result(join(inputs))
        except ImageError:
            if on_error == "none":
                return None
            raise

    def _line(self) -> Line:
        lines = self.__dict__.setdefault("_lines", {})  # atomic, as the one below: two threads may come at once
        process = os.getpid()
        if process not in lines:
            workers = min(2, usable_cpus()) if self._num_workers is None else self._num_workers
            lines.setdefault(process, Line(max(1, workers)))
        line: Line = lines[process]
        return line

    async def __aenter__(self: _Self) -> _Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.dispose()
        await asyncio.to_thread(self._line().wait)


async def _result(future: Future[Any]) -> Any:
    try:
        return await asyncio.wrap_future(future)
    finally:
        future.cancel()  # at once; asyncio would do so in its next round


async def _all(pictures: Sequence[Any], join: Callable[[Any], Future[Any]], at_once: int, on_error: str) -> list[Any]:
    """Await many pictures, in order, with only a few in the line."""
    source = iter(pictures)
    waiting: deque[Future[Any]] = deque()
    results: list[Any] = []
    try:
        while True:
            waiting.extend(join(picture) for picture in islice(source, at_once - len(waiting)))
            if not waiting:
                return results
            try:
                results.append(await _result(waiting.popleft()))
            except ImageError:
                if on_error == "raise":
                    raise
                if on_error == "none":
                    results.append(None)
    finally:
        for future in waiting:
            future.cancel()


def _undivided(call: Any, options: dict[str, Any]) -> Steps:
    return Steps(lambda inputs: inputs, lambda batch: [call(inputs, **options) for inputs in batch], lambda out: out)


def _is_remote(picture: Any) -> bool:
    return isinstance(picture, str) and picture[:6].lower().startswith(("http:", "https:"))


def _download(url: str, timeout: float) -> dict[str, Any]:
    """Fetch an encoded picture; as a dict it keeps its name in messages."""
    with open_stream(url, name_of(url), timeout, MAX_BYTES) as stream:
        return {"bytes": stream.read(), "path": url}
