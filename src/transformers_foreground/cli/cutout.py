"""`foreground [cutout] PICTURE...`: cut out pictures."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transformers_foreground.cli.console import download_bar, log_to_stderr, progress_bar, stderr
from transformers_foreground.errors import ForegroundError, ImageError

if TYPE_CHECKING:
    from transformers_foreground.loading import LoadedModel

STDIO = "-"
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif", ".heic", ".heif")


@dataclass(frozen=True)
class Job:
    """One picture's way: where it comes from and where its result goes (`"-"`: standard input and output)."""

    source: str
    target: Path | None


def cutout(
    pictures: Annotated[list[str], typer.Argument(help="Files, folders or URLs; - reads standard input.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A folder for the results; or, for one picture, the file. - is stdout."),
    ] = None,
    mask_only: Annotated[bool, typer.Option("--mask-only", help="Write the grey mask, not the cut-out.")] = False,
    force: Annotated[bool, typer.Option("--force", "-f", help="Overwrite results that exist.")] = False,
    model: Annotated[str, typer.Option("--model", "-m", help="Model id, or a folder.")] = "briaai/RMBG-1.4",
    device: Annotated[str, typer.Option(help="cpu, auto, gpu, cuda, webgpu, dml, coreml, wasm, ...")] = "cpu",
    dtype: Annotated[str, typer.Option(help="auto, fp32, fp16, q8, int8, ...")] = "auto",
    resampling: Annotated[
        str | None, typer.Option(help="transformers.js (default), canvas, antialias or bria.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of the model.")] = None,
    local_files_only: Annotated[bool, typer.Option("--local-files-only", help="Never open a connection.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Tell each picture's fate as a line of JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")] = False,
) -> None:
    """Remove the background of pictures.

    Exit code: 0 when all are done, 1 when some failed (each is named), 2 when the command itself is wrong.
    """
    jobs = plan(pictures, output, "mask" if mask_only else "cutout")
    if as_json and any(job.target is None for job in jobs):
        raise typer.BadParameter("--json writes to standard output, and so does this picture. Give -o FILE.")
    log_to_stderr()
    with download_bar(quiet or as_json) as progress_callback:
        from transformers_foreground.loading import load

        loaded = load(
            model,
            device=device,
            dtype=dtype,
            resampling=resampling,
            revision=revision,
            local_files_only=local_files_only,
            progress_callback=progress_callback,
        )
    failed = 0
    with progress_bar(len(jobs), quiet or as_json or len(jobs) == 1) as advance:
        for job, outcome in zip(jobs, run(loaded, jobs, mask_only=mask_only, force=force), strict=True):
            error = outcome if isinstance(outcome, ForegroundError) else None
            failed += error is not None
            advance()
            if as_json:
                typer.echo(json.dumps({"input": job.source, **({"error": str(error)} if error else outcome)}))
            if error:
                stderr().print(f"[red]failed[/red] {error}", highlight=False, soft_wrap=True)
            elif not quiet and not as_json and job.target is not None:
                stderr().print(f"{job.source} → [bold]{job.target}[/bold]", highlight=False, soft_wrap=True)
    if failed:
        if len(jobs) > 1:
            stderr().print(f"{failed} of {len(jobs)} pictures failed.")
        raise typer.Exit(1)


def plan(pictures: list[str], output: Path | None, kind: str) -> list[Job]:
    """Decide where each picture's result goes.

    Args:
        pictures: What was given: files, folders, URLs, `"-"`.
        output: The `-o` option.
        kind: `"cutout"` or `"mask"`: the middle of `photo.cutout.png`.

    Raises:
        typer.BadParameter: Nothing to do, or two results for one file name.
    """
    sources = [pair for picture in pictures for pair in _expand(picture)]
    if not sources:
        raise typer.BadParameter(f"No pictures in {', '.join(pictures)}. These count: {' '.join(SUFFIXES)}.")
    if output is not None and str(output) == STDIO and len(sources) > 1:
        raise typer.BadParameter("-o - takes one picture.")
    into_folder = output is not None and (len(sources) > 1 or output.is_dir() or Path(pictures[0]).is_dir())
    jobs = []
    names = [f"{Path(relative).with_suffix('')}" for _, relative in sources]
    for (source, relative), name in zip(sources, names, strict=True):
        if names.count(name) > 1:  # a.jpg and a.png keep their suffixes
            name = relative
        if output is None:
            target = None if source == STDIO else _beside(source, f"{Path(name).name}.{kind}.png")
        elif str(output) == STDIO:
            target = None
        else:
            target = output / f"{name}.{kind}.png" if into_folder else output
        jobs.append(Job(source, target))
    targets = [job.target for job in jobs if job.target is not None]
    twice = next((target for target in targets if targets.count(target) > 1), None)
    if twice is not None:
        raise typer.BadParameter(f"Two pictures would both become {twice}. Run them apart, with another -o.")
    return jobs


def _expand(picture: str) -> Iterator[tuple[str, str]]:
    """Yield (source, path relative to the output folder) for a picture, or for each picture in a folder."""
    if picture == STDIO:
        yield picture, "stdin.png"
    elif Path(picture).is_dir():
        for path in sorted(Path(picture).rglob("*")):
            is_result = path.name.endswith((".cutout.png", ".mask.png"))
            if path.suffix.lower() in SUFFIXES and path.is_file() and not is_result:
                yield str(path), str(path.relative_to(picture))
    else:
        yield picture, Path(picture.split("?")[0]).name or "picture"


def _beside(source: str, name: str) -> Path:
    """The place beside a file; for a URL, the working directory."""
    return Path(name) if "://" in source or source.startswith("data:") else Path(source).with_name(name)


def run(
    loaded: LoadedModel, jobs: list[Job], *, mask_only: bool, force: bool
) -> Iterator[dict[str, Any] | ForegroundError]:
    """Cut out pictures, overlapping the reading and writing of some with the computing of others.

    Yields:
        For each job, in order, what `--json` tells of it, or its error.
    """
    import numpy as np

    from transformers_foreground.images import DecodedImage, decode
    from transformers_foreground.output import encode_png, put_alpha, to_mask, without_hidden, write_whole
    from transformers_foreground.postprocessing import postprocess
    from transformers_foreground.preprocessing import preprocess
    from transformers_foreground.sessions import forward
    from transformers_foreground.streaming import stream

    def prepare(job: Job) -> tuple[Job, DecodedImage, Any, float]:
        started = time.perf_counter()
        if job.target is not None and job.target.exists() and not force:
            raise ImageError(
                f"{job.source}: {job.target} exists. Use --force to overwrite it, or -o for another place."
            )
        image = decode(sys.stdin.buffer.read() if job.source == STDIO else job.source)
        return job, image, preprocess(image.rgb(), loaded.processing)[None], started

    def compute(batch: Any) -> Any:
        return [forward(loaded.graph, item[2]) for item in batch]

    def finish(item: tuple[Job, DecodedImage, Any, float], alpha: Any) -> dict[str, Any]:
        job, image, _, started = item
        mask = postprocess(alpha[0, 0], image.height, image.width, loaded.processing)
        result = to_mask(mask) if mask_only else put_alpha(without_hidden(image.rgb(), mask), mask)
        data = encode_png(result)
        if job.target is None:
            sys.stdout.buffer.write(data)
        else:
            with _naming(job.target):
                write_whole(job.target, data)
        return {
            "input": job.source,
            "output": None if job.target is None else str(job.target),
            "width": image.width,
            "height": image.height,
            "foreground": round(float(np.mean(mask)) / 255, 4),
            "seconds": round(time.perf_counter() - started, 3),
        }

    return stream(jobs, prepare, compute, finish)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ImageError(
            f"{path} cannot be written: {error.strerror or error}. Choose another place with -o."
        ) from error
