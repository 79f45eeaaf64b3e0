"""`foreground quantize MODEL --images FOLDER`."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from transformers_foreground.atomic_write import obstacle, write_whole
from transformers_foreground.cli.consent import with_consent
from transformers_foreground.cli.console import complain, download_bar, say, stderr
from transformers_foreground.cli.options import ModelArgument, YesOption, finite
from transformers_foreground.errors import ForegroundError, UnsupportedOptionError


def quantize(
    model: ModelArgument,
    images: Annotated[
        list[str],
        typer.Option("--images", help="Folder of photos, or a dataset's name, to calibrate on; may be repeated."),
    ],
    count: Annotated[int, typer.Option(min=8, help="How many photos to calibrate on.")] = 32,
    method: Annotated[
        Literal["auto", "percentile", "mse", "max"],
        typer.Option(help="How to clip activations: auto, percentile, mse or max."),
    ] = "auto",
    percentile: Annotated[
        float, typer.Option(min=50, max=100, callback=finite, help="For --method percentile.")
    ] = 99.95,
    keep_float: Annotated[
        str, typer.Option(help="Parts of the graph to leave in fp32: auto, a number, or names with commas.")
    ] = "auto",
    evaluate: Annotated[
        list[str] | None,
        typer.Option(
            help="Folder of photos to judge by, with true masks in gt/ beside im/ or without; may be repeated."
        ),
    ] = None,
    evaluate_count: Annotated[
        int | None, typer.Option(min=1, help="How many photos to take of each such folder; all by default.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; onnx/model_int8.onnx of the model by default.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Also measure other methods, and write a page about all to this file; takes hours."),
    ] = None,
    yes: YesOption = False,
) -> None:
    """Make a faster int8 file of a model, and measure how far it is from fp32.

    Exit code: 0 if the file was written, 1 if an image or the model cannot be used, 2 if the command is wrong: too few
    images, for example.
    """
    from transformers_foreground.quantization.figures import Bounds
    from transformers_foreground.quantization.plan import Method
    from transformers_foreground.quantization.quantize import quantize as run
    from transformers_foreground.quantization.report import TITLE, table
    from transformers_foreground.quantization.report import report as page

    if report is not None:
        _check_report(report, output, TITLE)
    started = time.monotonic()
    with download_bar(hidden=False) as on_download, _stages() as track:
        load = partial(
            run,
            model,
            images,
            count=count,
            method=None if method == "auto" else Method(clip=method, percent=percentile),
            keep_float=keep_float,
            evaluate=evaluate or (),
            evaluate_count=evaluate_count,
            curve=report is not None,
            output=output,
            say=say,
            track=track,
            progress_callback=on_download,
        )
        try:
            outcome = with_consent(load, yes)
        except UnsupportedOptionError as error:  # of the command: too few images, a folder that is not there
            complain(f"error: {error}")
            raise typer.Exit(2) from error
        except OSError as error:
            raise ForegroundError(
                f"{error.filename or output} cannot be written: {error.strerror or error}."
            ) from error
    typer.echo(table(outcome))
    if report is not None:
        command = shlex.join(["foreground", "quantize", *sys.argv[2:]])
        minutes = (time.monotonic() - started) / 60
        write_whole(report, page(model, outcome, command, minutes, Bounds()).encode())
    if outcome.safe:
        say("It keeps the bounds.", "green")
    else:
        say(f"It does not keep the bounds: {'; '.join(outcome.chosen.unkept)}.", "yellow")


def _check_report(report: Path, output: Path | None, title: str) -> None:
    """Refuse a report that would take another file's place, before hours of work."""
    if why := obstacle(report):
        raise typer.BadParameter(f"--report {report} cannot be written: {why}. Choose another place.")
    if report.is_dir() or (output is not None and os.path.realpath(report) == os.path.realpath(output)):
        raise typer.BadParameter(f"--report {report} is where something else is or goes. Choose another name.")
    if report.is_file():
        with report.open("rb") as file:
            if not file.read(len(title)).startswith(title.encode()):
                raise typer.BadParameter(f"--report {report} exists, and is no report. Choose another name.")


@contextmanager
def _stages() -> Iterator[Callable[[str, int], Callable[[], None]]]:
    """Show a progress bar for each stage, on a terminal only."""
    if not stderr().is_terminal:
        yield lambda stage, total: lambda: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=stderr(), transient=True)

    def track(stage: str, total: int) -> Callable[[], None]:
        for task in bar.task_ids:
            bar.remove_task(task)
        task = bar.add_task(stage, total=total)
        return lambda: bar.advance(task)

    with bar:
        yield track
