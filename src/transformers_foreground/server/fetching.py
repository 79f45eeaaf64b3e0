"""A model on its way to this machine, and how far it is."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final

from transformers_foreground.errors import ForegroundError
from transformers_foreground.segmenter import Segmenter

_OPEN_MODELS: Final = 2
_LOADS: Final = 3  # at once


@dataclass(eq=False)
class Fetch:
    """A load that goes on by itself, for all who wait for the same model.

    Attributes:
        model: Id of the model.
        result: The model, once it is open.
        loaded: Bytes that are here.
        total: Bytes of all files.
    """

    model: str
    result: Future[Segmenter] = field(default_factory=Future)
    loaded: int = 0
    total: int = 0
    _first: tuple[float, int] | None = None  # when the transfer was seen first, and what was here by then

    def on_event(self, event: dict[str, Any]) -> None:
        """Take a progress event."""
        if event["status"] == "progress_total":
            self.loaded, self.total = event["loaded"], event["total"]
            if self._first is None and self.loaded < self.total:
                self._first = time.monotonic(), self.loaded

    @property
    def text(self) -> str:
        """What happens, for people: size, rate and time left of a download."""
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
    """Write a time span as people say it."""
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60:02} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60:02} min"


class OpenModels:
    """The models that are open, or on their way; those that were not used for longest go.

    Args:
        device: What they run on.
        local_files_only: Never open a connection.
    """

    def __init__(self, device: str, *, local_files_only: bool) -> None:
        self._options = {"device": device, "local_files_only": local_files_only}
        self._models: OrderedDict[tuple[str, str], Fetch] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, model: str, dtype: str) -> Fetch:
        """Return the load of a model: the one that is under way or done, or a new one.

        Raises:
            ForegroundError: Too many models are being loaded.
        """
        with self._lock:
            fetch = self._models.pop((model, dtype), None)
            if fetch is None or (fetch.result.done() and fetch.result.exception()):
                if sum(not other.result.done() for other in self._models.values()) >= _LOADS:
                    raise ForegroundError("Other models are being loaded. Try again in a minute.")
                fetch = _start(model, dtype=dtype, **self._options)
            self._models[model, dtype] = fetch  # the last is the one used last
            for key in [key for key, other in self._models.items() if other.result.done()][:-_OPEN_MODELS]:
                del self._models[key]
        return fetch

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(list(self._models))


def _start(model: str, **options: Any) -> Fetch:
    """Begin to load a model on a thread of its own."""
    fetch = Fetch(model)

    def settle() -> None:
        try:
            fetch.result.set_result(opened(model, progress_callback=fetch.on_event, **options))
        except BaseException as error:  # whoever waits hears of it
            fetch.result.set_exception(error)

    # A daemon: Ctrl-C does not wait for a download, which goes on where it stopped the next time.
    threading.Thread(target=settle, name="foreground-fetch", daemon=True).start()
    return fetch


def opened(model: str, **options: Any) -> Segmenter:
    """Load a model and open its session."""
    return Segmenter(model, **options).open()
