"""Download: an http: or https: URL -> the bytes behind it, within one deadline for all of it."""

from __future__ import annotations

import base64
import http.client
import socket
import ssl
import threading
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from transformers_foreground.env import __version__, env
from transformers_foreground.errors import ImageError
from transformers_foreground.images.public_http import PrivateAddressError, connect_public
from transformers_foreground.images.reading import read_all, unreadable


def download(url: str, name: str, timeout: float, max_bytes: int) -> bytes:
    """Download the bytes at a URL.

    Args:
        url: `http:` or `https:`; with `user:password@`, which is sent to that host alone.
        name: What messages call it.
        timeout: Seconds for the whole of it: name, connection, encryption, redirects, headers, body and trailers.
        max_bytes: Most bytes to take, packed or unpacked.

    Raises:
        NotPublicError: It is not on the public internet where it has to be (`env.allow_private_urls`).
        ImageError: It fails, takes longer, or has more bytes.
    """
    sockets, outcome = _Sockets(), list[bytes | BaseException]()
    timeout = min(max(0.0, timeout), threading.TIMEOUT_MAX)  # infinity is more than the system waits

    def run() -> None:
        try:
            outcome.append(_fetch(url, name, timeout, max_bytes, sockets))
        except BaseException as error:
            outcome.append(error)

    # A thread, because a timeout on a socket is for each wait, and a name that is resolved has none at all.
    thread = threading.Thread(target=run, name="foreground-download", daemon=True)
    thread.start()
    thread.join(timeout)
    result = outcome[0] if outcome else TimeoutError()  # before the end of the connections ends the thread, too
    sockets.close()
    if isinstance(result, bytes):
        return result
    if isinstance(result, ImageError):
        raise result
    if isinstance(result, urllib.error.HTTPError):
        result.close()
        raise unreadable(name, f"the server answered {result.code} {result.reason}") from result
    if not isinstance(result, (OSError, ValueError, OverflowError, http.client.HTTPException, zlib.error)):
        raise result
    reason = getattr(result, "reason", result)
    if isinstance(reason, PrivateAddressError):
        raise NotPublicError(str(unreadable(name, f"{reason}, and env.allow_private_urls is False"))) from result
    if isinstance(reason, TimeoutError):
        late = f"the download did not end within {timeout:g} s; fetch it first, or, in Python, raise timeout"
        raise unreadable(name, late) from result
    raise unreadable(name, f"the download failed ({reason})") from result


class NotPublicError(ImageError):
    """An image is not on the public internet, and has to be (`env.allow_private_urls`)."""


class _Sockets:
    """The connections of one download, which another thread can end."""

    def __init__(self) -> None:
        self._open: list[socket.socket] | None = []
        self._lock = threading.Lock()

    def watch(self, connection: socket.socket) -> socket.socket:
        with self._lock:
            if self._open is None:
                connection.close()
                raise TimeoutError
            self._open.append(connection.dup())  # encryption takes the first one over
        return connection

    def close(self) -> None:
        with self._lock:
            connections, self._open = self._open or [], None
        for connection in connections:
            with suppress(OSError):  # closed already
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()


def _fetch(url: str, name: str, timeout: float, max_bytes: int, sockets: _Sockets) -> bytes:
    request = _request(url)
    with _opener(sockets).open(request, timeout=timeout) as response:
        data = read_all(response.read1, name, max_bytes)
        encoding = (response.headers.get("Content-Encoding") or "identity").strip().lower()
    if encoding == "identity":
        return data
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise unreadable(name, f"the server sent it packed as {encoding}, which is not read; fetch it first")
    return _unpacked(data, name, max_bytes)


def _request(url: str) -> urllib.request.Request:
    headers = {
        "User-Agent": f"transformers-foreground/{__version__}",
        "Accept": "image/*,*/*;q=0.5",
        "Accept-Encoding": "identity, gzip;q=0.5",
    }
    parts = urllib.parse.urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    if at:
        url = parts._replace(netloc=host).geturl()
    request = urllib.request.Request(urllib.parse.quote(url, safe="%/:=&?~#+!$,;'@()*[]"), headers=headers)
    if at:
        token = base64.b64encode(urllib.parse.unquote_to_bytes(user)).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")  # another host must not see it
    return request


def _unpacked(data: bytes, name: str, max_bytes: int) -> bytes:
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # gzip's or zlib's header
    unpacked = unpacker.decompress(data, max_bytes + 1)
    if len(unpacked) > max_bytes:
        raise unreadable(name, f"unpacked, it has more than {max_bytes} bytes, the limit; in Python, raise max_bytes")
    if not unpacker.eof:
        raise unreadable(name, "what the server sent is truncated; try again")
    return unpacked


Connect = Callable[..., socket.socket]


def _opener(sockets: _Sockets) -> urllib.request.OpenerDirector:
    """Return what opens requests. Not `urlopen`, which would follow a redirect to ftp:."""

    def connect(*address_and_timeout: Any) -> socket.socket:
        make: Connect = socket.create_connection if env.allow_private_urls else connect_public
        return sockets.watch(make(*address_and_timeout))

    opener = urllib.request.OpenerDirector()
    if env.allow_private_urls:  # else no proxy either: it would resolve the name, and connect, for us
        proxies = {scheme: url for scheme, url in urllib.request.getproxies().items() if scheme in ("http", "https")}
        opener.add_handler(urllib.request.ProxyHandler(proxies))
    for handler in (
        _Handler(connect),
        _Redirects(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects without reading what comes with them, which may be without end."""

    def http_error_302(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        fp.close()  # read now, it is empty
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


class _Handler(urllib.request.HTTPSHandler, urllib.request.HTTPHandler):
    """Opens `http:` and `https:` by connections that `connect` makes."""

    def __init__(self, connect: Connect) -> None:
        super().__init__()
        self._connect = connect

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(self._connection, http.client.HTTPConnection), req)

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        kind = partial(http.client.HTTPSConnection, context=ssl.create_default_context())
        return self.do_open(partial(self._connection, kind), req)

    def _connection(self, kind: Callable[..., Any], *args: Any, **options: Any) -> Any:
        connection = kind(*args, **options)
        connection._create_connection = self._connect  # http.client's own seam, for proxies and encryption too
        return connection
