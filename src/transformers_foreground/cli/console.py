"""Messages and bars of progress, all on standard error; bars only on a terminal."""

from __future__ import annotations

import logging
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rich.console import Console


@cache
def stderr() -> Console:
    """The console on standard error."""
    from rich.console import Console

    return Console(stderr=True)


_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """Return text with control characters escaped, since a terminal obeys them.

    So are those that change the direction of writing, which may hide something. Line ends stay.
    """
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def one_line(name: str) -> str:
    """Return a name as `visible` does, with line ends escaped too."""
    return visible(name).replace("\n", "\\n")


def say(text: str, style: str = "") -> None:
    """Show a line on standard error, above a bar if there is one. `[bold].jpg` is a file name, not markup."""
    from rich.text import Text

    stderr().print(Text(visible(text), style=style), soft_wrap=True)


def complain(text: str) -> None:
    """Show an error on one line, though it may quote a library's message of many."""
    say(" ".join(text.split()), "red")


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage())


@contextmanager
def plain_messages() -> Iterator[None]:
    """Show this package's log (licences among it) and all warnings as plain lines, without a line of source code.

    The Hub client's log of its retries is not shown, only their outcome.
    """
    hub = logging.getLogger("huggingface_hub")
    hub_level = hub.level
    logger = logging.getLogger("transformers_foreground")
    handler, propagate, show = _Lines(), logger.propagate, warnings.showwarning

    def show_line(message: Warning | str, *_: Any, **__: Any) -> None:
        say(f"warning: {' '.join(str(message).split())}", "yellow")

    logger.addHandler(handler)
    logger.propagate = False
    hub.setLevel(logging.ERROR)
    warnings.showwarning = show_line
    try:
        yield
    finally:
        warnings.showwarning = show
        hub.setLevel(hub_level)
        logger.propagate = propagate
        logger.removeHandler(handler)


@contextmanager
def download_bar(hidden: bool) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Show a bar with rate and time left for each download; yield what to call with each progress event.

    Files that are on this machine already show nothing.
    """
    if hidden or not stderr().is_terminal:
        yield lambda _: None  # not None: then the Hub's client would show bars of its own
        return
    from rich import progress

    name = progress.TextColumn("{task.description}", markup=False)
    size, speed = progress.DownloadColumn(), progress.TransferSpeedColumn()
    bar = progress.Progress(name, progress.BarColumn(), size, speed, progress.TimeRemainingColumn(), console=stderr())
    tasks: dict[str, Any] = {}

    def on_event(event: dict[str, Any]) -> None:
        if event["status"] != "progress":
            return
        file = event["file"]
        if file not in tasks and event["loaded"] < event["total"]:
            tasks[file] = bar.add_task(one_line(file))
        if file in tasks:
            bar.update(tasks[file], completed=event["loaded"], total=event["total"])

    with bar:
        yield on_event


@contextmanager
def progress_bar(total: int, hidden: bool, unit: str = "images") -> Iterator[Callable[[], None]]:
    """Show a bar with count, rate and time left for many images, or frames; yield what to call after each."""
    if hidden or not stderr().is_terminal:
        yield lambda: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    bar = Progress(*columns, console=stderr())
    task = bar.add_task(unit, total=total, rate="")

    def advance() -> None:
        bar.advance(task)
        speed = bar.tasks[0].completed / max(bar.tasks[0].elapsed or 0, 1e-3)
        bar.update(task, rate=f"{speed:.2f} {unit}/s")

    with bar:
        yield advance


@contextmanager
def said_if_slow(text: str, hidden: bool, seconds: float = 2.0) -> Iterator[None]:
    """Print a line if something takes longer than so many seconds."""
    timer = threading.Timer(seconds, say, [f"{text} …"])
    timer.daemon = True
    if not hidden:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def working() -> Iterator[Callable[[str], None]]:
    """Yield `say`, with a clock below its lines on a terminal."""
    if not stderr().is_terminal:
        yield say
        return
    from rich.progress import Progress, SpinnerColumn, TimeElapsedColumn

    bar = Progress(SpinnerColumn(), TimeElapsedColumn(), console=stderr(), transient=True)
    bar.add_task("")
    with bar:
        yield say
