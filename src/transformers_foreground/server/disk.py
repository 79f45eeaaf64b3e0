"""How much disk space uploads and results take, kept within a limit."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from transformers_foreground.errors import ForegroundError

KEEP_SECONDS: Final = 3600
PRESSED_SECONDS: Final = 600  # how long files are kept when space is short
FULL: Final = (
    "The space that this server has for uploads and results is full. "
    f"Try again in {PRESSED_SECONDS // 60} minutes: it deletes old ones."
)
_LEAST: Final = 50_000  # bytes that any file counts as, so that the number of small files is limited, too
_PAUSE: Final = 5  # seconds between two sweeps for space


@dataclass(eq=False)
class Disk:
    """A folder for uploads and results. Safe to use from all threads.

    Attributes:
        folder: The folder.
        limit: Bytes that may be in it.
    """

    folder: Path
    limit: int
    _taken: int = 0
    _since: int = 0  # of that, what came after the last sweep began
    _swept: float = float("-inf")
    _held: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _sweeping: threading.Lock = field(default_factory=threading.Lock)

    def take(self, count: int) -> None:
        """Count bytes that are written, or are about to be. A negative number gives them back."""
        with self._lock:
            self._taken += count
            self._since += count

    def take_files(self, paths: Iterable[Path]) -> None:
        """Count files that were written."""
        self.take(sum(_cost(path.stat().st_size) for path in paths))

    def make_room(self, wanted: int = 0) -> bool:
        """Say whether this many more bytes may be written. If space is short, delete old files first: slow."""
        if self._taken + wanted > self.limit:
            with self._sweeping:
                if time.monotonic() - self._swept > _PAUSE:
                    self._sweep(PRESSED_SECONDS)
        return self._taken + wanted <= self.limit

    def need_room(self) -> None:
        """Check that more may be written.

        Raises:
            ForegroundError: The disk space is full, also after old files were deleted.
        """
        if not self.make_room():
            raise ForegroundError(FULL)

    def sweep(self) -> None:
        """Delete what is old, and count what is left."""
        with self._sweeping:
            self._sweep(KEEP_SECONDS)

    @contextmanager
    def holding(self, paths: Iterable[Path]) -> Iterator[None]:
        """Keep files, and files directly in folders, from being deleted while a request needs them."""
        held = [str(path) for path in paths]
        with self._lock:
            self._held.update(held)
        try:
            yield
        finally:
            with self._lock:
                self._held -= Counter(held)

    def _sweep(self, older_than: float) -> None:
        with self._lock:
            held, self._since = frozenset(self._held), 0
        left = sweep(self.folder, older_than, held)
        with self._lock:
            self._taken = left + self._since
        self._swept = time.monotonic()


def sweep(folder: Path, older_than: float, held: Collection[str] = ()) -> int:
    """Delete files that are old, and folders that are old and empty.

    Args:
        folder: Where to look, at all depths.
        older_than: Seconds since a file was last written.
        held: Paths of files, and of folders whose files are kept.

    Returns:
        Bytes that the files which are left count as.
    """
    limit, left = time.time() - older_than, 0
    for place, _, names in os.walk(folder, topdown=False):
        for name in names:
            path = Path(place, name)
            try:
                status = path.lstat()
                if status.st_mtime < limit and place not in held and str(path) not in held:
                    path.unlink()
                else:
                    left += _cost(status.st_size)
            except OSError:  # Gradio moved it meanwhile; or, on Windows, it is open
                continue
        with suppress(OSError):  # not empty, or gone
            if Path(place) != folder and Path(place).stat().st_mtime < limit:  # a new one may be about to be filled
                Path(place).rmdir()
    return left


def _cost(size: int) -> int:
    return max(size, _LEAST)
