"""`foreground [cutout] IMAGE...`: cut out images."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from transformers_foreground.cli.console import one_line, say
from transformers_foreground.cli.folders import summary
from transformers_foreground.cli.loading import LINE, check_model, load_model
from transformers_foreground.cli.options import (
    MANY,
    MASK,
    RESULT,
    BackgroundOption,
    DeviceOption,
    DtypeOption,
    FormatOption,
    LocalFilesOnlyOption,
    ModelOption,
    ModelsDirOption,
    QuietOption,
    ResamplingOption,
    RevisionOption,
    YesOption,
    chosen_model,
)
from transformers_foreground.cli.planning import STDIO, Job, check_standard_output, kind_for, plan
from transformers_foreground.env import env
from transformers_foreground.errors import ForegroundError
from transformers_foreground.images.encode import kind_of


def cutout(
    context: typer.Context,
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGE", help="Files, folders or URLs; - reads standard input.")
    ],
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", help="A folder for the results; or, for one image, a file. - is stdout."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Overwrite results that exist.")] = False,
    mask_only: Annotated[
        bool, typer.Option("--mask-only", help="Write the grey mask, not the cut-out.", rich_help_panel=RESULT)
    ] = False,
    background: BackgroundOption = None,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="A soft shadow below the object.", rich_help_panel=RESULT)
    ] = False,
    crop: Annotated[bool, typer.Option("--crop", help="Crop to the object.", rich_help_panel=RESULT)] = False,
    pad: Annotated[
        str,
        typer.Option(
            help="Room on each side: pixels (12), or a share of the longer side (10%).", rich_help_panel=RESULT
        ),
    ] = "0",
    square: Annotated[
        bool, typer.Option("--square", help="Add room to make it a square.", rich_help_panel=RESULT)
    ] = False,
    max_size: Annotated[
        int | None, typer.Option(min=1, help="Shrink to so many pixels at the longer side.", rich_help_panel=RESULT)
    ] = None,
    decontaminate: Annotated[
        bool,
        typer.Option(
            "--decontaminate/--no-decontaminate",
            help="Take the old background out of the colours of soft edges.",
            rich_help_panel=RESULT,
        ),
    ] = True,
    threshold: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="A hard mask: opaque from this alpha on (0.5).", rich_help_panel=MASK),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(
            metavar="largest|N%",
            help="Only the largest part; or all of at least N % of its size, without specks.",
            rich_help_panel=MASK,
        ),
    ] = None,
    fill_holes: Annotated[
        bool, typer.Option("--fill-holes", help="Fill what the object encloses.", rich_help_panel=MASK)
    ] = False,
    roi: Annotated[
        str | None,
        typer.Option(
            metavar="X,Y,W,H", help="Keep nothing outside this box, in pixels or percent.", rich_help_panel=MASK
        ),
    ] = None,
    ignore_alpha: Annotated[
        bool,
        typer.Option("--ignore-alpha", help="Show again what was erased from the image before.", rich_help_panel=MASK),
    ] = False,
    keep_hidden: Annotated[
        bool, typer.Option("--keep-hidden", help="Keep colours where alpha is 0.", rich_help_panel=RESULT)
    ] = False,
    file_format: FormatOption = None,
    animate: Annotated[
        bool,
        typer.Option(
            "--animate",
            help="All frames of a GIF, WebP, PNG or AVIF, as webp (default), png or gif.",
            rich_help_panel=RESULT,
        ),
    ] = False,
    quality: Annotated[
        int | None, typer.Option(min=1, max=100, help="Of webp (else lossless), avif and jpeg.", rich_help_panel=RESULT)
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Skip images whose result is newer; with --log, only if the same options made it.",
            rich_help_panel=MANY,
        ),
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Go on with images that come; Ctrl-C ends.", rich_help_panel=MANY)
    ] = False,
    jobs: Annotated[
        int,
        typer.Option(
            "--jobs", "-j", min=1, max=64, help="Threads that read and write, beside the model's.", rich_help_panel=MANY
        ),
    ] = 2,
    contact_sheet: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Show images and results on one page.", rich_help_panel=MANY)
    ] = None,
    review: Annotated[
        int,
        typer.Option(
            min=0, metavar="N", help="At the end, list the N results that the model doubts most.", rich_help_panel=MANY
        ),
    ] = 0,
    log: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Append one JSON object per image to a file.", rich_help_panel=MANY),
    ] = None,
    model: ModelOption = None,
    models_dir: ModelsDirOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = "auto",
    resampling: ResamplingOption = None,
    revision: RevisionOption = None,
    local_files_only: LocalFilesOnlyOption = False,
    yes: YesOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per image.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Remove the background of images.

    Exit code: 0 when all are done, 1 when some failed (each is named), 2 when the command itself is wrong.
    """
    kind = kind_for(output, file_format, animate)
    name = "mask" if mask_only else "cutout"
    plan_now = partial(plan, images, output, name, kind, may_be_none=watch)
    planned = plan_now()
    jobs_now = planned.jobs
    check_standard_output(jobs_now, as_json)
    _check_together(images, output, watch=watch, resume=resume, force=force)
    if contact_sheet is not None:
        _check_sheet(contact_sheet, jobs_now, force=force or resume or watch)
    for option, path in (("--contact-sheet", contact_sheet), ("--log", log)):
        if path is not None and os.path.abspath(path) in {
            os.path.abspath(job.target) for job in jobs_now if job.target
        }:
            raise typer.BadParameter(f"{option} {path} is where a result goes. Choose another name.")
    from transformers_foreground.cli import batch
    from transformers_foreground.cli.animating import run_animated
    from transformers_foreground.cli.reporting import Reporter, begin_log
    from transformers_foreground.cli.resuming import digest_of, done_before
    from transformers_foreground.cli.running import run
    from transformers_foreground.cli.style import Style
    from transformers_foreground.cli.watching import Seen
    from transformers_foreground.compositing.cutout import pad_of
    from transformers_foreground.hub.dtypes import resolve_dtype

    try:
        style = Style.of(
            mask_only=mask_only,
            kind=kind,
            quality=quality,
            animate=animate,
            background=background,
            shadow=shadow,
            crop=crop,
            pad=pad_of(pad),
            square=square,
            max_size=max_size,
            threshold=threshold,
            keep=keep,
            fill_holes=fill_holes,
            roi=roi,
            ignore_alpha=ignore_alpha,
            decontaminate=decontaminate,
            keep_hidden=keep_hidden,
        )
    except ForegroundError as error:
        raise typer.BadParameter(str(error)) from error
    model, device = chosen_model(model), device or env.default_device
    check_model(model)
    made_by = {"model": model, "revision": revision, "dtype": resolve_dtype(dtype, device), "resampling": resampling}
    digest = digest_of({**made_by, "style": style})
    if log is not None:
        begin_log(log)
    reporter = Reporter(as_json, quiet, log, contact_sheet, digest, review)
    if planned.left_out and not quiet:
        say(one_line(summary(planned.left_out)))
    force = force or resume or watch
    known = Seen.of(jobs_now)
    loaded: Any = None

    def on_written(record: dict[str, Any], source: Any) -> None:
        reporter.log_result(record, source)
        if source is not None:
            known.dealt_with[record["input"]] = source

    def cut(todo: list[Job]) -> Iterable[Any]:
        nonlocal loaded
        if loaded is None:
            options: dict[str, Any] = {"device": device, "dtype": dtype, "resampling": resampling}
            options |= {"revision": revision, "local_files_only": local_files_only}
            loaded = load_model(model, context.meta[LINE], quiet or as_json, yes, options)
            # Else a thread that Ctrl-C caught in its start, and Python does not know, would be waited for for ever.
            context.call_on_close(loaded.queue.close)
        options = {"force": force, "cells": contact_sheet is not None, "on_written": on_written}
        if animate:
            hidden = quiet or as_json
            return run_animated(loaded, todo, style, workers=jobs, hidden=hidden, alone=len(jobs_now) == 1, **options)
        return run(loaded, todo, style, workers=jobs, **options)

    try:
        reported: set[str] = set()
        batch.report_unreadable(planned, reporter, reported)
        before = done_before(jobs_now, digest, log, quiet) if resume or watch else set()
        postpone = known.postpone if watch else lambda *_: False
        batch.do(jobs_now, cut, reporter, force=force, before=before, postpone=postpone)
        if watch:
            batch.watch(plan_now, known, cut, reporter, reported)
    finally:
        reporter.finish()
    if reporter.failed and reporter.reported > 1:
        say(f"{reporter.failed} of {reporter.reported} images failed.")
    if reporter.failed or reporter.log_failed:
        raise typer.Exit(1)


def _check_together(images: list[str], output: str | None, *, watch: bool, resume: bool, force: bool) -> None:
    """Refuse options that contradict each other."""
    if resume and force:
        raise typer.BadParameter("--resume skips what is done, and --force does all anew. Use one of them.")
    if watch and (output == STDIO or not all(os.path.isdir(image) for image in images)):
        raise typer.BadParameter("--watch is for folders: name folders, and with -o a folder for the results.")


def _check_sheet(sheet: Path, planned: list[Job], *, force: bool) -> None:
    """Refuse a contact sheet that would take another file's place."""
    if sheet.is_dir() or kind_of(sheet) not in ("png", "jpeg", "webp"):
        raise typer.BadParameter(f"--contact-sheet {sheet}: use a name that ends with .png, .jpg or .webp.")
    if not sheet.exists():
        return
    if any(os.path.samefile(job.source, sheet) for job in planned if job.is_file and os.path.exists(job.source)):
        raise typer.BadParameter(f"--contact-sheet {sheet} is one of the images. Choose another name.")
    if not force:
        raise typer.BadParameter(f"--contact-sheet {sheet} exists. Use --force to overwrite it, or another name.")
