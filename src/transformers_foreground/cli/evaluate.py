"""`foreground evaluate RECIPE -o FOLDER`: measure models on data sets with ground truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from transformers_foreground.cli.consent import with_consent
from transformers_foreground.cli.console import complain, progress_bar, say
from transformers_foreground.cli.options import QuietOption, YesOption
from transformers_foreground.errors import (
    ForegroundError,
    UnsupportedDeviceError,
    UnsupportedDtypeError,
    UnsupportedOptionError,
)


def _part(value: str | None) -> str | None:
    if value is not None:
        first, _, count = value.partition("/")
        if not (first.isdecimal() and count.isdecimal() and 1 <= int(first) <= int(count)):
            raise typer.BadParameter("Write it like 1/4, the first of four parts.")
    return value


def evaluate(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A YAML file, such as configs/evaluation/*.yaml.")],
    output: Annotated[str, typer.Option("--output", "-o", help="Folder for rows and summary.")],
    data: Annotated[str | None, typer.Option(help="Folder that the recipe's paths are relative to.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Measure only this many images of each data set.")] = None,
    part: Annotated[
        str | None, typer.Option(callback=_part, help="Measure only this part, such as 1/4: one on each machine.")
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Delete existing rows, and start again.")] = False,
    workers: Annotated[int, typer.Option(min=0, help="Threads that read images and measure.")] = 2,
    report: Annotated[bool, typer.Option("--report", help="Also write report.html, with curves and images.")] = False,
    yes: YesOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON, not as Markdown.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Measure models on data sets with ground truth.

    To continue a run that was stopped, give the same command again. Exit code: 0 if all images were measured, 1 if some
    failed (each is named, and is a row with an error), 2 if the command or the recipe is wrong.
    """
    from transformers_foreground.evaluation import evaluate as run

    with ExitStack() as stack:
        advance: list[Callable[[], None]] = []

        def on_start(total: int) -> None:
            advance.append(stack.enter_context(progress_bar(total, quiet or not total)))

        def on_row(row: Mapping[str, Any]) -> None:
            advance[0]()
            if row.get("error"):
                complain(f"failed: {row['dataset']} with {row['model']}: {row['error']}")

        first, _, count = (part or "").partition("/")
        measure = partial(
            run,
            recipe,
            output=output,
            data=data,
            limit=limit,
            part=(int(first), int(count)) if part else None,
            restart=restart,
            workers=workers,
            report=report,
            on_row=on_row,
            on_start=on_start,
        )
        try:
            summary = with_consent(measure, yes)  # models are fetched before anything is measured
        except (UnsupportedDeviceError, UnsupportedDtypeError, UnsupportedOptionError) as error:
            complain(f"error: {error}")  # of the recipe or an option: an image's error is a row
            raise typer.Exit(2) from error
        except OSError as error:
            remedy = "Make room, or choose another folder; the same command keeps what is measured."
            raise ForegroundError(f"{output} cannot be written: {error}. {remedy}") from error
    if not quiet:
        typer.echo(summary.to_json() if as_json else summary.to_markdown(), nl=False)
    if report and summary.complete and not quiet:
        say(f"The report is {Path(output) / 'report.html'}")
    if not summary.complete:
        say("Some rows are not measured yet: run the other parts.")
    if summary.errors:
        say(f"Rows with errors: {summary.errors}.")
        raise typer.Exit(1)
