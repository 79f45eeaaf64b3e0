"""Transfers through the Hub's client: what it leaves out, namely going on after a cut, progress and hashes."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from transformers_foreground.errors import DownloadError

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

logger = logging.getLogger(__name__)

OnBytes = Callable[[int], None]

_POLL_SECONDS = 0.1
_TRIES = 3
_BARS = ("huggingface_hub.http_get", "huggingface_hub.xet_get")


def persistent(fetch: Callable[[], str], incomplete: Path) -> str:
    """Call a download again after a cut connection, as long as each try brings something or three bring nothing.

    The client itself goes on after a time-out, but not after a cut.
    """
    from requests.exceptions import ChunkedEncodingError

    futile = 0
    while True:
        had = size_of(incomplete)
        try:
            return fetch()
        except (ChunkedEncodingError, ConnectionResetError) as error:
            futile = 0 if size_of(incomplete) > had else futile + 1
            if futile == _TRIES:
                raise
            logger.info("The connection was cut (%s); going on.", error)
            time.sleep(futile)


def watched(run: Callable[[], Path], incomplete: Path, on_bytes: OnBytes) -> Path:
    """Run a download on another thread and report the size of its unfinished file from this one.

    The Hub client has no callback for bytes. The thread is a daemon: an exception from `on_bytes` leaves at once, and
    the download, which nobody waits for any more, still ends in a whole file or a resumable one.
    """
    result: Future[Path] = Future()

    def settle() -> None:
        try:
            result.set_result(run())
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=settle, daemon=True, name="transformers-foreground download").start()
    reported = 0
    while not result.done():
        wait([result], _POLL_SECONDS)
        if (now := size_of(incomplete)) > reported:
            reported = now
            on_bytes(now)
    return result.result()


def size_of(path: Path) -> int:
    """Return a file's size in bytes, 0 where there is none."""
    try:
        return path.stat().st_size
    except OSError:  # not there yet, or just renamed
        return 0


_bars_lock = threading.Lock()
_bars_hidden: list[str] = []
_listeners = 0


@contextmanager
def hidden_bars() -> Iterator[None]:
    """Hide the client's own progress bars while somebody listens to our events, on any thread."""
    from huggingface_hub.constants import HF_HUB_DISABLE_PROGRESS_BARS
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    global _listeners
    if HF_HUB_DISABLE_PROGRESS_BARS is not None:  # the user has decided
        yield
        return
    with _bars_lock:
        if not _listeners:
            _bars_hidden[:] = [group for group in _BARS if not are_progress_bars_disabled(group)]
            for group in _bars_hidden:
                disable_progress_bars(group)
        _listeners += 1
    try:
        yield
    finally:
        with _bars_lock:
            _listeners -= 1
            if not _listeners:
                for group in _bars_hidden:
                    enable_progress_bars(group)


def check_content(path: Path, entry: RepoSibling) -> None:
    """Compare a downloaded file with the hash that the Hub lists. The client compares sizes only.

    Raises:
        DownloadError: They differ; the file is removed.
    """
    if entry.lfs:
        wanted, got = entry.lfs.sha256, sha256_of(path)
    else:
        content = path.read_bytes()
        wanted, got = entry.blob_id or "", hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    if wanted and got != wanted:
        path.resolve().unlink(missing_ok=True)  # in the cache, the path is a link
        path.unlink(missing_ok=True)
        raise DownloadError(
            f"{entry.rfilename} arrived damaged (its hash is {got}, not {wanted}) and was removed. "
            "Load the model again."
        )


def sha256_of(path: Path) -> str:
    """Return a file's SHA-256 in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
