"""`deaths.compute`: which row of a batch kills, without a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest
from tiny_data import shade

from transformers_foreground.data.arrow import ArrowMapper
from transformers_foreground.data.deaths import FileRecord, Memory, compute
from transformers_foreground.errors import ImageError


class KilledError(BaseException):
    """Stands for SIGKILL: the record never hears of an end."""


class Mortal(Memory):
    """Forgets the ends of whoever was killed."""

    killed = False

    def end(self, work: str) -> None:
        if not self.killed:
            super().end(work)


def until_done(mapper: ArrowMapper, table: pa.Table, record: Mortal, deadly: set[int]) -> tuple[pa.Table, int]:
    """Work as one worker does that is started again, and return how often it died."""

    def fatal(rows: pa.Table, *failure: Any) -> pa.Table:
        if not failure and deadly & set(rows["id"].to_pylist()):
            record.killed = True
            raise KilledError
        return mapper(rows, *failure)

    deaths = 0
    while True:
        try:
            return compute(fatal, table, record, "worker"), deaths  # type: ignore[arg-type]
        except KilledError:
            deaths += 1
            record.killed = False


@pytest.mark.parametrize("deadly", [set(), {2}, {0, 3}])
def test_deadly_rows_are_given_up_and_no_others(tiny: Path, deadly: set[int]) -> None:
    mapper = ArrowMapper(tiny, on_error="none", error_column="error", id_column="id")
    table = pa.table({"id": list(range(4)), "image": [shade(50 * i) for i in range(4)]})
    record = Mortal()
    result, deaths = until_done(mapper, table, record, deadly)
    rows = result.to_pylist()
    assert [row["id"] for row in rows if row["mask"] is None] == sorted(deadly)
    assert deaths == (1 if deadly else 0) + 2 * len(deadly)
    for row in rows:
        assert row["mask"] == mapper(table)["mask"][row["id"]].as_py() or f"Row id={row['id']}: Cannot" in row["error"]
    again, deaths = until_done(mapper, table, record, deadly)  # for the sake of another row of its block
    assert (again, deaths) == (result, 0)


def test_the_job_fails_and_names_the_row(tiny: Path) -> None:
    table = pa.table({"id": [5, 6], "image": [shade(1), shade(2)]})
    with pytest.raises(ImageError, match="Row id=6: Cannot read it: its process died 2 times"):
        until_done(ArrowMapper(tiny, id_column="id"), table, Mortal(), {6})


@pytest.mark.parametrize("protocol", ["file", "memory"])
def test_a_record_in_a_file_outlives_its_process(tmp_path: Path, protocol: str) -> None:
    store, path = fsspec.filesystem(protocol), str(tmp_path / "out/.deaths.json")
    record = FileRecord(store, path, resume=True).__enter__()
    assert (record.begin("a"), record.begin("b")) == (0, 0)
    record.end("b")
    record.__exit__(KeyboardInterrupt)
    for deaths in (1, 2):
        killed = FileRecord(store, path, resume=True).__enter__()
        assert (killed.begin("b"), killed.begin("a")) == (deaths - 1, deaths)
    store.pipe_file(path, store.cat_file(path)[:-3])
    with FileRecord(store, path, resume=True) as record:  # it was killed while it wrote the file
        assert record.begin("a") == 0
    assert not store.exists(path)
    store.pipe_file(path, b"null")  # not ours
    with FileRecord(store, path, resume=True) as record:
        assert record.begin("a") == 0
    FileRecord(store, path, resume=True).__enter__().begin("a")
    with FileRecord(store, path, resume=False) as record:
        assert record.begin("a") == 0


def test_nothing_is_noted_of_work_that_ended(tiny: Path) -> None:
    record = Memory()
    table = pa.table({"image": [b"damaged"]})
    for _ in range(5):
        with pytest.raises(ImageError, match="not an image"):
            compute(ArrowMapper(tiny), table, record, "worker")
    assert record.begin("worker") == 0
