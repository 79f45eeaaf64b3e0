"""Weights from packages: real clients or fakes of them, but never a registry."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from tiny_models import brightness_model

from transformers_foreground import env
from transformers_foreground.errors import DownloadError, ModelFileNotFoundError, ModelNotFoundError
from transformers_foreground.hub import package_registries
from transformers_foreground.hub import package_weights as fetching
from transformers_foreground.hub.known_models import KnownModel, Licence, ModelFile, Source, known_models
from transformers_foreground.hub.package_weights import fetch
from transformers_foreground.hub.repository import Repo
from transformers_foreground.hub.transformers_js import config_json, preprocessor_json

HALF = brightness_model(half=True).SerializeToString()
FULL = brightness_model().SerializeToString()
QUANTISED = brightness_model(output_name="quantised").SerializeToString()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _known(registry: str, files: dict[str, ModelFile]) -> KnownModel:
    licence = Licence("MIT", "https://example.org/licence", True, "MIT.")
    preprocessor = {"size": {"width": 16, "height": 16}, "image_mean": [0.5] * 3, "image_std": [1] * 3}
    return KnownModel(
        f"us/{registry}", "a test", licence, model_type="isnet", preprocessor=preprocessor, files=files, hub=False
    )


@pytest.fixture
def runs(tmp_path: Path) -> Callable[[], int]:
    """How often the fake npm was run."""
    return lambda: len((tmp_path / "runs").read_text().splitlines()) if (tmp_path / "runs").exists() else 0


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KnownModel:
    """An `npm` on the PATH that packs an archive with the index last, and a known model of what is in it."""
    chunks = {_sha256(part): part for data in (HALF, QUANTISED) for part in (data[:100], data[100:])}
    index = {
        name: {"chunks": [{"hash": _sha256(data[:100])}, {"hash": _sha256(data[100:])}]}
        for name, data in (("/models/medium", HALF), ("/models/small", QUANTISED))
    }
    contents = {**dict(reversed(list(chunks.items()))), "resources.json": json.dumps(index).encode()}
    with tarfile.open(tmp_path / "package.tgz", "w:gz") as archive:
        for name, data in contents.items():
            entry = tarfile.TarInfo(f"package/dist/{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    script = tmp_path / "bin" / "npm"
    script.parent.mkdir()
    script.write_text(
        f"#!{sys.executable}\nimport shutil, sys\n"
        f"open({str(tmp_path / 'runs')!r}, 'a').write(' '.join(sys.argv[1:]) + '\\n')\n"
        f"shutil.copy({str(tmp_path / 'package.tgz')!r}, sys.argv[sys.argv.index('--pack-destination') + 1])\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    known = _known(
        "npm",
        {
            "fp32": ModelFile("onnx/model.onnx", None, _sha256(FULL), derived_from="fp16"),
            "fp16": ModelFile(
                "onnx/model_fp16.onnx", len(HALF), _sha256(HALF), Source("npm", "@us/data", "1.0.0", "/models/medium")
            ),
            "q8": ModelFile(
                "onnx/model_quantized.onnx",
                len(QUANTISED),
                _sha256(QUANTISED),
                Source("npm", "@us/data", "1.0.0", "/models/small"),
            ),
        },
    )
    monkeypatch.setattr(fetching, "known_models", lambda: (known,))
    return known


@pytest.fixture
def pypi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KnownModel:
    """A wheel in a folder that the real pip takes for its only index, and a known model of what is in it."""
    info = "us_data-1.0.0.dist-info"
    with zipfile.ZipFile(tmp_path / "us_data-1.0.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("us/model.onnx", QUANTISED)
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: us-data\nVersion: 1.0.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    source = Source("pypi", "us-data", "1.0.0", "us/model.onnx")
    known = _known("pypi", {"fp32": ModelFile("onnx/model.onnx", len(QUANTISED), _sha256(QUANTISED), source)})
    monkeypatch.setattr(fetching, "known_models", lambda: (known,))
    return known


def _files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def _outputs(model: bytes | Path, pixels: np.ndarray) -> list[np.ndarray]:
    session = ort.InferenceSession(model)
    return session.run(None, {session.get_inputs()[0].name: pixels})


# --- pip --------------------------------------------------------------------------------------------------------------


def test_pip_downloads_and_installs_nothing(pypi: KnownModel, tmp_path: Path) -> None:
    lines: list[str] = []
    fetched = fetch("US/pypi", report=lines.append)
    folder = tmp_path / "models" / "us" / "pypi"
    assert fetched == {"fp32": folder / "onnx" / "model.onnx"}
    assert fetched["fp32"].read_bytes() == QUANTISED
    assert _files(folder) == ["config.json", "onnx/model.onnx", "preprocessor_config.json"]
    assert lines[0] == "Fetching us-data 1.0.0 from PyPI"
    assert "model.onnx (fp32, 0.0 MB, SHA-256 checked)" in lines[1]
    assert not (Path(np.__file__).parents[1] / "us").exists()


def test_what_is_fetched_is_a_whole_model(pypi: KnownModel) -> None:
    from tiny_models import opened

    fetch("us/pypi")
    loaded = opened("us/pypi", local_files_only=True)
    assert loaded.files.config["model_type"] == "isnet"
    assert loaded.processing.image_std == (1, 1, 1)
    assert loaded.processing.size == {"width": 16, "height": 16}


def test_the_json_files_are_such_as_transformers_js_reads(pypi: KnownModel) -> None:
    folder = fetch("us/pypi")["fp32"].parents[1]
    assert json.loads((folder / "config.json").read_text()) == {"model_type": "isnet", "_name_or_path": "us/pypi"}
    assert json.loads((folder / "preprocessor_config.json").read_text()) == {
        "feature_extractor_type": "ImageFeatureExtractor",
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "resample": 2,
        "rescale_factor": 1 / 255,
        "size": {"width": 16, "height": 16},
        "image_mean": [0.5] * 3,
        "image_std": [1] * 3,
    }
    assert not preprocessor_json({"size": {"width": 1, "height": 1}})["do_normalize"]
    assert config_json({"model_type": "SegformerForSemanticSegmentation", "a": 1}) == {"model_type": "isnet", "a": 1}
    assert [config_json({"model_type": kind})["model_type"] for kind in ("modnet", "swin", None)] == [
        "modnet",
        "swin",
        "isnet",
    ]


def test_pip_says_why_it_failed(pypi: KnownModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "us_data-1.0.0-py3-none-any.whl").unlink()
    with pytest.raises(DownloadError, match=r"pip could not download us-data 1.0.0: .*No matching distribution") as e:
        fetch("us/pypi")
    assert "\n" not in str(e.value)
    assert not (tmp_path / "models").exists()


def test_no_pip_at_all(pypi: KnownModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package_registries.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(package_registries.shutil, "which", lambda _: None)
    with pytest.raises(DownloadError, match=r"pip is not installed. Try: python -m ensurepip"):
        fetch("us/pypi")


def test_pip_of_the_path_serves_where_python_has_none(pypi: KnownModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package_registries.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(package_registries.shutil, "which", lambda name: f"/somewhere/{name}")
    assert package_registries._pip() == ["/somewhere/pip"]


@pytest.mark.parametrize("content", [b"not a zip", None])
def test_a_wheel_without_the_file(content: bytes | None, pypi: KnownModel, tmp_path: Path) -> None:
    wheel = tmp_path / "us_data-1.0.0-py3-none-any.whl"
    if content is None:
        info = "us_data-1.0.0.dist-info"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: us-data\nVersion: 1.0.0\n")
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{info}/RECORD", "")
    else:
        wheel.write_bytes(content)
    with pytest.raises(DownloadError, match=r"us-data 1\.0\.0"):
        fetch("us/pypi")
    assert not (tmp_path / "models").exists()


# --- npm --------------------------------------------------------------------------------------------------------------


def test_npm_brings_all_files_in_one_download(npm: KnownModel, tmp_path: Path, runs: Callable[[], int]) -> None:
    fetched = fetch("us/npm")
    folder = tmp_path / "models" / "us" / "npm"
    assert list(fetched) == ["fp32", "fp16", "q8"]
    assert fetched["fp16"].read_bytes() == HALF
    assert fetched["q8"].read_bytes() == QUANTISED
    assert runs() == 1
    assert "pack" in (tmp_path / "runs").read_text()
    assert [p for p in _files(folder) if p.startswith("onnx")] == [
        "onnx/model.onnx",
        "onnx/model_fp16.onnx",
        "onnx/model_quantized.onnx",
    ]


def test_the_archive_is_read_once(npm: KnownModel, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []

    def counting(*args: object, **kwargs: object) -> tarfile.TarFile:
        opened.append(args)
        return tarfile.TarFile.open(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(package_registries.tarfile, "open", counting)
    fetch("us/npm")
    assert len(opened) == 1
    assert opened[0][1] == "r|gz", "only a stream is surely read in order"  # type: ignore[index]


def test_whole_files_are_left_alone(npm: KnownModel, runs: Callable[[], int], caplog: pytest.LogCaptureFixture) -> None:
    fetched = fetch("us/npm")
    before = {dtype: path.stat().st_mtime_ns for dtype, path in fetched.items()}
    lines: list[str] = []
    with caplog.at_level(logging.WARNING):
        caplog.clear()
        again = fetch("us/npm", report=lines.append)
    assert again == fetched
    assert {dtype: path.stat().st_mtime_ns for dtype, path in again.items()} == before
    assert runs() == 1
    assert caplog.text == "", "there is no licence to show where nothing is downloaded"
    assert [line.rpartition(" (")[2] for line in lines] == [
        f"{dtype}) is here already" for dtype in ("fp32", "fp16", "q8")
    ]


def test_licence_is_shown_before_a_download(npm: KnownModel, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "transformers_foreground"):
        fetch("us/npm")
    assert "Downloading us/npm" in caplog.text


def test_damaged_files_are_fetched_again(npm: KnownModel, runs: Callable[[], int]) -> None:
    fetched = fetch("us/npm", dtypes=["q8"])
    fetched["q8"].write_bytes(b"half a fi")
    assert fetch("us/npm", dtypes=["q8"])["q8"].read_bytes() == QUANTISED
    assert runs() == 2


def test_other_files_of_the_same_names_are_kept(npm: KnownModel) -> None:
    for number in range(2):
        path = fetch("us/npm", dtypes=["q8"])["q8"]
        config = path.parents[1] / "preprocessor_config.json"
        path.write_bytes(f"mine {number}".encode())
        config.write_text(f"mine {number}")
    assert fetch("us/npm", dtypes=["q8"])["q8"].read_bytes() == QUANTISED
    for file in (path, config):
        assert file.with_name(f"{file.name}.old").read_text() == "mine 0"
        assert file.with_name(f"{file.name}.old2").read_text() == "mine 1"


def test_a_deleted_derived_file_needs_no_download(npm: KnownModel, runs: Callable[[], int]) -> None:
    fetch("us/npm")["fp32"].unlink()
    assert fetch("us/npm")["fp32"].read_bytes() == FULL
    assert runs() == 1


def test_a_damaged_derived_file_is_made_again(npm: KnownModel, runs: Callable[[], int]) -> None:
    fetch("us/npm")["fp32"].write_bytes(FULL[:-1])
    assert fetch("us/npm")["fp32"].read_bytes() == FULL
    assert runs() == 1


def test_a_derived_file_with_another_hash_is_not_kept(npm: KnownModel, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = ModelFile("onnx/model.onnx", None, "0" * 64, derived_from="fp16")
    known = _known("npm", {"fp32": wrong, "fp16": npm.files["fp16"]})
    monkeypatch.setattr(fetching, "known_models", lambda: (known,))
    with pytest.raises(DownloadError, match=r"onnx/model\.onnx, made from .*another SHA-256 .*or take dtype fp16"):
        fetch("us/npm")
    assert _files(env.local_model_path / "us" / "npm") == ["onnx/model_fp16.onnx"]


@pytest.mark.parametrize(
    ("dtypes", "files"),
    [
        (["q8"], ["model_quantized.onnx"]),
        (["fp16"], ["model_fp16.onnx"]),
        (["fp32"], ["model.onnx", "model_fp16.onnx"]),  # made from the other, which stays
        (["q8", "q8", "fp16"], ["model_fp16.onnx", "model_quantized.onnx"]),
    ],
)
def test_only_the_dtypes_asked_for(dtypes: list[str], files: list[str], npm: KnownModel, tmp_path: Path) -> None:
    assert list(fetch("us/npm", dtypes=dtypes, folder=tmp_path / "f")) == list(dict.fromkeys(dtypes))
    assert [p.rpartition("/")[2] for p in _files(tmp_path / "f") if p.endswith(".onnx")] == files


def test_wrong_hash_keeps_nothing(npm: KnownModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = npm.files["q8"].source
    wrong = _known("npm", {"q8": ModelFile("onnx/model_quantized.onnx", 3, "0" * 64, source)})
    monkeypatch.setattr(fetching, "known_models", lambda: (wrong,))
    kept = tmp_path / "models" / "us" / "npm" / "onnx" / "model_quantized.onnx"
    with pytest.raises(DownloadError, match="another SHA-256"):
        fetch("us/npm")
    assert not (tmp_path / "models").exists()
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"mine")
    with pytest.raises(DownloadError, match="another SHA-256"):
        fetch("us/npm")
    assert kept.read_bytes() == b"mine"


def test_npm_missing(npm: KnownModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DownloadError, match=r"npm is not installed. Install Node.js .* xuebinqin/u2netp"):
        fetch("us/npm")


def test_npm_says_why_it_failed(npm: KnownModel, tmp_path: Path) -> None:
    (tmp_path / "bin" / "npm").write_text(
        "#!/bin/sh\nprintf 'npm error code ENOTFOUND\\nnpm error syscall getaddrinfo\\n"
        "npm error A complete log of this run can be found in: x\\n' >&2\nexit 1\n"
    )
    with pytest.raises(DownloadError, match=r"npm could not download @us/data 1.0.0: code ENOTFOUND; syscall") as e:
        fetch("us/npm")
    assert "complete log" not in str(e.value)
    assert "another machine" in str(e.value)


@pytest.mark.parametrize("damage", ["truncated", "not gzip", "no index", "no chunk"])
def test_damaged_archives(damage: str, npm: KnownModel, tmp_path: Path) -> None:
    path = tmp_path / "package.tgz"
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:300])
    elif damage == "not gzip":
        path.write_bytes(b"<html>")
    else:
        index = {"/models/medium": {"chunks": [{"hash": "missing"}]}, "/models/small": {"chunks": []}}
        with tarfile.open(path, "w:gz") as archive:
            data = json.dumps(index).encode()
            entry = tarfile.TarInfo(f"package/dist/{'resources.json' if damage == 'no chunk' else 'x'}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    with pytest.raises(DownloadError, match=r"@us/data 1\.0\.0 is not the package that was expected"):
        fetch("us/npm")
    assert not (tmp_path / "models").exists()


def test_archives_cannot_write_elsewhere(npm: KnownModel, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "package.tgz", "w:gz") as archive:
        entry = tarfile.TarInfo("package/dist/../../../../evil")
        entry.size = 4
        archive.addfile(entry, io.BytesIO(b"evil"))
    with pytest.raises(DownloadError):
        fetch("us/npm")
    assert not list(tmp_path.rglob("evil"))


def test_a_folder_that_cannot_be_written(npm: KnownModel, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DownloadError, match=r"cannot be written: .* Choose another folder"):
        fetch("us/npm", folder=tmp_path / "file")


# --- known models -----------------------------------------------------------------------------------------------------


def test_unknown_models_and_dtypes() -> None:
    with pytest.raises(ModelNotFoundError, match=r"No package carries a/b\. .*imgly/isnet.*xuebinqin/u2netp"):
        fetch("a/b")
    with pytest.raises(ModelNotFoundError, match="it comes from the Hub, on first use"):
        fetch("briaai/rmbg-1.4")
    with pytest.raises(ModelFileNotFoundError, match=r"no q4. It has: fp32, fp16, q8"):
        fetch("imgly/isnet-general-use", dtypes=["q4"])


def test_every_packaged_file_has_a_hash() -> None:
    for known in known_models():
        for file in known.files.values():
            assert not (known.fetchable or file.derived_from) or (file.sha256 and file.bytes)
            assert file.source is None or file.source.registry in package_registries.REGISTRIES
            assert file.derived_from is None or known.files[file.derived_from].source


def test_float16_inputs_and_outputs_become_float32(npm: KnownModel) -> None:
    fetched = fetch("us/npm")
    pixels = np.random.default_rng(1).random((1, 3, 16, 16), np.float32) - 0.5
    full = _outputs(fetched["fp32"], pixels)
    half = _outputs(fetched["fp16"], pixels.astype(np.float16))
    for a, b in zip(full, half, strict=True):
        assert a.dtype == np.float32
        assert np.abs(a - b).max() < 2e-3


def test_models_folder_is_one_that_is_looked_in(
    pypi: KnownModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env.local_model_path = tmp_path / "elsewhere"
    assert fetch("us/pypi")["fp32"].is_relative_to(tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    env.local_model_path = "./models/"
    assert fetch("us/pypi")["fp32"].is_relative_to(env.user_model_path)
    assert Repo("us/pypi").find("onnx/model.onnx") is not None
    Path("models").mkdir()
    assert fetch("us/pypi")["fp32"] == Path("models/us/pypi/onnx/model.onnx")
