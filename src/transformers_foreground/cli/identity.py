"""Notice that another file has taken the place of an image that was read."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Final

from transformers_foreground.cli.planning import Job

_COARSEST: Final = 2_000_000_000  # nanoseconds: the clock of FAT, the coarsest that file systems have


@dataclass(frozen=True)
class Identity:
    """Size, time and inode of a file: another file in its place differs in one of them.

    Attributes:
        size: In bytes.
        mtime_ns: Time of modification, in nanoseconds.
        inode: Number of the file in its file system: another one where a file was moved onto it.
    """

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, job: Job) -> Identity | None:
        """Return the identity of an image's file; `None` if there is no file."""
        if not job.is_file:
            return None
        try:
            status = os.stat(job.source)
        except (OSError, ValueError):
            return None
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)


@dataclass(frozen=True)
class Reading:
    """When an image was read, and from which file.

    Attributes:
        started: `time.perf_counter()` then.
        result_time: The time of modification for the result, in nanoseconds: not the time of writing, so that an image
            that changes between reading and writing is newer than its result.
        identity: The file, if it is one.
    """

    started: float
    result_time: int
    identity: Identity | None

    @classmethod
    def now(cls, job: Job) -> Reading:
        """Return time and file; to be called before the image is read."""
        identity = Identity.of(job)
        result_time = time.time_ns() - _COARSEST
        if identity is not None:
            result_time = max(result_time, identity.mtime_ns)
        return cls(time.perf_counter(), result_time, identity)

    def is_outdated(self, job: Job) -> bool:
        """Whether another file is in its place now, or it has changed. A file that is gone does not count."""
        now = Identity.of(job)
        return now is not None and now != self.identity
