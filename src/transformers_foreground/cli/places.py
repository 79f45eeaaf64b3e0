"""Which paths mean one file, though they are written otherwise: links, relative paths, hard links."""

from __future__ import annotations

import os
import stat
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


class Files:
    """Files that are found by any path that leads to them.

    Args:
        paths: Paths, "file:" URLs, and `"-"` for standard input.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._folders: dict[str, str] = {}
        self._names: dict[Any, str] = {}
        for path in paths:
            for key in self._keys(path):
                self._names.setdefault(key, path)

    def find(self, path: str | Path) -> str | None:
        """Return the path that was given of the same file; `None` if there is none."""
        return next((self._names[key] for key in self._keys(path) if key in self._names), None)

    def _keys(self, path: str | Path) -> Iterator[Any]:
        """Yield a file's place, links resolved, and its number in its file system, which hard links share."""
        if isinstance(path, str):
            if path == "-":
                yield from _number(0)
                return
            if path[:5].lower() == "file:":
                path = urllib.request.url2pathname(urllib.parse.urlsplit(path).path)
        try:
            folder, name = os.path.split(path)
            if os.path.islink(path):
                yield os.path.normcase(os.path.realpath(path))
            else:
                if folder not in self._folders:  # many files lie in few folders
                    self._folders[folder] = os.path.realpath(folder)
                yield os.path.normcase(os.path.join(self._folders[folder], name))
        except (OSError, ValueError):  # no name of a file
            return
        yield from _number(path)


def _number(path: str | Path | int) -> Iterator[tuple[int, int]]:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return
    if stat.S_ISREG(status.st_mode) and status.st_ino:  # 0 where a file system has no numbers
        yield status.st_dev, status.st_ino
