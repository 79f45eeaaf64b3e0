"""The progress bar of a download, and the check of what arrived."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from transformers_foreground.errors import DownloadError

_BAR = "huggingface_hub.http_get"  # the group of bars that hub's `disable_progress_bars` names


OnBytes = Callable[[int], None]
"""Called with the number of bytes of a file that are here."""


class CallbackError(Exception):
    """An exception of `on_bytes`, on its way out past those who translate the errors of the network.

    Attributes:
        error: The exception.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(frozen=True)
class Entry:
    """A file as the Hub lists it.

    Attributes:
        name: Path in the repository.
        size: Bytes, `None` where the Hub does not say.
        sha256: Of its content, in hex, for files in large file storage.
        git_sha1: Git's name for its content, in hex, for the others.
    """

    name: str
    size: int | None = None
    sha256: str | None = None
    git_sha1: str | None = None


@contextmanager
def shown(on_bytes: OnBytes | None, name: str, size: int | None) -> Iterator[OnBytes]:
    """Show huggingface_hub's progress bar, on a terminal where bars are not turned off, unless `on_bytes` is given.

    Args:
        on_bytes: Called instead; see `http_client.download`.
        name: What is downloaded.
        size: Its bytes, where known.

    Yields:
        What to call with the number of bytes that are here: `on_bytes`, where it is given.
    """
    if on_bytes is not None:
        yield on_bytes
        return
    from huggingface_hub.utils import tqdm
    from huggingface_hub.utils.tqdm import is_tqdm_disabled

    level = logging.getLogger(__name__).getEffectiveLevel()
    with (
        tqdm(  # type: ignore[no-untyped-call]
            name=_BAR, disable=is_tqdm_disabled(level), desc=name[-40:], total=size, unit="B", unit_scale=True
        ) as bar
    ):
        yield lambda loaded: None if bar.disable else bar.update(loaded - bar.n)


def check_content(path: Path, entry: Entry, where: str) -> None:
    """Compare a downloaded file with the length and the hash that the Hub lists.

    Args:
        path: The file.
        entry: What the Hub says of it.
        where: The repository, for the error.

    Raises:
        DownloadError: They differ; the file is removed.
    """
    size = path.stat().st_size
    if entry.size is not None and size != entry.size:
        fault = f"arrived with another length than announced ({size} bytes, not {entry.size})"
    else:
        wanted = entry.sha256 or entry.git_sha1
        got = wanted and (sha256_of(path) if entry.sha256 else _git_sha1_of(path))
        if got == wanted:
            return
        fault = f"arrived damaged (its hash is {got}, not {wanted})"
    path.unlink(missing_ok=True)
    raise DownloadError(f"{entry.name} of {where} {fault} and was removed. Load the model again.")


def sha256_of(path: Path) -> str:
    """Return a file's SHA-256 in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _git_sha1_of(path: Path) -> str:
    """Return what git calls a file with this content: SHA-1 over its kind, length and bytes."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: digest).hexdigest()
