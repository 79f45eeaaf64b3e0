"""Cut out images one after another; one that fails does not stop the others."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from PIL import Image

from transformers_foreground.atomic_write import obstacle, write_whole
from transformers_foreground.cli.identity import Identity, Reading
from transformers_foreground.cli.planning import STDIO, Job
from transformers_foreground.cli.style import Style
from transformers_foreground.cli.unexpected import contained, unexpected
from transformers_foreground.compositing.contact_sheet import cell
from transformers_foreground.compositing.measures import measures
from transformers_foreground.errors import ForegroundError, ImageError
from transformers_foreground.images.memory import memory_of
from transformers_foreground.images.sources import name_of, open_stream, unreadable
from transformers_foreground.runtime.doubt import doubt

if TYPE_CHECKING:
    from transformers_foreground.segmenter import Foreground, Segmenter

_ONLY_FIRST: Final = "only its first frame was taken; --animate takes all"
_ATTEMPTS: Final = 3  # at an image that changes while it is done


@dataclass(frozen=True)
class Done:
    """An image that is done.

    Attributes:
        record: Its object of `--json`.
        cell: Its cell of the contact sheet, if one is wanted.
        note: A remark to print.
    """

    record: dict[str, Any]
    cell: Image.Image | None = None
    note: str = ""


def check(job: Job, force: bool) -> None:
    """Check whether an image can be read and its result written, as far as can be known in advance.

    Raises:
        ImageError: It cannot; the message names the file and the remedy.
    """
    if job.is_file:
        open_stream(job.source, name_of(job.source), timeout=0, max_bytes=0).close()
    if job.target is not None:
        check_target(job, force)


def check_target(job: Job, force: bool) -> None:
    """Check whether a result can be written to its file.

    Raises:
        ImageError: It cannot.
    """
    assert job.target is not None
    if job.overwrites is not None:
        raise ImageError(
            f"{name_of(job.source)}: its result would overwrite {name_of(job.overwrites)}, which this run reads. "
            "Choose another place with -o, or leave one of them out."
        )
    if os.path.isfile(job.target) and not force:
        raise ImageError(
            f"{name_of(job.source)}: {job.target} exists. Use --force to overwrite it, --resume to skip it, or -o for "
            "another place."
        )
    if why := obstacle(job.target):
        raise unwritable(job.target, why)


def problem(job: Job, force: bool) -> ForegroundError | None:
    """Return what `check` raises, or `None`."""
    try:
        check(job, force)
    except ForegroundError as error:
        return error
    except Exception as error:
        return unexpected(job, error)
    return None


def run(
    segmenter: Segmenter,
    jobs: Sequence[Job],
    style: Style,
    *,
    force: bool,
    workers: int = 2,
    cells: bool = False,
    on_written: Callable[[dict[str, Any], Identity | None], None] = lambda *_: None,
) -> Iterator[Done | ForegroundError]:
    """Cut out images, overlapping the reading and writing of some with the computing of others.

    An image that is replaced by another while it is read, computed or written is done again.

    Args:
        segmenter: The model.
        jobs: The images, and where the results go.
        style: How results look.
        force: Overwrite results that exist.
        workers: Threads that read and write.
        cells: Make cells for a contact sheet.
        on_written: Called with the record of each result and the file that it was made from, on any thread, as soon as
            it is written.

    Yields:
        The outcome of each job, in order.
    """
    readings: dict[Job, Reading] = {}
    written: set[Job] = set()

    def read(job: Job) -> Any:
        readings[job] = Reading.now(job)
        check(job, force or job in written)
        return source_of(job)

    def then(job: Job, foreground: Foreground) -> Done:
        image, reading = foreground.image, readings[job]
        mask = style.mask(image, foreground.mask)
        result = style.render(image, mask)
        data = style.encode(result)
        shown = cell(Image.fromarray(image.rgb()), result) if cells else None
        if job.target is not None:
            check_target(job, force or job in written)  # again: another process may have written it in the meantime
        _write(job.target, data, reading.result_time if job.is_file else None)
        written.add(job)
        facts = {"width": image.width, "height": image.height, **measures(mask)}
        record = record_of(job, segmenter, reading, {**facts, "doubt": round(doubt(foreground.plane), 4)})
        if not is_outdated(job):
            on_written(record, reading.identity)
        return Done(record, shown, _ONLY_FIRST if image.animated else "")

    def is_outdated(job: Job) -> bool:
        """Whether the image was replaced since its result was made. Standard output cannot be written again."""
        return job.target is not None and job in readings and readings[job].is_outdated(job)

    # A thread that waits for standard input cannot be stopped by Ctrl-C; for one image threads are of no use.
    alone = len(jobs) == 1 or any(job.source == STDIO for job in jobs)
    steps = contained(segmenter.steps(read=read, then=then, weigh=_memory_of))
    with closing(segmenter.stream(jobs, steps, 0 if alone else workers)) as outcomes:
        for job, outcome in zip(jobs, outcomes, strict=True):
            attempts = 1
            while is_outdated(job) and attempts < _ATTEMPTS:
                outcome, attempts = next(segmenter.stream([job], steps, 0)), attempts + 1
            if is_outdated(job):
                outcome = changing(job)
            readings.pop(job, None)
            yield outcome


def record_of(job: Job, segmenter: Segmenter, reading: Reading, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the object of `--json` and `--log` for a result.

    Args:
        job: The image.
        segmenter: The model.
        reading: When it was read.
        facts: The part about the result itself.
    """
    return {
        "input": job.source,
        "output": None if job.target is None else str(job.target),
        **facts,
        "engine": segmenter.graph.session.get_providers()[0],
        "seconds": round(time.perf_counter() - reading.started, 3),
    }


def _memory_of(job: Job) -> int:
    return memory_of(job.source) if job.is_file else 0


def source_of(job: Job) -> Any:
    """Return a job's image as `images.decode` takes it.

    Raises:
        ImageError: Standard input is closed.
    """
    if job.source != STDIO:
        return job.source
    if sys.stdin is None:
        raise unreadable("<stdin>", "standard input is closed; name a file")
    return sys.stdin.buffer


def _write(target: Path | None, data: bytes, mtime_ns: int | None) -> None:
    try:
        if target is None:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        else:
            write_whole(target, data, durable=True, mtime_ns=mtime_ns)  # --resume will trust it
    except BrokenPipeError:
        raise
    except OSError as error:
        raise unwritable(target or "Standard output", error.strerror or str(error)) from error


def changing(job: Job) -> ImageError:
    """Return the error to raise for an image that is replaced again and again while it is done."""
    return ImageError(f"{name_of(job.source)}: it changes while it is read. Run this again later.")


def unwritable(target: Path | str, why: str) -> ImageError:
    """Return the error to raise for a result that cannot be written."""
    return ImageError(f"{target} cannot be written: {why}. Choose another place with -o.")
