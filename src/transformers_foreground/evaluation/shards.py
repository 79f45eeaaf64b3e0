"""Rows on disk: a Parquet file for every few images, so that a killed run can continue."""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from transformers_foreground.atomic_write import write_whole
from transformers_foreground.errors import UnsupportedOptionError
from transformers_foreground.evaluation.aggregates import CURVES, Columns, columns
from transformers_foreground.evaluation.extras import need
from transformers_foreground.evaluation.machine import describe
from transformers_foreground.evaluation.recipes import DatasetSpec

ROWS: Final = "rows"
"""The folder of all rows, in the output folder."""
_JOB: Final = "job.json"
_MEASURED: Final = b"measured"  # key in a shard's metadata: which machine measured it, and when
_STALE: Final = 3600.0  # seconds after which an unfinished file counts as abandoned


@dataclass(frozen=True)
class Shards:
    """The rows of one job: one model on one data set.

    Shard i holds the rows of images i · size to (i + 1) · size − 1. Files are written atomically.

    Attributes:
        folder: The job's folder.
        model: The model's label.
        dataset: The data set.
        keys: Names of all images, in order.
        size: Images in each shard.
    """

    folder: Path
    model: str
    dataset: DatasetSpec
    keys: Sequence[str]
    size: int

    def begin(self, job: Mapping[str, Any], restart: bool = False) -> None:
        """Create the folder, or check that it belongs to the same job.

        Args:
            job: Everything that determines the rows' values, ready for JSON.
            restart: Delete existing rows first.

        Raises:
            UnsupportedOptionError: The folder holds rows of another job.
        """
        if restart:  # last the job: rows without one would count as those of the next
            for old in (*self.folder.glob("shard-*.parquet"), *self.folder.glob(".*.part"), self.folder / _JOB):
                old.unlink(missing_ok=True)
        path = self.folder / _JOB
        job = json.loads(json.dumps(job))
        if path.is_file():
            before = json.loads(path.read_text(encoding="utf-8"))
            changed = sorted(key for key in {*before, *job} if before.get(key) != job.get(key))
            if changed:
                raise UnsupportedOptionError(
                    f"{self.folder} holds rows of another run (different: {', '.join(changed)}). Choose another output "
                    "folder, or restart, which deletes them."
                )
            for leftover in self.folder.glob(".*.part"):
                if time.time() - leftover.stat().st_mtime > _STALE:
                    leftover.unlink(missing_ok=True)
        else:
            write_whole(path, json.dumps(job, indent=2, ensure_ascii=False).encode())

    def __len__(self) -> int:
        return -(-len(self.keys) // self.size)

    def images(self, shard: int) -> range:
        """Return the indices of a shard's images."""
        return range(shard * self.size, min((shard + 1) * self.size, len(self.keys)))

    def path(self, shard: int) -> Path:
        """Return a shard's file."""
        return self.folder / f"shard-{shard:06d}.parquet"

    def missing(self) -> list[int]:
        """Return the shards that are missing or damaged."""
        return [shard for shard in range(len(self)) if not self._whole(shard)]

    def _whole(self, shard: int) -> bool:
        pq = need("pyarrow.parquet")

        try:
            return bool(pq.read_metadata(self.path(shard)).num_rows == len(self.images(shard)))
        except (OSError, ValueError):  # not there; or cut short by a loss of power
            return False

    def schema(self) -> Any:
        """Return the Arrow schema of the rows."""
        pa = need("pyarrow")

        values = columns(self.dataset.measures, tuple(self.dataset.bands))
        return pa.schema(
            [
                ("model", pa.string()),
                ("dataset", pa.string()),
                ("index", pa.int64()),
                ("key", pa.string()),
                ("width", pa.int32()),
                ("height", pa.int32()),
                ("error", pa.string()),
                ("empty_truth", pa.bool_()),
                ("seconds", pa.float64()),
                ("doubt", pa.float64()),
                *((name, pa.list_(pa.float64()) if name in CURVES else pa.float64()) for name in values),
            ]
        )

    def write(self, shard: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write a shard, atomically; its metadata say which machine measured it, and when."""
        pa, pq = need("pyarrow"), need("pyarrow.parquet")

        schema = self.schema()
        complete = [
            {**dict.fromkeys(schema.names), **row, "model": self.model, "dataset": self.dataset.name} for row in rows
        ]
        buffer = io.BytesIO()
        table = pa.Table.from_pylist(complete, schema=schema)
        table = table.replace_schema_metadata({_MEASURED: json.dumps(describe())})
        pq.write_table(table, buffer, compression="zstd")
        write_whole(self.path(shard), buffer.getvalue())

    def read(self) -> Columns:
        """Return the columns of all rows so far, in order; null becomes NaN."""
        pa, pq = need("pyarrow"), need("pyarrow.parquet")

        tables = [pq.read_table(self.path(shard)) for shard in range(len(self)) if self._whole(shard)]
        table = pa.concat_tables(tables) if tables else self.schema().empty_table()
        return _as_columns(table)


@dataclass(frozen=True, eq=False)
class Finished:
    """The rows of a finished job.

    Attributes:
        job: What `Shards.begin` was given.
        rows: The columns of all rows, in order.
        measured: For each shard, if known: which machine measured it, and when.
    """

    job: Mapping[str, Any]
    rows: Columns
    measured: Sequence[Mapping[str, str]]


def read_finished(folder: Path, names: Sequence[str]) -> Finished:
    """Read some columns of a finished job from its folder; columns that it does not have are left out.

    Raises:
        UnsupportedOptionError: Rows are missing or damaged.
    """
    pa, pq = need("pyarrow"), need("pyarrow.parquet")

    try:
        job = json.loads((folder / _JOB).read_text(encoding="utf-8"))
        tables = []
        for path in sorted(folder.glob("shard-*.parquet")):
            there = pq.read_schema(path).names
            tables.append(pq.read_table(path, columns=[name for name in names if name in there]))
    except (OSError, ValueError) as error:
        raise UnsupportedOptionError(f"{folder} cannot be read: {error}. Evaluate again, with restart.") from error
    if sum(map(len, tables)) != job["images"]:
        raise UnsupportedOptionError(f"{folder} lacks rows. Evaluate again: existing rows are kept.")
    measured = [json.loads((table.schema.metadata or {}).get(_MEASURED, b"{}")) for table in tables]
    return Finished(job, _as_columns(pa.concat_tables(tables)), [entry for entry in measured if entry])


def _as_columns(table: Any) -> Columns:
    return {name: _array(table[name], name) for name in table.column_names}


def _array(column: Any, name: str) -> Any:
    if name in CURVES:
        curves: Iterator[Any] = (np.full(256, np.nan) if curve is None else curve for curve in column.to_pylist())
        return np.asarray(list(curves), np.float64).reshape(-1, 256)
    values = column.to_pylist()
    if column.type == "double":
        return np.asarray([np.nan if value is None else value for value in values], np.float64)
    return np.asarray(values, object)


def job_folder(output: Path, model: str, dataset: str) -> Path:
    """Return the folder of the rows of a model on a data set."""
    return output / ROWS / f"{_slug(model)}--{_slug(dataset)}"


def _slug(name: str) -> str:
    return re.sub(r"[^\w.]+", "-", name).strip("-.") or "_"
