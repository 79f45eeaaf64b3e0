"""Models are brought here before they are used: from the Hub, too, and into folders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import HubServer
from huggingface_hub import constants
from tiny_models import brightness_model, files_of, write_repo

from transformers_foreground import env
from transformers_foreground.errors import ModelFileNotFoundError, ModelNotFoundError
from transformers_foreground.hub.fetch import fetch
from transformers_foreground.hub.model_files import load_files

REPO = "me/mine"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    model = brightness_model()
    folder = write_repo(tmp_path / "source", dtypes={"": model, "_quantized": model})
    with HubServer() as hub:
        hub.add_repo(REPO, {**files_of(folder), "README.md": b"# Mine"})
        env.remote_host = hub.url
        yield hub


def test_what_the_hub_has_lies_in_its_cache(hub: HubServer) -> None:
    lines: list[str] = []
    paths = fetch(REPO, dtypes=["q8", "fp32", "q8"], report=lines.append)
    assert list(paths) == ["q8", "fp32"]
    assert [line.endswith(" MB) is here") for line in lines] == [True, True]
    hub.offline()
    assert load_files(REPO, dtype="q8").onnx == paths["q8"]
    assert fetch(REPO)["fp32"] == paths["fp32"]


def test_into_a_folder(hub: HubServer, tmp_path: Path) -> None:
    config = {"transformers.js_config": {"use_external_data_format": True}}
    folder = write_repo(tmp_path / "large", config=config)
    (folder / "onnx" / "model.onnx_data").write_bytes(b"weights")
    hub.add_repo(REPO, files_of(folder))
    path = fetch(REPO, folder=tmp_path / "out")["fp32"]
    assert path == tmp_path / "out" / REPO / "onnx" / "model.onnx"
    assert files_of(tmp_path / "out" / REPO) == files_of(folder)
    hub.offline()
    assert load_files(tmp_path / "out" / REPO).onnx == path


def test_other_files_of_the_same_names_are_kept(hub: HubServer, tmp_path: Path) -> None:
    own = tmp_path / "own.onnx"
    own.write_bytes(b"somebody's")
    folder = tmp_path / "out" / REPO
    (folder / "onnx").mkdir(parents=True)
    (folder / "onnx/model.onnx").symlink_to(own)
    (folder / "config.json").write_text("somebody's")
    lines: list[str] = []
    for _ in range(2):
        path = fetch(REPO, folder=tmp_path / "out", report=lines.append)["fp32"]
        assert path.read_bytes() == (tmp_path / "source/onnx/model.onnx").read_bytes()
        assert sorted(name for name in files_of(folder) if name.endswith(".old")) == [
            "config.json.old",
            "onnx/model.onnx.old",
        ]
    assert own.read_bytes() == (folder / "onnx/model.onnx.old").read_bytes() == b"somebody's"
    assert (folder / "config.json.old").read_text() == "somebody's"
    assert f"{path} was another file; that is model.onnx.old now" in lines


def test_what_there_is_not(hub: HubServer) -> None:
    with pytest.raises(ModelFileNotFoundError, match="It has: fp32, q8"):
        fetch(REPO, dtypes=["fp16"])
    with pytest.raises(ModelNotFoundError, match="knows no such model"):
        fetch("nobody/nothing")
    with pytest.raises(ModelNotFoundError, match="No package carries xuebinqin/u2net"):
        fetch("xuebinqin/u2net")  # on no Hub either


def test_the_users_folder_is_looked_in_after_the_working_directorys(tmp_path: Path) -> None:
    users = write_repo(Path(env.user_model_path) / REPO)
    assert load_files(REPO).onnx == users / "onnx" / "model.onnx"
    own = write_repo(Path(env.local_model_path) / REPO)
    assert load_files(REPO).onnx == own / "onnx" / "model.onnx"
    env.allow_local_models = False
    with pytest.raises(ModelNotFoundError):
        load_files(REPO)
