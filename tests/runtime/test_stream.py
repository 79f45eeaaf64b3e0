"""The bounded pipeline behind lists, generators and folders."""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transformers_foreground.errors import ForegroundError
from transformers_foreground.runtime.inline import run_inline
from transformers_foreground.runtime.queue import Queue, Steps


class Bad(ForegroundError):
    """A failure of one item."""


def stream(inputs: Any, prepare: Any, run: Any, finish: Any, *, batch_size: int = 1, workers: int = 2) -> Iterator[Any]:
    """Run inputs through a queue of their own; `finish` gets what was prepared and what came of it."""
    steps = Steps(prepare, lambda b: list(zip(b, run(b), strict=True)), lambda output: finish(*output), batch_size)
    if workers == 0:
        yield from run_inline(inputs, steps)
        return
    queue = Queue(workers)
    try:
        yield from queue.stream(inputs, steps)
    finally:
        queue.close()
        queue.wait()


def until(done: Callable[[], bool]) -> None:
    """Wait until something has happened on another thread."""
    limit = time.monotonic() + 60
    while not done() and time.monotonic() < limit:
        time.sleep(0.001)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.sampled_from(["ok", "prepare", "finish"]), max_size=20),
    st.integers(1, 5),
    st.integers(0, 3),
)
def test_every_item_has_one_outcome_in_order(kinds: list[str], batch_size: int, workers: int) -> None:
    batches: list[int] = []

    def prepare(item: tuple[int, str]) -> tuple[int, str]:
        if item[1] == "prepare":
            raise Bad(str(item[0]))
        return item

    def run(batch: Sequence[tuple[int, str]]) -> list[int]:
        batches.append(len(batch))
        return [i * 10 for i, _ in batch]

    def finish(item: tuple[int, str], result: int) -> int:
        if item[1] == "finish":
            raise Bad(str(item[0]))
        return result

    outcomes = list(stream(enumerate(kinds), prepare, run, finish, batch_size=batch_size, workers=workers))
    assert [str(o) if isinstance(o, Bad) else o for o in outcomes] == [
        i * 10 if kind == "ok" else str(i) for i, kind in enumerate(kinds)
    ]
    assert all(size <= batch_size for size in batches)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_failing_run_fails_the_input_alone_that_made_it_fail(workers: int) -> None:
    def run(batch: Sequence[int]) -> Sequence[int]:
        if 2 in batch:
            raise Bad("two")
        return batch

    outcomes = list(stream(range(6), lambda x: x, run, lambda x, _: x, batch_size=2, workers=workers))
    assert [isinstance(o, Bad) for o in outcomes] == [False, False, True, False, False, False]


@pytest.mark.parametrize("workers", [0, 2])
def test_other_exceptions_end_the_stream(workers: int) -> None:
    def prepare(x: int) -> float:
        return 1 / x

    with pytest.raises(ZeroDivisionError):
        list(stream([1, 0, 2], prepare, lambda b: b, lambda x, _: x, workers=workers))


def test_reading_stays_a_little_ahead() -> None:
    read = 0

    def source() -> Iterator[int]:
        nonlocal read
        while True:
            read += 1
            yield read

    results = stream(source(), lambda x: x, lambda b: b, lambda x, _: x, batch_size=3, workers=2)
    for _ in range(10):
        next(results)
        assert read <= 10 + 4 * (2 * 3 + 2)
    results.close()


def test_results_that_nobody_takes_do_not_pile_up() -> None:
    read = 0

    def source() -> Iterator[int]:
        nonlocal read
        while True:
            read += 1
            yield read

    results = stream(source(), lambda x: x, lambda b: b, lambda x, _: x, batch_size=1, workers=1)
    next(results)
    until(lambda: read == 3)
    time.sleep(0.1)  # all that was read is done by now
    assert read == 3  # one batch in a run, one ready for it, and one for the worker
    results.close()


def test_stages_overlap() -> None:
    together = threading.Event()

    def prepare(x: int) -> int:
        if x == 1:
            together.set()
        return x

    def run(batch: Sequence[int]) -> Sequence[int]:
        if 0 in batch:
            assert together.wait(60), "the second item was not prepared while the first one ran"
        return batch

    assert list(stream([0, 1], prepare, run, lambda x, _: x, workers=1)) == [0, 1]


def test_results_come_as_soon_as_they_are_done() -> None:
    def source() -> Iterator[int]:
        for i in range(20):
            time.sleep(0.001)
            yield i

    started: list[int] = []
    first = next(stream(source(), lambda x: started.append(x) or x, lambda b: b, lambda x, _: x, workers=1))
    assert first == 0


def test_no_thread_is_left_behind() -> None:
    results = stream(range(100), lambda x: x, lambda b: b, lambda x, _: x, workers=3)
    next(results)
    results.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("foreground")]


@pytest.mark.parametrize(
    ("weights", "at_once"),
    [
        ([30] * 8, 3),  # hundredths of what may be held
        ([60] * 6, 1),
        ([250] * 4, 1),
        ([0] * 8, 4),
        ([250, 1, 1, 1, 250, 1, 1, 1], 3),
        ([40, 40, 40, 1, 1, 1], 4),
    ],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_large_images_are_not_held_together(
    weights: list[int], at_once: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers_foreground.runtime.queue._MAX_BYTES", 100)
    lock = threading.Lock()
    held: list[int] = []
    most, counts, order = [], [], []

    def prepare(item: tuple[int, int]) -> tuple[int, int]:
        with lock:
            held.append(item[1])
            most.append(sum(held) if len(held) > 1 else 0)
            counts.append(len(held))
        time.sleep(0.002)
        return item

    def finish(item: tuple[int, int]) -> int:
        with lock:
            held.remove(item[1])
            order.append(item[0])
        return item[0]

    steps = Steps(prepare, list, finish, weigh=lambda item: item[1])
    queue = Queue(workers)
    try:
        assert list(queue.stream(enumerate(weights), steps)) == list(range(len(weights)))
        futures = [queue.submit(item, steps) for item in enumerate(weights)]
        assert [future.result(60) for future in futures] == list(range(len(weights)))
    finally:
        queue.close()
        queue.wait()
    assert max(most) <= 100
    assert max(counts) <= at_once


def test_results_that_nobody_takes_count() -> None:
    seen: list[int] = []

    def weigh(item: int) -> int:
        seen.append(item)
        return 2**29

    queue = Queue(2)
    try:
        results = queue.stream(iter(range(10)), Steps(lambda x: x, list, lambda x: x, weigh=weigh))
        assert next(results) == 0
        until(lambda: seen == [0, 1])
        time.sleep(0.05)
        assert seen == [0, 1]
        assert list(results) == list(range(1, 10))
    finally:
        queue.close()
        queue.wait()


def test_one_that_is_cancelled_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()

    def prepare(item: int) -> int:
        assert gate.wait(60)
        return item

    queue = Queue(2)
    try:
        steps = Steps(prepare, list, lambda x: x, weigh=lambda _: 2**30)
        futures = [queue.submit(i, steps) for i in range(4)]
        futures[0].cancel()
        futures[2].cancel()
        gate.set()
        assert [futures[i].result(60) for i in (1, 3)] == [1, 3]
    finally:
        queue.close()
        queue.wait()


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_source_may_refill_one_buffer(batch_size: int, workers: int) -> None:
    buffer = [0]

    def camera() -> Iterator[list[int]]:
        for i in range(7):
            buffer[0] = i
            yield buffer

    steps = Steps(lambda x: x, lambda batch: batch, lambda x: x, batch_size, take=tuple)
    queue = Queue(max(1, workers))
    results = queue.stream(camera(), steps) if workers else run_inline(camera(), steps)
    assert list(results) == [(i,) for i in range(7)]
    queue.close()


@pytest.mark.parametrize("error", [KeyError("the source's own"), Bad("the source's own")])
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_an_error_of_the_source_comes_after_what_it_gave(batch_size: int, workers: int, error: Exception) -> None:
    def source() -> Iterator[int]:
        yield from range(4)
        raise error

    results = stream(source(), lambda x: x, lambda b: b, lambda x, _: x, batch_size=batch_size, workers=workers)
    assert [next(results) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(type(error), match="the source's own"):
        next(results)


def test_a_forgotten_stream_may_end_on_its_own_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    unraisable: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: unraisable.append(args.exc_value))
    forgotten, ended = threading.Event(), threading.Event()

    def finish(x: int, _: int) -> int:  # not prepare, which may come for the second before the first is finished
        if x:
            forgotten.wait(60)
            gc.collect()
            ended.set()
        return x

    gc.disable()
    try:
        cycle: list[Any] = [stream(range(9), lambda x: x, lambda b: b, finish, workers=1)]
        next(cycle[0])
        cycle.append(cycle)
        del cycle
        forgotten.set()
        assert ended.wait(60), "its thread waits for itself"
    finally:
        gc.enable()
    assert not unraisable


@pytest.mark.parametrize("workers", [0, 2])
def test_nothing_is_read_after_an_error_of_the_source(workers: int) -> None:
    read = []

    def camera() -> int:
        read.append(1)
        if len(read) == 2:
            raise OSError("no frame")
        return len(read)

    results = stream(iter(camera, 9), lambda x: x, lambda b: b, lambda x, _: x, batch_size=3, workers=workers)
    assert next(results) == 1
    with pytest.raises(OSError, match="no frame"):
        next(results)
    assert len(read) == 2
