"""What a porter from Transformers.js asks of a model's files, before it is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_server import HubServer
from huggingface_hub import constants
from tiny_models import brightness_model, files_of, write_repo

from transformers_foreground import env
from transformers_foreground.errors import GatedModelError, ModelNotFoundError, UnsupportedTaskError
from transformers_foreground.hub.model_files import load_files
from transformers_foreground.hub.registry import (
    clear_pipeline_cache,
    get_available_dtypes,
    get_file_metadata,
    get_pipeline_files,
    is_pipeline_cached,
)

REPO, TASK = "me/mine", "background-removal"
FP32, Q8 = "onnx/model.onnx", "onnx/model_quantized.onnx"
JSON = ["config.json", "preprocessor_config.json"]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    model = brightness_model()
    folder = write_repo(tmp_path / "source", dtypes={"": model, "_quantized": model})
    with HubServer() as hub:
        hub.add_repo(REPO, files_of(folder))
        env.remote_host = hub.url
        yield hub


def bodies(hub: HubServer) -> set[str]:
    """The files whose contents were asked for."""
    return {path.rpartition("/resolve/")[2].partition("/")[2] for _, path, _ in hub.requests if "/resolve/" in path}


def test_available_dtypes(hub: HubServer) -> None:
    assert get_available_dtypes(REPO) == ["fp32", "q8"]
    assert bodies(hub) == {"config.json"}
    assert get_available_dtypes(REPO, local_files_only=True) == []
    load_files(REPO, dtype="q8")
    assert get_available_dtypes(REPO, local_files_only=True) == ["q8"]
    assert get_available_dtypes(REPO, model_file_name="net") == []


def test_available_dtypes_of_a_folder(tmp_path: Path) -> None:
    folder = write_repo(tmp_path / "repo", subfolder="fp16")
    assert get_available_dtypes(folder) == []
    assert get_available_dtypes(folder, subfolder="fp16") == ["fp32"]


def test_external_data_that_is_missing_makes_a_dtype_unavailable(hub: HubServer) -> None:
    config = {"transformers.js_config": {"use_external_data_format": {"model.onnx": True}}}
    assert get_available_dtypes(REPO, config=config) == ["q8"]


@pytest.mark.parametrize(
    ("options", "weights"),
    [
        ({}, [FP32]),
        ({"dtype": "q8"}, [Q8]),
        ({"device": "wasm"}, [Q8]),
        ({"dtype": "q4"}, ["onnx/model_q4.onnx"]),  # as there: what would be loaded, were it there
        ({"use_external_data_format": 2}, [FP32, f"{FP32}_data", f"{FP32}_data_1"]),
        ({"config": {"transformers.js_config": {"dtype": "q8"}}}, [Q8]),
        ({"subfolder": "other", "model_file_name": "net"}, ["other/net.onnx"]),
    ],
)
def test_pipeline_files(options: dict[str, Any], weights: list[str], hub: HubServer) -> None:
    assert get_pipeline_files(TASK, REPO, **options) == [JSON[0], *weights, JSON[1]]
    assert bodies(hub) <= {"config.json"}


def test_pipeline_files_are_those_that_a_load_needs(hub: HubServer) -> None:
    names = get_pipeline_files("image-segmentation", REPO, dtype="q8")
    hub.clear()
    load_files(REPO, dtype="q8")
    assert bodies(hub) | {"config.json"} == set(names)


def test_each_task_has_a_model_of_its_own(hub: HubServer) -> None:
    hub.add_repo("Xenova/modnet", {FP32: b"1"})
    assert get_pipeline_files(TASK) == get_pipeline_files(TASK, None) == [FP32]
    with pytest.raises(UnsupportedTaskError, match="Use one of: background-removal, image-segmentation"):
        get_pipeline_files("text-generation", REPO)


def test_file_metadata(hub: HubServer, tmp_path: Path) -> None:
    size = len(files_of(tmp_path / "source")[FP32])
    found = get_file_metadata(REPO, FP32)
    assert (found.exists, found.size, found.from_cache) == (True, size, False)
    assert bodies(hub) == set()
    load_files(REPO)
    found = get_file_metadata(REPO, FP32, local_files_only=True)
    assert (found.exists, found.size, found.from_cache) == (True, size, True)
    found = get_file_metadata(REPO, "onnx/model_q4.onnx")
    assert (found.exists, found.size, found.from_cache) == (False, None, False)
    found = get_file_metadata(tmp_path / "source", FP32)
    assert (found.exists, found.size, found.from_cache) == (True, size, False)


def test_that_nobody_could_look_is_not_that_there_is_none(hub: HubServer) -> None:
    with pytest.raises(ModelNotFoundError, match="knows no such model"):
        get_file_metadata("nobody/nothing", FP32)
    hub.add_repo("gated/one", {"config.json": b"{}"}, gated=True, token="hf_in")
    with pytest.raises(GatedModelError):
        get_available_dtypes("gated/one")
    hub.offline()
    for ask in (lambda: get_file_metadata(REPO, FP32), lambda: get_available_dtypes(REPO)):
        with pytest.raises(ModelNotFoundError, match="cannot be reached"):
            ask()


def test_cached_and_cleared(hub: HubServer) -> None:
    assert not is_pipeline_cached(TASK, REPO)
    load_files(REPO)
    load_files(REPO, dtype="q8")
    hub.clear()
    assert is_pipeline_cached(TASK, REPO)
    assert not is_pipeline_cached(TASK, REPO, dtype="fp16")
    assert hub.requests == []

    cleared = clear_pipeline_cache(TASK, REPO)
    assert {file.file for file in cleared.files if file.deleted} == {FP32, *JSON}
    assert (cleared.files_deleted, cleared.files_cached) == (3, 3)
    assert not is_pipeline_cached(TASK, REPO)
    assert is_pipeline_cached(TASK, REPO, dtype="q8"), "its content is the same, but the name is another"
    assert clear_pipeline_cache(TASK, REPO).files_deleted == 0
    assert clear_pipeline_cache(TASK, REPO, dtype="q8").files_deleted == 1
    root = Path(str(env.cache_dir)) / "models--me--mine"
    assert not list((root / "blobs").iterdir())
    assert load_files(REPO).onnx.is_file()


def test_a_local_folder_is_never_cleared(hub: HubServer) -> None:
    folder = write_repo(Path(env.local_model_path) / REPO)
    before = files_of(folder)
    assert is_pipeline_cached(TASK, REPO)
    assert clear_pipeline_cache(TASK, REPO).files_cached == 0
    assert clear_pipeline_cache(TASK, folder).files_cached == 0
    assert files_of(folder) == before


def test_a_mirrors_files_are_cleared_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
    from threading import Thread

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    write_repo(tmp_path / "www" / REPO)
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "www"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        env.remote_host, env.remote_path_template = f"http://127.0.0.1:{server.server_address[1]}", "{model}"
        load_files(REPO)
        assert is_pipeline_cached(TASK, REPO)
        assert clear_pipeline_cache(TASK, REPO).files_deleted == 3
        assert not is_pipeline_cached(TASK, REPO)
        server.shutdown()
