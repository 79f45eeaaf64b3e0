"""Models that are open or being loaded, and how far a download is."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

from transformers_foreground.segmenter import Segmenter
from transformers_foreground.server.progress import BusyError

_OPEN_MODELS: Final = 2
_LOADS: Final = 3  # most models being loaded at once

T = TypeVar("T")


@dataclass(eq=False)
class Fetch:
    """A model that is being loaded, on a thread of its own, for all requests that wait for it.

    Attributes:
        model: The model's id.
        result: The model, once it is open.
        loaded: Bytes that are downloaded.
        total: Bytes of all files.
    """

    model: str
    result: Future[Segmenter] = field(default_factory=Future)
    loaded: int = 0
    total: int = 0
    _first: tuple[float, int] | None = None  # time and bytes when the download was first seen

    def on_event(self, event: dict[str, Any]) -> None:
        """Take a progress event of the download."""
        if event["status"] == "progress_total":
            self.loaded, self.total = event["loaded"], event["total"]
            if self._first is None and self.loaded < self.total:
                self._first = time.monotonic(), self.loaded

    @property
    def text(self) -> str:
        """What to show: size, rate and time left of a download."""
        first = self._first
        if first is None or self.loaded >= self.total:
            return f"Opening {self.model}"
        spent = time.monotonic() - first[0]
        size = f"Fetching {self.model}: {self.loaded / 1e6:.1f} of {self.total / 1e6:.1f} MB"
        rate = (self.loaded - first[1]) / spent if spent > 0 else 0
        if rate <= 0:
            return size
        return f"{size}, {rate / 1e6:.1f} MB/s, {duration((self.total - self.loaded) / rate)} left"


def duration(seconds: float) -> str:
    """Write a time span: "20 s", "1 min 01 s", "1 h 01 min"."""
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60:02} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60:02} min"


class OpenModels:
    """Models that are open or being loaded. Above a few, those not used for longest are dropped.

    Use it on one event loop alone.
    """

    def __init__(self, device: str, *, local_files_only: bool) -> None:
        self._options = {"device": device, "local_files_only": local_files_only}
        self._models: OrderedDict[tuple[str, str], Fetch] = OrderedDict()

    def get(self, model: str, dtype: str) -> Fetch:
        """Return a model that is open or being loaded; begin to load it if it is neither.

        Raises:
            BusyError: Too many models are being loaded.
        """
        fetch = self._models.pop((model, dtype), None)
        if fetch is None or (fetch.result.done() and fetch.result.exception()):
            if sum(not other.result.done() for other in self._models.values()) >= _LOADS:
                raise BusyError("Other models are being loaded. Try again in a minute.")
            fetch = _start(model, dtype=dtype, **self._options)
        self._models[model, dtype] = fetch  # now the last: most recently used
        for key in [key for key, other in self._models.items() if other.result.done()][:-_OPEN_MODELS]:
            del self._models[key]
        return fetch


def _start(model: str, **options: Any) -> Fetch:
    """Begin to load a model."""
    fetch = Fetch(model)
    fetch.result = on_thread(partial(opened, model, progress_callback=fetch.on_event, **options), "foreground-fetch")
    return fetch


def on_thread(work: Callable[[], T], name: str) -> Future[T]:
    """Run a function on a daemon thread of its own: Ctrl-C does not wait for it, as it would for that of a pool."""
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()  # from here on it cannot be cancelled

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # for those who wait
            future.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


def opened(model: str, **options: Any) -> Segmenter:
    """Load a model and open its session. Tests replace this."""
    return Segmenter(model, **options).open()
