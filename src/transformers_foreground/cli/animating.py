"""Cut out animations frame by frame; still images go the usual way."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from itertools import groupby
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transformers_foreground.animations import CutFrame, cut_frames, seekable
from transformers_foreground.atomic_write import whole_file
from transformers_foreground.cli.console import one_line, progress_bar, say
from transformers_foreground.cli.identity import Identity, Reading
from transformers_foreground.cli.planning import Job
from transformers_foreground.cli.running import Done, changing, check, record_of, run, source_of, unwritable
from transformers_foreground.cli.style import Style
from transformers_foreground.cli.unexpected import unexpected
from transformers_foreground.compositing.contact_sheet import cell
from transformers_foreground.compositing.measures import measures
from transformers_foreground.errors import ForegroundError
from transformers_foreground.images.animated import write_animation
from transformers_foreground.images.containers import is_animated
from transformers_foreground.images.decode import DecodedImage
from transformers_foreground.images.frames import Animation, open_animation
from transformers_foreground.images.sources import name_of, open_stream
from transformers_foreground.runtime.doubt import doubt

if TYPE_CHECKING:
    from transformers_foreground.segmenter import Segmenter


def run_animated(
    segmenter: Segmenter,
    jobs: Sequence[Job],
    style: Style,
    *,
    force: bool,
    cells: bool,
    on_written: Callable[[dict[str, Any], Identity | None], None],
    workers: int,
    hidden: bool,
    alone: bool,
) -> Iterator[Done | ForegroundError]:
    """Cut out images as `running.run` does, and all frames of those that are animations.

    Args:
        segmenter: The model.
        jobs: The images, and where the results go.
        style: How results look.
        force: Overwrite results that exist.
        cells: Make cells for a contact sheet.
        on_written: Called with the record and the file of each result, as soon as it is written.
        workers: Threads that read and write still images.
        hidden: Show no progress.
        alone: Whether there is one image only: then a bar counts its frames.

    Yields:
        The outcome of each job, in order.
    """
    options: Any = {"force": force, "cells": cells, "on_written": on_written}
    for moving, group in groupby(jobs, lambda job: style.kind == "gif" or _may_move(job)):
        if not moving:
            yield from run(segmenter, list(group), style, workers=workers, **options)
            continue
        for job in group:
            try:
                yield _animate(segmenter, job, style, hidden=hidden, alone=alone, **options)
            except ForegroundError as error:
                yield error
            except BrokenPipeError:
                raise
            except Exception as error:
                yield unexpected(job, error)


def _may_move(job: Job) -> bool:
    """Whether a file is an animation; `True` for URLs and standard input, which cannot be read in advance."""
    if not job.is_file:
        return True
    try:
        with open_stream(job.source, name_of(job.source), timeout=0, max_bytes=0) as file:  # no pipe: it may wait
            return is_animated(file)
    except Exception:  # reading it later says what is wrong
        return False


def _animate(
    segmenter: Segmenter,
    job: Job,
    style: Style,
    *,
    force: bool,
    cells: bool,
    on_written: Callable[[dict[str, Any], Identity | None], None],
    hidden: bool,
    alone: bool,
) -> Done:
    reading = Reading.now(job)
    check(job, force)

    def render(image: DecodedImage, mask: NDArray[np.uint8]) -> Image.Image:
        return style.render(image, style.mask(image, mask))

    with open_animation(source_of(job)) as animation:
        if not hidden and not alone:
            say(f"{one_line(animation.name)}: {animation.count} frames")
        summary = _Summary()
        with progress_bar(animation.count, hidden or not alone, "frames") as advance:

            def frames() -> Generator[tuple[Image.Image, float], None, None]:
                with closing(cut_frames(animation, segmenter, render)) as cut:
                    for frame in cut:
                        summary.add(frame, style, cells)
                        yield frame.image, frame.milliseconds
                        advance()

            with closing(frames()) as made:
                _write(job, reading, animation, made, style)
    record = record_of(job, segmenter, reading, {"frames": animation.count, **summary.record()})
    on_written(record, reading.identity)
    return Done(record, summary.cell)


def _write(job: Job, reading: Reading, animation: Animation, frames: Any, style: Style) -> None:
    """Write an animation, which gets its name when it is complete; nothing is left if anything fails."""
    target: AbstractContextManager[IO[bytes]] = nullcontext(sys.stdout.buffer)
    if job.target is not None:
        mtime_ns = reading.result_time if job.is_file else None
        target = whole_file(job.target, durable=True, mtime_ns=mtime_ns)
    try:
        with target as file, seekable(file, at_once=job.target is None) as place:
            write_animation(
                place, frames, style.kind, count=animation.count, plays=animation.plays, quality=style.quality
            )
            if reading.is_outdated(job):
                raise changing(job)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise unwritable(job.target or "Standard output", error.strerror or str(error)) from error


class _Summary:
    """The report of an animation: box and share of all frames together, and the doubt of the worst frame."""

    def __init__(self) -> None:
        self.cell: Image.Image | None = None
        self._size = (0, 0)
        self._seen: NDArray[np.uint8] | None = None
        self._doubt = 0.0
        self._shares: list[float] = []

    def add(self, frame: CutFrame, style: Style, cells: bool) -> None:
        image = frame.foreground.image
        mask = style.mask(image, frame.mask)
        if self._seen is None:
            self._size, self._seen = (image.width, image.height), mask
            self.cell = cell(Image.fromarray(image.rgb()), frame.image) if cells else None
        self._seen = np.maximum(self._seen, mask)
        self._shares.append(measures(mask)["foreground"])
        self._doubt = max(self._doubt, doubt(frame.foreground.plane))

    def record(self) -> dict[str, Any]:
        assert self._seen is not None
        share = round(float(np.mean(self._shares)), 4)
        width, height = self._size
        box = measures(self._seen)["box"]
        return {"width": width, "height": height, "box": box, "foreground": share, "doubt": round(self._doubt, 4)}
