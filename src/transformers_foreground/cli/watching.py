"""Watch folders: find images that are new or have changed, once they are complete."""

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

_PAUSE: Final = 1.0  # seconds between two looks; the system's notices do not work on network drives
_SETTLED: Final = 2.0  # seconds without a change, after which a file counts as complete
_PATIENCE: Final = 10.0  # the same, for a file that cannot be read: whoever writes it may have paused


@dataclass(frozen=True)
class Seen:
    """The images that were done, kept up to date here and by the code that makes the results.

    Attributes:
        dealt_with: The identity of each image's file when it was done, by the image's source.
        unfinished: The identity and the error of each image that failed while its file may have been incomplete.
    """

    dealt_with: dict[str, Identity] = field(default_factory=dict)
    unfinished: dict[Job, tuple[Identity, ForegroundError]] = field(default_factory=dict)

    @classmethod
    def of(cls, jobs: Iterable[Job]) -> Seen:
        """Count these images, as they are now, as done."""
        return cls({job.source: identity for job in jobs if (identity := Identity.of(job)) is not None})

    def postpone(self, job: Job, error: ForegroundError) -> bool:
        """Return whether an image that failed is tried again later, since its file may be incomplete; note it if so."""
        identity = self.dealt_with.get(job.source)
        if identity is None or _is_old(identity):
            return False
        self.unfinished[job] = self.dealt_with.pop(job.source), error
        return True

    def is_settled(self, job: Job, now: Identity, before: Identity | None) -> bool:
        """Whether a file no longer changes, by its identity now and at the look before."""
        if job in self.unfinished and self.unfinished[job][0] == now:
            return _is_old(now)
        return now == before or _age(now) > _SETTLED

    def deal_with(self, job: Job, now: Identity) -> None:
        """Note that an image is being done."""
        self.dealt_with[job.source] = now
        self.unfinished.pop(job, None)


def rounds(
    plan: Callable[[], list[Job]], known: Seen, sleep: Callable[[float], None] = time.sleep
) -> Iterator[list[Job]]:
    """Look every second, for ever.

    Args:
        plan: Returns all jobs as they are now.
        known: The images that were done.
        sleep: Waits between two looks.

    Yields:
        Jobs whose image is new and has no current result, or has changed since it was done, and no longer changes. One
        that failed is not yielded again before its image changes, unless it was postponed.
    """
    seen: dict[str, Identity] = {}
    targets: set[str] = set()  # a result is no image, even if its own image has gone
    while True:
        jobs = [job for job in plan() if os.path.abspath(job.source) not in targets]
        targets.update(os.path.abspath(job.target) for job in jobs if job.target is not None and not job.overwrites)
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
    """Whether a file is complete by its age. A time in the future comes from a wrong clock, and is not waited for."""
    return abs(_age(identity)) > _PATIENCE


def _age(identity: Identity) -> float:
    return time.time() - identity.mtime_ns / 1e9
