"""A stream without threads: all is done on the calling thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from transformers_foreground.errors import ForegroundError
from transformers_foreground.runtime.queue import Steps
from transformers_foreground.runtime.source import END, Source


def run_inline(images: Iterable[Any], steps: Steps) -> Iterator[Any]:
    """Do what `Queue.stream` does on the calling thread alone, a batch at a time."""
    source = Source(images)
    while True:
        # Each is prepared before the next is read: the source may refill one buffer.
        prepared: list[Any] = []
        while not source.ended and len(prepared) < steps.batch_size:
            if (image := source.read()) is not END:
                prepared.append(_attempt(lambda image: steps.prepare(steps.take(image)), image))
        ready = [item for item in prepared if not isinstance(item, ForegroundError)]
        outputs = iter(_run_all(ready, steps) if ready else ())
        for item in prepared:
            output = item if isinstance(item, ForegroundError) else next(outputs)
            yield output if isinstance(output, ForegroundError) else _attempt(steps.finish, output)
        if source.ended:
            source.raise_error()
            return


def _run_all(ready: list[Any], steps: Steps) -> Sequence[Any]:
    try:
        return steps.run(ready)
    except ForegroundError as error:
        return [error] if len(ready) == 1 else [output for item in ready for output in _run_all([item], steps)]


def _attempt(step: Callable[[Any], Any], item: Any) -> Any:
    try:
        return step(item)
    except ForegroundError as error:
        return error
