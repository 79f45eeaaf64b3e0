"""Where an image comes from: paths, URLs, bytes, file objects and dicts -> a stream of encoded bytes."""

from __future__ import annotations

import base64
import io
import os
import re
import stat
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any, Final

import numpy as np
from PIL import Image

from transformers_foreground.errors import ImageError
from transformers_foreground.images.arrays import is_tensor
from transformers_foreground.images.formats import is_image
from transformers_foreground.images.reading import read_all, unreadable

__all__ = ["ACCEPTED", "enough_memory", "file_of", "name_of", "open_stream", "unreadable"]

ACCEPTED: Final = (
    "a path, a file:, http:, https: or data: URL, base64 text, bytes, a binary file object, a PIL image, "
    "a numpy array (H, W, C), a torch tensor (C, H, W), or a datasets dict with 'bytes' and 'path'"
)
_BASE64: Final = re.compile(r"[A-Za-z0-9+/\s]+={0,2}\s*")
_SHORTEST_BASE64: Final = 40
_SCHEME: Final = re.compile(r"(?:(https?|file|data):|([a-z][a-z0-9+.-]+)://)", re.IGNORECASE)


def name_of(source: object) -> str:
    """Return how to call a source in messages: its path, its URL (without a password), or what it is."""
    if isinstance(source, Mapping):
        path = source.get("path")
        if path and isinstance(path, str | os.PathLike):
            return name_of(path)
        return "<bytes>" if "bytes" in source else "<dict>"
    if isinstance(source, Image.Image):
        return f"<PIL image {source.width}x{source.height}>"
    if isinstance(source, bytes | bytearray | memoryview):
        return "<bytes>"
    if isinstance(source, np.ndarray):
        return "<array>"
    if is_tensor(source):
        return "<tensor>"
    if isinstance(source, str | os.PathLike):
        text = os.fsdecode(source)
        if text[:5].lower() == "data:":
            return f"{text.partition(',')[0][:60]},… ({len(text)} characters)"
        text = re.sub(r"(?<=://)[^/@]*@", "…@", text)
        return text if len(text) <= 300 else f"{text[:300]}… ({len(text)} characters)"
    if hasattr(source, "read"):
        name = getattr(source, "filename", None) or getattr(source, "name", None)
        return name if isinstance(name, str) else "<file object>"
    return f"<{type(source).__name__}>"


@contextmanager
def enough_memory(name: str) -> Iterator[None]:
    """Make a typed error of what Python raises where memory does not suffice for the source of that name."""
    try:
        yield
    except MemoryError as error:
        raise ImageError(f"{name}: not enough memory for this image. Shrink it first.") from error


def _from_dict(source: Mapping[str, Any], name: str) -> Any:
    inner = source.get("bytes")
    inner = source.get("path") if inner is None else inner
    if not isinstance(inner, str | os.PathLike | bytes | bytearray | memoryview):
        raise unreadable(
            name, "this dict has neither 'bytes' nor a 'path', as those of datasets.Image(decode=False) have"
        )
    return inner


def open_stream(source: Any, name: str, timeout: float, max_bytes: int) -> IO[bytes]:
    """Open a source of encoded bytes as a seekable binary stream, which the caller closes.

    Args:
        source: Anything that `decode` takes, but for pixels in memory.
        name: What messages call it.
        timeout: Seconds that a download may take.
        max_bytes: Most bytes to take from a URL or a file object.

    Raises:
        ImageError: It cannot be read, or is of no known kind.
    """
    if isinstance(source, Mapping):
        source = _from_dict(source, name)
    if isinstance(source, bytes | bytearray | memoryview):
        return io.BytesIO(bytes(source))
    if isinstance(source, str) and (match := _SCHEME.match(source)):
        scheme = (match[1] or match[2]).lower()
        if scheme in ("http", "https"):
            from transformers_foreground.images.download import download  # brings Python's HTTP and TLS

            return io.BytesIO(download(source, name, timeout, max_bytes))
        if scheme == "data":
            return io.BytesIO(_data_url(source, name))
        if scheme != "file":
            raise unreadable(name, f"{scheme}: URLs are not supported; pass the bytes, or {ACCEPTED}")
        return _open_file(_file_url(source, name), name)
    if isinstance(source, str) and (data := _from_base64(source)):
        return io.BytesIO(data)
    if isinstance(source, str | os.PathLike):
        return _open_file(source, name)
    if callable(read := getattr(file_of(source), "read", None)):
        try:
            return io.BytesIO(read_all(read, name, max_bytes))
        except (OSError, ValueError) as error:
            raise unreadable(name, f"reading the file object failed ({error})") from error
    raise unreadable(name, f"this is no image; pass {ACCEPTED}")


def file_of(source: Any) -> Any:
    """Return the file in what a web framework (FastAPI, Starlette) makes of an upload; anything else as it is."""
    return source.file if hasattr(source, "file") and hasattr(source, "filename") else source


def _from_base64(text: str) -> bytes | None:
    """Return the image file that a text is in base64, as transformers' `load_image` takes it; `None` if it is none."""
    if len(text) < _SHORTEST_BASE64 or not _BASE64.fullmatch(text):
        return None
    packed = "".join(text.split()).rstrip("=")
    data = base64.b64decode(packed + "=" * (-len(packed) % 4)) if len(packed) % 4 != 1 else b""
    return data if is_image(data[:16]) else None


def _file_url(url: str, name: str) -> str:
    from urllib.request import url2pathname  # slow to import

    try:
        parts = urllib.parse.urlsplit(url)
        if parts.netloc in ("", "localhost"):
            return url2pathname(parts.path)
    except (OSError, ValueError) as error:
        raise unreadable(name, f"this is not a valid file: URL ({error})") from error
    raise unreadable(name, "a file: URL with a host is not supported; write file:///path")


def _open_file(path: str | os.PathLike[str], name: str) -> IO[bytes]:
    try:
        status = os.stat(path)  # before opening: to open a pipe would wait for its writer
        mode = status.st_mode
        if stat.S_ISREG(mode) and status.st_size:
            return open(path, "rb")
    except FileNotFoundError as error:
        raise unreadable(name, "there is no such file; relative paths start at the working directory") from error
    except (OSError, ValueError) as error:
        raise unreadable(name, f"the file cannot be opened ({getattr(error, 'strerror', None) or error})") from error
    if stat.S_ISREG(mode):  # not opened: to read such a file of the system (/proc/kmsg) may wait for ever
        raise unreadable(name, "it is empty (0 bytes)")
    if stat.S_ISDIR(mode):
        raise unreadable(name, "this is a folder; pass the files in it one by one")
    raise unreadable(
        name, "this is a pipe, a socket or a device, not a regular file; read it yourself and pass the bytes"
    )


def _data_url(url: str, name: str) -> bytes:
    head, comma, body = url.partition(",")
    if not comma:
        raise unreadable(name, "a data: URL needs a comma before its data")
    try:
        data = urllib.parse.unquote_to_bytes(body)
        if not head.lower().endswith(";base64"):
            return data
        data = b"".join(data.split()).rstrip(b"=")
        return base64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
    except ValueError as error:
        raise unreadable(name, f"its data is not valid ({error})") from error
