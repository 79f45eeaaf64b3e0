"""A model's files on the Hugging Face Hub, kept in the cache that all of Hugging Face's libraries share.

What is in the cache is found by its documented layout (refs, snapshots, blobs, .no_exist), without huggingface_hub: it
would ask the Hub, and needs a third of a second to be imported. So what a download needs is imported by downloads.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote
from uuid import uuid4

from transformers_foreground.atomic_write import replace_durably
from transformers_foreground.env import env
from transformers_foreground.errors import DownloadError, ForegroundError, GatedModelError, ModelNotFoundError
from transformers_foreground.hub.transfer import Entry, OnBytes, check_content, shown

_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_MAX_LISTING: Final = 64 << 20  # bytes: a quarter of a million files
_HASHES: Final = {40: "git_sha1", 64: "sha256"}


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
        self._listing: dict[str, Entry] | None = None
        self.where = f"{model_id} ({self._endpoint})"
        self.commit = self._cached_commit()

    def _cached_commit(self) -> str | None:
        if _COMMIT.fullmatch(self._revision):
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

    def forget(self, name: str) -> bool:
        """Delete a file from the commit's snapshot, and its content unless another name or commit has it, too.

        Returns:
            Whether it was there.
        """
        path = self.find(name)
        if path is None:
            return False
        blob = path.resolve()
        path.unlink()
        others = (self._root / "snapshots").rglob("*")
        if blob.parent == (self._root / "blobs").resolve() and not any(other.resolve() == blob for other in others):
            blob.unlink(missing_ok=True)
        return True

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
            on_bytes: See `http_client.download`. Without it, a progress bar is shown on a terminal.

        Raises:
            DownloadError: The transfer failed, or the content is not what its hash says; nothing wrong is kept.
            GatedModelError: The Hub wants a login or an accepted licence.
        """
        from huggingface_hub.utils import WeakFileLock

        entry = self._files()[name]
        key = entry.sha256 or entry.git_sha1 or sha256(f"{self.commit}/{name}".encode()).hexdigest()
        blob, lock = self._root / "blobs" / key, self._cache / ".locks" / self._root.name / f"{key}.lock"
        url = f"{self._endpoint}/{self._id}/resolve/{quote(self.commit or self._revision, safe='')}/{quote(name)}"
        with self._errors(name):
            blob.parent.mkdir(parents=True, exist_ok=True)
            lock.parent.mkdir(parents=True, exist_ok=True)
            with WeakFileLock(lock):  # as huggingface_hub takes it: another process may be at the same file
                if not blob.is_file():
                    self._fetch(url, blob, entry, on_bytes)
                return self._linked(name, blob)

    def _fetch(self, url: str, blob: Path, entry: Entry, on_bytes: OnBytes | None) -> None:
        from huggingface_hub.constants import HF_HUB_DOWNLOAD_TIMEOUT as TIMEOUT

        from transformers_foreground.hub import http_client

        part = blob.with_name(f"{blob.name}.incomplete")  # huggingface_hub's name for it, too
        with shown(on_bytes, entry.name, entry.size) as tell:
            http_client.download(url, self._headers(), part, timeout=TIMEOUT, size=entry.size, on_bytes=tell)
        check_content(part, entry, self.where)
        replace_durably(part, blob)  # its name says from now on that it is whole

    def _linked(self, name: str, blob: Path) -> Path:
        """Put a blob into the commit's snapshot: as a link, or as itself where there are no links (Windows)."""
        path = self._root / "snapshots" / (self.commit or self._revision) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink() and path.is_file() and path.samefile(blob):
            return path
        # Another thread may have the name open: it stands at every moment for a whole file, the old one or the new.
        new = path.with_name(f".{path.name}.{uuid4().hex}")
        try:
            new.symlink_to(os.path.relpath(blob, path.parent))
        except OSError:
            shutil.copyfile(blob, new)
        os.replace(new, path)
        return path

    def _absent(self, name: str) -> Path:
        return self._root / ".no_exist" / str(self.commit) / name

    def _headers(self) -> dict[str, str]:
        from huggingface_hub.utils import build_hf_headers

        return build_hf_headers(token=self._token, library_name="transformers-foreground", library_version=env.version)

    def _files(self) -> dict[str, Entry]:
        if self._listing is None:
            with self._errors():
                info = self._ask(self.commit or self._revision)
                if self.commit is None and _COMMIT.fullmatch(str(info.get("sha"))):
                    # As `snapshot_download` does: downloads are by commit, and the ref is how the cache finds it again.
                    self.commit = str(info["sha"])
                    ref = self._root / "refs" / self._revision
                    ref.parent.mkdir(parents=True, exist_ok=True)
                    ref.write_text(self.commit, encoding="utf-8")
            listed = info.get("siblings")
            entries = [_entry(raw) for raw in (listed if isinstance(listed, list) else ()) if isinstance(raw, dict)]
            # A name that would do something to a terminal is none that anybody asks for.
            self._listing = {entry.name: entry for entry in entries if entry.name.isprintable()}
        return self._listing

    def _ask(self, revision: str) -> dict[str, Any]:
        """Ask the Hub's API for a revision's commit and files."""
        from huggingface_hub.constants import HF_HUB_ETAG_TIMEOUT

        from transformers_foreground.hub import http_client

        url = f"{self._endpoint}/api/models/{self._id}/revision/{quote(revision, safe='')}?blobs=True"
        with http_client.request("GET", url, self._headers(), HF_HUB_ETAG_TIMEOUT) as answer:
            text = answer.read(_MAX_LISTING + 1)
        try:
            info = json.loads(text) if len(text) <= _MAX_LISTING else None
            if isinstance(info, dict):
                return info
        except (ValueError, RecursionError):
            pass
        raise DownloadError(f"{self.where} sent no list of files, but something else. Check env.remote_host.")

    @contextmanager
    def _errors(self, name: str | None = None) -> Iterator[None]:
        """Translate the errors of asking for the list of files, or for one of them."""
        from huggingface_hub.errors import LocalTokenNotFoundError

        from transformers_foreground.hub import http_client

        try:
            yield
        except ForegroundError:
            raise
        except LocalTokenNotFoundError as error:
            raise GatedModelError(f"{self.where}: token=True, but none is stored. Run `hf auth login`.") from error
        except urllib.error.HTTPError as error:
            raise self._refusal(error, name or "its list of files") from error
        except OSError as error:
            if name is None and http_client.is_unreachable(error):
                proxy = http_client.proxy_of(self._endpoint)
                raise ModelNotFoundError(
                    f"{self.where} is not in the cache and cannot be reached ({http_client.reason_of(error)})."
                    + (f" The proxy {proxy} was used: check http_proxy and https_proxy." if proxy else "")
                ) from error
            raise DownloadError(f"{name or 'The list of files'} of {self.where} {self._why(error)}") from error

    def _refusal(self, error: urllib.error.HTTPError, what: str) -> ForegroundError:
        """Return the error for a refusal, by the code that the Hub sends along: its status is ambiguous."""
        status, where = error.code, self.where
        code, message = (error.headers.get(f"X-Error-{part}", "") for part in ("Code", "Message"))
        if status == 401 and not code and message and "Invalid credentials" not in message:
            code = "RepoNotFound"  # who sends no token is asked for one, whether there is such a model or not
        if code == "GatedRepo":
            return GatedModelError(
                f"{where} is gated. Accept its licence at https://huggingface.co/{self._id}, then set HF_TOKEN "
                "or run `hf auth login`."
            )
        if code == "RepoNotFound":
            return ModelNotFoundError(f"{where}: the Hub knows no such model, or it is private and needs HF_TOKEN.")
        if code == "RevisionNotFound":
            hint = ""
            if self.commit not in (None, self._revision):
                hint = f": commit {self.commit}, cached in {self._root}, is gone. Delete that folder to start afresh"
            return ModelNotFoundError(f"{where} has no revision {self._revision!r}{hint}.")
        if status in (401, 403):
            return GatedModelError(f"{where} refuses access ({status}). Check HF_TOKEN.")
        if 300 <= status < 400:
            return DownloadError(
                f"{what} of {where} is redirected in a circle. Check env.remote_host (HF_ENDPOINT) and the proxy, if "
                "there is one."
            )
        limited = "it allows no more requests for now; a token (HF_TOKEN) may raise the limit"
        return DownloadError(
            f"{where} failed to send {what} ({limited if status == 429 else status}). Try again later."
        )

    def _why(self, error: OSError) -> str:
        """Say what became of a transfer, and what to do."""
        from transformers_foreground.hub import http_client

        again = "load the model again: the download goes on where it stopped."
        if error.errno == errno.ENOSPC:
            return f"does not fit the disk of {self._cache}. Free some space, or name another cache_dir; then {again}"
        if isinstance(error, PermissionError):
            return f"cannot be kept in {self._cache}: {error}. Make that folder writable, or name another cache_dir."
        return f"did not arrive whole: {http_client.reason_of(error)}. {again.capitalize()}"


def _entry(raw: dict[str, Any]) -> Entry:
    """Read one file of the Hub's list. What is no hash is left out: hashes become file names."""
    lfs = raw.get("lfs")
    lfs = lfs if isinstance(lfs, dict) else {}
    hashes = {
        _HASHES.get(len(text)): text for text in map(str, (raw.get("blobId"), lfs.get("sha256"))) if _is_hex(text)
    }
    size = raw.get("size")
    return Entry(
        str(raw.get("rfilename")),
        size if isinstance(size, int) and size >= 0 else None,
        hashes.get("sha256"),
        None if lfs else hashes.get("git_sha1"),
    )


def _is_hex(text: str) -> bool:
    return re.fullmatch(r"[0-9a-f]+", text) is not None
