"""Progress events in Transformers.js' shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

ProgressCallback: TypeAlias = Callable[[dict[str, Any]], None]
"""Called with one event at a time; `event["status"]` is initiate, download, progress_total, progress, done or ready."""


class Progress:
    """Sends one load's events to a callback, in Transformers.js' order.

    For each file: `initiate`, `download`, then pairs of `progress_total` (all files) and `progress` (this file) until
    100, then `done`. After the last file: `ready`. An exception from the callback ends the load.

    Args:
        callback: Called with each event; `None` makes every method do nothing.
        name: Model id.
        sizes: Bytes of every file of this load, for `progress_total`; `None` counts as 0 until the file is there.
    """

    def __init__(self, callback: ProgressCallback | None, name: str, sizes: Mapping[str, int | None]) -> None:
        self._callback = callback
        self._name = name
        self._files = {file: {"loaded": 0, "total": size or 0} for file, size in sizes.items()}

    def _tell(self, status: str, **rest: Any) -> None:
        if self._callback is not None:
            self._callback({"status": status, **rest})

    def initiate(self, file: str) -> None:
        """Send `initiate` for a file."""
        self._tell("initiate", name=self._name, file=file)

    def download(self, file: str) -> None:
        """Send `download`: the file is about to be read, from the disk or from the Hub."""
        self._tell("download", name=self._name, file=file)

    def advance(self, file: str, loaded: int, total: int | None = None) -> None:
        """Send `progress_total` and `progress`: so many bytes of a file are here."""
        if self._callback is None:
            return
        entry = self._files.setdefault(file, {"loaded": 0, "total": 0})
        entry["total"] = max(total or entry["total"], loaded)
        entry["loaded"] = loaded
        done = sum(f["loaded"] for f in self._files.values())
        whole = sum(f["total"] for f in self._files.values())
        files = {name: dict(f) for name, f in self._files.items()}
        self._tell(
            "progress_total",
            name=self._name,
            progress=_percent(done, whole),
            loaded=done,
            total=whole,
            files=files,
        )
        self._tell(
            "progress",
            name=self._name,
            file=file,
            progress=_percent(loaded, entry["total"]),
            loaded=loaded,
            total=entry["total"],
        )

    def done(self, file: str) -> None:
        """Send `done`: the file is complete."""
        self._tell("done", name=self._name, file=file)


def ready(callback: ProgressCallback | None, task: str, model: str) -> None:
    """Send `ready`: the pipeline can be called."""
    if callback is not None:
        callback({"status": "ready", "task": task, "model": model})


def _percent(part: int, whole: int) -> float:
    return 100.0 * part / whole if whole else 100.0
