"""Find a model's files: the right ones of its repository or folder, downloaded where they are not here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers_foreground.hub.dtypes import CHECKED
from transformers_foreground.hub.json_files import read_json
from transformers_foreground.hub.progress import Progress, ProgressCallback
from transformers_foreground.hub.repository import Repo, show_licence
from transformers_foreground.hub.selection import CONFIG, PREPROCESSOR, select
from transformers_foreground.hub.size_limit import check_size


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
        device: The device that was asked for, by the option or by the config.
        free_dimension_overrides: Names of the graph's free dimensions to their sizes, as the config fixes them.
        full_precision: The fp32 file that `"int8-checked"` has beside the int8 one; `None` for other dtypes.
    """

    model_id: str
    commit: str | None
    config: Mapping[str, Any]
    preprocessor: Mapping[str, Any] | None
    folder: Path
    onnx: Path
    dtype: str
    device: str = "cpu"
    free_dimension_overrides: Mapping[str, int] = field(default_factory=dict)
    full_precision: Path | None = None

    @property
    def weights(self) -> tuple[Path, ...]:
        """The ONNX files, each before those with its external data."""
        graphs = [self.onnx, *([self.full_precision] if self.full_precision else [])]
        return tuple(path for onnx in graphs for path in (onnx, *sorted(onnx.parent.glob(f"{onnx.name}_data*"))))


def load_files(
    model_id: str | Path,
    *,
    device: Any = None,
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
        device: Device name, or a mapping from model file name to one; `None` asks the config's
            `transformers.js_config`, and is `"cpu"` where that says nothing. It decides the default dtype.
        dtype: A name of `dtypes.DTYPES`, `"auto"`, `None`, or a mapping from model file name to one of these.
        subfolder: Folder of the ONNX files in the repository.
        model_file_name: Stem of the ONNX file; `"model"` by default.
        revision: Branch, tag or commit; `"main"` by default.
        cache_dir: The cache to use in place of the Hugging Face one.
        local_files_only: Never open a connection.
        token: Token for the Hub.
        config: Used in place of `config.json`.
        use_external_data_format: Whether (or in how many parts, or for which file names) the weights lie beside the
            graph in `*.onnx_data`. `None` asks the config's `transformers.js_config`, for this device.
        progress_callback: Called with the events of every file.

    Raises:
        ModelNotFoundError: The model is nowhere.
        ModelFileNotFoundError: The model has no file of this dtype; the message lists those that it has.
        GatedModelError: The Hub wants a login or an accepted licence.
        ModelTooLargeError: What would have to be downloaded is larger than `env.max_model_bytes`.
        DownloadError: A download failed; a later load goes on where it stopped.
        UnsupportedDtypeError: The dtype name is unknown.
        UnsupportedOptionError: `use_external_data_format` is no number of files.
        InvalidModelError: A JSON file is damaged, or `config` holds what no model's can.
    """
    repo = Repo(str(model_id), revision or "main", cache_dir, local_files_only, token)
    chosen = select(
        repo,
        device=device,
        dtype=dtype,
        subfolder=subfolder,
        model_file_name=model_file_name,
        config=config,
        use_external_data_format=use_external_data_format,
        quietly=progress_callback is not None,
    )
    onnx_name, *_ = weights = chosen.weights()
    for n in weights:
        if not repo.exists(n):
            has = chosen.what_it_has()
            if has and dtype in (None, "auto") and chosen.dtype != "fp32":
                has = (
                    f"It was asked for since no dtype was: that means {chosen.dtype} on device={chosen.device!r}. {has}"
                )
            raise repo.missing(n, has)
    # The events of config.json, which is here by now, come with the others': the totals depend on what it says.
    wanted = [CONFIG] if config is None and repo.find(CONFIG) else []
    if repo.exists(PREPROCESSOR):
        wanted.append(PREPROCESSOR)
    wanted += weights
    sizes = {n: repo.size(n) for n in wanted}
    missing = [n for n in weights if repo.find(n) is None]

    def check(loaded: int = 0, whole: bool = False) -> None:
        size = sum(sizes[n] or 0 for n in missing) + loaded
        check_size(repo, chosen.dtype, size, chosen.sizes, whole=whole)

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
        config=chosen.config,
        preprocessor=read_json(paths[PREPROCESSOR]) if PREPROCESSOR in paths else None,
        folder=paths[onnx_name].parents[onnx_name.count("/")],
        onnx=paths[onnx_name],
        dtype=chosen.dtype,
        device=chosen.device,
        free_dimension_overrides=chosen.free_dimension_overrides,
        full_precision=paths[chosen.weights("fp32")[0]] if chosen.dtype == CHECKED else None,
    )


def _get(
    repo: Repo, name: str, size: int | None, progress: Progress, watched: bool, check: Callable[[int], None] | None
) -> Path:
    """Bring one file here and report its progress; `check` may end it by an exception."""
    progress.download(name)

    def on_bytes(loaded: int) -> None:
        progress.advance(name, loaded, size)
        if check:
            check(loaded)

    path = repo.get(name, on_bytes if watched or check else None)
    on_bytes(path.stat().st_size)
    progress.done(name)
    return path
