"""Process the images of a run, and with --watch those that arrive later."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from typing import Any

import typer

from transformers_foreground.cli.console import complain, progress_bar, say
from transformers_foreground.cli.planning import Job, Plan
from transformers_foreground.cli.reporting import Reporter
from transformers_foreground.cli.running import Done, problem
from transformers_foreground.cli.watching import Seen, rounds
from transformers_foreground.errors import ForegroundError, ImageError

Cut = Callable[[list[Job]], Iterable[Any]]
"""Cuts out images; yields the outcome of each, in order."""


def do(
    jobs: list[Job],
    cut: Cut,
    reporter: Reporter,
    *,
    force: bool,
    before: Set[Job] = frozenset(),
    postpone: Callable[[Job, ForegroundError], bool] = lambda *_: False,
) -> None:
    """Process all images that were not done before, and report each.

    Args:
        jobs: The images.
        cut: Cuts them out.
        reporter: Reports them.
        force: Overwrite results.
        before: The images that were done before.
        postpone: Returns whether an image that failed is tried again later; then it is not reported.
    """
    todo = [job for job in jobs if job not in before]
    outcomes: Any = [problem(job, force) for job in todo]
    if not all(outcomes):  # else there is nothing to load a model for
        outcomes = cut(todo)
    outcomes = iter(outcomes)
    hidden = reporter.quiet or reporter.as_json or len(jobs) == 1
    with progress_bar(len(jobs), hidden) as advance:
        for job in jobs:
            if job in before:
                outcome = Done({"input": job.source, "output": str(job.target), "skipped": True})
            else:
                outcome = next(outcomes)
            advance()
            if not (isinstance(outcome, ForegroundError) and postpone(job, outcome)):
                reporter.report(job, outcome)


def watch(plan: Callable[[], Plan], known: Seen, cut: Cut, reporter: Reporter, reported: set[str]) -> None:
    """Process images as they arrive, until Ctrl-C. Errors of a folder (two results of one name) are reported."""

    def jobs() -> list[Job]:
        try:
            planned = plan()
        except typer.BadParameter as error:
            if error.message not in reported:
                reported.add(error.message)
                complain(error.message)
            return []
        report_unreadable(planned, reporter, reported)
        return planned.jobs

    if not reporter.quiet:
        say("Watching. Ctrl-C ends.")
    try:
        for due in rounds(jobs, known):
            do(due, cut, reporter, force=True, postpone=known.postpone)
    except KeyboardInterrupt:
        if not reporter.quiet:
            say("Stopped.")
    finally:
        for job, (_, error) in known.unfinished.items():
            reporter.report(job, error)


def report_unreadable(planned: Plan, reporter: Reporter, reported: set[str]) -> None:
    """Report, once, each file and folder that could not be listed or read."""
    for path, why in planned.unreadable:
        if str(path) not in reported:
            reported.add(str(path))
            reporter.report(Job(str(path), None), ImageError(f"Cannot read {path}: {why}."))
