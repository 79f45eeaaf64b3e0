"""Images that kill the process that works on them, found by work that was begun and never ended."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

import pyarrow as pa

from transformers_foreground.data.arrow import ArrowMapper
from transformers_foreground.errors import ImageError

MOST: Final = 2
"""Deaths of a process at work on a single row, after which that row is given up."""


class Record(Protocol):
    """Remembers which work was begun and has not ended; it outlives the processes that work."""

    def begin(self, work: str) -> int:
        """Note that work begins, and return how often it had begun and not ended."""

    def end(self, work: str) -> None:
        """Note that it ended."""


class Memory:
    """A `Record` in memory."""

    def __init__(self) -> None:
        self._begun: dict[str, int] = {}

    def begin(self, work: str) -> int:
        self._begun[work] = self._begun.get(work, 0) + 1
        return self._begun[work] - 1

    def end(self, work: str) -> None:
        self._begun[work] -= 1
        if not self._begun[work]:
            del self._begun[work]  # deaths stay: a block may be done again because of another of its rows


def compute(mapper: ArrowMapper, table: pa.Table, record: Record, worker: str) -> pa.Table:
    """Call a mapper; rows at which a worker died before are done one by one, and the deadly ones given up.

    Such an image costs three deaths: one with its batch, two alone.

    Args:
        mapper: What computes.
        table: Rows.
        record: Outlives the worker process.
        worker: Name of the worker, the same after it was started again: other workers may have equal rows.

    Raises:
        ImageError: A row is given up, and the mapper's `on_error` is `"raise"`.
        ForegroundError: As the mapper says.
    """
    return _noted(
        table, record, worker, lambda deaths: _batch(mapper, table, record, worker) if deaths else mapper(table)
    )


def _batch(mapper: ArrowMapper, table: pa.Table, record: Record, worker: str) -> pa.Table:
    rows = [table.slice(i, 1) for i in range(table.num_rows)]
    return pa.concat_tables([_noted(row, record, f"{worker} alone", partial(_row, mapper, row)) for row in rows])


def _row(mapper: ArrowMapper, row: pa.Table, deaths: int) -> pa.Table:
    if deaths < MOST:
        return mapper(row)
    why = f"its process died {deaths} times at work on it alone (for want of memory?); it is not tried again."
    return mapper(row, ImageError(f"Cannot read it: {why}"))


def _noted(table: pa.Table, record: Record, worker: str, work: Callable[[int], pa.Table]) -> pa.Table:
    name = f"{worker} {_digest(table)}"
    deaths = record.begin(name)
    try:
        return work(deaths)
    finally:  # not reached by a process that is killed
        record.end(name)


def _digest(table: pa.Table) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with pa.ipc.new_stream(pa.PythonFile(_Into(digest), "w"), table.schema) as writer:
        writer.write_table(table)
    return digest.hexdigest()


class _Into:
    """A file whose bytes go into a digest."""

    def __init__(self, digest: hashlib.blake2b) -> None:
        self.digest, self.closed = digest, False

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return len(data)

    def flush(self) -> None:
        """Do nothing."""
