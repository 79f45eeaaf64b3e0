"""`foreground [cutout] PICTURE...`: cut out pictures."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Set
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from transformers_foreground.cli.console import progress_bar, say
from transformers_foreground.cli.loading import LINE, load_model
from transformers_foreground.cli.options import (
    DEFAULT_MODEL,
    MANY,
    MODEL,
    RESULT,
    BackgroundOption,
    DeviceOption,
    DtypeOption,
    FormatOption,
    LocalFilesOnlyOption,
    ModelOption,
    RefineOption,
    ResamplingOption,
    YesOption,
)
from transformers_foreground.cli.planning import STDIO, Job, check_standard_output, kind_for, plan
from transformers_foreground.errors import ForegroundError
from transformers_foreground.formats import kind_of


def cutout(
    context: typer.Context,
    pictures: Annotated[
        list[str], typer.Argument(metavar="PICTURE", help="Files, folders or URLs; - reads standard input.")
    ],
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", help="A folder for the results; or, for one picture, a file. - is stdout."),
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
    refine: RefineOption = None,
    keep_hidden: Annotated[
        bool, typer.Option("--keep-hidden", help="Keep colours where alpha is 0.", rich_help_panel=RESULT)
    ] = False,
    file_format: FormatOption = None,
    quality: Annotated[
        int | None, typer.Option(min=1, max=100, help="Of webp (else lossless), avif and jpeg.", rich_help_panel=RESULT)
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Skip pictures whose result is newer; with --log, only if the same options made it.",
            rich_help_panel=MANY,
        ),
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Go on with pictures that come; Ctrl-C ends.", rich_help_panel=MANY)
    ] = False,
    jobs: Annotated[
        int,
        typer.Option(
            "--jobs", "-j", min=1, max=64, help="Threads that read and write, beside the model's.", rich_help_panel=MANY
        ),
    ] = 2,
    contact_sheet: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Show pictures and results on one page.", rich_help_panel=MANY)
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Add each picture's fate to a file, as JSON lines.", rich_help_panel=MANY),
    ] = None,
    model: ModelOption = DEFAULT_MODEL,
    device: DeviceOption = "cpu",
    dtype: DtypeOption = "auto",
    resampling: ResamplingOption = None,
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit of the model.", rich_help_panel=MODEL)
    ] = None,
    local_files_only: LocalFilesOnlyOption = False,
    yes: YesOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Tell each picture's fate as a line of JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only errors and warnings.")] = False,
) -> None:
    """Remove the background of pictures.

    Exit code: 0 when all are done, 1 when some failed (each is named), 2 when the command itself is wrong.
    """
    kind = kind_for(output, file_format)
    name = "mask" if mask_only else "cutout"
    plan_now = partial(plan, pictures, output, name, kind, may_be_none=watch)
    planned = plan_now()
    check_standard_output(planned, as_json)
    _check_together(pictures, output, watch=watch, resume=resume, force=force)
    if contact_sheet is not None:
        _check_sheet(contact_sheet, planned, force=force or resume or watch)
    from transformers_foreground.cli.resuming import digest_of, done_before
    from transformers_foreground.cli.running import run
    from transformers_foreground.cli.style import Style
    from transformers_foreground.cli.telling import Telling, begin_log
    from transformers_foreground.cutouts import pad_of
    from transformers_foreground.dtypes import resolve_dtype

    try:
        style = Style.of(
            mask_only=mask_only,
            kind=kind,
            quality=quality,
            background=background,
            shadow=shadow,
            crop=crop,
            pad=pad_of(pad),
            max_size=max_size,
            decontaminate=decontaminate,
            refine=refine,
            keep_hidden=keep_hidden,
        )
    except ForegroundError as error:
        raise typer.BadParameter(str(error)) from error
    made_by = {"model": model, "revision": revision, "dtype": resolve_dtype(dtype, device), "resampling": resampling}
    digest = digest_of({**made_by, "style": style})
    if log is not None:
        begin_log(log)
    telling = Telling(as_json, quiet, log, contact_sheet, digest)
    force = force or resume or watch
    loaded: Any = None

    def cut(todo: list[Job]) -> Iterable[Any]:
        nonlocal loaded
        if loaded is None:
            options: dict[str, Any] = {"device": device, "dtype": dtype, "resampling": resampling}
            options |= {"revision": revision, "local_files_only": local_files_only}
            loaded = load_model(model, context.meta[LINE], quiet or as_json, yes, options)
        sheet = contact_sheet is not None
        return run(loaded, todo, style, force=force, workers=jobs, cells=sheet, on_written=telling.remember)

    try:
        before = done_before(planned, digest, log, quiet) if resume or watch else set()
        _do(planned, cut, telling, force=force, before=before)
        if watch:
            _watch(plan_now, cut, telling)
    finally:
        telling.finish()
    if telling.failed:
        if len(planned) > 1:
            say(f"{telling.failed} of {len(planned)} pictures failed.")
        raise typer.Exit(1)


def _check_together(pictures: list[str], output: str | None, *, watch: bool, resume: bool, force: bool) -> None:
    """Refuse options that contradict each other."""
    if resume and force:
        raise typer.BadParameter("--resume skips what is done, and --force does all anew. Use one of them.")
    if watch and (output == STDIO or not all(os.path.isdir(picture) for picture in pictures)):
        raise typer.BadParameter("--watch is for folders: name folders, and with -o a folder for the results.")


def _check_sheet(sheet: Path, planned: list[Job], *, force: bool) -> None:
    """Refuse a contact sheet that would take another file's place."""
    if sheet.is_dir() or kind_of(sheet) not in ("png", "jpeg", "webp"):
        raise typer.BadParameter(f"--contact-sheet {sheet}: use a name that ends with .png, .jpg or .webp.")
    if not sheet.exists():
        return
    if any(os.path.samefile(job.source, sheet) for job in planned if job.is_file and os.path.exists(job.source)):
        raise typer.BadParameter(f"--contact-sheet {sheet} is one of the pictures. Choose another name.")
    if not force:
        raise typer.BadParameter(f"--contact-sheet {sheet} exists. Use --force to overwrite it, or another name.")


def _do(
    planned: list[Job], cut: Callable[[list[Job]], Iterable[Any]], telling: Any, *, force: bool, before: Set[Job]
) -> None:
    """Do all pictures but those that were done before; tell of each."""
    from transformers_foreground.cli.running import Done, problem

    todo = [job for job in planned if job not in before]
    outcomes: Any = [problem(job, force) for job in todo]
    if not all(outcomes):  # else there is nothing to load a model for
        outcomes = cut(todo)
    outcomes = iter(outcomes)
    hidden = telling.quiet or telling.as_json or len(planned) == 1
    with progress_bar(len(planned), hidden) as advance:
        for job in planned:
            if job in before:
                outcome = Done({"input": job.source, "output": str(job.target), "skipped": True})
            else:
                outcome = next(outcomes)
            advance()
            telling.tell(job, outcome)


def _watch(plan_again: Callable[[], list[Job]], cut: Callable[[list[Job]], Iterable[Any]], telling: Any) -> None:
    """Do pictures as they come, until Ctrl-C."""
    from transformers_foreground.cli.watching import rounds

    if not telling.quiet:
        say("Watching. Ctrl-C ends.")
    try:
        for due in rounds(plan_again):
            _do(due, cut, telling, force=True, before=set())
    except KeyboardInterrupt:
        if not telling.quiet:
            say("Stopped.")
