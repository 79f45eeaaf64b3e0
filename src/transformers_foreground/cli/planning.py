"""Decide, before anything is loaded, where each picture's result goes."""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import typer

from transformers_foreground.formats import kind_of

STDIO = "-"
SUFFIX = {"jpeg": "jpg"}  # where it is not the format's name
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif", ".heic", ".heif")
"""Files with these suffixes are taken from folders. A file that is named is read whatever its suffix."""

_URL = re.compile(r"[a-z][a-z0-9+.-]+://|(data|file):", re.IGNORECASE)
_FORBIDDEN = re.compile(r'[<>:"|*\\]')  # in Windows' names; "a:b.png" would be written into a hidden part of "a"


@dataclass(frozen=True)
class Job:
    """One picture's way.

    Attributes:
        source: A path, a URL, or `"-"` for standard input.
        target: Where its result goes; `None` for standard output.
    """

    source: str
    target: Path | None

    @property
    def is_file(self) -> bool:
        """Whether the source is a path, and neither a URL nor standard input."""
        return self.source != STDIO and not _URL.match(self.source)


@dataclass(frozen=True)
class _Found:
    source: str
    folder: Path  # below the output folder
    name: str


def plan(
    pictures: list[str], output: str | None, name: str, kind: str = "png", *, may_be_none: bool = False
) -> list[Job]:
    """Decide where each picture's result goes.

    Beside its picture; or with `output` in that folder, where a folder's pictures keep their places below it; or in
    the file `output`. Results are called `photo.cutout.png`; `a.jpg` and `a.png` in one place keep their suffixes
    (`a.jpg.cutout.png`).

    Args:
        pictures: What was given: files, folders, URLs, `"-"`. One that is given twice is done once.
        output: The `-o` option. It is a folder if it is one, ends with a slash or has no suffix, or if the pictures
            are many; else a file.
        name: `"cutout"` or `"mask"`: the middle of `photo.cutout.png`.
        kind: The format of the results, of `formats.KINDS`.
        may_be_none: Whether it is fine that there is no picture.

    Raises:
        typer.BadParameter: Nothing to do, two results for one file name, or a result whose name is of another format.
    """
    found = list({item.source: item for picture in pictures for item in _expand(picture)}.values())
    if not found and not may_be_none:
        raise typer.BadParameter(f"No pictures in {', '.join(pictures)}. These count: {' '.join(SUFFIXES)}.")
    if output == STDIO and len(found) > 1:
        raise typer.BadParameter(f"-o - takes one picture, and these are {len(found)}. Give a folder.")
    if output is not None and output != STDIO and not _is_folder(output, pictures, len(found), kind):
        targets: list[Path | None] = [Path(output)]
    else:
        places = [_place(item, output) for item in found]
        end = f"{name}.{SUFFIX.get(kind, kind)}"
        short = [_target(place, Path(item.name).stem, end) for item, place in zip(found, places, strict=True)]
        count = Counter(short)
        targets = [
            _target(place, item.name, end) if target is not None and count[target] > 1 else target
            for item, place, target in zip(found, places, short, strict=True)
        ]
    twice = [target for target, count in Counter(targets).items() if target is not None and count > 1]
    if twice:
        raise typer.BadParameter(f"Two pictures would both become {twice[0]}. Run them apart, with another -o.")
    return [Job(item.source, target) for item, target in zip(found, targets, strict=True)]


def kind_for(output: str | None, given: str | None) -> str:
    """Return the format of the results: the one that was given, the one that a file's name means, or PNG."""
    named = None if output is None or Path(output).is_dir() else kind_of(output)
    return kind_of(f"x.{given}") or given if given else named or "png"


def _expand(picture: str) -> Iterator[_Found]:
    """Yield a picture, or each picture in a folder."""
    if picture == STDIO:
        yield _Found(picture, Path(), "stdin")
    elif _URL.match(picture):
        path = "" if picture[:5].lower() == "data:" else re.split(r"[?#]", picture.partition(":")[2])[0]
        yield _Found(picture, Path(), _FORBIDDEN.sub("_", Path(path).name) or "picture")
    elif Path(picture).is_dir():
        for path in sorted(Path(picture).rglob("*")):
            inside = path.relative_to(picture)
            hidden = any(part.startswith(".") for part in inside.parts)
            is_result = Path(path.stem).suffix in (".cutout", ".mask")
            if path.suffix.lower() in SUFFIXES and not hidden and not is_result and path.is_file():
                yield _Found(str(path), inside.parent, path.name)
    else:
        yield _Found(picture, Path(), Path(picture).name or "picture")


def _is_folder(output: str, pictures: list[str], count: int, kind: str) -> bool:
    path = Path(output)
    if path.is_dir() or output.endswith(("/", os.sep)):
        return True
    is_file = path.exists()
    if count > 1 or Path(pictures[0]).is_dir():
        if is_file:
            raise typer.BadParameter(f"-o {output} is a file. Several pictures, or a folder, need a folder.")
        if path.suffix.lower() in SUFFIXES:
            raise typer.BadParameter(
                f"-o {output} names one file. Several pictures, or a folder, need a folder: {output}/"
            )
        return True
    if not is_file and not path.suffix:
        return True
    if kind_of(path) != kind and (path.is_file() or not is_file):  # a pipe or a device has no suffix
        right = path.with_suffix(f".{SUFFIX.get(kind, kind)}")
        raise typer.BadParameter(
            f"Results are {kind.upper()} files, so -o {output} would be a wrong name. Use {right}, or --format for "
            f"another format, or {output}/ for a folder."
        )
    return False


def _place(item: _Found, output: str | None) -> Path | None:
    """Return the folder for a result, or `None` for standard output."""
    if output == STDIO or (output is None and item.source == STDIO):
        return None
    if output is not None:
        return Path(output) / item.folder
    return Path() if _URL.match(item.source) else Path(item.source).parent


def _target(place: Path | None, name: str, end: str) -> Path | None:
    return None if place is None else place / f"{name}.{end}"


def check_standard_output(jobs: list[Job], as_json: bool) -> None:
    """Refuse to mix pictures with JSON, or to write them on a terminal.

    Raises:
        typer.BadParameter: A picture would go to standard output, which cannot take it.
    """
    if all(job.target is not None for job in jobs):
        return
    if as_json:
        raise typer.BadParameter("--json writes to standard output, and so does this picture. Give -o FILE.")
    if sys.stdout is None or sys.stdout.isatty():
        raise typer.BadParameter("Standard output takes no picture here. Give -o FILE, or write > cutout.png.")
