"""Decide where each image's result goes, before anything is loaded."""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import typer

from transformers_foreground.cli.folders import images_in, summary
from transformers_foreground.cli.places import Files, Folders, folds_case, on_any_system
from transformers_foreground.cli.results import SUFFIX, result_name, results_among
from transformers_foreground.images.encode import KINDS, kind_of
from transformers_foreground.images.formats import SUFFIXES

STDIO = "-"

_URL = re.compile(r"[a-z][a-z0-9+.-]+://|(data|file):", re.IGNORECASE)
_FORBIDDEN = re.compile(r'[<>:"|*\\]')  # in names on Windows, where "a:b.png" would be a hidden part of "a"


@dataclass(frozen=True)
class Job:
    """One image: where it comes from, and where its result goes.

    Attributes:
        source: A path, a URL, or `"-"` for standard input.
        target: Where its result goes; `None` for standard output.
        overwrites: The image of the same run, or other file that it reads, whose place that is: an error.
    """

    source: str
    target: Path | None
    overwrites: str | None = None

    @property
    def is_file(self) -> bool:
        """Whether the source is a path, and neither a URL nor standard input."""
        return self.source != STDIO and not _URL.match(self.source)


@dataclass(frozen=True)
class Plan:
    """The images to do, and what else is in the folders that were given.

    Attributes:
        jobs: The images.
        left_out: Path and reason of each file and folder that is not taken.
        unreadable: Path and reason of each file and folder that could not be read.
    """

    jobs: list[Job]
    left_out: list[tuple[Path, str]] = field(default_factory=list)
    unreadable: list[tuple[Path, str]] = field(default_factory=list)


@dataclass(frozen=True)
class _Found:
    source: str
    folder: Path  # below the output folder
    name: str


def plan(
    images: list[str],
    output: str | None,
    name: str,
    kind: str = "png",
    *,
    may_be_none: bool = False,
    also_read: Iterable[str] = (),
) -> Plan:
    """Decide where each image's result goes.

    That is beside its image; or in the folder `output`, in which the images of a folder keep their subfolders; or the
    file `output`. Results are called `photo.cutout.png`; those of `a.jpg` and `a.png` in one folder keep the suffix
    (`a.jpg.cutout.png`). Names that are too long for the file system are shortened.

    Args:
        images: The arguments: files, folders, URLs, `"-"`. One that is given twice is done once.
        output: The `-o` option. It is a folder if it exists as one, ends with a slash, has no suffix, or if there are
            many images; else a file.
        name: `"cutout"` or `"mask"`: the middle of `photo.cutout.png`.
        kind: The format of the results, of `encode.KINDS`.
        may_be_none: Whether a plan without an image is allowed.
        also_read: Other files that the run reads, such as a background.

    Raises:
        typer.BadParameter: No such format, nothing to do, two results of one name, or a name of another format.
    """
    if kind not in KINDS:
        raise typer.BadParameter(f"Format {kind!r}: use {', '.join(KINDS)}.")
    planned = Plan([])
    found = list({item.source: item for image in images for item in _expand(image, output, planned)}.values())
    if not found and not planned.unreadable and not may_be_none:
        why = f" {summary(planned.left_out)}." if planned.left_out else ""
        raise typer.BadParameter(f"No images in {', '.join(images)}.{why}")
    if output == STDIO and len(found) > 1:
        raise typer.BadParameter(f"-o - takes one image, and these are {len(found)}. Give a folder.")
    if output is not None and output != STDIO and not _is_folder(output, images, len(found), kind):
        targets: list[Path | None] = [Path(output)]
    else:
        targets = _targets(found, output, f"{name}.{SUFFIX.get(kind, kind)}")
    inputs = Files([*(item.source for item in found), *also_read])
    for item, target in zip(found, targets, strict=True):
        planned.jobs.append(Job(item.source, target, inputs.find(target) if target is not None else None))
    return planned


def kind_for(output: str | None, given: str | None, animate: bool = False) -> str:
    """Return the format of the results: `given`, else that of the output file's suffix, else PNG (animations: WebP)."""
    named = None if output is None or os.path.isdir(output) else kind_of(output)
    return kind_of(f"x.{given}") or given if given else named or ("webp" if animate else "png")


def _expand(image: str, output: str | None, planned: Plan) -> list[_Found]:
    """Return an image, or each image in a folder; note in the plan what else is in the folder."""
    if image == STDIO:
        return [_Found(image, Path(), "stdin")]
    if _URL.match(image):
        path = "" if image[:5].lower() == "data:" else re.split(r"[?#]", image.partition(":")[2])[0]
        return [_Found(image, Path(), _FORBIDDEN.sub("_", Path(path).name) or "image")]
    if not os.path.isdir(image):
        return [_Found(image, Path(), Path(image).name or "image")]
    top = Path(image)
    listing = images_in(top)
    results = results_among(listing.images, top, None if output == STDIO else output)
    planned.left_out.extend([*listing.left_out, *((path, "results of this command") for path in sorted(results))])
    planned.unreadable.extend(listing.unreadable)
    return [
        _Found(str(path), path.relative_to(top).parent, path.name) for path in listing.images if path not in results
    ]


def _is_folder(output: str, images: list[str], count: int, kind: str) -> bool:
    path = Path(output)
    if os.path.isdir(path) or output.endswith(("/", os.sep)):
        return True
    is_file = os.path.exists(path)
    if count > 1 or os.path.isdir(images[0]):
        if is_file:
            raise typer.BadParameter(f"-o {output} is a file. Several images, or a folder, need a folder.")
        if path.suffix.lower() in SUFFIXES:
            raise typer.BadParameter(
                f"-o {output} names one file. Several images, or a folder, need a folder: {output}/"
            )
        return True
    if not is_file and not path.suffix:
        return True
    if kind_of(path) != kind and (os.path.isfile(path) or not is_file):  # a pipe or a device has no suffix
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


def _targets(found: Sequence[_Found], output: str | None, end: str) -> list[Path | None]:
    """Return where each result goes. Where names would be one on some file system, results keep the images' suffixes.

    Raises:
        typer.BadParameter: Two would be one file all the same.
    """
    folders = Folders()

    def place(item: _Found, name: str) -> tuple[str, Path | None]:
        folder = _place(item, output)
        target = None if folder is None else folder / result_name(name, end)
        return "" if target is None else on_any_system(folders.place_of(target)), target

    places = [place(item, Path(item.name).stem) for item in found]
    whole = [place(item, item.name) for item in found]
    before = None
    while places != before:  # a.jpg, which keeps its suffix beside a.png, may meet a.jpg.png
        before, count = places, Counter(key for key, _ in places)
        places = [long if count[short[0]] > 1 else short for short, long in zip(places, whole, strict=True)]
    taken: dict[str, tuple[_Found, Path]] = {}
    for item, (key, target) in zip(found, places, strict=True):
        if target is None:
            continue
        if output is None or not folds_case(Path(output)):
            key = folders.place_of(target)
        other, same = taken.setdefault(key, (item, target))
        if other is not item:
            from transformers_foreground.images.sources import name_of

            both = f"both become {target}"
            if same != target:
                both = f"become {same} and {target}, which are one file there"
            images = f"{name_of(other.source)} and {name_of(item.source)}"
            raise typer.BadParameter(f"Two images would {both}: {images}. Run them apart, with another -o.")
    return [target for _, target in places]


def check_standard_output(jobs: list[Job], as_json: bool) -> None:
    """Refuse to mix an image with JSON, or to write it on a terminal.

    Raises:
        typer.BadParameter: An image would go to standard output, which cannot take it.
    """
    if all(job.target is not None for job in jobs):
        return
    if as_json:
        raise typer.BadParameter("--json writes to standard output, and so does this image. Give -o FILE.")
    if sys.stdout is None or sys.stdout.isatty():
        raise typer.BadParameter("Standard output takes no image here. Give -o FILE, or write > cutout.png.")
