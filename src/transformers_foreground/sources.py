"""Where a picture comes from: paths, URLs, bytes, file objects and dicts -> a stream of encoded bytes."""

from __future__ import annotations

import base64
import http.client
import io
import os
import re
import stat
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any, Final

import numpy as np
from PIL import Image

from .addresses import PrivateAddressError, PublicHTTPHandler, PublicHTTPSHandler
from .env import __version__, env
from .errors import ImageError

ACCEPTED: Final = (
    "a path, a file:, http:, https: or data: URL, bytes, a binary file object, a PIL image, "
    "a numpy array (H, W, C), a torch tensor (C, H, W), or a datasets dict with 'bytes' and 'path'"
)
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
    if hasattr(source, "detach") and hasattr(source, "cpu"):
        return "<tensor>"
    if isinstance(source, str | os.PathLike):
        text = os.fsdecode(source)
        if text[:5].lower() == "data:":
            return f"{text.partition(',')[0][:60]},… ({len(text)} characters)"
        text = re.sub(r"(?<=://)[^/@]*@", "…@", text)
        return text if len(text) <= 300 else f"{text[:300]}… ({len(text)} characters)"
    if hasattr(source, "read"):
        name = getattr(source, "name", None)
        return name if isinstance(name, str) else "<file object>"
    return f"<{type(source).__name__}>"


def unreadable(name: str, why: str) -> ImageError:
    """Return the error to raise for the source of that name."""
    return ImageError(f"Cannot read {name}: {why}.")


@contextmanager
def enough_memory(name: str) -> Iterator[None]:
    """Make a typed error of what Python raises where memory does not suffice for the source of that name."""
    try:
        yield
    except MemoryError as error:
        raise ImageError(f"{name}: not enough memory for this picture. Shrink it first.") from error


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
            return io.BytesIO(_download(source, name, timeout, max_bytes))
        if scheme == "data":
            return io.BytesIO(_data_url(source, name))
        if scheme != "file":
            raise unreadable(name, f"{scheme}: URLs are not supported; pass the bytes, or {ACCEPTED}")
        return _open_file(_file_url(source, name), name)
    if isinstance(source, str | os.PathLike):
        return _open_file(source, name)
    if callable(read := getattr(source, "read", None)):
        try:
            return io.BytesIO(_read(read, name, max_bytes))
        except (OSError, ValueError) as error:
            raise unreadable(name, f"reading the file object failed ({error})") from error
    raise unreadable(name, f"this is no image; pass {ACCEPTED}")


def _file_url(url: str, name: str) -> str:
    try:
        parts = urllib.parse.urlsplit(url)
        if parts.netloc in ("", "localhost"):
            return urllib.request.url2pathname(parts.path)
    except (OSError, ValueError) as error:
        raise unreadable(name, f"this is not a valid file: URL ({error})") from error
    raise unreadable(name, "a file: URL with a host is not supported; write file:///path")


def _open_file(path: str | os.PathLike[str], name: str) -> IO[bytes]:
    try:
        mode = os.stat(path).st_mode  # before opening: to open a pipe would wait for its writer
        if stat.S_ISREG(mode):
            return open(path, "rb")
    except FileNotFoundError as error:
        raise unreadable(name, "there is no such file; relative paths start at the working directory") from error
    except (OSError, ValueError) as error:
        raise unreadable(name, f"the file cannot be opened ({getattr(error, 'strerror', None) or error})") from error
    if stat.S_ISDIR(mode):
        raise unreadable(name, "this is a folder; pass the files in it one by one")
    raise unreadable(
        name, "this is a pipe, a socket or a device, not a regular file; read it yourself and pass the bytes"
    )


def _read(read: Callable[[int], bytes], name: str, max_bytes: int, deadline: float = float("inf")) -> bytes:
    data = bytearray()
    while chunk := read(1 << 16):
        if isinstance(chunk, str):
            raise unreadable(name, "the file object gives text; open it in binary mode ('rb')")
        data += chunk
        if len(data) > max_bytes:
            raise unreadable(name, f"it has more than {max_bytes} bytes, the limit; in Python, raise max_bytes")
        if time.monotonic() > deadline:
            raise TimeoutError
    return bytes(data)


def _download(url: str, name: str, timeout: float, max_bytes: int) -> bytes:
    # Not urlopen, which would follow a redirect to ftp:.
    opener = urllib.request.OpenerDirector()
    proxies = {scheme: proxy for scheme, proxy in urllib.request.getproxies().items() if scheme in ("http", "https")}
    transports: tuple[urllib.request.BaseHandler, ...]
    if env.allow_private_urls:
        transports = urllib.request.ProxyHandler(proxies), urllib.request.HTTPHandler(), urllib.request.HTTPSHandler()
    else:  # no proxy either: it would resolve the name, and connect, for us
        transports = PublicHTTPHandler(), PublicHTTPSHandler()
    for handler in (
        *transports,
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    headers = {"User-Agent": f"transformers-foreground/{__version__}", "Accept": "image/*,*/*;q=0.5"}
    deadline = time.monotonic() + timeout  # `timeout` itself is only for each wait on the socket
    try:
        request = urllib.request.Request(urllib.parse.quote(url, safe="%/:=&?~#+!$,;'@()*[]"), headers=headers)
        with opener.open(request, timeout=timeout) as response:
            return _read(response.read1, name, max_bytes, deadline)
    except urllib.error.HTTPError as error:
        error.close()
        raise unreadable(name, f"the server answered {error.code} {error.reason}") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, PrivateAddressError):
            raise unreadable(name, f"{reason}, and env.allow_private_urls is False") from error
        if isinstance(reason, TimeoutError):
            raise unreadable(
                name, f"the download did not end within {timeout:g} s; fetch it first, or, in Python, raise timeout"
            ) from error
        raise unreadable(name, f"the download failed ({reason})") from error


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
