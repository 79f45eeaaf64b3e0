"""What is known of a model's files without loading it: the counterpart of Transformers.js' `ModelRegistry`.

Its functions have the names and arguments that they have there. Those for tokenizers are absent, since no model here
has one; unlike there, they take every option that decides where the files are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers_foreground.errors import UnsupportedTaskError
from transformers_foreground.hub.known_models import DEFAULT_MODELS
from transformers_foreground.hub.repository import Repo
from transformers_foreground.hub.selection import CONFIG, PREPROCESSOR, Selection, select


@dataclass(frozen=True)
class FileMetadata:
    """What `get_file_metadata` finds.

    Attributes:
        exists: Whether the model has the file.
        size: Its bytes; `None` where it does not exist, or the server does not say.
        from_cache: Whether it was downloaded before.
    """

    exists: bool
    size: int | None = None
    from_cache: bool = False


@dataclass(frozen=True)
class ClearedFile:
    """What became of one file.

    Attributes:
        file: Its path in the repository.
        was_cached: Whether the cache had it.
        deleted: Whether it was deleted.
    """

    file: str
    was_cached: bool
    deleted: bool


@dataclass(frozen=True)
class ClearedCache:
    """What `clear_pipeline_cache` did.

    Attributes:
        files: Each file of the pipeline.
    """

    files: tuple[ClearedFile, ...]

    @property
    def files_cached(self) -> int:
        """How many were there."""
        return sum(file.was_cached for file in self.files)

    @property
    def files_deleted(self) -> int:
        """How many are no more."""
        return sum(file.deleted for file in self.files)


def get_available_dtypes(
    model_id: str | Path,
    *,
    config: Mapping[str, Any] | None = None,
    model_file_name: str | None = None,
    subfolder: str = "onnx",
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
) -> list[str]:
    """Return the dtypes that a model can be loaded in: those that all files are there of, here or on the Hub.

    Args:
        model_id: Repository id or folder.
        config: Used in place of `config.json`.
        model_file_name: Stem of the ONNX file; `"model"` by default.
        subfolder: Folder of the ONNX files in the repository.
        revision: Branch, tag or commit; `"main"` by default.
        cache_dir: The cache to use in place of the Hugging Face one.
        local_files_only: Never open a connection: tell what is on this machine.
        token: Token for the Hub.

    Raises:
        ModelNotFoundError: There is no such model, or it is not here and the Hub cannot be reached.
        GatedModelError: The Hub wants a login or an accepted licence.
        ForegroundError: As `load_files`.

    Examples:
        >>> get_available_dtypes("briaai/RMBG-1.4")
        ['fp32', 'fp16', 'q8']
    """
    repo = Repo(str(model_id), revision or "main", cache_dir, local_files_only, token)
    selection = select(repo, subfolder=subfolder, model_file_name=model_file_name, config=config)
    found = list(selection.sizes())
    if not found and repo.failure is not None:
        raise repo.failure
    return found


def get_pipeline_files(
    task: str,
    model_id: str | Path | None = None,
    *,
    local_files_only: bool = False,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
    **options: Any,
) -> list[str]:
    """Return the paths of the files that a pipeline loads, whether or not they are here.

    Args:
        task: `"image-segmentation"` or `"background-removal"`.
        model_id: Repository id or folder; the task's default model by default.
        local_files_only: Never open a connection.
        revision: Branch, tag or commit; `"main"` by default.
        cache_dir: The cache to use in place of the Hugging Face one.
        token: Token for the Hub.
        options: `device`, `dtype`, `subfolder`, `model_file_name`, `config` and `use_external_data_format`, as of
            `load_files`.

    Raises:
        UnsupportedTaskError: Another task.
        ForegroundError: As `load_files`, but for files that do not exist.
    """
    repo = Repo(_model_of(task, model_id), revision or "main", cache_dir, local_files_only, token)
    return _files(select(repo, **options))


def get_file_metadata(
    model_id: str | Path,
    filename: str,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
) -> FileMetadata:
    """Ask whether a model has a file, and how large it is, without downloading it.

    Args:
        model_id: Repository id or folder.
        filename: Path of the file in the repository.
        revision: Branch, tag or commit; `"main"` by default.
        cache_dir: The cache to use in place of the Hugging Face one.
        local_files_only: Never open a connection.
        token: Token for the Hub.

    Raises:
        ModelNotFoundError: There is no such model, or the Hub cannot be reached. That a model lacks the file is no
            error.
        GatedModelError: The Hub wants a login or an accepted licence.
        DownloadError: The Hub failed to answer.
    """
    repo = Repo(str(model_id), revision or "main", cache_dir, local_files_only, token)
    if not repo.exists(filename):
        if repo.failure is not None:
            raise repo.failure
        return FileMetadata(False)
    here = repo.find(filename)
    return FileMetadata(True, repo.size(filename), here is not None and here == repo.find_downloaded(filename))


def is_pipeline_cached(task: str, model_id: str | Path | None = None, **options: Any) -> bool:
    """Whether a pipeline can be built without a connection: whether all its files are on this machine. None is opened.

    Args:
        task: `"image-segmentation"` or `"background-removal"`.
        model_id: Repository id or folder; the task's default model by default.
        options: As of `get_pipeline_files`.

    Raises:
        UnsupportedTaskError: Another task.
        ForegroundError: As `load_files`, but for files that are not here.
    """
    repo = _here(task, model_id, options)
    return all(repo.find(name) is not None for name in select(repo, **options).weights())


def clear_pipeline_cache(task: str, model_id: str | Path | None = None, **options: Any) -> ClearedCache:
    """Delete the files of a pipeline from the cache. Local folders are yours, and stay.

    Args:
        task: `"image-segmentation"` or `"background-removal"`.
        model_id: Repository id; the task's default model by default.
        options: As of `get_pipeline_files`: they say which of the model's files.

    Returns:
        What was there, and what was deleted.

    Raises:
        UnsupportedTaskError: Another task.
        OSError: A file cannot be deleted.
        ForegroundError: As `load_files`, but for files that are not here.
    """
    repo = _here(task, model_id, options)
    names = dict.fromkeys([*_files(select(repo, **options)), CONFIG, PREPROCESSOR])
    done = [(name, repo.find_downloaded(name) is not None, repo.forget(name)) for name in names]
    return ClearedCache(tuple(ClearedFile(*each) for each in done))


def _model_of(task: str, model_id: str | Path | None) -> str:
    if task not in DEFAULT_MODELS:
        raise UnsupportedTaskError(f"Unsupported task: {task!r}. Use one of: {', '.join(DEFAULT_MODELS)}.")
    return str(model_id or DEFAULT_MODELS[task])


def _here(task: str, model_id: str | Path | None, options: dict[str, Any]) -> Repo:
    """Return where a model's files are on this machine; takes what says so out of the options."""
    options.pop("local_files_only", None)
    where = (options.pop("revision", None) or "main", options.pop("cache_dir", None), True, options.pop("token", None))
    return Repo(_model_of(task, model_id), *where)


def _files(selection: Selection) -> list[str]:
    repo = selection.repo
    around = {name: [name] if repo.exists(name) else [] for name in (CONFIG, PREPROCESSOR)}
    return [*around[CONFIG], *selection.weights(), *around[PREPROCESSOR]]
