"""Watch folders: find the images that came or changed, once they are whole."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from transformers_foreground.cli.identity import Identity
from transformers_foreground.cli.planning import Job
from transformers_foreground.cli.resuming import is_current
from transformers_foreground.errors import ForegroundError

_PAUSE: Final = 1.0  # seconds; looking, unlike the system's notices, works on network drives too
_SETTLED: Final = 2.0  # seconds without a change, after which a file is taken to be whole
_PATIENCE: Final = 10.0  # the same, for a file that cannot be read: whoever writes it may have paused


@dataclass(frozen=True)
class Seen:
    """What is known of images, by their source; kept up to date here, and by whoever makes the results.

    Attributes:
        dealt_with: The file that each was when it was dealt with.
        unfinished: The file that each was when it failed, and the error, if it may not have been whole.
    """

    dealt_with: dict[str, Identity] = field(default_factory=dict)
    unfinished: dict[Job, tuple[Identity, ForegroundError]] = field(default_factory=dict)

    @classmethod
    def of(cls, jobs: Iterable[Job]) -> Seen:
        """Take these images, as they are now, to be dealt with."""
        return cls({job.source: identity for job in jobs if (identity := Identity.of(job)) is not None})

    def postpone(self, job: Job, error: ForegroundError) -> bool:
        """Have an image that failed given again later, if its file may not be whole; return whether it is so."""
        identity = self.dealt_with.get(job.source)
        if identity is None or _is_old(identity):
            return False
        self.unfinished[job] = self.dealt_with.pop(job.source), error
        return True

    def is_settled(self, job: Job, now: Identity, before: Identity | None) -> bool:
        """Whether a file does not change any more, by what it is now and what it was at the look before."""
        if job in self.unfinished and self.unfinished[job][0] == now:
            return _is_old(now)
        return now == before or _age(now) > _SETTLED

    def deal_with(self, job: Job, now: Identity) -> None:
        """Note that an image is dealt with now."""
        self.dealt_with[job.source] = now
        self.unfinished.pop(job, None)


def rounds(
    plan: Callable[[], list[Job]], known: Seen, sleep: Callable[[float], None] = time.sleep
) -> Iterator[list[Job]]:
    """Look again and again, without end.

    Args:
        plan: Gives all the jobs that there are now.
        known: What is known of their images.
        sleep: Waits between two looks.

    Yields:
        Jobs whose image is new and has no current result, or has changed since it was dealt with, and does not change
        any more. One that failed is not given again before its image changes, unless it was postponed.
    """
    seen: dict[str, Identity] = {}
    targets: set[str] = set()  # images may go away while their results stay: these are no images
    while True:
        jobs = [job for job in plan() if os.path.abspath(job.source) not in targets]
        targets.update(os.path.abspath(job.target) for job in jobs if job.target is not None)
        now = {job.source: identity for job in jobs if (identity := Identity.of(job)) is not None}
        for job in jobs:
            if job.source in now and job.source not in known.dealt_with and is_current(job):
                known.dealt_with[job.source] = now[job.source]
        due = [job for job in jobs if job.source in now and known.dealt_with.get(job.source) != now[job.source]]
        due = [job for job in due if known.is_settled(job, now[job.source], seen.get(job.source))]
        for job in due:
            known.deal_with(job, now[job.source])
        seen = now
        if due:
            yield due
        sleep(_PAUSE)


def _is_old(identity: Identity) -> bool:
    """Whether nobody writes a file any more. What a wrong clock dated to the future is not waited for."""
    return abs(_age(identity)) > _PATIENCE


def _age(identity: Identity) -> float:
    return time.time() - identity.mtime_ns / 1e9
