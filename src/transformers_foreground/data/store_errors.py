"""Errors of stores that may pass (throttling, timeouts, broken connections): what to do again before it fails."""

from __future__ import annotations

import errno
import io
import random
import re
import time
from collections.abc import Callable, Iterator
from typing import IO, Any, Final, TypeVar

from transformers_foreground.errors import ImageError
from transformers_foreground.images.reading import unreadable

PAUSES: Final = (0.5, 1.0, 2.0, 4.0)  # seconds between the attempts
_LONGEST: Final = 60.0  # seconds after which there is no further attempt: slow timeouts would add up

_STATUSES: Final = frozenset((408, 429, 500, 502, 503, 504))
_ERRNOS: Final = frozenset(
    (errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE, errno.ETIMEDOUT, errno.EAGAIN, errno.ENETRESET)
)
# Of the clients that fsspec uses (botocore, aiohttp, requests, urllib3, azure-core), which need not be installed.
_CLASSES: Final = frozenset(
    (
        "ChunkedEncodingError", "ClientPayloadError", "EndpointConnectionError", "FSTimeoutError", "HTTPClientError",
        "IncompleteRead", "ProtocolError", "ReadTimeoutError", "RemoteDisconnected", "ResponseParserError",
        "ServerDisconnectedError", "ServiceRequestError", "ServiceResponseError", "TransportError",
    )
)  # fmt: skip
# Messages of Arrow's C++ clients, whose errors have no class of their own; with Ray Data's `retried_io_errors`.
_MESSAGE: Final = re.compile(
    r"slow_?down|throttl|too ?many ?requests|rate ?exceeded|reduce your request rate|time[ds]?[ -]?out"
    r"|connection (?:was )?(?:reset|aborted|closed)|reset by peer|broken pipe|temporarily unavailable"
    r"|service_?unavailable|internal_?failure|internal_?error|network_connection|request_expired"
    r"|\b(?:unavailable|deadline_exceeded|resource_exhausted)\b"
    r"|\b(?:status|code)\b[ :=]*(?:408|429|500|502|503|504)\b",
    re.IGNORECASE,
)
_FINAL: Final = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, ImportError)

_T = TypeVar("_T")


def with_retries(read: Callable[[], _T], name: str) -> _T:
    """Read from a store; after an error that may pass, pause and read again.

    Args:
        read: Reads once.
        name: The name of the image in messages.

    Raises:
        ImageError: It cannot be read. The message says so if it was the store that failed each time, not the image.
    """
    started = time.monotonic()
    attempt = 0
    while True:
        attempt += 1
        try:
            return read()
        except Exception as error:  # each store's client has its own
            if not is_transient(error, name):
                if isinstance(error, ImageError):
                    raise
                raise unreadable(name, str(error) or type(error).__name__) from error
            seconds = time.monotonic() - started
            if attempt > len(PAUSES) or seconds > _LONGEST:
                raise unreadable(
                    name,
                    f"the store failed, not the image, in {attempt} attempts within {seconds:.0f} s "
                    f"({str(error) or type(error).__name__}); run this row again later",
                ) from error
        time.sleep(PAUSES[attempt - 1] * random.uniform(0.5, 1.0))  # not all workers at the same moment


class RetriedFile(io.RawIOBase):
    """A file that is read again, from the same place, after an error of its store that may pass.

    Args:
        file: A binary file, open for reading.
        name: Its name in messages.
    """

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file, self._name = file, name

    def readable(self) -> bool:
        """Return `True`."""
        return True

    def seekable(self) -> bool:
        """Return whether `seek` works."""
        return self._file.seekable()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move, as all files do."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the place, in bytes from the start."""
        return self._file.tell()

    def read(self, size: int = -1) -> bytes:
        """Read so many bytes, or all that are left.

        Raises:
            ImageError: As `with_retries` says.
        """
        start = self._file.tell()

        def attempt() -> bytes:
            self._file.seek(start)
            return self._file.read(size)

        return with_retries(attempt, self._name)


def is_transient(error: BaseException, name: str = "") -> bool:
    """Whether the next attempt may succeed.

    Args:
        error: Of a file system of pyarrow or fsspec, or of a download; its causes count too.
        name: The image's name: its words in the message do not count.
    """
    return any(_passes(link, name) for link in _chain(error))


def _passes(error: BaseException, name: str) -> bool:
    if isinstance(error, (ImageError, *_FINAL)):
        return False  # of an ImageError its cause decides
    if isinstance(error, TimeoutError | ConnectionResetError | ConnectionAbortedError | BrokenPipeError):
        return True
    if getattr(error, "errno", None) in _ERRNOS or _status(error) in _STATUSES:
        return True
    if any(cls.__name__ in _CLASSES for cls in type(error).__mro__):
        return True
    message = str(error)
    for part in (name, name.partition("://")[2]):
        message = message.replace(part, "") if part else message
    return _MESSAGE.search(message) is not None


def _status(error: BaseException) -> Any:
    """Return the HTTP status of a client's error, which is under one of the usual names."""
    for holder in (error, getattr(error, "response", None)):
        for key in ("status_code", "status", "code"):
            value = getattr(holder, key, None)
            if isinstance(value, int | str) and str(value).isdecimal():
                return int(value)
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Iterate over an error, its reason (urllib's) and what caused it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        if isinstance(reason := getattr(error, "reason", None), BaseException):
            yield reason
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
