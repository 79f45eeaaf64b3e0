"""`foreground map IN OUT`: masks for shards of images, as a job that can be killed and goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from transformers_foreground.cli.consent import with_consent
from transformers_foreground.cli.console import complain, download_bar, say, stderr
from transformers_foreground.cli.options import (
    DeviceOption,
    DtypeOption,
    LocalFilesOnlyOption,
    ModelOption,
    ModelsDirOption,
    QuietOption,
    ResamplingOption,
    RevisionOption,
    YesOption,
    chosen_model,
)
from transformers_foreground.env import env
from transformers_foreground.errors import UnsupportedOptionError

if TYPE_CHECKING:
    from transformers_foreground.data.jobs import ShardReport

ROWS, CLUSTER = "What the rows get", "On a cluster"
_INTERVAL: Final = 30.0  # seconds between two lines of progress where there is no terminal


def _on_error(value: str) -> str:
    if value not in ("none", "skip", "raise"):
        raise typer.BadParameter("use none, skip or raise.")
    return value


def map_(
    source: Annotated[
        str,
        typer.Argument(metavar="IN", help="Parquet files, WebDataset tar files or images: a folder, a file or a URL."),
    ],
    output: Annotated[str, typer.Argument(metavar="OUT", help="Folder or URL for one Parquet file a shard.")],
    model: ModelOption = None,
    models_dir: ModelsDirOption = None,
    image_column: Annotated[
        str,
        typer.Option(help="Column of the images, or column.field; jpg, say, in a WebDataset.", rich_help_panel=ROWS),
    ] = "image",
    mask_column: Annotated[str, typer.Option(help="Column for masks, as PNG.", rich_help_panel=ROWS)] = "mask",
    cutout_column: Annotated[
        str | None, typer.Option(help="Column for cut-outs, as PNG; none by default.", rich_help_panel=ROWS)
    ] = None,
    id_column: Annotated[
        str | None, typer.Option(help="Column that names a row in messages.", rich_help_panel=ROWS)
    ] = None,
    on_error: Annotated[
        str,
        typer.Option(
            help="An image that cannot be read gives a null mask and a reason (none), no row (skip), or ends the job "
            "(raise).",
            callback=_on_error,
            rich_help_panel=ROWS,
        ),
    ] = "none",
    keep_images: Annotated[
        bool, typer.Option("--keep-images", help="Copy the images into the results, too.", rich_help_panel=ROWS)
    ] = False,
    image_shards: Annotated[
        int, typer.Option(min=1, help="Into how many shards a folder of images is divided.", rich_help_panel=ROWS)
    ] = 64,
    resume: Annotated[bool, typer.Option("--resume", help="Keep the shards that an earlier run finished.")] = False,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Run on this Ray cluster; local starts one.", rich_help_panel=CLUSTER),
    ] = None,
    actors: Annotated[
        int | None, typer.Option(min=1, help="Processes there; one a core by default.", rich_help_panel=CLUSTER)
    ] = None,
    device: DeviceOption = None,
    dtype: DtypeOption = "auto",
    resampling: ResamplingOption = None,
    revision: RevisionOption = None,
    local_files_only: LocalFilesOnlyOption = False,
    yes: YesOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest on standard output.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Compute masks for the images in many files, shard by shard; --resume goes on after any end.

    Each shard gives one Parquet file of the same name, which is there whole or not at all; OUT/_manifest.json counts
    rows, errors and doubtful masks. Exit code: 0 when all images have masks, 1 when some have none, 2 when the command
    is wrong.
    """
    from transformers_foreground.data.jobs import map_shards

    hidden = quiet or as_json
    with ExitStack() as downloading, Progress(hidden, downloading.close) as progress:
        on_download = downloading.enter_context(download_bar(hidden))
        run = partial(
            map_shards,
            source,
            output,
            chosen_model(model),
            image_column=image_column,
            mask_column=mask_column,
            cutout_column=cutout_column,
            id_column=id_column,
            on_error=on_error,  # type: ignore[arg-type]  # checked above
            keep_images=keep_images,
            image_shards=image_shards,
            resume=resume,
            ray=ray,
            actors=actors,
            device=device or env.default_device,
            dtype=dtype,
            resampling=resampling,
            revision=revision,
            local_files_only=local_files_only,
            progress_callback=on_download,
            on_start=progress.start,
            on_rows=progress.rows,
            on_shard=progress.shard,
        )
        try:
            report = with_consent(run, yes)
        except UnsupportedOptionError as error:
            complain(f"error: {error}")
            raise typer.Exit(2) from error
    if report.stale and not quiet:
        say(f"In {output} lie files that belong to no shard of {source}: {', '.join(report.stale[:5])}", "yellow")
    if as_json:
        typer.echo(report.to_json(), nl=False)
    elif not quiet:
        totals = report.totals
        counts = f"{totals['shards']} shards, {totals['rows']} rows, {totals['errors']} errors, "
        say(f"{counts}{totals['doubtful']} doubtful → {output}")
    if report.totals["errors"] or report.totals["failed"]:
        raise typer.Exit(1)


class Progress:
    """Shows shards, images a second and the time left: a bar on a terminal, else a line every half minute.

    Args:
        hidden: Show only what failed.
        before: Called before the first is shown: ends the bar of downloads.
    """

    def __init__(self, hidden: bool, before: Callable[[], None]) -> None:
        self._hidden, self._before = hidden, before
        self._bar: Any = None
        self._total = self._kept = self._done = self._images = 0
        self._started = self._said = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def start(self, total: int, kept: int) -> None:
        """Begin, with the number of shards and of those that are kept."""
        self._before()
        self._total, self._kept = total, kept
        self._started = self._said = time.monotonic()
        if kept and not self._hidden:
            say(f"Shards kept, as they are done: {kept} of {total}")
        if not self._hidden and stderr().is_terminal:
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(BarColumn(), TextColumn("{task.description}"), console=stderr())
            self._bar.add_task(self.line(), total=total, completed=kept)
            self._bar.start()

    def rows(self, count: int) -> None:
        """Count images as they are done."""
        self._images += count
        self._show()

    def shard(self, report: ShardReport) -> None:
        """Count a shard, and say what failed."""
        self._done += 1
        if report.error:
            complain(f"failed: {report.error}")
        elif report.errors:
            complain(f"{report.name}: {report.errors} images have no mask; the column error says why")
        self._show()

    def line(self) -> str:
        """Return what is shown: how far it is, how fast, and how long it takes still."""
        seconds = time.monotonic() - self._started
        left = self._total - self._kept - self._done
        rate = f", {self._images / max(seconds, 1e-3):.1f} images/s" if self._images else ""
        time_left = f", {timedelta(seconds=round(seconds / self._done * left))} left" if self._done else ""
        return f"{self._kept + self._done} of {self._total} shards{rate}{time_left}"

    def _show(self) -> None:
        if self._bar is not None:
            task = self._bar.task_ids[0]
            self._bar.update(task, completed=self._kept + self._done, description=self.line())
        elif not self._hidden and time.monotonic() - self._said > _INTERVAL:
            self._said = time.monotonic()
            say(self.line())
