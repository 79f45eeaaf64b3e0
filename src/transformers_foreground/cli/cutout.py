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
    share,
)
from transformers_foreground.cli.places import Files
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
        typer.Option("--output", "-o", help="A folder for the results; for one image, a file. - is standard output."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Overwrite results that exist.")] = False,
    mask_only: Annotated[bool, RESULT("--mask-only", help="Write the gray mask, not the cut-out.")] = False,
    background: BackgroundOption = None,
    shadow: Annotated[bool, RESULT("--shadow", help="Add a soft shadow below the object.")] = False,
    crop: Annotated[bool, RESULT("--crop", help="Crop to the object.")] = False,
    pad: Annotated[str, RESULT(help="Margin on each side: pixels (12), or a share of the longer side (10%).")] = "0",
    square: Annotated[bool, RESULT("--square", help="Widen the shorter side to make a square.")] = False,
    max_size: Annotated[int | None, RESULT(min=1, help="Most pixels of the longer side; larger ones shrink.")] = None,
    decontaminate: Annotated[
        bool,
        RESULT("--decontaminate/--no-decontaminate", help="Take the old background out of the colours of soft edges."),
    ] = True,
    threshold: Annotated[
        float | None,
        MASK(metavar="SHARE", parser=share, help="Make the mask hard: opaque from this alpha on (0.5 or 50%)."),
    ] = None,
    keep: Annotated[
        str | None,
        MASK(metavar="largest|N%", help="Keep only the largest part, or the parts of at least N % of its size."),
    ] = None,
    fill_holes: Annotated[bool, MASK("--fill-holes", help="Fill the holes in the object.")] = False,
    roi: Annotated[
        str | None, MASK(metavar="X,Y,W,H", help="Keep nothing outside this box, in pixels or percent.")
    ] = None,
    ignore_alpha: Annotated[
        bool, MASK("--ignore-alpha", help="Ignore the image's own transparency: what it hides may show again.")
    ] = False,
    keep_hidden: Annotated[bool, RESULT("--keep-hidden", help="Keep the colours of transparent pixels.")] = False,
    file_format: FormatOption = None,
    animate: Annotated[
        bool,
        RESULT("--animate", help="Cut out all frames of a GIF, WebP, PNG or AVIF, as webp (default), png or gif."),
    ] = False,
    quality: Annotated[
        int | None, RESULT(min=1, max=100, help="Quality of webp (lossless without it), avif and jpeg.")
    ] = None,
    resume: Annotated[
        bool,
        MANY(
            "--resume",
            help="Skip images whose result is newer; with --log, only if made with the same model, device and options.",
        ),
    ] = False,
    watch: Annotated[
        bool, MANY("--watch", "-w", help="Keep watching the folders for new images, until Ctrl-C.")
    ] = False,
    jobs: Annotated[
        int, MANY("--jobs", "-j", min=1, max=64, help="Threads that read and write, beside the model's.")
    ] = 2,
    contact_sheet: Annotated[
        Path | None, MANY(metavar="FILE", help="Also write one image that shows this run's images and results.")
    ] = None,
    review: Annotated[
        int, MANY(min=0, metavar="N", help="At the end, list the N results that the model doubts most.")
    ] = 0,
    log: Annotated[Path | None, MANY(metavar="FILE", help="Append one JSON object per image to a file.")] = None,
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

    Exit code: 0 if all are done, 1 if some failed (each is named), 2 if the command itself is wrong.
    """
    kind = kind_for(output, file_format, animate)
    name = "mask" if mask_only else "cutout"
    also_read = [background] if background else []
    plan_now = partial(plan, images, output, name, kind, may_be_none=watch, also_read=also_read)
    planned = plan_now()
    jobs_now = planned.jobs
    check_standard_output(jobs_now, as_json)
    _check_together(images, output, watch=watch, resume=resume, force=force)
    if contact_sheet is not None:
        _check_sheet(contact_sheet, images if watch else [], force=force or resume or watch)
    _check_places(contact_sheet, log, jobs_now, also_read)
    from transformers_foreground.cli import batch
    from transformers_foreground.cli.animating import run_animated
    from transformers_foreground.cli.reporting import Reporter, begin_log
    from transformers_foreground.cli.resuming import digest_of, done_before
    from transformers_foreground.cli.running import run
    from transformers_foreground.cli.style import Style
    from transformers_foreground.cli.watching import Seen
    from transformers_foreground.compositing.cutout import pad_of

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
    of_model = {"model": model, "models_dir": models_dir and str(models_dir), "revision": revision}
    # As they were given: what `auto` means is known when the model is loaded, which resuming may never do.
    digest = digest_of({**of_model, "device": device, "dtype": dtype, "resampling": resampling, "style": style})
    if log is not None:
        begin_log(log)
    force = force or resume or watch
    reporter = Reporter(as_json, quiet, log, contact_sheet, digest, review, force=force)
    if planned.left_out and not quiet:
        say(one_line(summary(planned.left_out)))
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
            # Else the end may wait for ever for a thread that Ctrl-C interrupted while it started.
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
        raise typer.BadParameter("--resume skips finished images, and --force does all again. Use one of them.")
    if watch and (output == STDIO or not all(os.path.isdir(image) for image in images)):
        raise typer.BadParameter("--watch is for folders: name folders, and with -o a folder for the results.")


def _check_places(sheet: Path | None, log: Path | None, planned: list[Job], also_read: list[str]) -> None:
    """Refuse a contact sheet or a log in the place of an image, of a result, or of each other."""
    given = [(option, path) for option, path in (("--contact-sheet", sheet), ("--log", log)) if path is not None]
    if not given:
        return  # and look at no file: there may be a million
    inputs = Files([*(job.source for job in planned), *also_read])
    results = Files(str(job.target) for job in planned if job.target)
    for option, path in given:
        place = os.path.realpath(path)  # it need not be there yet
        if inputs.find(place):
            raise typer.BadParameter(f"{option} {path} is one of the images. Choose another name.")
        if results.find(place):
            raise typer.BadParameter(f"{option} {path} is where a result goes. Choose another name.")
    if sheet is not None and log is not None and Files([os.path.realpath(sheet)]).find(os.path.realpath(log)):
        raise typer.BadParameter(f"--log {log} is where the contact sheet goes. Choose another name.")


def _check_sheet(sheet: Path, watched: list[str], *, force: bool) -> None:
    """Refuse a contact sheet that would take another file's place, or be taken for an image."""
    if sheet.is_dir() or kind_of(sheet) not in ("png", "jpeg", "webp"):
        raise typer.BadParameter(f"--contact-sheet {sheet}: use a name that ends with .png, .jpg or .webp.")
    if any(Path(folder).resolve() in sheet.resolve().parents for folder in watched):
        raise typer.BadParameter(f"--contact-sheet {sheet} is in a folder that is watched. Choose another place.")
    if sheet.exists() and not force:
        raise typer.BadParameter(f"--contact-sheet {sheet} exists. Use --force to overwrite it, or another name.")
    from transformers_foreground.atomic_write import obstacle

    if why := obstacle(sheet):
        raise typer.BadParameter(f"--contact-sheet {sheet} cannot be written: {why}. Choose another place.")
