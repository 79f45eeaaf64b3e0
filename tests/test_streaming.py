"""The bounded pipeline behind lists, generators and folders."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transformers_foreground.errors import ForegroundError
from transformers_foreground.streaming import stream


class Bad(ForegroundError):
    """A failure of one item."""


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


def test_a_failing_run_fails_its_batch_alone() -> None:
    def run(batch: Sequence[int]) -> Sequence[int]:
        if 2 in batch:
            raise Bad("two")
        return batch

    outcomes = list(stream(range(6), lambda x: x, run, lambda x, _: x, batch_size=2, workers=1))
    assert [isinstance(o, Bad) for o in outcomes] == [False, False, True, True, False, False]


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


def test_stages_overlap() -> None:
    together = threading.Event()

    def prepare(x: int) -> int:
        if x == 1:
            together.set()
        return x

    def run(batch: Sequence[int]) -> Sequence[int]:
        if 0 in batch:
            assert together.wait(5), "the second item was not prepared while the first one ran"
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
