"""Report the outcome of each image: as lines, as JSON, in a log, and on a contact sheet."""

from __future__ import annotations

import heapq
import json
import threading
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any, Final

import typer
from PIL import Image

from transformers_foreground.atomic_write import write_whole
from transformers_foreground.cli.console import complain, one_line, say
from transformers_foreground.cli.identity import Identity
from transformers_foreground.cli.planning import STDIO, Job
from transformers_foreground.cli.running import Done
from transformers_foreground.compositing.contact_sheet import contact_sheet
from transformers_foreground.errors import ForegroundError, ImageError
from transformers_foreground.images.encode import encode, kind_of
from transformers_foreground.images.sources import name_of
from transformers_foreground.runtime.doubt import is_high

_MOST_CELLS: Final = 500  # few programs open a larger sheet


def begin_log(log: Path) -> None:
    """Make a log; or check that an existing file is one.

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
class Reporter:
    """Reports each image, in the ways that were asked for.

    Attributes:
        as_json: Print one JSON object per image on standard output.
        quiet: Print only errors.
        log: A file to which one JSON object per image is appended, with the time.
        sheet: The file of the contact sheet.
        force: Whether the sheet may take the place of another file.
        digest: Hash of the options; the log has it beside each result.
        review: How many of the most doubtful images to list at the end.
        reported: How many images were reported so far.
        failed: How many of them failed.
        log_failed: Whether the log could not be written; the run goes on without it.
    """

    as_json: bool = False
    quiet: bool = False
    log: Path | None = None
    sheet: Path | None = None
    digest: str = ""
    review: int = 0
    reported: int = 0
    failed: int = 0
    force: bool = True
    log_failed: bool = False
    _cells: list[tuple[Image.Image, str, float]] = field(default_factory=list)
    _doubtful: list[tuple[float, int, str]] = field(default_factory=list)  # a heap: the least doubtful first
    _logging: threading.Lock = field(default_factory=threading.Lock)

    def report(self, job: Job, outcome: Done | ForegroundError) -> None:
        """Report one image. A result is in the log already: see `log_result`."""
        self.reported += 1
        name = "<stdin>" if job.source == STDIO else name_of(job.source)
        if isinstance(outcome, ForegroundError):
            self.failed += 1
            error = str(outcome)
            if name not in error and (job.target is None or str(job.target) not in error):
                error = f"{name}: {error}"
            complain(f"failed: {error}")
            self._print({"input": job.source, "error": error})
            self._log({"input": job.source, "error": error})
            return
        skipped = "skipped" in outcome.record
        self._print(outcome.record)
        if skipped:
            self._log(outcome.record)
        if outcome.cell is not None and len(self._cells) < _MOST_CELLS:
            self._cells.append((outcome.cell, PurePath(name).name, outcome.record["doubt"]))
        if self.review and not skipped:
            self._keep(outcome.record["doubt"], f"{one_line(name)} → {one_line(str(job.target))}")
        if outcome.note and not self.quiet:
            say(f"{one_line(name)}: {outcome.note}")
        if not self.as_json and not self.quiet and job.target is not None:
            say(f"{one_line(name)} is done already" if skipped else f"{one_line(name)} → {one_line(str(job.target))}")

    def log_result(self, record: dict[str, Any], source: Identity | None) -> None:
        """Log a result, its file and the hash of the options, as soon as it is written: Ctrl-C loses nothing."""
        self._log({**record, "options": self.digest, "source": None if source is None else asdict(source)})

    def _keep(self, doubt: float, line: str) -> None:
        heapq.heappush(self._doubtful, (doubt, -self.reported, line))
        if len(self._doubtful) > self.review:
            heapq.heappop(self._doubtful)

    def _print(self, record: dict[str, Any]) -> None:
        if self.as_json:
            typer.echo(json.dumps(record))

    def _log(self, record: dict[str, Any]) -> None:
        if self.log is None:
            return
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        with self._logging:
            if self.log_failed:
                return
            try:
                with self.log.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"time": time, **record}) + "\n")
            except OSError as error:
                self.log_failed = True
                complain(
                    f"The log {self.log} cannot be written: {error.strerror or error}. The run goes on without it."
                )

    def finish(self) -> None:
        """List the most doubtful images and write the contact sheet, if they were asked for.

        Raises:
            ImageError: The sheet cannot be written, or another file has its name.
        """
        if self._doubtful:
            lines = [f"  {doubt:.3f}  {line}" for doubt, _, line in sorted(self._doubtful, reverse=True)]
            say("\n".join(["Most doubtful; look at these first:", *lines]))
        if self.sheet is not None and self._cells:
            self._write_sheet(self.sheet)

    def _write_sheet(self, path: Path) -> None:
        if not self.force and path.exists():
            raise ImageError(f"{path} exists by now. Use --force to overwrite it, or another name.")
        try:
            cells, names, doubts = zip(*self._cells, strict=True)
            marked = {i for i, doubt in enumerate(doubts) if is_high(doubt)}
            names = tuple(f"{name}: doubt {doubts[i]:.2f}" if i in marked else name for i, name in enumerate(names))
            sheet = contact_sheet(cells, names, marked=marked)
            write_whole(path, encode(sheet, kind_of(path) or "png"))
        except OSError as error:
            raise ImageError(f"{path} cannot be written: {error.strerror or error}.") from error
        if not self.quiet:
            say(f"Contact sheet: {path}")
