"""Cut out pictures, one after another, whatever happens to any of them."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transformers_foreground.cli.planning import STDIO, Job
from transformers_foreground.cli.style import Style
from transformers_foreground.contact_sheets import cell
from transformers_foreground.errors import ForegroundError, ImageError
from transformers_foreground.images import DecodedImage, decode
from transformers_foreground.output import write_whole
from transformers_foreground.postprocessing import postprocess
from transformers_foreground.preprocessing import preprocess
from transformers_foreground.sources import enough_memory, name_of, open_stream, unreadable
from transformers_foreground.streaming import stream

if TYPE_CHECKING:
    from transformers_foreground.loading import LoadedModel


@dataclass(frozen=True)
class Done:
    """A picture that is done.

    Attributes:
        told: What `--json` tells of it.
        cell: Its cell of the contact sheet, if one is wanted.
    """

    told: dict[str, Any]
    cell: Image.Image | None = None


@dataclass(frozen=True)
class _Prepared:
    job: Job
    image: DecodedImage
    pixel_values: NDArray[np.float32]
    started: float


def check(job: Job, force: bool) -> None:
    """Look whether a picture can be read and its result written, as far as that can be told without doing it.

    Raises:
        ImageError: It cannot; the message names the file and the remedy.
    """
    if job.is_file:
        open_stream(job.source, name_of(job.source), timeout=0, max_bytes=0).close()
    if job.target is None:
        return
    if job.target.is_file() and not force:
        raise ImageError(
            f"{name_of(job.source)}: {job.target} exists. Use --force to overwrite it, --resume to skip it, or -o for "
            "another place."
        )
    # On Windows there may be none: a drive that is not there.
    folder = next((parent for parent in job.target.parents if parent.exists()), job.target.parent)
    if not folder.is_dir():
        raise _unwritable(job.target, f"{folder} is not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise _unwritable(job.target, f"{folder.resolve()} is read-only, or not yours to write in")


def problem(job: Job, force: bool) -> ForegroundError | None:
    """Return what `check` raises, or `None`."""
    try:
        check(job, force)
    except ForegroundError as error:
        return error
    return None


def run(
    loaded: LoadedModel,
    jobs: Sequence[Job],
    style: Style,
    *,
    force: bool,
    workers: int = 2,
    cells: bool = False,
    on_written: Callable[[dict[str, Any]], None] = lambda _: None,
) -> Iterator[Done | ForegroundError]:
    """Cut out pictures, overlapping the reading and writing of some with the computing of others.

    Args:
        loaded: The model.
        jobs: Where the pictures are, and where the results go.
        style: What to make of each.
        force: Overwrite results that exist.
        workers: Threads that read and write.
        cells: Make cells for a contact sheet.
        on_written: Told of each result, on any thread, as soon as it is written.

    Yields:
        For each job, in order, what became of it.
    """
    from transformers_foreground.sessions import forward

    def prepare(job: Job) -> _Prepared:
        started = time.perf_counter()
        check(job, force)
        with enough_memory(name_of(job.source)):
            image = decode(_standard_input() if job.source == STDIO else job.source)
            return _Prepared(job, image, preprocess(image.pixels, loaded.processing)[None], started)

    def compute(batch: Sequence[_Prepared]) -> list[NDArray[np.float32]]:
        return [forward(loaded.graph, item.pixel_values) for item in batch]

    def finish(item: _Prepared, alpha: NDArray[np.float32]) -> Done:
        job, image = item.job, item.image
        with enough_memory(name_of(job.source)):
            mask = postprocess(alpha[0, 0], image.height, image.width, loaded.processing)
            result = style.render(image, mask)
            data = style.encode(result)
            shown = cell(Image.fromarray(image.rgb()), result) if cells else None
        if job.target is not None:
            check(job, force)  # again: another process may have written it in the meantime
        _write(job.target, data)
        told = {
            "input": job.source,
            "output": None if job.target is None else str(job.target),
            "width": image.width,
            "height": image.height,
            "foreground": round(float(np.mean(mask)) / 255, 4),
            "seconds": round(time.perf_counter() - item.started, 3),
        }
        on_written(told)
        return Done(told, shown)

    # A thread that waits for standard input cannot be stopped by Ctrl-C; for one picture threads are of no use.
    alone = len(jobs) == 1 or any(job.source == STDIO for job in jobs)
    return stream(jobs, prepare, compute, finish, workers=0 if alone else workers)


def _standard_input() -> Any:
    if sys.stdin is None:
        raise unreadable("<stdin>", "standard input is closed; name a file")
    return sys.stdin.buffer


def _write(target: Path | None, data: bytes) -> None:
    try:
        if target is None:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        else:
            write_whole(target, data)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _unwritable(target or "Standard output", error.strerror or str(error)) from error


def _unwritable(target: Path | str, why: str) -> ImageError:
    return ImageError(f"{target} cannot be written: {why}. Choose another place with -o.")
