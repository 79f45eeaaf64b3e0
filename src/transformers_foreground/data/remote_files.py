"""Read images on S3 and other stores, by their URIs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import pyarrow as pa
import pyarrow.fs

from transformers_foreground.data.store_errors import with_retries
from transformers_foreground.errors import ImageError
from transformers_foreground.images.decode import MAX_BYTES, DecodedImage, decode
from transformers_foreground.images.public_http import check_uri
from transformers_foreground.images.sources import name_of, unreadable

_OURS: Final = ("http", "https", "file", "data")  # `decode` opens these
_URI: Final = re.compile(r"([a-z][a-z0-9+.-]+)://([^/]*)/?(.*)", re.IGNORECASE | re.DOTALL)


def read(image: Any, filesystem: Any = None) -> DecodedImage:
    """Decode an image that may lie on a store. After an error that may pass, it is read again.

    Args:
        image: Anything that `images.decode` takes; or a URI, alone or as the "path" of a mapping, whose scheme
            `pyarrow.fs` or fsspec knows: `s3://bucket/key`, `gs://...`, `hdfs://...`. Keys are written unquoted.
        filesystem: Opens all paths and URIs, the latter without their scheme: of pyarrow or fsspec.

    Raises:
        ImageError: It cannot be read.
    """
    if image is None:
        raise ImageError("There is no image (null).")
    source = image
    if isinstance(image, Mapping) and image.get("bytes") is None:
        source = image.get("path")
    if not isinstance(source, str):
        return decode(image)
    match = _URI.fullmatch(source)
    elsewhere = match and match[1].lower() not in _OURS
    if not elsewhere and (filesystem is None or match or source[:5].lower() == "data:"):
        return with_retries(lambda: decode(source), name_of(source)) if match else decode(source)
    name = name_of(source)

    def read_file() -> bytes:
        if filesystem is None:
            check_uri(source)
        store, path = _store(match, source, filesystem)
        with store.open_input_file(path) as file:
            if file.size() > MAX_BYTES:
                raise unreadable(name, f"it has more than {MAX_BYTES} bytes, the limit")
            data: bytes = file.read()
            return data

    return decode({"bytes": with_retries(read_file, name), "path": source})


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
