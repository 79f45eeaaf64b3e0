"""HTTP with the standard library: a request that follows redirects, and a download that goes on after a cut.

huggingface_hub changed its HTTP library from one major version to the next, reports a download in steps of 10 MB, and
starts an interrupted one again from the beginning. Here each byte is kept, and every error is one of Python's own:
`urllib.error.HTTPError` for an answer whose status is an error, any other `OSError` where there was no answer or not
all of it.
"""

from __future__ import annotations

import http.client
import logging
import os
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import IO, Any, Final, cast
from urllib.parse import urlsplit

from transformers_foreground.hub.transfer import CallbackError, OnBytes

logger = logging.getLogger(__name__)

_CHUNK: Final = 1 << 17
_SECONDS: Final = 0.1  # of a slow download, after which less than a chunk is reported too
_TRIES: Final = 3  # in a row that brought nothing
_TEMPORARY: Final = (500, 502, 503, 504)


@contextmanager
def request(method: str, url: str, headers: Mapping[str, str], timeout: float) -> Iterator[http.client.HTTPResponse]:
    """Send a request. Proxies are those of the environment (`http_proxy`, `https_proxy`, `no_proxy`).

    Args:
        method: GET or HEAD.
        url: Address.
        headers: Headers; `Authorization` is not passed on to another host.
        timeout: Seconds without a byte, after which it fails.

    Yields:
        The answer, once its status is good.

    Raises:
        urllib.error.HTTPError: Its status is not; 3xx is a redirection without end.
        OSError: There was no answer, or reading it failed.
    """
    try:
        asked = urllib.request.Request(url, headers=dict(headers), method=method)
        with closing(_opener().open(asked, timeout=timeout)) as answer:
            yield cast(http.client.HTTPResponse, answer)
    except http.client.HTTPException as error:  # no OSError, but the same thing: an answer that broke off
        raise ConnectionError(f"{type(error).__name__} {error}".strip()) from error
    except ValueError as error:  # no such scheme, no host
        raise urllib.error.URLError(str(error)) from error


def download(
    url: str,
    headers: Mapping[str, str],
    path: Path,
    *,
    timeout: float,
    size: int | None = None,
    on_bytes: OnBytes | None = None,
) -> None:
    """Download to a file, going on from what it holds. After a cut, and when the server fails, it tries again.

    It ends when all has come that the server has, or when three tries in a row brought nothing.

    Args:
        url: Address.
        headers: Headers.
        path: The unfinished file. It stays when the download fails, for a later call to go on from.
        timeout: Seconds without a byte.
        size: How long the file must be, where that is known.
        on_bytes: Called every 128 KiB, or ten times a second where less comes, on this thread.

    Raises:
        OSError: As `request`; or the disk refused to take it.
        CallbackError: `on_bytes` raised an exception.
    """
    futile = 0
    while True:
        had = size_of(path)
        try:
            _try(url, headers, path, timeout, size, on_bytes)
            return
        except OSError as error:
            futile = 0 if size_of(path) > had else futile + 1
            if futile == _TRIES or not _is_temporary(error):
                raise
            logger.info("%s: %s; trying again.", url, error)
            time.sleep(futile)


def _try(
    url: str, headers: Mapping[str, str], path: Path, timeout: float, size: int | None, on_bytes: OnBytes | None
) -> None:
    had = size_of(path)
    if size is not None and had >= size:
        if had == size:
            return
        had = 0  # left by a wrong answer
    asked = {**headers, "Range": f"bytes={had}-"} if had else headers
    try:
        with request("GET", url, asked, timeout) as answer:
            if not (answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {had}-")):
                had = 0  # all of it comes, from the start
            with path.open("ab") as file:
                file.truncate(had)
                _copy(answer, file, on_bytes)
    except urllib.error.HTTPError as error:
        if error.code == 416 and had:  # the file there is shorter than what is here
            path.unlink(missing_ok=True)
            raise ConnectionError("the file has changed on the server") from error
        raise


def _copy(answer: http.client.HTTPResponse, file: IO[bytes], on_bytes: OnBytes | None) -> None:
    left = length_of(answer.headers)
    told = at = file.seek(0, os.SEEK_END)
    last = time.monotonic()
    while data := answer.read1(_CHUNK):
        file.write(data)
        at += len(data)
        left = None if left is None else left - len(data)
        if on_bytes and (at - told >= _CHUNK or time.monotonic() - last >= _SECONDS):
            told, last = at, time.monotonic()
            _tell(on_bytes, at)
    if on_bytes and at > told:
        _tell(on_bytes, at)
    if left:
        raise ConnectionError(f"the connection was cut, {left} bytes too early")


def _tell(on_bytes: OnBytes, loaded: int) -> None:
    try:
        on_bytes(loaded)
    except Exception as error:
        raise CallbackError(error) from error


def _is_temporary(error: OSError) -> bool:
    if isinstance(error, urllib.error.HTTPError):
        return error.code in _TEMPORARY
    return isinstance(_cause(error), (ConnectionError, TimeoutError))


def _cause(error: OSError) -> object:
    return error.reason if isinstance(error, urllib.error.URLError) else error


def is_unreachable(error: OSError) -> bool:
    """Whether there was no answer at all: no such host, no network, nobody listening, or silence."""
    return isinstance(error, (urllib.error.URLError, ConnectionError, TimeoutError)) and not isinstance(
        error, urllib.error.HTTPError
    )


def reason_of(error: OSError) -> str:
    """Say in a few words why a request failed."""
    reason = _cause(error)
    if isinstance(reason, TimeoutError):
        return "nothing came for too long"
    text = getattr(reason, "strerror", None) or str(reason)
    return text.rstrip(".") or type(reason).__name__


def proxy_of(url: str) -> str | None:
    """Return the proxy that the environment names for a URL."""
    parts = urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    return None if proxy is None or urllib.request.proxy_bypass(parts.hostname or "") else proxy


def length_of(headers: Mapping[str, str] | Any) -> int | None:
    """Return the Content-Length of an answer, `None` where it states none."""
    length = headers.get("Content-Length") or ""
    return int(length) if length.isascii() and length.isdigit() else None


def size_of(path: Path) -> int:
    """Return a file's size in bytes, 0 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Redirects that stay HEAD requests, and take no token to another host."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        if new is not None:
            new.method = req.get_method()
            if urlsplit(new.full_url)[:2] != urlsplit(req.full_url)[:2]:
                new.remove_header("Authorization")
        return new


def _opener() -> urllib.request.OpenerDirector:
    """Return what opens HTTP and HTTPS only: no redirect may lead to a file or to FTP."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=_certificates()),
        urllib.request.HTTPDefaultErrorHandler(),
        _Redirects(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


@cache
def _certificates() -> ssl.SSLContext:
    """Trust the system's certificates, or those of `REQUESTS_CA_BUNDLE` or `CURL_CA_BUNDLE`.

    Python from python.org on macOS comes without any: there, certifi's are added.
    """
    bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or None
    if bundle and os.path.isdir(bundle):
        return ssl.create_default_context(capath=bundle)
    context = ssl.create_default_context(cafile=bundle)
    if bundle is None and not context.get_ca_certs():
        import certifi

        context.load_verify_locations(certifi.where())
    return context
