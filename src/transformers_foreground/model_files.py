"""Find a model's files: the right ones of its repository or folder, downloaded where they are not here."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from transformers_foreground.dtypes import SUFFIXES, file_name, resolve_dtype
from transformers_foreground.errors import InvalidModelError, UnsupportedOptionError
from transformers_foreground.hub import Repo, show_licence
from transformers_foreground.progress import Progress, ProgressCallback
from transformers_foreground.size_limit import check_size, total

CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"
_MAX_PARTS = 100  # as in Transformers.js


@dataclass(frozen=True)
class ModelFiles:
    """The files of one model at one dtype, all on this machine.

    Attributes:
        model_id: What was asked for.
        commit: Commit of a model from the Hub.
        config: Contents of `config.json`, or of the `config` option; empty where there is none.
        preprocessor: Contents of `preprocessor_config.json`, or `None`.
        folder: The folder of the repository that the ONNX file lies in.
        onnx: The ONNX file.
        dtype: Its dtype, in Transformers.js' terms.
    """

    model_id: str
    commit: str | None
    config: Mapping[str, Any]
    preprocessor: Mapping[str, Any] | None
    folder: Path
    onnx: Path
    dtype: str


def load_files(
    model_id: str | Path,
    *,
    device: str = "cpu",
    dtype: Any = None,
    subfolder: str = "onnx",
    model_file_name: str | None = None,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
    config: Mapping[str, Any] | None = None,
    use_external_data_format: bool | int | Mapping[str, Any] | None = None,
    progress_callback: ProgressCallback | None = None,
) -> ModelFiles:
    """Find the files that one dtype of a model needs, downloading those that are not here.

    Args:
        model_id: Repository id (`"briaai/RMBG-1.4"`) or a folder laid out like a repository.
        device: Device name; it decides the default dtype.
        dtype: A name of `dtypes.SUFFIXES`, `"auto"`, or `None`.
        subfolder: Folder of the ONNX files in the repository.
        model_file_name: Stem of the ONNX file; `"model"` by default.
        revision: Branch, tag or commit; `"main"` by default.
        cache_dir: The cache to use in place of the Hugging Face one.
        local_files_only: Never open a connection.
        token: Token for the Hub.
        config: Used in place of `config.json`.
        use_external_data_format: Whether (or in how many parts, or for which file names) the weights lie beside the
            graph in `*.onnx_data`. `None` asks the config's `transformers.js_config`.
        progress_callback: Told of every file.

    Raises:
        ModelNotFoundError: The model is nowhere.
        ModelFileNotFoundError: The model has no file of this dtype; the message lists those that it has.
        GatedModelError: The Hub wants a login or an accepted licence.
        ModelTooLargeError: What would have to be downloaded is larger than `env.max_model_bytes`.
        DownloadError: A download failed; a later load goes on where it stopped.
        UnsupportedDtypeError: The dtype name is unknown.
        UnsupportedOptionError: `use_external_data_format` is no number of files.
        InvalidModelError: A JSON file is damaged.
    """
    stem, subfolder = model_file_name or "model", (subfolder or "").strip("/")
    repo = Repo(str(model_id), revision or "main", cache_dir, local_files_only, token)
    wanted = []
    if config is None:
        config = {}
        if repo.exists(CONFIG):
            # Its events come later, with the others': the totals depend on what it says.
            config = _read_json(repo.get(CONFIG, (lambda _: None) if progress_callback else None))
            wanted.append(CONFIG)
    chosen = resolve_dtype(dtype, device, config, stem)
    weights_of = partial(_weights, repo, stem, subfolder, use_external_data_format, config)
    onnx_name, *_ = weights = weights_of(chosen)
    for n in weights:
        if not repo.exists(n):
            has = _what_it_has(repo, subfolder, stem)
            if has and dtype in (None, "auto") and chosen != "fp32":
                has = f"It was asked for since no dtype was: that means {chosen} on device={device!r}. {has}"
            raise repo.missing(n, has)
    if repo.exists(PREPROCESSOR):
        wanted.append(PREPROCESSOR)
    wanted += weights
    sizes = {n: repo.size(n) for n in wanted}
    missing = [n for n in weights if repo.find(n) is None]

    def check(loaded: int = 0, whole: bool = False) -> None:
        size = sum(sizes[n] or 0 for n in missing) + loaded
        check_size(repo, chosen, size, partial(_sizes, repo, weights_of), whole=whole)

    if missing:
        check(whole=all(sizes[n] is not None for n in missing))
        show_licence(repo.model_id)
    progress = Progress(progress_callback, repo.model_id, sizes)
    for n in wanted:
        progress.initiate(n)
    paths = {}
    for n in wanted:
        watch = check if n in missing and sizes[n] is None else None
        paths[n] = _get(repo, n, sizes[n], progress, progress_callback is not None, watch)
        sizes[n] = paths[n].stat().st_size
    return ModelFiles(
        model_id=repo.model_id,
        commit=repo.commit,
        config=config,
        preprocessor=_read_json(paths[PREPROCESSOR]) if PREPROCESSOR in paths else None,
        folder=paths[onnx_name].parents[onnx_name.count("/")],
        onnx=paths[onnx_name],
        dtype=chosen,
    )


def _placed(repo: Repo, name: str, subfolder: str) -> str:
    """Return the path of an ONNX file: in the subfolder, or at the top, where Optimum's exports keep model.onnx."""
    places = [f"{subfolder}/{name}", name] if subfolder == "onnx" else [f"{subfolder}/{name}" if subfolder else name]
    here = (place for place in places if repo.find(place))
    there = (place for place in places if repo.exists(place))
    return next(here, None) or next(there, places[0])


def _weights(repo: Repo, stem: str, subfolder: str, option: Any, config: Mapping[str, Any], dtype: str) -> list[str]:
    """Return the names of a dtype's graph and of the files with its external data."""
    name = _placed(repo, file_name(dtype, stem), subfolder)
    parts = _external_parts(option, config, dtype, stem)
    return [name, *(f"{name}_data{'' if i == 0 else f'_{i}'}" for i in range(parts))]


def _sizes(repo: Repo, weights_of: Callable[[str], list[str]]) -> dict[str, int | None]:
    """Return the dtypes that a model has, each with the size of its files."""
    names = {dtype: weights_of(dtype) for dtype in SUFFIXES}
    return {d: total(repo.size(n) for n in files) for d, files in names.items() if all(map(repo.exists, files))}


def _get(
    repo: Repo, name: str, size: int | None, progress: Progress, watched: bool, check: Callable[[int], None] | None
) -> Path:
    """Bring one file here, telling of it; `check` may end it."""
    progress.download(name)

    def on_bytes(loaded: int) -> None:
        progress.advance(name, loaded, size)
        if check:
            check(loaded)

    path = repo.get(name, on_bytes if watched or check else None)
    on_bytes(path.stat().st_size)
    progress.done(name)
    return path


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidModelError(f"{path} is not valid JSON: {error}. Delete it and load the model again.") from error
    if not isinstance(content, dict):
        raise InvalidModelError(f"{path} holds {type(content).__name__}, not an object.")
    return content


def _external_parts(option: Any, config: Mapping[str, Any], dtype: str, stem: str) -> int:
    """Return how many `*.onnx_data` files belong to the graph."""
    if option is None:
        option = (config.get("transformers.js_config") or {}).get("use_external_data_format")
    if isinstance(option, Mapping):
        option = option.get(file_name(dtype, stem), option.get(stem, False))
    if not isinstance(option or 0, int) or not 0 <= (option or 0) <= _MAX_PARTS:
        raise UnsupportedOptionError(
            f"use_external_data_format={option!r}: use True, False or a number of files up to {_MAX_PARTS}."
        )
    return int(option or 0)


def _what_it_has(repo: Repo, subfolder: str, stem: str) -> str:
    """Say what could be loaded in place of a file that is missing; empty where nothing is known of the model."""
    has = [dtype for dtype in SUFFIXES if repo.exists(_placed(repo, file_name(dtype, stem), subfolder))]
    if has:
        return f"It has: {', '.join(has)}. Choose one of them with dtype=."
    names = repo.names()
    onnx = [name for name in names if name.endswith(".onnx")]
    if onnx:
        return f"Its ONNX files are: {', '.join(onnx)}. Choose one with model_file_name= and subfolder=."
    return "No other ONNX file was found either." if names else ""
