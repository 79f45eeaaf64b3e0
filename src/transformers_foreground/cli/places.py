"""Which paths mean one file, though they are written otherwise: links, relative paths, hard links, case."""

from __future__ import annotations

import os
import stat
import unicodedata
import urllib.parse
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


class Folders:
    """Resolves the links in the folders of paths, once for each folder: many files lie in few."""

    def __init__(self) -> None:
        self._resolved: dict[str, str] = {}

    def place_of(self, path: str | Path) -> str:
        """Return a path without links to folders."""
        folder, name = os.path.split(path)
        if folder not in self._resolved:
            try:
                self._resolved[folder] = os.path.realpath(folder)
            except (OSError, ValueError):  # no name of a folder
                self._resolved[folder] = folder
        return os.path.join(self._resolved[folder], name)


def on_any_system(place: str) -> str:
    """Return what is the same for paths that mean one file on any file system.

    Those of macOS and Windows, and some of Linux, take `A.png` for `a.png`; those of macOS take ü as one letter for u
    and its dots as two.
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", place).casefold())


def folds_case(folder: Path) -> bool:
    """Whether the file system of a folder, or of the one that it will be in, takes `A.png` for `a.png`."""
    for path in (folder.absolute(), *folder.absolute().parents):
        other = path.with_name(path.name.swapcase()) if path.name else path
        if other != path and path.exists():
            return other.exists() and other.samefile(path)
    return False


class Files:
    """Files that are found by any path that leads to them.

    Args:
        paths: Paths, "file:" URLs, and `"-"` for standard input.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._folders = Folders()
        self._names: dict[Any, str] = {}
        for path in paths:
            for key in self._keys(path):
                self._names.setdefault(key, path)

    def find(self, path: str | Path) -> str | None:
        """Return the path that was given of the same file; `None` if there is none."""
        return next((self._names[key] for key in self._keys(path) if key in self._names), None)

    def _keys(self, path: str | Path) -> Iterator[Any]:
        """Yield a file's place, and its number in its file system, which links and hard links share."""
        if path == "-":
            yield from _number(0)
            return
        if isinstance(path, str) and path[:5].lower() == "file:":
            from urllib.request import url2pathname  # slow to import: it brings Python's HTTP and TLS

            path = url2pathname(urllib.parse.urlsplit(path).path)
        yield os.path.normcase(self._folders.place_of(path))
        yield from _number(path)


def _number(path: str | Path | int) -> Iterator[tuple[int, int]]:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return
    if stat.S_ISREG(status.st_mode) and status.st_ino:  # 0 where a file system has no numbers
        yield status.st_dev, status.st_ino
