"""Find the images in a folder, and say what else is in it."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final

from transformers_foreground.images.formats import SUFFIXES, is_image

_NAMED: Final = 3  # names to show of each kind that is left out
_PPM: Final = re.compile(rb"P[1-6]\s+[#\d]")
_TIFF: Final = (b"II*\x00", b"MM\x00*")  # of camera raw files too, which have suffixes of their own


@dataclass
class Listing:
    """The contents of a folder.

    Attributes:
        images: The images, sorted.
        left_out: Path and reason of each other file or folder that is not hidden.
        unreadable: Path and reason of each file or folder that could not be read: an error.
    """

    images: list[Path] = field(default_factory=list)
    left_out: list[tuple[Path, str]] = field(default_factory=list)
    unreadable: list[tuple[Path, str]] = field(default_factory=list)


def images_in(top: Path) -> Listing:
    """List the images in a folder and in the folders below it.

    A file is an image if its suffix is that of one, or else if its first bytes are. Hidden files and folders do not
    count; links to folders are not followed, since they may lead in circles or out of the folder.
    """
    listing = Listing()
    folders = [top]
    while folders:
        folder = folders.pop()
        try:
            entries = [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
        except OSError as error:
            listing.unreadable.append((folder, f"the folder cannot be read ({error.strerror})"))
            continue
        for entry in entries:
            _classify(entry, folder / entry.name, listing, folders)
    for found in (listing.images, listing.left_out, listing.unreadable):
        found.sort(key=lambda item: item.parts if isinstance(item, Path) else item[0].parts)
    return listing


def _classify(entry: os.DirEntry[str], path: Path, listing: Listing, folders: list[Path]) -> None:
    """Add an entry of a folder to the images, what is left out, what is unreadable, or the folders to visit."""
    named_so = path.suffix.lower() in SUFFIXES
    try:
        if entry.is_dir(follow_symlinks=False):
            folders.append(path)
            return
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            listing.left_out.append((path, "linked folders"))
        elif not stat.S_ISREG(status.st_mode):
            listing.left_out.append((path, "pipes, sockets and devices"))
        elif named_so or _looks_like_an_image(path, status.st_size, status.st_mtime_ns):
            listing.images.append(path)
        else:
            listing.left_out.append((path, "not an image"))
    except OSError as error:
        why = "a link to a file that is not there" if path.is_symlink() else f"it cannot be read ({error.strerror})"
        listing.unreadable.append((path, why))


@lru_cache(maxsize=65_536)  # --watch looks every second
def _looks_like_an_image(path: Path, size: int, mtime_ns: int) -> bool:
    """Read a file's first bytes. Size and time are in the cache's key, so that a changed file is read again.

    Raises:
        OSError: It cannot be read.
    """
    if size == 0:
        return False
    with path.open("rb") as file:
        head = file.read(32)
    # Pillow takes any "BM", "P1" or "Py" for the start of an image, but texts start like that too.
    if head.startswith(b"BM"):
        return int.from_bytes(head[2:6], "little") == size
    if head.startswith(b"P"):
        return _PPM.match(head) is not None
    if head[:1] == b"\n" or head[1:4] == bytes(3) or (path.suffix and head.startswith(_TIFF)):
        return False
    return is_image(head)


def summary(left_out: Sequence[tuple[Path, str]]) -> str:
    """Return one line: how much was left out, and why, with a few names of each kind."""
    kinds: dict[str, list[Path]] = {}
    for path, why in left_out:
        kinds.setdefault(why, []).append(path)
    return f"Left out {len(left_out)}: " + "; ".join(f"{why}: {_some(paths)}" for why, paths in kinds.items())


def _some(paths: Iterable[Path]) -> str:
    names = [str(path) for path in paths]
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
