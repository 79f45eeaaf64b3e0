"""Resuming: which results exist already and are what would be made now."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers_foreground.cli.console import say
from transformers_foreground.cli.identity import Identity
from transformers_foreground.cli.planning import Job
from transformers_foreground.images.decode import DecodedImage


def digest_of(options: Mapping[str, Any]) -> str:
    """Return 16 digits that stand for all that decides what a result is, beside its image."""
    text = json.dumps(options, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    """Return what JSON can hold in place of what it cannot: of a background that is an image, its pixels' hash."""
    if isinstance(value, DecodedImage):
        return value.pixels.shape, hashlib.sha256(value.pixels.tobytes()).hexdigest()
    return vars(value)


def is_current(job: Job) -> bool:
    """Whether an image's result is there, and not older than the image.

    Results have the time at which their image was read: see `Reading.result_time`. One from the future was made by a
    wrong clock, or of an image from there: it counts for the image of that very time alone.
    """
    try:
        if not job.is_file or job.target is None or not job.target.is_file():
            return False
        image, result = os.stat(job.source).st_mtime_ns, job.target.stat().st_mtime_ns
        return image == result or image < result <= time.time_ns()
    except OSError:
        return False


def done_before(jobs: Sequence[Job], digest: str, log: Path | None, quiet: bool) -> set[Job]:
    """Return the jobs that need not be done again.

    Files do not say how they were made, and should not: a mask has the same bytes whoever writes it. The log does.
    Without one, what is newer than its image counts as done, and that is said.

    Args:
        jobs: All.
        digest: Of the options now.
        log: Of earlier runs and of this one.
        quiet: Say nothing.
    """
    newer = {job for job in jobs if is_current(job)}
    if log is None:
        if newer and not quiet:
            say(
                f"Results kept: {len(newer)}, newer than their images, whatever options made them. --force makes "
                "them anew; with --log the command remembers the options."
            )
        return newer
    made = _made_of(log)
    current = {job for job in newer if made.get(str(job.target)) == (digest, Identity.of(job))}
    if (again := len(newer) - len(current)) and not quiet:
        say(f"Results to be made anew: {again}, as {log} does not say that these options made them of these images.")
    return current


def _made_of(log: Path) -> dict[str, tuple[str, Identity]]:
    """Read which options made a result last, and of which file, from a log."""
    made: dict[str, tuple[str, Identity]] = {}
    with contextlib.suppress(OSError), log.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            with contextlib.suppress(ValueError, TypeError, KeyError):  # no line of ours, or cut short
                record = json.loads(line)
                made[record["output"]] = record["options"], Identity(**record["source"])
    return made
