"""Resuming: which results exist already, and are the same as they would be now."""

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
from transformers_foreground.cli.results import may_be_result
from transformers_foreground.compositing.backgrounds import Background


def digest_of(options: Mapping[str, Any]) -> str:
    """Return a hash of the options on which a result depends: 16 hex digits."""
    text = json.dumps(options, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    """Return what JSON can hold in place of an object: of a background that is an image, its pixels' hash."""
    if isinstance(value, Background):
        return value.image.size, hashlib.sha256(value.image.tobytes()).hexdigest()
    return vars(value)


def is_current(job: Job) -> bool:
    """Whether an image's result exists, and is not older than the image.

    A result's time of modification is when its image was read: see `Reading.result_time`. A time in the future comes
    from a wrong clock, or from an image with such a time: it counts only for an image of the very same time.
    """
    try:
        if not job.is_file or job.target is None or not job.target.is_file():
            return False
        if job.overwrites is not None and not may_be_result(job.target):
            return False
        image, result = os.stat(job.source).st_mtime_ns, job.target.stat().st_mtime_ns
        return image == result or image < result <= time.time_ns()
    except OSError:
        return False


def done_before(jobs: Sequence[Job], digest: str, log: Path | None, quiet: bool) -> set[Job]:
    """Return the jobs that need not be done again.

    Results do not hold the options that made them, so that a mask has the same bytes whoever writes it; the log does.
    Without a log, a result that is newer than its image counts as done, and a line says so.

    Args:
        jobs: All jobs.
        digest: Hash of the options now.
        log: The log of earlier runs and of this one.
        quiet: Print nothing.
    """
    newer = {job for job in jobs if is_current(job)}
    if log is None:
        if newer and not quiet:
            say(
                f"Results kept: {len(newer)}, newer than their images, whatever options made them. --force makes "
                "them again; with --log the command remembers the options."
            )
        return newer
    made = _made_of(log)
    current = {job for job in newer if made.get(str(job.target)) == (digest, Identity.of(job))}
    if (again := len(newer) - len(current)) and not quiet:
        say(f"Results to be made anew: {again}, as {log} does not say that these options made them from these images.")
    return current


def _made_of(log: Path) -> dict[str, tuple[str, Identity]]:
    """Return, from a log, the options and the file that last made each result."""
    made: dict[str, tuple[str, Identity]] = {}
    with contextlib.suppress(OSError), log.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            with contextlib.suppress(ValueError, TypeError, KeyError):  # no line of ours, or cut short
                record = json.loads(line)
                made[record["output"]] = record["options"], Identity(**record["source"])
    return made
