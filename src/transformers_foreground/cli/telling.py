"""Tell what became of each picture: as lines, as JSON, in a log, and on a contact sheet."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path, PurePath
from typing import Any, Final

import typer
from PIL import Image

from transformers_foreground.cli.console import complain, say
from transformers_foreground.cli.planning import STDIO, Job
from transformers_foreground.cli.running import Done
from transformers_foreground.contact_sheets import contact_sheet
from transformers_foreground.errors import ForegroundError, ImageError
from transformers_foreground.formats import encode, kind_of
from transformers_foreground.output import write_whole
from transformers_foreground.sources import name_of

_MOST_CELLS: Final = 500  # a sheet of more is a file that few programs open


def begin_log(log: Path) -> None:
    """Make a log, or see that what is there is one.

    Raises:
        typer.BadParameter: It cannot be written, or is another kind of file.
    """
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a+b") as file:
            file.seek(0)
            first = file.readline(1 << 20)
        known = not first or "time" in json.loads(first)
    except OSError as error:
        raise typer.BadParameter(f"--log {log} cannot be written: {error.strerror or error}.") from error
    except (ValueError, TypeError):
        known = False
    if not known:
        raise typer.BadParameter(f"--log {log} is there, and is no log of this command. Choose another name.")


@dataclass
class Telling:
    """Where it is told.

    Attributes:
        as_json: A line of JSON for each picture on standard output.
        quiet: No lines but of errors.
        log: A file to which a line of JSON is added for each picture, with the time.
        sheet: Where the contact sheet goes.
        digest: Of the options; the log has it beside each result.
        failed: How many pictures failed so far.
    """

    as_json: bool = False
    quiet: bool = False
    log: Path | None = None
    sheet: Path | None = None
    digest: str = ""
    failed: int = 0
    _cells: list[tuple[Image.Image, str]] = field(default_factory=list)
    _logging: threading.Lock = field(default_factory=threading.Lock)

    def tell(self, job: Job, outcome: Done | ForegroundError) -> None:
        """Tell of one picture. One that was made is in the log already: see `remember`.

        Raises:
            ImageError: The log cannot be written.
        """
        name = "<stdin>" if job.source == STDIO else name_of(job.source)
        if isinstance(outcome, ForegroundError):
            self.failed += 1
            error = str(outcome)
            if name not in error and (job.target is None or str(job.target) not in error):
                error = f"{name}: {error}"
            complain(f"failed: {error}")
            self._record({"input": job.source, "error": error})
            return
        self._record(outcome.told, log="skipped" in outcome.told)
        if outcome.cell is not None and len(self._cells) < _MOST_CELLS:
            self._cells.append((outcome.cell, PurePath(name).name))
        if not self.as_json and not self.quiet and job.target is not None:
            say(f"{name} is done already" if outcome.told.get("skipped") else f"{name} → {job.target}")

    def remember(self, told: dict[str, Any]) -> None:
        """Note in the log what was made, and with which options: at once, so that Ctrl-C loses nothing.

        Raises:
            ImageError: The log cannot be written.
        """
        self._log({**told, "options": self.digest})

    def _record(self, told: dict[str, Any], log: bool = True) -> None:
        if self.as_json:
            typer.echo(json.dumps(told))
        if log:
            self._log(told)

    def _log(self, told: dict[str, Any]) -> None:
        if self.log is None:
            return
        time = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        try:
            with self._logging, self.log.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"time": time, **told}) + "\n")
        except OSError as error:
            raise ImageError(f"The log {self.log} cannot be written: {error.strerror or error}.") from error

    def finish(self) -> None:
        """Write the contact sheet, if one is wanted and anything was done.

        Raises:
            ImageError: It cannot be written.
        """
        if self.sheet is None or not self._cells:
            return
        try:
            sheet = contact_sheet([cell for cell, _ in self._cells], [name for _, name in self._cells])
            write_whole(self.sheet, encode(sheet, kind_of(self.sheet) or "png"))
        except OSError as error:
            raise ImageError(f"{self.sheet} cannot be written: {error.strerror or error}.") from error
        if not self.quiet:
            say(f"Contact sheet: {self.sheet}")
