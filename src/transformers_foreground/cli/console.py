"""What the command shows while it works: everything on standard error, bars only on a terminal."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


@cache
def stderr() -> Console:
    """The console on standard error."""
    from rich.console import Console

    return Console(stderr=True)


def log_to_stderr() -> None:
    """Show this package's warnings (licences among them) as plain lines."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("transformers_foreground")
    if not logger.handlers:
        logger.addHandler(handler)
        logger.propagate = False


@contextmanager
def download_bar(hidden: bool) -> Iterator[Callable[[dict[str, Any]], None] | None]:
    """Show a bar with rate and time left for what is downloaded, from progress events alone.

    Files that are here already come in one step, and show nothing.
    """
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=stderr(), disable=hidden or not stderr().is_terminal)
    tasks: dict[str, Any] = {}

    def on_event(event: dict[str, Any]) -> None:
        if event["status"] != "progress":
            return
        file = event["file"]
        if file not in tasks and event["loaded"] < event["total"]:
            tasks[file] = bar.add_task(file)
        if file in tasks:
            bar.update(tasks[file], completed=event["loaded"], total=event["total"])

    with bar:
        yield on_event


@contextmanager
def progress_bar(total: int, hidden: bool) -> Iterator[Callable[[], None]]:
    """Show a bar with count, rate and time left for many pictures."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=stderr(), disable=hidden or not stderr().is_terminal)
    task = bar.add_task("pictures", total=total, rate="")

    def advance() -> None:
        bar.advance(task)
        speed = bar.tasks[0].speed
        bar.update(task, rate=f"{speed:.2f} pictures/s" if speed else "")

    with bar:
        yield advance
