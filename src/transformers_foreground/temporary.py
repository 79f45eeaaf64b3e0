"""Folders in the temporary directory; those of processes that were killed are deleted when the next one is made."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

PREFIX: Final = "foreground-tmp-"
_STARTING: Final = 60  # seconds from a folder to its lock, at most


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Make a folder that is deleted at the end.

    Beside it lies a file that is locked as long as the process lives, whatever ends it. A folder whose lock can be had
    is a dead process's.
    """
    sweep_dead(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as name:
        place = Path(name).resolve()
        with open(place / "lock", "wb") as lock:
            with suppress(OSError):  # no locks here: others leave it alone then, too
                _lock(lock)
            folder = place / "files"
            folder.mkdir()
            yield folder


def sweep_dead(top: Path) -> None:
    """Delete the folders of processes that are dead.

    Args:
        top: The temporary directory, where others may have made anything. Only folders of this user are touched.
    """
    for place in top.glob(f"{PREFIX}*"):
        with suppress(OSError):  # somebody else's, or another start deletes it, too
            status = place.lstat()
            if place.is_symlink() or not place.is_dir() or (os.name == "posix" and status.st_uid != os.getuid()):
                continue
            if _is_dead(place, status.st_mtime):
                shutil.rmtree(place, ignore_errors=True)


def _is_dead(place: Path, since: float) -> bool:
    try:
        with open(place / "lock", "r+b") as lock:
            _lock(lock)
    except FileNotFoundError:  # killed before it had one, or not that far yet
        return time.time() - since > _STARTING
    except OSError:  # its process holds it
        return False
    return True


def _lock(file: IO[bytes]) -> None:
    """Lock a file until it is closed.

    Raises:
        OSError: Another process has it locked, or there are no locks on this file system.
    """
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
