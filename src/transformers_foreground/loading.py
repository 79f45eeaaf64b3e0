"""Load a model: find its files, choose the right one, open a session. Needs neither torch nor transformers."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers_foreground.cards import card_for
from transformers_foreground.devices import CPU, Device, resolve_device
from transformers_foreground.dtypes import SUFFIXES, file_name, resolve_dtype
from transformers_foreground.errors import DeviceFallbackWarning, InvalidModelError, UnsupportedOptionError
from transformers_foreground.graph_cache import open_optimised
from transformers_foreground.hub import Repo, show_licence
from transformers_foreground.preprocessing import Processing
from transformers_foreground.progress import Progress, ProgressCallback
from transformers_foreground.providers import with_defaults
from transformers_foreground.sessions import Graph, create_session, graph_of, session_options

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


@dataclass(frozen=True)
class LoadedModel:
    """A model that can run.

    Attributes:
        files: Where it came from.
        device: What it runs on.
        graph: The session.
        processing: How pixels go in and the plane comes out.
        session_options: What the session was opened with.
    """

    files: ModelFiles
    device: Device
    graph: Graph
    processing: Processing
    session_options: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what a session is opened from, since a session itself cannot be pickled."""
        if self.session_options is not None and not isinstance(self.session_options, Mapping):
            raise TypeError("onnxruntime.SessionOptions cannot be pickled. Give session_options as a dict.")
        return _open, (self.files, self.device, self.processing, self.session_options)


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
    name, parts = file_name(chosen, stem), _external_parts(use_external_data_format, config, chosen, stem)
    onnx_name = _placed(repo, name, subfolder)
    weights = [onnx_name, *(f"{onnx_name}_data{'' if i == 0 else f'_{i}'}" for i in range(parts))]
    for n in weights:
        if not repo.exists(n):
            has = _what_it_has(repo, subfolder, stem)
            if has and dtype in (None, "auto") and chosen != "fp32":
                has = f"It was asked for since no dtype was: that means {chosen} on device={device!r}. {has}"
            raise repo.missing(n, has)
    if repo.exists(PREPROCESSOR):
        wanted.append(PREPROCESSOR)
    if any(repo.find(n) is None for n in weights):
        show_licence(repo.model_id)

    wanted += weights
    sizes = {n: repo.size(n) for n in wanted}
    progress = Progress(progress_callback, repo.model_id, sizes)
    for n in wanted:
        progress.initiate(n)
    paths = {n: _get(repo, n, sizes[n], progress, progress_callback is not None) for n in wanted}
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


def _get(repo: Repo, name: str, size: int | None, progress: Progress, watched: bool) -> Path:
    """Bring one file here, telling of it."""
    progress.download(name)

    def on_bytes(loaded: int) -> None:
        progress.advance(name, loaded, size)

    path = repo.get(name, on_bytes if watched else None)
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


def processing_of(files: ModelFiles, graph: Graph, resampling: str | None = None) -> Processing:
    """Decide how pixels go into a model.

    The repository's own `preprocessor_config.json` wins over the card in `configs/`; the card's keys that are ours
    alone (`rescale_to_max`, `min_max`) still count, since no repository states them. A graph of fixed size decides
    where neither states a size.

    Args:
        files: The model's files.
        graph: Its session.
        resampling: One of `resampling.RESAMPLINGS`; `None` for the file's, else `"transformers.js"`.

    Raises:
        UnsupportedOptionError: Nothing says what size the model takes, or the resampling is unknown.
    """
    card = card_for(files.model_id, files.config.get("model_type"))
    known = card.preprocessor if card else {}
    if files.preprocessor is not None:
        own = {key: known[key] for key in ("rescale_to_max", "min_max") if key in known}
        processing = Processing.from_dict({**own, **files.preprocessor})
    elif card is not None:
        processing = Processing.from_dict(known)
    else:
        raise UnsupportedOptionError(
            f"{files.model_id} is not a known model and has no {PREPROCESSOR}: nothing says what its input looks like. "
            "Put one beside its config.json, with size, image_mean and image_std."
        )
    if graph.height and graph.width and (processing.size is None or not processing.do_resize):
        processing = replace(processing.with_size(graph.height, graph.width), do_resize=True)
    if processing.do_resize and processing.size is None:
        raise UnsupportedOptionError(
            f"Nothing says what size {files.model_id} takes. Put a {PREPROCESSOR} with a 'size' beside its config.json."
        )
    return replace(processing, resampling=resampling) if resampling else processing


def open_graph(path: Path, device: Device, options: Any = None) -> Graph:
    """Open a session on a device.

    Raises:
        InvalidModelError: See `sessions.create_session` and `sessions.graph_of`.

    Warns:
        DeviceFallbackWarning: The provider is installed but does not work here, so ONNX Runtime took the CPU.
    """
    first, rest = device.providers[0], device.provider_options[1:]
    provider_options = (with_defaults(first, device.provider_options[0]), *rest)
    built = session_options(options)

    def create(file: Path) -> Any:
        return create_session(file, device.providers, provider_options, built)

    # Options that the caller made are the caller's: they are not changed.
    session = open_optimised(path, built, create) if first == CPU and built is not options else create(path)
    if session.get_providers()[0] != first:
        warnings.warn(
            f"{first} is installed but did not start (see ONNX Runtime's message above). Using the CPU.",
            DeviceFallbackWarning,
            stacklevel=2,
        )
    return graph_of(session, path)


def _open(files: ModelFiles, device: Device, processing: Processing, options: Any) -> LoadedModel:
    """Open a model again, in the process that it was unpickled in."""
    return LoadedModel(files, device, open_graph(files.onnx, device, options), processing, options)


def installed_device(device: Any, *, strict: bool = False, provider_options: Mapping[str, Any] | None = None) -> Device:
    """Resolve a device name among the providers of the installed ONNX Runtime (see `devices.resolve_device`)."""
    import onnxruntime as ort

    resolved = resolve_device(device, available=ort.get_available_providers(), strict=strict)
    if not provider_options:
        return resolved
    first, *rest = resolved.provider_options
    return replace(resolved, provider_options=({**first, **provider_options}, *rest))


def load(
    model_id: str | Path,
    *,
    device: Any = None,
    strict: bool = False,
    session_options: Any = None,
    provider_options: Mapping[str, Any] | None = None,
    resampling: str | None = None,
    **options: Any,
) -> LoadedModel:
    """Load a model.

    Args:
        model_id: Repository id or folder.
        device: Device name; see `devices.PROVIDERS`.
        strict: Raise where the device's provider is not installed.
        session_options: `onnxruntime.SessionOptions`, or a mapping of its attributes.
        provider_options: Options of the device's execution provider, above the defaults in `providers`.
        resampling: One of `resampling.RESAMPLINGS`.
        options: The other options of `load_files`.

    Raises:
        ForegroundError: As `load_files`, `devices.resolve_device` and `sessions.create_session` say.
    """
    resolved = installed_device(device, strict=strict, provider_options=provider_options)
    files = load_files(model_id, device=resolved.name, **options)
    graph = open_graph(files.onnx, resolved, session_options)
    return LoadedModel(files, resolved, graph, processing_of(files, graph, resampling), session_options)
