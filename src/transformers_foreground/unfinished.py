"""Unfinished files: what a file is called until it is whole, and which of them a kill left behind."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import secrets
import time
from functools import cache, lru_cache
from pathlib import Path
from typing import Final

_NAME: Final = re.compile(r"\.[0-9a-f]{12}-(?P<host>[0-9a-f]{8})-(?P<process>\d+)-[0-9a-f]{8}\.part")
_STALE: Final = 24 * 3600  # seconds since the last byte, after which the writer is dead, wherever it ran


def unfinished(path: Path) -> Path:
    """Return a new name, in the same folder, for a file while it is written; remove what dead processes left of it.

    What another process that lives is writing to the same file stays: names tell the machine and the process.

    Args:
        path: The file that it will be.
    """
    start = f".{_digest(path.name, 12)}-"
    for leftover in _leftovers(path.parent):
        if leftover.name.startswith(start):
            with contextlib.suppress(OSError):  # gone already; or open, on Windows
                leftover.unlink()
    return path.with_name(f"{start}{_host()}-{os.getpid()}-{secrets.token_hex(4)}.part")


@lru_cache(maxsize=64)  # a process looks once: folders of results have many files, each of which would have it look
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
