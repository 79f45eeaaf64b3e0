"""Results of a job's shards: Parquet files that are there whole or not at all, and say what they were made of."""

from __future__ import annotations

import json
import posixpath
import re
import secrets
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Final, Self

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from transformers_foreground import atomic_write

KEY: Final = b"transformers_foreground.job"
"""The key of a result's `Made`, as JSON, in the metadata of its Parquet file."""
ROW_GROUP_BYTES: Final = 64 * 2**20
ROW_GROUP_ROWS: Final = 65_536
_LEFTOVER: Final = re.compile(r"(.*/)\.([^/]+)\.[0-9a-f]{8}\.part", re.DOTALL)


@dataclass(frozen=True)
class Made:
    """What a result was made of, and what is in it.

    Attributes:
        source: The shard's identity.
        options: The digest of the job's options.
        rows: Rows in the result.
        errors: Rows with an image that could not be read, whether they are there or were left out.
        doubtful: Masks with a high doubt (see `runtime.doubt.is_high`).
    """

    source: str
    options: str
    rows: int
    errors: int
    doubtful: int


class ShardWriter:
    """Writes tables into a Parquet file, in row groups of 64 MiB or 65,536 rows, whichever comes first."""

    def __init__(self, file: IO[bytes], schema: pa.Schema) -> None:
        words = [field.name for field in schema if pa.types.is_string(field.type)]
        self._writer = pq.ParquetWriter(file, schema, use_dictionary=words)  # not of masks, which hardly ever repeat
        self._schema = schema
        self._tables: list[pa.Table] = []
        self._bytes = self._rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()  # before its file is closed, also after an error

    def write(self, table: pa.Table) -> None:
        """Add rows."""
        self._tables.append(table.cast(self._schema))
        self._bytes += table.nbytes
        self._rows += table.num_rows
        if self._bytes >= ROW_GROUP_BYTES or self._rows >= ROW_GROUP_ROWS:
            self._flush()

    def finish(self, made: Made) -> None:
        """Write what is left, and what it was made of."""
        self._flush()
        self._writer.add_key_value_metadata({KEY: json.dumps(asdict(made)).encode()})

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.concat_tables(self._tables), row_group_size=self._rows)
        self._tables, self._bytes, self._rows = [], 0, 0


@contextmanager
def whole_file(filesystem: Any, path: str) -> Iterator[IO[bytes]]:
    """Open a file to write, which gets its name when it is complete. What a killed process leaves is hidden.

    Args:
        filesystem: Of fsspec.
        path: Its path there.

    Raises:
        OSError: It cannot be written.
    """
    if isinstance(filesystem, LocalFileSystem):
        with atomic_write.whole_file(Path(path), durable=True) as file:
            yield file
        return
    folder, name = posixpath.split(path)
    filesystem.makedirs(folder, exist_ok=True)
    temporary = f"{folder}/.{name}.{secrets.token_hex(4)}.part"
    try:
        with filesystem.open(temporary, "wb") as file:
            yield file
        _move(filesystem, temporary, path)
    except BaseException:
        with suppress(OSError):  # not uploaded yet
            filesystem.rm_file(temporary)
        raise


def _move(filesystem: Any, path: str, to: str) -> None:
    """Move a file. What fsspec does where a store cannot rename takes `[`, `*` and `?` of names for patterns."""
    if type(filesystem).mv is not AbstractFileSystem.mv:
        filesystem.mv(path, to)
        return
    filesystem.cp_file(path, to)
    filesystem.rm_file(path)


def remove_leftovers(filesystem: Any, found: Iterable[str], paths: Collection[str]) -> None:
    """Remove what killed processes left of files on a store; on a disk `atomic_write` does.

    Args:
        filesystem: Of fsspec.
        found: Files there.
        paths: The files that nobody writes any more.

    Raises:
        OSError: One cannot be removed.
    """
    for path in found:
        match = _LEFTOVER.fullmatch(path)
        if match and match[1] + match[2] in paths:
            filesystem.rm_file(path)


def made_of(filesystem: Any, path: str) -> Made | None:
    """Return what a result was made of; `None` if there is none that can be read, `OTHER` if no job wrote the file."""
    try:
        with filesystem.open(path, "rb") as file:
            metadata = pq.read_metadata(file).metadata or {}
        return Made(**json.loads(metadata[KEY]))
    except OSError:
        return None
    except (pa.ArrowException, ValueError, TypeError, KeyError):
        return OTHER


OTHER: Final = Made("", "", 0, 0, 0)
"""Stands for a file that is no result."""
