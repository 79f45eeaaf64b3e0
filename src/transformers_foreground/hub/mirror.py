"""A model's files as plain files on any web server, where `env.remote_path_template` says that it is no Hub."""

from __future__ import annotations

import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from transformers_foreground.atomic_write import replace_durably, unfinished
from transformers_foreground.env import env
from transformers_foreground.errors import DownloadError, GatedModelError, ModelNotFoundError
from transformers_foreground.hub import http_client
from transformers_foreground.hub.transfer import OnBytes, shown

_NOT_THERE = (403, 404, 410)  # 403: what object stores say of a missing file to those who may not list


class Mirror:
    """The files of one model, kept below `mirrors` in the cache once downloaded. The methods are `HubCache`'s.

    A plain server lists no hashes, and may have another file than the Hub by intent: only lengths are compared.

    Args:
        model_id: Repository id.
        revision: Branch, tag or commit, for the template.
        cache: The cache's folder.
        token: Sent if it is a string: the Hub's stored token is not sent to another server.
    """

    commit: str | None = None  # such a server does not tell

    def __init__(self, model_id: str, revision: str, cache: Path, token: str | bool | None) -> None:
        path = env.remote_path_template.replace("{model}", quote(model_id))
        path = path.replace("{revision}", quote(revision, safe="")).strip("/")
        self._base = f"{env.remote_host.rstrip('/')}/{path}"
        self._folder = cache / "mirrors" / quote(self._base, safe="")
        self.where = self._base
        self._headers = {"User-Agent": f"transformers-foreground/{env.version}"}
        if isinstance(token, str):
            self._headers["Authorization"] = f"Bearer {token}"
        self._sizes: dict[str, int | None] = {}

    def find(self, name: str) -> Path | None:
        """Return a file that was downloaded before, or `None`."""
        return self._folder / name if (self._folder / name).is_file() else None

    def forget(self, name: str) -> bool:
        """Delete a file that was downloaded before; return whether it was there."""
        there = self.find(name)
        if there is not None:
            there.unlink()
        return there is not None

    def has(self, name: str) -> bool:
        """Ask the server whether it has a file; of a JSON file, that it has not is remembered.

        Raises:
            ModelNotFoundError: The server cannot be reached.
            GatedModelError: It wants a login.
            DownloadError: It failed to answer.
        """
        absent = self._folder / ".no_exist" / name
        if name not in self._sizes and not absent.is_file():
            with self._errors(name, asking=True):
                try:
                    with http_client.request("HEAD", self._url(name), self._headers, _timeout()) as answer:
                        self._sizes[name] = http_client.length_of(answer.headers)
                except urllib.error.HTTPError as error:
                    if error.code not in _NOT_THERE:
                        raise
                    # Weights are never done without, and may be there another day; so may what is forbidden.
                    if name.endswith(".json") and error.code != 403:
                        with suppress(OSError):
                            absent.parent.mkdir(parents=True, exist_ok=True)
                            absent.touch()
        return name in self._sizes

    def size(self, name: str) -> int | None:
        """Return the size in bytes of a file that `has` has found, or `None` where the server does not say."""
        return self._sizes.get(name)

    def names(self) -> set[str]:
        """List the files that were downloaded before: a plain server has no list."""
        files = (path.relative_to(self._folder) for path in self._folder.rglob("[!.]*") if path.is_file())
        return {path.as_posix() for path in files if path.parts[0] != ".no_exist"}

    def download(self, name: str, on_bytes: OnBytes | None = None) -> Path:
        """Fetch a file; it appears under its name only when it is whole.

        Raises:
            DownloadError: The transfer failed.
            GatedModelError: The server wants a login.
        """
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        part = unfinished(path)
        try:
            with self._errors(name), shown(on_bytes, name, self.size(name)) as tell:
                http_client.download(self._url(name), self._headers, part, timeout=_timeout(), on_bytes=tell)
            replace_durably(part, path)
        finally:
            part.unlink(missing_ok=True)
        return path

    def _url(self, name: str) -> str:
        return f"{self._base}/{quote(name)}"

    @contextmanager
    def _errors(self, name: str, *, asking: bool = False) -> Iterator[None]:
        """Translate the errors of downloading a file, or of asking whether there is one."""
        url = f"{self._base}/{name}"
        try:
            yield
        except urllib.error.HTTPError as error:
            if error.code in (401, 403):
                raise GatedModelError(f"{url} refuses access ({error.code}). Check the token option.") from error
            raise DownloadError(f"{url} could not be fetched ({error.code}). Try again later.") from error
        except OSError as error:
            reason = http_client.reason_of(error)
            if asking and http_client.is_unreachable(error):
                raise ModelNotFoundError(f"{url} cannot be reached ({reason}).") from error
            raise DownloadError(f"{url} did not arrive whole: {reason}. Load the model again.") from error


def _timeout() -> float:
    from huggingface_hub.constants import HF_HUB_DOWNLOAD_TIMEOUT

    return HF_HUB_DOWNLOAD_TIMEOUT
