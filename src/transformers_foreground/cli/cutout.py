"""`foreground [cutout] PICTURE...`: cut out pictures."""

from __future__ import annotations

import json
import shlex
from typing import Annotated, Any

import typer

from transformers_foreground.cli.console import complain, download_bar, progress_bar, say
from transformers_foreground.cli.options import (
    DEFAULT_MODEL,
    DeviceOption,
    DtypeOption,
    ModelOption,
    ResamplingOption,
)
from transformers_foreground.cli.planning import Job, check_standard_output, plan
from transformers_foreground.errors import (
    DownloadError,
    ForegroundError,
    GatedModelError,
    ModelFileNotFoundError,
    ModelNotFoundError,
)


def cutout(
    pictures: Annotated[
        list[str], typer.Argument(metavar="PICTURE", help="Files, folders or URLs; - reads standard input.")
    ],
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", help="A folder for the results; or, for one picture, a PNG file. - is stdout."),
    ] = None,
    mask_only: Annotated[bool, typer.Option("--mask-only", help="Write the grey mask, not the cut-out.")] = False,
    force: Annotated[bool, typer.Option("--force", "-f", help="Overwrite results that exist.")] = False,
    model: ModelOption = DEFAULT_MODEL,
    device: DeviceOption = "cpu",
    dtype: DtypeOption = "auto",
    resampling: ResamplingOption = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of the model.")] = None,
    local_files_only: Annotated[bool, typer.Option("--local-files-only", help="Never open a connection.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Tell each picture's fate as a line of JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only errors and warnings.")] = False,
) -> None:
    """Remove the background of pictures.

    Exit code: 0 when all are done, 1 when some failed (each is named), 2 when the command itself is wrong.
    """
    jobs = plan(pictures, output, "mask" if mask_only else "cutout")
    check_standard_output(jobs, as_json)
    from transformers_foreground.cli.running import problem, run

    outcomes: Any = [problem(job, force) for job in jobs]
    if not all(outcomes):  # else there is nothing to load a model for
        options = {
            "device": device,
            "dtype": dtype,
            "resampling": resampling,
            "revision": revision,
            "local_files_only": local_files_only,
        }
        loaded = _load(model, jobs[0], quiet or as_json, options)
        outcomes = run(loaded, jobs, mask_only=mask_only, force=force)
    failed = 0
    with progress_bar(len(jobs), quiet or as_json or len(jobs) == 1) as advance:
        for job, outcome in zip(jobs, outcomes, strict=True):
            failed += isinstance(outcome, ForegroundError)
            advance()
            _tell(job, outcome, as_json=as_json, quiet=quiet)
    if failed:
        if len(jobs) > 1:
            say(f"{failed} of {len(jobs)} pictures failed.")
        raise typer.Exit(1)


def _load(model: str, first: Job, hidden: bool, options: dict[str, Any]) -> Any:
    """Load the model. Where it is out of reach, say which one can be had instead, and how."""
    from transformers_foreground.loading import load

    try:
        with download_bar(hidden) as progress_callback:
            return load(model, progress_callback=progress_callback, **options)
    except (ModelFileNotFoundError, GatedModelError):
        raise
    except (ModelNotFoundError, DownloadError) as error:
        complain(f"error: {error}")
        say(_instead(shlex.quote(first.source)))
        raise typer.Exit(1) from error


def _instead(picture: str) -> str:
    from transformers_foreground.cards import cards
    from transformers_foreground.cli.models import dtypes_here

    here = [card.id for card in cards() if dtypes_here(card)]
    if here:
        return "On this machine already:\n" + "\n".join(f"  foreground {picture} --model {name}" for name in here)
    fetchable = [card.id for card in cards() if card.fetchable]
    return f"Then name it: foreground {picture} --model {fetchable[-1]}"


def _tell(job: Job, outcome: dict[str, Any] | ForegroundError, *, as_json: bool, quiet: bool) -> None:
    from transformers_foreground.sources import name_of

    name = "<stdin>" if job.source == "-" else name_of(job.source)
    if isinstance(outcome, ForegroundError):
        error = str(outcome)
        if name not in error and (job.target is None or str(job.target) not in error):
            error = f"{name}: {error}"
        complain(f"failed: {error}")
        if as_json:
            typer.echo(json.dumps({"input": job.source, "error": error}))
    elif as_json:
        typer.echo(json.dumps(outcome))
    elif not quiet and job.target is not None:
        say(f"{name} → {job.target}")
