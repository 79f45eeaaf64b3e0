"""A model's files on the Hugging Face Hub, through `huggingface_hub` and its cache.

What is in the cache is found by the cache's documented layout (refs, snapshots, .no_exist), without the client: it
would ask the Hub, and needs a third of a second to be imported.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from transformers_foreground.downloads import OnBytes, check_content, hidden_bars, persistent, size_of, watched
from transformers_foreground.env import env
from transformers_foreground.errors import DownloadError, ForegroundError, GatedModelError, ModelNotFoundError

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling


class HubCache:
    """The files of one model at one commit.

    The commit is the one that the cache has for the revision, so that files fetched later fit those fetched earlier;
    where the cache has none, it is the revision's newest.

    Args:
        model_id: Repository id.
        revision: Branch, tag or commit.
        cache: The cache's folder.
        token: Token for the Hub; `None` for `HF_TOKEN` or the stored one.
    """

    def __init__(self, model_id: str, revision: str, cache: Path, token: str | bool | None) -> None:
        self._id, self._revision, self._cache, self._token = model_id, revision, cache, token
        self._endpoint = env.remote_host.rstrip("/")
        self._root = cache / f"models--{model_id.replace('/', '--')}"
        self._listing: dict[str, RepoSibling] | None = None
        self.where = f"{model_id} ({self._endpoint})"
        self.commit = self._cached_commit()

    def _cached_commit(self) -> str | None:
        if re.fullmatch(r"[0-9a-f]{40}", self._revision):
            return self._revision
        ref = self._root / "refs" / self._revision
        commit = ref.read_text(encoding="utf-8").strip() if ref.is_file() else ""
        return commit if commit and (self._root / "snapshots" / commit).is_dir() else None

    def find(self, name: str) -> Path | None:
        """Return a file of the cache, or `None`."""
        if self.commit is None:
            return None
        path = self._root / "snapshots" / self.commit / name
        return path if path.is_file() else None

    def has(self, name: str) -> bool:
        """Ask the Hub, once for all files, whether it has one; that it has not is remembered in the cache.

        Raises:
            ModelNotFoundError: No such model or revision, or the Hub cannot be reached.
            GatedModelError: The Hub wants a login or an accepted licence.
            DownloadError: The Hub failed to answer.
        """
        if self.commit and self._absent(name).is_file():
            return False
        if name in self._files():
            return True
        if self.commit:
            with suppress(OSError):  # a cache that cannot be written
                self._absent(name).parent.mkdir(parents=True, exist_ok=True)
                self._absent(name).touch()
        return False

    def size(self, name: str) -> int | None:
        """Return the size in bytes of a file that `has` has found, or `None` where the Hub does not say."""
        return self._files()[name].size

    def names(self) -> set[str]:
        """List the files that are known of without asking: those in the cache, and the Hub's if it was asked."""
        snapshot = self._root / "snapshots" / (self.commit or "none")
        cached = {path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file()}
        return cached | set(self._listing or ())

    def download(self, name: str, on_bytes: OnBytes | None = None) -> Path:
        """Fetch a file that `has` has found, going on where an interrupted download stopped.

        Args:
            name: Path of the file in the repository.
            on_bytes: Called now and then, on this thread, with the number of bytes that are here.

        Raises:
            DownloadError: The transfer failed, or the content is not what its hash says; nothing wrong is kept.
            GatedModelError: The Hub wants a login or an accepted licence.
        """
        from huggingface_hub import hf_hub_download

        entry = self._files()[name]
        blob = entry.lfs.sha256 if entry.lfs else entry.blob_id
        incomplete = self._root / "blobs" / f"{blob}.incomplete"

        def fetch() -> str:
            if entry.size is not None and size_of(incomplete) > entry.size:
                incomplete.unlink()  # left by a wrong answer; the client would ask for what follows, for ever
            return hf_hub_download(
                self._id,
                name,
                revision=self.commit or self._revision,
                cache_dir=self._cache,
                token=self._token,
                endpoint=self._endpoint,
                library_name="transformers-foreground",
                library_version=env.version,
            )

        def run() -> Path:
            with self._errors(name):
                path = Path(persistent(fetch, incomplete))
                check_content(path, entry)
                return path

        if on_bytes is None:
            return run()
        with hidden_bars():
            return watched(run, incomplete, on_bytes)

    def _absent(self, name: str) -> Path:
        return self._root / ".no_exist" / str(self.commit) / name

    def _files(self) -> dict[str, RepoSibling]:
        if self._listing is None:
            from huggingface_hub import HfApi
            from huggingface_hub.constants import HF_HUB_ETAG_TIMEOUT

            with self._errors():
                info = HfApi(self._endpoint, self._token, "transformers-foreground", env.version).model_info(
                    self._id,
                    revision=self.commit or self._revision,
                    files_metadata=True,
                    timeout=HF_HUB_ETAG_TIMEOUT,
                )
                if info.sha and self.commit is None:
                    # As `snapshot_download` does: downloads are by commit, and the client then writes no ref.
                    ref = self._root / "refs" / self._revision
                    ref.parent.mkdir(parents=True, exist_ok=True)
                    ref.write_text(info.sha, encoding="utf-8")
                    self.commit = info.sha
            self._listing = {file.rfilename: file for file in info.siblings or ()}
        return self._listing

    @contextmanager
    def _errors(self, name: str | None = None) -> Iterator[None]:
        """Translate the errors of asking for the list of files, or for one of them."""
        import requests
        from huggingface_hub import errors as hub

        where = self.where
        try:
            yield
        except ForegroundError:
            raise
        except hub.GatedRepoError as error:
            raise GatedModelError(
                f"{where} is gated. Accept its licence at https://huggingface.co/{self._id}, then set HF_TOKEN "
                "or run `hf auth login`."
            ) from error
        except hub.RepositoryNotFoundError as error:
            raise ModelNotFoundError(
                f"{where}: the Hub knows no such model, or it is private and needs HF_TOKEN."
            ) from error
        except hub.RevisionNotFoundError as error:
            hint = ""
            if self.commit not in (None, self._revision):
                hint = f": commit {self.commit}, cached in {self._root}, is gone. Delete that folder to start afresh"
            raise ModelNotFoundError(f"{where} has no revision {self._revision!r}{hint}.") from error
        except hub.LocalTokenNotFoundError as error:
            raise GatedModelError(f"{where}: token=True, but none is stored. Run `hf auth login`.") from error
        except requests.HTTPError as error:
            status = None if error.response is None else error.response.status_code
            if status in (401, 403):
                raise GatedModelError(f"{where} refuses access ({status}). Check HF_TOKEN.") from error
            limited = "it allows no more requests for now; a token (HF_TOKEN) may raise the limit"
            raise DownloadError(
                f"{where} failed to send {name or 'its list of files'} "
                f"({limited if status == 429 else status or error}). Try again later."
            ) from error
        except (OSError, RuntimeError) as error:  # RuntimeError: from hf_xet
            if name is None and isinstance(error, (requests.ConnectionError, requests.Timeout, ConnectionError)):
                proxy = (
                    " Check http_proxy and https_proxy." if isinstance(error, requests.exceptions.ProxyError) else ""
                )
                raise ModelNotFoundError(
                    f"{where} is not in the cache and cannot be reached ({type(error).__name__}).{proxy}"
                ) from error
            raise DownloadError(f"{name or 'The list of files'} of {where} {self._why(error)}") from error

    def _why(self, error: Exception) -> str:
        """Say what became of a transfer, and what to do."""
        import requests

        again = "load the model again: the download goes on where it stopped."
        if getattr(error, "errno", None) == errno.ENOSPC:
            return f"does not fit the disk of {self._cache}. Free some space, or name another cache_dir; then {again}"
        if isinstance(error, PermissionError):
            return f"cannot be kept in {self._cache}: {error}. Make that folder writable, or name another cache_dir."
        if isinstance(error, requests.TooManyRedirects):
            return "is redirected in a circle. Check env.remote_host (HF_ENDPOINT) and the proxy, if there is one."
        if "Consistency check failed" in str(error):
            return "had another length than announced, and was removed. Load the model again."
        cut, slow = requests.exceptions.ChunkedEncodingError, (requests.Timeout, requests.ConnectionError)
        reason = "the connection was cut" if isinstance(error, cut) else str(error).rstrip(".")
        reason = "nothing came for too long" if isinstance(error, slow) and "timed out" in reason else reason
        return f"did not arrive whole: {reason}. {again.capitalize()}"
