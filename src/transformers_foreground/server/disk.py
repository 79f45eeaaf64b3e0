"""What uploads and results take on the disk, and that it stays within a limit."""

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

KEEP_SECONDS: Final = 3600
PRESSED_SECONDS: Final = 600  # how long files are kept when there is no room
FULL: Final = (
    "Uploads and results fill the room that this server has for them. "
    f"Try again in {PRESSED_SECONDS // 60} minutes: it deletes old ones."
)
_LEAST: Final = 50_000  # bytes that any file counts as, so that many small ones are a few
_PAUSE: Final = 5  # seconds from one look for room to the next


@dataclass(eq=False)
class Disk:
    """A folder for uploads and results. All threads may use it.

    Attributes:
        folder: The folder.
        limit: Bytes that may be in it.
    """

    folder: Path
    limit: int
    _taken: int = 0
    _since: int = 0  # of that, since the last sweep began
    _swept: float = float("-inf")
    _held: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _sweeping: threading.Lock = field(default_factory=threading.Lock)

    def take(self, count: int) -> None:
        """Count bytes that are written, or are about to be; less than nothing gives them back."""
        with self._lock:
            self._taken += count
            self._since += count

    def take_files(self, paths: Iterable[Path]) -> None:
        """Count files that were written."""
        self.take(sum(_cost(path.stat().st_size) for path in paths))

    def make_room(self, wanted: int = 0) -> bool:
        """Say whether some more bytes may be written; if not, delete first what is not needed. It may take a second."""
        if not self._has_room(wanted):
            with self._sweeping:
                if time.monotonic() - self._swept > _PAUSE:
                    self._sweep(PRESSED_SECONDS)
        return self._has_room(wanted)

    def sweep(self) -> None:
        """Delete what is old, and count what is left."""
        with self._sweeping:
            self._sweep(KEEP_SECONDS)

    @contextmanager
    def holding(self, paths: Iterable[Path]) -> Iterator[None]:
        """Delete none of these files, nor any in these folders, as long as a request needs them."""
        held = [str(path) for path in paths]
        with self._lock:
            self._held.update(held)
        try:
            yield
        finally:
            with self._lock:
                self._held -= Counter(held)

    def _has_room(self, wanted: int) -> bool:
        return self._taken + wanted <= self.limit

    def _sweep(self, older_than: float) -> None:
        with self._lock:
            held, self._since = frozenset(self._held), 0
        left = sweep(self.folder, older_than, held)
        with self._lock:
            self._taken = left + self._since
        self._swept = time.monotonic()


def sweep(folder: Path, older_than: float, held: Collection[str] = ()) -> int:
    """Delete files that were written long ago, and folders that are empty then.

    Args:
        folder: Where to look, at all depths.
        older_than: Seconds.
        held: Files, and folders of files, that stay.

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
            except OSError:  # Gradio moves uploads while they are being looked at; or it is open, on Windows
                continue
        # A folder that is new may be about to be filled.
        if Path(place) != folder and not os.listdir(place) and Path(place).stat().st_mtime < limit:
            with suppress(OSError):  # something has come
                Path(place).rmdir()
    return left


def _cost(size: int) -> int:
    return max(size, _LEAST)
