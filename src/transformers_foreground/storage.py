"""Pictures on S3 and other stores, by their URIs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import pyarrow as pa
import pyarrow.fs

from transformers_foreground.errors import ImageError
from transformers_foreground.images import MAX_BYTES, DecodedImage, decode
from transformers_foreground.sources import name_of, unreadable

_OURS: Final = ("http", "https", "file", "data")  # `decode` opens these
_URI: Final = re.compile(r"([a-z][a-z0-9+.-]+)://([^/]*)/?(.*)", re.IGNORECASE | re.DOTALL)


def read(picture: Any, filesystem: Any = None) -> DecodedImage:
    """Decode a picture that may lie on a store.

    Args:
        picture: What `images.decode` takes; also a URI, alone or as the "path" of a mapping, whose scheme `pyarrow.fs`
            or else fsspec knows: `s3://bucket/key`, `gs://...`, `hdfs://...`. Keys are written as they are, unquoted.
        filesystem: Opens all paths and URIs, the latter without their scheme: of pyarrow or fsspec.

    Raises:
        ImageError: It cannot be read.
    """
    if picture is None:
        raise ImageError("There is no picture (null).")
    source = picture
    if isinstance(picture, Mapping) and picture.get("bytes") is None:
        source = picture.get("path")
    if not isinstance(source, str):
        return decode(picture)
    match = _URI.fullmatch(source)
    elsewhere = match and match[1].lower() not in _OURS
    if not elsewhere and (filesystem is None or match or source[:5].lower() == "data:"):
        return decode(source)
    name = name_of(source)
    try:
        store, path = _store(match, source, filesystem)
        with store.open_input_file(path) as file:
            if file.size() > MAX_BYTES:
                raise unreadable(name, f"it has more than {MAX_BYTES} bytes, the limit")
            data = file.read()
    except (OSError, ValueError, ImportError) as error:  # ImportError: fsspec lacks the package for this store
        raise unreadable(name, str(error) or type(error).__name__) from error
    return decode({"bytes": data, "path": source})


def _store(match: re.Match[str] | None, source: str, filesystem: Any) -> tuple[Any, str]:
    """Return the file system for a path or a URI, and its path there."""
    if filesystem is not None or match is None:
        return _of_pyarrow(filesystem), f"{match[2]}/{match[3]}" if match else source
    try:
        store, base = _root(f"{match[1]}://{match[2]}")
        return store, f"{base.rstrip('/')}/{match[3]}"
    except pa.ArrowInvalid:  # not a scheme of pyarrow's
        import fsspec

        store, path = fsspec.core.url_to_fs(source)
        return _of_pyarrow(store), path


@lru_cache(maxsize=32)
def _root(uri: str) -> tuple[Any, str]:
    """Open a bucket once: its file system keeps connections."""
    store, base = pyarrow.fs.FileSystem.from_uri(uri)
    return store, base


def _of_pyarrow(filesystem: Any) -> Any:
    if isinstance(filesystem, pyarrow.fs.FileSystem):
        return filesystem
    return pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(filesystem))
