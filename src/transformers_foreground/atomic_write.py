"""Write files so that none is ever half there, also after a kill."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import platform
import re
import secrets
import stat
import time
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import IO, Final

_NAME: Final = re.compile(r"\.[0-9a-f]{12}-(?P<host>[0-9a-f]{8})-(?P<process>\d+)-[0-9a-f]{8}\.part")
_STALE: Final = 24 * 3600  # seconds since the last byte, after which the writer is dead, wherever it ran
_READ_ONLY: Final = "the file that is there is read-only"
_O_BINARY: Final = getattr(os, "O_BINARY", 0)  # Windows alone has it, and would translate line ends without it


def write_whole(path: Path, data: bytes, *, durable: bool = False, mtime_ns: int | None = None) -> None:
    """Write a file so that nobody ever finds half of it under its name.

    Folders on the way are made. Through a symbolic link, the file that it points to is replaced, and the link stays.
    A file that is replaced passes its mode on: one that was private stays private, and one that is read-only is not
    replaced. What is no regular file (a pipe, `/dev/null`) is written to as it is. What a killed process left of the
    same file is removed.

    Args:
        path: The file.
        data: The contents.
        durable: Wait until the disk has it: else, after a power loss, the name may stand for an empty file. For files
            that are trusted later because they are there: weights, results that `--resume` skips.
        mtime_ns: The file's time of modification, in nanoseconds since 1970, in place of now.

    Raises:
        OSError: It cannot be written; what was there before is still there.
    """
    with whole_file(path, durable=durable, mtime_ns=mtime_ns) as file:
        file.write(data)


@contextlib.contextmanager
def whole_file(path: Path, *, durable: bool = False, mtime_ns: int | None = None) -> Iterator[IO[bytes]]:
    """Open a file to write piece by piece; it gets its name only when all is written, as with `write_whole`.

    Args:
        path: The file.
        durable: As for `write_whole`.
        mtime_ns: As for `write_whole`.

    Yields:
        The file. After an exception it is removed.

    Raises:
        OSError: It cannot be written; what was there before is still there.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = path.stat().st_mode if path.exists() else None
    if mode is not None and not stat.S_ISREG(mode):
        with path.open("wb") as file:
            yield file
        return
    if mode is not None and not os.access(path, os.W_OK):  # to rename onto it would be allowed on most systems
        raise PermissionError(errno.EACCES, _READ_ONLY, str(path))
    # Not tempfile's: its files are private (0600), and the umask cannot be read without changing it for all threads.
    created_with = 0o666 if mode is None else stat.S_IMODE(mode) & 0o777
    temporary = unfinished(path)
    try:
        with open(os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | _O_BINARY, created_with), "w+b") as file:
            if mode is not None:
                temporary.chmod(created_with)  # as it was, whatever the umask
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        if mtime_ns is not None:
            os.utime(temporary, ns=(mtime_ns, mtime_ns))
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        _sync_folder(path.parent)


def obstacle(target: Path) -> str:
    """Return why a file cannot be written, as far as can be known in advance; empty if nothing stands in its way."""
    # On Windows there may be none: a drive that is not there.
    folder = next((parent for parent in target.parents if os.path.exists(parent)), target.parent)
    if not os.path.isdir(folder):
        return f"{folder} is not a folder"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"{folder.resolve()} is read-only, or not yours to write in"
    if os.path.isfile(target) and not os.access(target, os.W_OK):
        return _READ_ONLY
    return ""


def replace_durably(temporary: Path, path: Path) -> None:
    """Give a finished file its name, once the disk has it, and wait until the disk has the name, too.

    Args:
        temporary: The file, complete and closed, in the same folder.
        path: Its name; a file of this name is replaced.

    Raises:
        OSError: The disk failed.
    """
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # where folders cannot be opened
        return
    with contextlib.suppress(OSError):  # some network file systems refuse; the file itself is on the disk
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def unfinished(path: Path) -> Path:
    """Return a new name, in the same folder, for a file while it is written; remove what dead processes left of it.

    The names say which machine and process writes, so that what a living process is writing stays.

    Args:
        path: The file that it will be.
    """
    start = f".{_digest(path.name, 12)}-"
    for leftover in _leftovers(path.parent):
        if leftover.name.startswith(start):
            with contextlib.suppress(OSError):  # gone already; or open, on Windows
                leftover.unlink()
    return path.with_name(f"{start}{_host()}-{os.getpid()}-{secrets.token_hex(4)}.part")


@lru_cache(maxsize=64)  # once for each folder: a folder of results is written to many times, and slow to list
def _leftovers(folder: Path) -> tuple[Path, ...]:
    try:
        return tuple(path for path in folder.iterdir() if _is_leftover(path))
    except OSError:  # no such folder yet
        return ()


def _is_leftover(path: Path) -> bool:
    match = _NAME.fullmatch(path.name)
    if match is None:
        return False
    if match["host"] == _host() and _is_dead(int(match["process"])):
        return True
    try:
        return time.time() - path.stat().st_mtime > _STALE
    except OSError:
        return False


def _is_dead(process: int) -> bool:
    if os.name == "nt":  # where signal 0 is Ctrl-C
        return False
    try:
        os.kill(process, 0)
    except (OSError, OverflowError) as error:
        return isinstance(error, ProcessLookupError)
    return False


@cache
def _host() -> str:
    """Name this machine and, on Linux, this container: outside of it the ids of its processes mean nothing."""
    try:
        container = os.readlink("/proc/self/ns/pid")
    except OSError:
        container = ""
    return _digest(f"{platform.node()} {container}", 8)


def _digest(text: str, length: int) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:length]
