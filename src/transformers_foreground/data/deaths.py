"""Images that kill the process that works on them: found because their work began and never ended."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final, Protocol, Self

import pyarrow as pa

from transformers_foreground.data.arrow import ArrowMapper
from transformers_foreground.errors import ImageError

MOST: Final = 2
"""Deaths of a process that worked on a single row, after which the row is not tried again."""


class Record(Protocol):
    """Remembers which work began and has not ended; it outlives the processes that do the work."""

    def begin(self, work: str) -> int:
        """Note that work begins, and return how often it had begun before without an end."""

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
            del self._begun[work]  # deaths stay: a batch may be done again because of another of its rows


class FileRecord(Memory):
    """A `Record` in a file, for a process that is started again by hand. A context manager.

    The file is written where work begins, and when the context is left. It is removed where nothing is to be
    remembered: all work has ended, or all shards are done.

    Args:
        filesystem: Of fsspec.
        path: The file's path there. Its folder is made.
        resume: Read what an earlier process left; else start over.
    """

    def __init__(self, filesystem: Any, path: str, *, resume: bool) -> None:
        super().__init__()
        self._filesystem, self._path, self._resume = filesystem, path, resume

    def __enter__(self) -> Self:
        self._filesystem.makedirs(self._path.rpartition("/")[0], exist_ok=True)
        if self._resume:
            with suppress(OSError, ValueError, TypeError):  # there is none, or the process died while it wrote it
                self._begun = dict(json.loads(self._filesystem.cat_file(self._path)))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._begun = {}
        self._save()

    def begin(self, work: str) -> int:
        deaths = super().begin(work)
        self._save()
        return deaths

    def _save(self) -> None:
        if self._begun:
            self._filesystem.pipe_file(self._path, json.dumps(self._begun).encode())
        elif self._filesystem.exists(self._path):
            self._filesystem.rm_file(self._path)


def compute(mapper: ArrowMapper, table: pa.Table, record: Record, worker: str) -> pa.Table:
    """Call a mapper; if a worker died at these rows before, do them one by one, and not again those that kill.

    Such an image costs three deaths: one with its batch, two alone.

    Args:
        mapper: Does the images.
        table: The rows.
        record: Outlives the worker process.
        worker: The worker's name, the same after it was started again: other workers may have equal rows.

    Raises:
        ImageError: A row is not tried again, and the mapper's `on_error` is `"raise"`.
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
    why = f"its process died {deaths} times while it worked on this row alone (out of memory?); it is not tried again."
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
