"""Shards: the units of a job, and how their rows are read a few at a time.

A shard is a Parquet file, a WebDataset tar file, or a part of a folder of images. A hash of an image's path below the
folder decides to which part it belongs, so that an added file moves no other.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import IOBase
from itertools import chain
from typing import Any, Final, Literal

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from transformers_foreground.data.store_errors import RetriedFile, with_retries
from transformers_foreground.data.webdataset import samples
from transformers_foreground.errors import ImageError, UnsupportedOptionError
from transformers_foreground.images.formats import SUFFIXES

Rows = tuple[pa.Schema, Iterator[pa.Table]]
"""The schema of a shard, and its rows in tables of a few."""

_FILES: Final[Mapping[str, Literal["parquet", "webdataset"]]] = {
    ".parquet": "parquet",
    ".tar": "webdataset",
    ".tar.gz": "webdataset",
    ".tgz": "webdataset",
}
_TAGS: Final = ("etag", "md5hash", "content_md5", "checksum", "mtime", "lastmodified", "last_modified", "updated")
_UNREADABLE: Final = (OSError, EOFError, ValueError, zlib.error, tarfile.TarError, pa.ArrowException)


@dataclass(frozen=True)
class Shard:
    """A unit of a job.

    Attributes:
        name: Its path below the input, without suffix; its result has the same name.
        kind: What it is.
        path: The file's path on its file system; of images, the folder's.
        identity: Hash of the sizes, and ETags or times of modification, of all of its files.
        files: Of images, their paths below the folder, sorted.
    """

    name: str
    kind: Literal["parquet", "webdataset", "images"]
    path: str
    identity: str
    files: tuple[str, ...] = ()


def store_of(url: str) -> tuple[Any, str]:
    """Return the file system of a path or URL, and the path there, without a slash at its end.

    Raises:
        UnsupportedOptionError: There is no such kind of URL, or the package that opens it is not installed.
    """
    try:
        filesystem, path = fsspec.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise UnsupportedOptionError(f"Cannot open {url}: {error}.") from error
    return filesystem, (posixpath.normpath(path) if isinstance(filesystem, LocalFileSystem) else path).rstrip("/")


def find_shards(source: str, parts: int) -> tuple[Any, list[Shard]]:
    """Return the file system of an input, and its shards by name.

    Args:
        source: A file, or a folder of Parquet files, of tar files or of images: a path or a URL that fsspec knows.
        parts: Into how many shards a folder of images is divided.

    Raises:
        UnsupportedOptionError: There is nothing of that kind, or more than one kind.
        ImageError: The folder, or one below it, cannot be listed.
    """
    filesystem, root = store_of(source)
    root, infos = with_retries(lambda: _infos(filesystem, root), source)
    files = {name: info for name, info in infos.items() if _suffix(name) and posixpath.basename(name)[0] != "_"}
    if len({_FILES[_suffix(name)] for name in files}) > 1:
        raise UnsupportedOptionError(
            f"{source} holds both Parquet and tar files: give a folder, or a file, of one kind."
        )
    if files:
        return filesystem, _file_shards(source, root, files)
    images = {name: info for name, info in infos.items() if posixpath.splitext(name)[1].lower() in SUFFIXES}
    if not images:
        raise UnsupportedOptionError(f"{source}: there are no Parquet files, tar files or images.")
    return filesystem, _image_shards(root, images, parts)


def _infos(filesystem: Any, root: str) -> tuple[str, dict[str, Mapping[str, Any]]]:
    """Return a folder, or the folder of a file; and size and time of each file, by its path below that folder."""
    filesystem.invalidate_cache()
    if filesystem.isfile(root):
        found = {root: filesystem.info(root)}
        root = posixpath.dirname(root)
    else:
        local = isinstance(filesystem, LocalFileSystem)
        found = _local_files(root) if local else filesystem.find(root, detail=True)
    infos = {path[len(root) :].lstrip("/"): info for path, info in found.items()}
    return root, {name: info for name, info in infos.items() if not any(part[:1] == "." for part in name.split("/"))}


def _local_files(root: str) -> dict[str, Mapping[str, Any]]:
    """Do as `find` of fsspec, which leaves out folders that cannot be read, and looks at links, not at their files."""

    def fail(error: OSError) -> None:
        raise error

    found: dict[str, Mapping[str, Any]] = {}
    for folder, folders, names in os.walk(root, onerror=fail if os.path.exists(root) else None):
        folders[:] = [name for name in folders if name[0] != "."]
        for name in names:
            path = os.path.join(folder, name)
            with suppress(FileNotFoundError):  # deleted since; but a link to nothing fails when it is read
                status = os.stat(path, follow_symlinks=os.path.exists(path))
                found[path.replace(os.sep, "/")] = {"size": status.st_size, "mtime": status.st_mtime}
    return found


def _suffix(name: str) -> str:
    return next((suffix for suffix in _FILES if name.lower().endswith(suffix)), "")


def _file_shards(source: str, root: str, files: Mapping[str, Mapping[str, Any]]) -> list[Shard]:
    shards = {}
    for name, info in sorted(files.items()):
        suffix = _suffix(name)
        stem = name[: -len(suffix)]
        if stem in shards:
            raise UnsupportedOptionError(f"{source}: {name} and another file would give one result, {stem}.parquet.")
        shards[stem] = Shard(stem, _FILES[suffix], f"{root}/{name}", identity_of({name: info}))
    return list(shards.values())


def _image_shards(root: str, images: Mapping[str, Mapping[str, Any]], parts: int) -> list[Shard]:
    members: dict[int, list[str]] = {}
    for name in sorted(images):
        members.setdefault(part_of(name, parts), []).append(name)
    width = len(str(parts - 1))
    return [
        Shard(
            f"images-{part:0{width}}-of-{parts}",
            "images",
            root,
            identity_of({name: images[name] for name in names}),
            tuple(names),
        )
        for part, names in sorted(members.items())
    ]


def part_of(name: str, parts: int) -> int:
    """Return the number of the part that an image belongs to, by its path below the folder alone."""
    return int.from_bytes(hashlib.sha256(name.encode(errors="surrogatepass")).digest()[:8]) % parts


def identity_of(files: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a hash of the names, sizes, and ETags or times of modification of files: 32 hex digits."""
    digest = hashlib.sha256()
    for name, info in sorted(files.items()):
        known = {key.lower().replace("-", "_"): value for key, value in info.items()}
        tag = next((known[key] for key in (*_TAGS, "created") if known.get(key) is not None), None)
        digest.update(repr((name, info.get("size"), str(tag))).encode(errors="surrogatepass"))
    return digest.hexdigest()[:32]


@contextmanager
def open_shard(filesystem: Any, shard: Shard, image_column: str, batch_size: int) -> Iterator[Rows]:
    """Open a shard; its rows are read as they are asked for.

    Images of a tar file become structs of "bytes" and "path" beside "__key__", WebDataset's name for a row. Those of a
    folder become paths below it.

    Args:
        filesystem: Where it lies.
        shard: The shard.
        image_column: The name of the images' column. Of a WebDataset also the extension of its images, such as
            `"jpg"` or `"input.png"`; `"image"` takes the first image of each row.
        batch_size: Rows in a table.

    Raises:
        ImageError: It cannot be read; the message names it. Also while its rows are read.
    """
    if shard.kind == "images":
        yield _image_rows(shard, image_column, batch_size)
        return
    with _named(shard):
        opened = with_retries(lambda: filesystem.open(shard.path, "rb"), shard.path)
    with opened, RetriedFile(opened, shard.path) as file:
        with _named(shard):
            schema, tables = (
                _parquet_rows(file, batch_size)
                if shard.kind == "parquet"
                else _webdataset_rows(file, image_column, batch_size)
            )
        yield schema, _named_rows(shard, tables)


@contextmanager
def _named(shard: Shard) -> Iterator[None]:
    try:
        yield
    except _UNREADABLE as error:
        raise ImageError(f"Cannot read the shard {shard.path}: {error or type(error).__name__}") from error


def _named_rows(shard: Shard, tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    while True:
        with _named(shard):
            table = next(tables, None)
        if table is None:
            return
        yield table


def _parquet_rows(file: IOBase, batch_size: int) -> Rows:
    parquet = pq.ParquetFile(file, pre_buffer=False)  # else a row group is in memory twice
    schema = parquet.schema_arrow
    groups = list(range(parquet.num_row_groups))
    # Arrow cannot join dictionaries inside of other types, as batches that span row groups would need.
    nested = any("dictionary<" in str(kind) and not pa.types.is_dictionary(kind) for kind in schema.types)
    batches = (
        parquet.iter_batches(batch_size, some) for some in ([[group] for group in groups] if nested else [groups])
    )
    return schema, (pa.Table.from_batches([batch], schema) for batch in chain.from_iterable(batches))


def _webdataset_rows(file: IOBase, column: str, batch_size: int) -> Rows:
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("__key__", pa.string()), (column, image)])
    return schema, _tables(samples(file, column), schema, batch_size)


def _image_rows(shard: Shard, column: str, batch_size: int) -> Rows:
    schema = pa.schema([(column, pa.string())])
    # A name that is no UTF-8, which Arrow cannot hold, gives an error of its row.
    names = (name.encode(errors="backslashreplace").decode() for name in shard.files)
    return schema, _tables(({column: name} for name in names), schema, batch_size)


def _tables(rows: Iterator[dict[str, Any]], schema: pa.Schema, batch_size: int) -> Iterator[pa.Table]:
    batch = []
    for row in rows:
        batch.append(row)
        if len(batch) == batch_size:
            yield pa.Table.from_pylist(batch, schema)
            batch = []
    if batch:
        yield pa.Table.from_pylist(batch, schema)
