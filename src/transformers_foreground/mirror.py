"""A model's files as plain files on any web server, where `env.remote_path_template` says that it is no Hub."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from transformers_foreground.downloads import OnBytes
from transformers_foreground.env import env
from transformers_foreground.errors import DownloadError, ForegroundError, GatedModelError, ModelNotFoundError
from transformers_foreground.unfinished import unfinished

if TYPE_CHECKING:
    from requests import Response

_CHUNK_BYTES = 1 << 18
_NOT_THERE = (403, 404, 410)  # 403: what object stores say of a missing file to those who may not list


class Mirror:
    """The files of one model, kept below `mirrors` in the cache once downloaded. The methods are `HubCache`'s.

    A plain server lists no hashes, and may have another file than the Hub by intent: only lengths are compared.

    Args:
        model_id: Repository id.
        revision: Branch, tag or commit, for the template.
        cache: The cache's folder.
        token: Sent if it is a string: the Hub's stored token is no business of another server.
    """

    commit: str | None = None  # such a server does not tell

    def __init__(self, model_id: str, revision: str, cache: Path, token: str | bool | None) -> None:
        path = env.remote_path_template.replace("{model}", quote(model_id))
        path = path.replace("{revision}", quote(revision, safe="")).strip("/")
        self._base = f"{env.remote_host.rstrip('/')}/{path}"
        self._folder = cache / "mirrors" / quote(self._base, safe="")
        self.where = self._base
        self._headers = {"Accept-Encoding": "identity"}
        if isinstance(token, str):
            self._headers["Authorization"] = f"Bearer {token}"
        self._sizes: dict[str, int | None] = {}

    def find(self, name: str) -> Path | None:
        """Return a file that was downloaded before, or `None`."""
        return self._folder / name if (self._folder / name).is_file() else None

    def has(self, name: str) -> bool:
        """Ask the server whether it has a file; of a JSON file, that it has not is remembered.

        Raises:
            ModelNotFoundError: The server cannot be reached.
            GatedModelError: It wants a login.
            DownloadError: It failed to answer.
        """
        absent = self._folder / ".no_exist" / name
        if name not in self._sizes and not absent.is_file():
            with self._errors(name, ModelNotFoundError), self._request("HEAD", name) as response:
                if response.status_code in _NOT_THERE:
                    # Weights are never done without, and may be there another day; so may what is forbidden.
                    if name.endswith(".json") and response.status_code != 403:
                        with suppress(OSError):
                            absent.parent.mkdir(parents=True, exist_ok=True)
                            absent.touch()
                    return False
                response.raise_for_status()
                self._sizes[name] = _length(response)
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
            with part.open("wb") as file:
                for chunk in self._chunks(name):
                    file.write(chunk)
                    if on_bytes:
                        on_bytes(file.tell())
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
        return path

    def _chunks(self, name: str) -> Iterator[bytes]:
        with self._errors(name, DownloadError), self._request("GET", name) as response:
            response.raise_for_status()
            left = _length(response)
            for chunk in response.iter_content(_CHUNK_BYTES):
                left = None if left is None else left - len(chunk)
                yield chunk
            if left:
                raise OSError(f"{left} bytes are missing")

    def _request(self, method: str, name: str) -> Response:
        from huggingface_hub import get_session
        from huggingface_hub.constants import HF_HUB_DOWNLOAD_TIMEOUT

        return get_session().request(
            method,
            f"{self._base}/{quote(name)}",
            headers=self._headers,
            stream=True,
            allow_redirects=True,
            timeout=HF_HUB_DOWNLOAD_TIMEOUT,
        )

    @contextmanager
    def _errors(self, name: str, unreachable: type[ForegroundError]) -> Iterator[None]:
        import requests

        url = f"{self._base}/{name}"
        try:
            yield
        except requests.HTTPError as error:
            status = None if error.response is None else error.response.status_code
            if status in (401, 403):
                raise GatedModelError(f"{url} refuses access ({status}). Check the token option.") from error
            raise DownloadError(f"{url} could not be fetched ({status}). Try again later.") from error
        except (requests.ConnectionError, requests.Timeout) as error:
            raise unreachable(f"{url} cannot be reached ({type(error).__name__}).") from error
        except OSError as error:
            raise DownloadError(f"{url} did not arrive whole: {error}. Load the model again.") from error


def _length(response: Response) -> int | None:
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdigit() else None
