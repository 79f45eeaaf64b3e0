"""Unexpected exceptions: they fail one image, not the whole run."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers_foreground.cli.planning import STDIO, Job
from transformers_foreground.errors import ForegroundError
from transformers_foreground.images.sources import name_of
from transformers_foreground.runtime.queue import Steps


def contained(steps: Steps) -> Steps:
    """Return steps in which an unexpected exception becomes the error of its image.

    Args:
        steps: From `Segmenter.steps`, with jobs as items and one image in each run.
    """

    def contain(step: Callable[[Any], Any], job_of: Callable[[Any], Job]) -> Callable[[Any], Any]:
        def contained_step(item: Any) -> Any:
            try:
                return step(item)
            except (ForegroundError, BrokenPipeError):  # the reader of standard output has gone, which ends all
                raise
            except Exception as error:
                raise unexpected(job_of(item), error) from error

        return contained_step

    return replace(
        steps,
        prepare=contain(steps.prepare, lambda job: job),
        run=contain(steps.run, lambda batch: batch[0][0]),
        finish=contain(steps.finish, lambda output: output[0]),
    )


def unexpected(job: Job, error: Exception) -> ForegroundError:
    """Return the error to report for an unexpected exception, with the place that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    name = "<stdin>" if job.source == STDIO else name_of(job.source)
    return ForegroundError(
        f"{name}: an error that should not happen ({type(error).__name__}{place}: {error}). Please report this, with "
        "the line that `foreground info` shows for each package."
    )
