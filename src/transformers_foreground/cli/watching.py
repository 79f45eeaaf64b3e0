"""Watch folders: find the pictures that came or changed, once they are whole."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Final

from transformers_foreground.cli.planning import Job
from transformers_foreground.cli.resuming import is_current

_PAUSE: Final = 1.0  # seconds; looking, unlike the system's notices, works on network drives too
_SETTLED: Final = 2.0  # seconds without a change, after which a file is taken to be whole


def rounds(plan: Callable[[], list[Job]], sleep: Callable[[float], None] = time.sleep) -> Iterator[list[Job]]:
    """Look again and again, without end.

    Args:
        plan: Gives all the jobs that there are now.
        sleep: Waits between two looks.

    Yields:
        Jobs whose result is missing or older than the picture, and whose picture does not change any more. One that
        was given is not given again before its picture changes, even if nothing came of it.
    """
    seen: dict[str, tuple[int, int]] = {}
    given: dict[str, tuple[int, int]] = {}
    while True:
        jobs = plan()
        now = {job.source: state for job in jobs if (state := _state(job)) is not None}
        due = [
            job
            for job in jobs
            if job.source in now
            and given.get(job.source) != now[job.source]
            and (seen.get(job.source) == now[job.source] or time.time() - now[job.source][1] / 1e9 > _SETTLED)
            and not is_current(job)
        ]
        given.update({job.source: now[job.source] for job in due})
        seen = now
        if due:
            yield due
        sleep(_PAUSE)


def _state(job: Job) -> tuple[int, int] | None:
    try:
        stat = os.stat(job.source)
    except OSError:  # it is gone again
        return None
    return stat.st_size, stat.st_mtime_ns
