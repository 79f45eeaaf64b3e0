"""`foreground map IN OUT`: masks for shards of images, as a job that can be killed and resumed."""

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
from transformers_foreground.data.on_error import OnError
from transformers_foreground.env import env
from transformers_foreground.errors import ForegroundError, UnsupportedOptionError

if TYPE_CHECKING:
    from transformers_foreground.data.jobs import ShardReport

ROWS = partial(typer.Option, rich_help_panel="The rows")
CLUSTER = partial(typer.Option, rich_help_panel="On a cluster")
_INTERVAL: Final = 30.0  # seconds between two lines of progress where there is no terminal


def map_(
    source: Annotated[
        str,
        typer.Argument(metavar="IN", help="Parquet files, WebDataset tar files or images: a folder, a file or a URL."),
    ],
    output: Annotated[
        str, typer.Argument(metavar="OUT", help="A folder or URL for the results, one Parquet file for each shard.")
    ],
    model: ModelOption = None,
    models_dir: ModelsDirOption = None,
    image_column: Annotated[
        str, ROWS(help="Column of the images, or column.field; of a WebDataset an extension, such as jpg.")
    ] = "image",
    mask_column: Annotated[str, ROWS(help="New column for masks, as PNG.")] = "mask",
    cutout_column: Annotated[str | None, ROWS(help="New column for cut-outs, as PNG; none by default.")] = None,
    id_column: Annotated[str | None, ROWS(help="Column that names a row in messages.")] = None,
    on_error: Annotated[
        OnError,
        ROWS(
            help="What to do about an image that cannot be read: give a null mask and a reason (none), drop its row "
            "(skip), or end the job (raise)."
        ),
    ] = "none",
    keep_images: Annotated[bool, ROWS("--keep-images", help="Copy the images into the results, too.")] = False,
    image_shards: Annotated[int, ROWS(min=1, help="Into how many shards a folder of images is divided.")] = 64,
    resume: Annotated[bool, typer.Option("--resume", help="Keep the shards that an earlier run finished.")] = False,
    ray: Annotated[
        str | None, CLUSTER(metavar="ADDRESS", help="Run on this Ray cluster; local starts one on this machine.")
    ] = None,
    actors: Annotated[
        int | None, CLUSTER(min=1, help="Processes on the cluster; by default as many as it has cores.")
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
    """Compute masks for the images in many files, shard by shard; --resume goes on where a run ended, however it did.

    Each shard gives one Parquet file of the same name, complete or not there; OUT/_manifest.json counts rows, errors
    and doubtful masks. An image that kills the process three times gets no mask.

    Exit code: 0 if all images have masks, 1 if some have none, 2 if the command itself is wrong.
    """
    from transformers_foreground.data.jobs import map_shards

    hidden = quiet or as_json
    if actors is not None and ray is None:
        raise typer.BadParameter("--actors is for a cluster: give --ray, too.")
    with ExitStack() as downloading, Progress(hidden, downloading.close, on_error) as progress:
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
            on_error=on_error,
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
        except OSError as error:
            remedy = "Make room, or choose another place; --resume keeps what is done."
            raise ForegroundError(f"{output} cannot be written: {error}. {remedy}") from error
    if report.stale and not quiet:
        more = f" and {len(report.stale) - 5} more" if len(report.stale) > 5 else ""
        say(f"{output} also holds files of no shard of {source}: {', '.join(report.stale[:5])}{more}", "yellow")
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
        hidden: Show only failures.
        before: Called first: ends the bar of downloads.
        on_error: What is done about images that cannot be read.
    """

    def __init__(self, hidden: bool, before: Callable[[], None], on_error: OnError = "none") -> None:
        self._hidden, self._before = hidden, before
        self._why = "their rows are left out" if on_error == "skip" else "the column error says why"
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
            say(f"Shards kept from an earlier run: {kept} of {total}")
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
            complain(f"{report.name}: {report.errors} images have no mask; {self._why}")
        self._show()

    def line(self) -> str:
        """Return the line of progress: shards done, images a second, time left."""
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
