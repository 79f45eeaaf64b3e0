"""Where files come from, in which order, and what happens when they do not come."""

from __future__ import annotations

import functools
import json
import random
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import onnx
import pytest
from hub_server import HubServer
from huggingface_hub import constants
from killed import kill_while_writing
from tiny_models import RMBG_CONFIG, brightness_model, files_of, opened, write_repo

from transformers_foreground import env
from transformers_foreground.errors import (
    DownloadError,
    ForegroundError,
    GatedModelError,
    InvalidModelError,
    ModelFileNotFoundError,
    ModelNotFoundError,
    UnsupportedOptionError,
)
from transformers_foreground.hub.model_files import ModelFiles, load_files
from transformers_foreground.hub.repository import Repo

REPO = "briaai/RMBG-1.4"
FP32, Q8 = "onnx/model.onnx", "onnx/model_quantized.onnx"
WEIGHTS = {FP32: random.Random(0).randbytes(5000), Q8: random.Random(1).randbytes(4000)}
JSON = {"config.json": json.dumps(RMBG_CONFIG).encode(), "preprocessor_config.json": b'{"size": 16}'}
NOT_NEEDED = {"README.md": b"# RMBG", "briarmbg.py": b"raise SystemExit(9)", "model.safetensors": b"0" * 3000}
FILES: dict[str, bytes | Path] = {**JSON, **WEIGHTS, **NOT_NEEDED}
FETCH = r"`foreground models fetch imgly/isnet-general-use`, `foreground models fetch xuebinqin/u2netp`"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the client's pauses between attempts
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with HubServer() as hub:
        hub.add_repo(REPO, FILES)
        env.remote_host = hub.url
        yield hub


def files_asked(hub: HubServer) -> set[str]:
    """The files that requests were for, and the revisions whose files were listed."""
    found = (re.search(rf"{REPO}(?:/resolve/\w+/|/revision/|/)([^?]*)", path) for _, path, _ in hub.requests)
    return {match[1] for match in found if match}


def ranges(hub: HubServer, name: str) -> list[str | None]:
    """The Range of each request for the content of an LFS file."""
    return [h.get("Range") for method, path, h in hub.requests if method == "GET" and path.endswith(f"={REPO}/{name}")]


# --- order and network ------------------------------------------------------------------------------------------------


def test_only_what_is_needed_is_downloaded(hub: HubServer) -> None:
    files = load_files(REPO)
    assert files.onnx.read_bytes() == WEIGHTS[FP32]
    assert files.config == RMBG_CONFIG
    assert files.preprocessor == {"size": 16}
    assert files.commit == hub.repos[REPO].refs["main"] == files.folder.name
    assert files_asked(hub) == {"main", *JSON, FP32}
    assert all("Authorization" not in headers for _, _, headers in hub.requests)


@pytest.mark.parametrize("way", ["online", "offline", "local_files_only", "pinned", "HF_HUB_OFFLINE"])
@pytest.mark.parametrize("lacking", [(), ("preprocessor_config.json",), tuple(JSON)])
def test_a_warm_load_asks_nothing(
    way: str, lacking: tuple[str, ...], hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add_repo(REPO, {name: content for name, content in FILES.items() if name not in lacking})
    cold = load_files(REPO)
    hub.add_repo(REPO, {**FILES, FP32: b"main moved on"})
    hub.clear()
    if way == "offline":
        hub.offline()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", way == "HF_HUB_OFFLINE")
    warm = load_files(
        REPO, local_files_only=way == "local_files_only", revision=cold.commit if way == "pinned" else None
    )
    assert warm == cold
    assert hub.requests == []


def test_a_pinned_commit_needs_no_branch(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    sha = hub.repos[REPO].refs["main"]
    hub.add_repo(REPO, {**FILES, FP32: b"newer"})
    cold = load_files(REPO, revision=sha)
    assert (cold.commit, cold.onnx.read_bytes()) == (sha, WEIGHTS[FP32])
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert load_files(REPO, revision=sha) == cold
    with pytest.raises(ModelNotFoundError, match="HF_HUB_OFFLINE"):
        load_files(REPO)


@pytest.mark.parametrize("options", [{}, {"config": {}}])
def test_another_dtype_comes_from_the_same_commit(options: dict[str, Any], hub: HubServer) -> None:
    fp32 = load_files(REPO, **options)
    hub.add_repo(REPO, {**FILES, Q8: b"of another training"})
    q8 = load_files(REPO, dtype="q8", **options)
    assert q8.onnx.read_bytes() == WEIGHTS[Q8]
    assert q8.commit == fp32.commit
    assert load_files(REPO, dtype="q8", cache_dir=env.local_model_path).onnx.read_bytes() == b"of another training"


def test_branches_and_tags(hub: HubServer) -> None:
    hub.add_repo(REPO, {**FILES, FP32: b"proposed"}, revision="refs/pr/1")
    for _ in range(2):
        assert load_files(REPO, revision="refs/pr/1").onnx.read_bytes() == b"proposed"
        hub.offline()


def test_local_folder_then_cache_then_hub(hub: HubServer, tmp_path: Path) -> None:
    local = tmp_path / "models" / REPO
    write_repo(local)
    assert load_files(REPO).onnx == local / FP32
    assert load_files(str(local)).onnx == load_files(local).onnx == local / FP32
    assert hub.requests == []

    q8 = load_files(REPO, dtype="q8")  # not in the folder
    assert q8.onnx.read_bytes() == WEIGHTS[Q8]
    assert files_asked(hub) == {"main", Q8}
    with pytest.raises(ModelFileNotFoundError, match="It has: fp32"):
        load_files(local, dtype="q8")  # a folder is only itself

    env.allow_local_models = False
    assert load_files(REPO).onnx.read_bytes() == WEIGHTS[FP32]
    env.allow_remote_models = False
    with pytest.raises(ModelNotFoundError, match=FETCH):
        load_files(REPO)
    env.allow_local_models = True
    assert load_files(REPO).commit is None


def test_a_local_model_needs_no_hub_for_what_it_lacks(hub: HubServer, tmp_path: Path) -> None:
    write_repo(tmp_path / "models" / "me" / "mine", config=None, preprocessor={})
    files = load_files("me/mine")  # the Hub answers 401
    assert (files.config, files.preprocessor, files.commit) == ({}, None, None)
    hub.offline()
    assert load_files("me/mine") == files


def test_optimums_layout_keeps_the_graph_at_the_top(hub: HubServer, tmp_path: Path) -> None:
    folder = write_repo(tmp_path / "flat", subfolder="")
    hub.add_repo("me/flat", files_of(folder))
    assert load_files(folder).onnx == folder / "model.onnx"
    cold = load_files("me/flat")
    assert cold.onnx == cold.folder / "model.onnx"
    hub.offline()
    assert load_files("me/flat") == cold
    assert load_files("me/flat", subfolder="") == cold


@pytest.mark.parametrize(
    "model_id",
    [
        "a/b/c",
        "../x",
        "..x",
        "a/..",
        "a/../b",
        "a//b",
        "/nowhere/at/all",
        "a b",
        "",
        "a/b.git",
        "a--b",
        "é/è",
        "x" * 97,
    ],
)
def test_bad_ids(model_id: str, hub: HubServer, tmp_path: Path) -> None:
    env.local_model_path = tmp_path / "models" / "deep"
    for outside in ("x", "b"):
        write_repo(tmp_path / "models" / outside)  # what ../x would be
    with pytest.raises(ModelNotFoundError, match="neither a folder nor a model id"):
        load_files(model_id)
    assert hub.requests == []


def test_a_local_id_may_be_deep(tmp_path: Path) -> None:
    write_repo(tmp_path / "models" / "a" / "b" / "c")
    assert load_files("a/b/c").onnx == tmp_path / "models" / "a" / "b" / "c" / FP32


def test_token(hub: HubServer) -> None:
    hub.add_repo("me/private", FILES, token="hf_in")
    with pytest.raises(ModelNotFoundError, match="HF_TOKEN"):
        load_files("me/private")
    hub.clear()
    load_files("me/private", token="hf_in")
    assert {h.get("Authorization") for _, path, h in hub.requests if "/cdn/" not in path} == {"Bearer hf_in"}
    assert [h.get("Authorization") for _, path, h in hub.requests if "/cdn/" in path] == [None]


# --- failures ---------------------------------------------------------------------------------------------------------

Damage = Callable[[HubServer, pytest.MonkeyPatch], Any]
SURVIVED: dict[str, Damage] = {
    "cut half-way": lambda hub, patch: hub.cut(FP32, after=2600),
    "cut often, but going on": lambda hub, patch: hub.cut(FP32, after=600, times=99),
    "cut config": lambda hub, patch: hub.cut("config.json", after=10),
    "two bad gateways": lambda hub, patch: hub.fail(FP32, 502, times=2),
    "short stall": lambda hub, patch: hub.stall(FP32, 0.2, after=1000),
    "long stall": lambda hub, patch: (
        patch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 2),
        hub.stall(FP32, 60, after=1200),
    ),
}
FAILED: dict[str, Damage] = {
    "cut every time": lambda hub, patch: hub.cut(FP32, after=0, times=99),
    "corrupt": lambda hub, patch: hub.corrupt(FP32, times=99),
    "corrupt config": lambda hub, patch: hub.corrupt("config.json", times=99),
    "too short": lambda hub, patch: hub.wrong_length(FP32, -7, times=99),
    "too long": lambda hub, patch: hub.wrong_length(FP32, 7, times=99),
    "500": lambda hub, patch: hub.fail(FP32, 500, times=99),
    "418": lambda hub, patch: hub.fail(FP32, 418, times=99),
    "stalled for ever": lambda hub, patch: (
        patch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1),
        hub.stall(FP32, 60, times=99),
    ),
}


@pytest.mark.parametrize("damage", SURVIVED)
@pytest.mark.parametrize("watched", [False, True])
def test_survived(damage: str, watched: bool, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    SURVIVED[damage](hub, monkeypatch)
    files = load_files(REPO, progress_callback=(lambda event: None) if watched else None)
    assert files.onnx.read_bytes() == WEIGHTS[FP32]
    if damage == "cut half-way":
        assert ranges(hub, FP32) == [None, "bytes=2600-"]


@pytest.mark.parametrize("damage", FAILED)
@pytest.mark.parametrize("watched", [False, True])
def test_failed_but_not_for_ever(damage: str, watched: bool, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    callback = (lambda event: None) if watched else None
    FAILED[damage](hub, monkeypatch)
    with pytest.raises(DownloadError, match=r"Load the model again|Try again later") as caught:
        load_files(REPO, progress_callback=callback)
    assert REPO in str(caught.value)
    hub.faults.clear()
    assert load_files(REPO, progress_callback=callback).onnx.read_bytes() == WEIGHTS[FP32]
    hub.offline()
    assert load_files(REPO).config == RMBG_CONFIG


def test_an_abandoned_download_is_resumed_by_a_later_load(hub: HubServer) -> None:
    hub.cut(f"RMBG-1.4/{FP32}", after=2600)  # the longer suffix comes first
    hub.cut(FP32, after=0, times=99)
    with pytest.raises(DownloadError, match="the download goes on where it stopped"):
        load_files(REPO)
    hub.faults.clear()
    hub.clear()
    assert load_files(REPO).onnx.read_bytes() == WEIGHTS[FP32]
    assert ranges(hub, FP32) == ["bytes=2600-"]


ERRORS: dict[str, tuple[Damage, str, dict[str, Any], type[ForegroundError], str]] = {
    "unknown": (lambda hub, patch: None, "nobody/nothing", {}, ModelNotFoundError, f"knows no such model.*{FETCH}"),
    "misspelt": (
        lambda hub, patch: None,
        "xuebinqin/u2ntp",
        {},
        ModelNotFoundError,
        r"mean xuebinqin/u2netp\? Without",
    ),
    "no owner": (lambda hub, patch: None, "RMBG-1.4", {}, ModelNotFoundError, r"mean briaai/RMBG-1\.4\? Without"),
    "revision": (lambda hub, patch: None, REPO, {"revision": "v9"}, ModelNotFoundError, "no revision 'v9'"),
    "unreachable": (lambda hub, patch: hub.offline(), REPO, {}, ModelNotFoundError, f"cannot be reached.*{FETCH}"),
    "local_files_only": (
        lambda hub, patch: None,
        REPO,
        {"local_files_only": True},
        ModelNotFoundError,
        f"local_files_only is set.*{FETCH}",
    ),
    "gated": (
        lambda hub, patch: hub.add_repo("briaai/RMBG-2.0", FILES, gated=True, token="hf_in"),
        "briaai/RMBG-2.0",
        {},
        GatedModelError,
        r"https://huggingface\.co/briaai/RMBG-2\.0.*HF_TOKEN",
    ),
    "gated, wrong token": (
        lambda hub, patch: hub.add_repo("briaai/RMBG-2.0", FILES, gated=True, token="hf_in"),
        "briaai/RMBG-2.0",
        {"token": "hf_out"},
        GatedModelError,
        "Accept its licence",
    ),
    "no external data": (
        lambda hub, patch: None,
        REPO,
        {"use_external_data_format": True},
        ModelFileNotFoundError,
        r"has no onnx/model\.onnx_data",
    ),
    "no such stem": (
        lambda hub, patch: None,
        REPO,
        {"model_file_name": "net"},
        ModelFileNotFoundError,
        r"ONNX files are: onnx/model\.onnx, onnx/model_quantized\.onnx",
    ),
    "no ONNX": (lambda hub, patch: hub.add_repo("a/b", JSON), "a/b", {}, ModelFileNotFoundError, "No other ONNX file"),  # type: ignore[arg-type]
    "empty": (lambda hub, patch: hub.add_repo("a/b", {}), "a/b", {}, ModelNotFoundError, r"Found no onnx/model\.onnx"),
    "config is no JSON": (
        lambda hub, patch: hub.add_repo("a/b", {**FILES, "config.json": b"<html>"}),
        "a/b",
        {},
        InvalidModelError,
        r"config\.json is not valid JSON",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors(case: str, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare, model_id, options, kind, message = ERRORS[case]
    prepare(hub, monkeypatch)
    with pytest.raises(kind, match=message) as caught:
        load_files(model_id, **options)
    assert type(caught.value) is kind


@pytest.mark.parametrize("place", ["hub", "cache, offline", "cache, unreachable", "folder", "models"])
def test_a_missing_dtype_names_those_that_there_are(
    place: str, hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_id: str | Path = REPO
    where = ""
    if place.startswith("cache"):
        load_files(REPO), load_files(REPO, dtype="q8")
        where = " on this machine"
        hub.offline()
        if place.endswith("offline"):
            monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    elif place != "hub":
        folder = write_repo(tmp_path / "models" / REPO, dtypes={s: brightness_model() for s in ("", "_quantized")})
        model_id = folder if place == "folder" else REPO
        (folder / "other").mkdir()
        (folder / "other" / "model_fp16.onnx").touch()  # not where it is looked for
    with pytest.raises(ModelFileNotFoundError, match=f"has no onnx/model_fp16.onnx{where}. It has: fp32, q8. Choose"):
        load_files(model_id, dtype="fp16")


def test_a_server_without_the_hubs_api(hub: HubServer) -> None:
    env.remote_host = f"{hub.url}/elsewhere"
    with pytest.raises(DownloadError, match="list of files"):
        load_files(REPO)


@pytest.mark.parametrize(
    "answer",
    [
        {"sha": 7, "siblings": 8},
        {"siblings": [1, {"rfilename": FP32, "size": -1, "blobId": "../x", "lfs": ["y"]}]},
        {"siblings": [{"rfilename": "\x1b[2Jx.onnx"}]},
        ["no object"],
        {"sha": "0" * 40, "siblings": None},
    ],
)
def test_a_list_of_files_that_is_none(answer: Any, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            body = json.dumps(answer).encode() if "/api/" in self.path else b"weights"
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        env.remote_host = f"http://127.0.0.1:{server.server_address[1]}"
        said = b""
        try:
            said = load_files(REPO).onnx.read_bytes()
        except ForegroundError as error:
            said = str(error).encode()
        server.shutdown()
    assert said == b"weights" or (said and said.decode().isprintable())
    assert not [path for path in Path(str(env.cache_dir)).parent.rglob("x") if path.is_file()]


# --- licence, dtype, external data ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model_id", "says"), [(REPO, "non-commercial"), ("me/mine", "https://huggingface.co/me/mine")]
)
def test_the_licence_is_shown_before_the_first_download(
    model_id: str, says: str, hub: HubServer, caplog: pytest.LogCaptureFixture
) -> None:
    hub.add_repo(model_id, FILES)
    seen: list[int] = []

    def note(event: dict[str, Any]) -> None:
        if event["status"] == "download" and event.get("file") == FP32:
            seen.append(len(caplog.records))

    load_files(model_id, progress_callback=note)
    load_files(model_id, progress_callback=note)
    assert [says in record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [True]
    assert seen == [1, 1]


@pytest.mark.parametrize(
    ("config", "options", "expected"),
    [
        ({}, {}, "fp32"),
        ({}, {"dtype": "auto"}, "fp32"),
        ({}, {"device": "wasm"}, "q8"),
        ({}, {"device": "wasm", "dtype": "fp32"}, "fp32"),
        ({"transformers.js_config": {"dtype": "q8"}}, {}, "q8"),
        ({"transformers.js_config": {"dtype": "q8"}}, {"dtype": "auto"}, "q8"),
        ({"transformers.js_config": {"dtype": "q8"}}, {"dtype": "fp32"}, "fp32"),
        ({"transformers.js_config": {"dtype": {"model": "q8"}}}, {}, "q8"),
        ({"transformers.js_config": {"dtype": {"net": "q8"}}}, {}, "fp32"),
        ({"transformers.js_config": None}, {"dtype": {"model": "q8"}}, "q8"),
    ],
)
def test_dtype(config: dict[str, Any], options: dict[str, Any], expected: str, hub: HubServer) -> None:
    hub.add_repo(REPO, {**FILES, "config.json": json.dumps(config).encode()})
    files = load_files(REPO, **options)
    assert files.dtype == expected
    assert files.onnx.read_bytes() == WEIGHTS[Q8 if expected == "q8" else FP32]
    given = load_files(REPO, config=config, **options)
    assert given.onnx == files.onnx


@pytest.mark.parametrize(
    ("option", "parts"),
    [
        (True, 1),
        (2, 2),
        (False, 0),
        ({"model.onnx": 2}, 2),
        ({"model": True}, 1),
        ({"model_quantized.onnx": 1}, 0),
    ],
)
@pytest.mark.parametrize("stated_by", ["option", "config"])
def test_external_data_comes_too(option: Any, parts: int, stated_by: str, hub: HubServer) -> None:
    names = [f"{FP32}_data", f"{FP32}_data_1"]
    more = {name: random.Random(name).randbytes(3000) for name in names}
    config = {"transformers.js_config": {"use_external_data_format": option}} if stated_by == "config" else {}
    hub.add_repo(REPO, {**FILES, **more, "config.json": json.dumps(config).encode()})
    for _ in range(2):
        files = load_files(REPO, **({"use_external_data_format": option} if stated_by == "option" else {}))
        assert [name for name in names if (files.folder / name).is_file()] == names[:parts]
        hub.offline()


@pytest.mark.parametrize("option", [-1, 101, "yes", {"model": "all"}])
def test_external_data_must_be_a_number_of_files(option: Any, hub: HubServer) -> None:
    with pytest.raises(UnsupportedOptionError, match="use_external_data_format"):
        load_files(REPO, use_external_data_format=option)


def test_a_graph_with_external_data_opens_from_the_cache(hub: HubServer, tmp_path: Path) -> None:
    folder = write_repo(tmp_path / "source")
    model = onnx.load(folder / FP32)
    scale = next(tensor for tensor in model.graph.initializer if tensor.name == "scale")
    onnx.external_data_helper.set_external_data(scale, "model.onnx_data")
    onnx.save(model, folder / FP32)
    assert (folder / f"{FP32}_data").is_file()
    hub.add_repo(REPO, files_of(folder))
    assert opened(REPO, use_external_data_format=True).graph.input_name == "input"


# --- threads ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("watched", [False, True])
def test_two_threads_at_once(watched: bool, hub: HubServer) -> None:
    hub.stall(FP32, 0.3, after=2000)
    start = threading.Barrier(2)

    def run(_: int) -> ModelFiles:
        start.wait()
        return load_files(REPO, progress_callback=(lambda event: None) if watched else None)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(run, range(2))
    assert first == second
    assert first.onnx.read_bytes() == WEIGHTS[FP32]
    assert ranges(hub, FP32) == [None]


def test_the_second_to_come_leaves_the_link_of_the_first(hub: HubServer) -> None:
    first, second = Repo(REPO), Repo(REPO)
    assert all(repo.exists(FP32) for repo in (first, second))
    path = first.get(FP32)
    made = path.lstat().st_mtime_ns
    assert second._remote is not None
    assert second._remote.download(FP32) == path  # as when it waited for the first one's lock
    assert path.lstat().st_mtime_ns == made
    assert path.read_bytes() == WEIGHTS[FP32]


# --- a mirror ---------------------------------------------------------------------------------------------------------


class Mirror:
    """A plain web server of a folder, that notes what is asked of it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked, self.status, self.cut = folder, list[str](), 0, False
        self.tokens: set[str | None] = set()
        mirror = self

        class Handler(SimpleHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def send_head(self) -> Any:
                mirror.asked.append(f"{self.command} {self.path}")
                mirror.tokens.add(self.headers.get("Authorization"))
                if mirror.status:
                    return self.send_error(mirror.status)
                return super().send_head()

            def copyfile(self, source: Any, outputfile: Any) -> None:
                outputfile.write(source.read(1000) if mirror.cut else source.read())

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name, content in FILES.items():
        path = tmp_path / "www" / "static" / REPO / "at-main" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)  # type: ignore[arg-type]
    mirror = Mirror(tmp_path / "www")
    env.remote_host = mirror.url + "/"
    env.remote_path_template = "static/{model}/at-{revision}/"
    yield mirror
    mirror.stop()


def mirrored(mirror: Mirror, name: str) -> Path:
    return mirror.folder / "static" / REPO / "at-main" / name


@pytest.mark.parametrize("lacking", ["", "config.json", "preprocessor_config.json"])
def test_mirror(lacking: str, mirror: Mirror) -> None:
    if lacking:
        mirrored(mirror, lacking).unlink()
    events: list[dict[str, Any]] = []
    cold = load_files(REPO, progress_callback=events.append)
    assert cold.onnx.read_bytes() == WEIGHTS[FP32]
    assert cold.config == ({} if lacking == "config.json" else RMBG_CONFIG)
    assert (cold.preprocessor is None) == (lacking == "preprocessor_config.json")
    at = f"/static/{REPO}/at-main"
    gets = {f"GET {at}/{name}" for name in (*JSON, FP32) if name != lacking}
    assert {asked for asked in mirror.asked if asked.startswith("GET")} == gets
    assert events[-1] == {"status": "done", "name": REPO, "file": FP32}
    assert [e["loaded"] for e in events if e["status"] == "progress" and e["file"] == FP32][-1] == 5000
    mirror.asked.clear()
    assert load_files(REPO) == load_files(REPO, local_files_only=True) == cold
    assert mirror.asked == []
    assert mirror.tokens == {None}
    assert not list(Path(str(env.cache_dir)).rglob("*.part"))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other signals")
def test_what_a_killed_download_from_a_mirror_left_is_replaced(mirror: Mirror, tmp_path: Path) -> None:
    whole = load_files(REPO).onnx
    shutil.copytree(Path(str(env.cache_dir)), tmp_path / "other")
    path = tmp_path / "other" / whole.relative_to(str(env.cache_dir))
    for file in (path, *(path.parents[1] / name for name in JSON)):
        file.unlink()
    left = kill_while_writing(path)
    env.cache_dir = tmp_path / "other"
    with pytest.raises(ModelNotFoundError, match=FETCH):  # half a file is no sign of a model
        load_files(REPO, local_files_only=True)
    assert load_files(REPO).onnx == path
    assert not left.exists()


def test_mirrors_errors(mirror: Mirror) -> None:
    with pytest.raises(ModelFileNotFoundError, match=r"has no onnx/model_fp16\.onnx\. It has: fp32, q8"):
        load_files(REPO, dtype="fp16")
    mirrored(mirror, "onnx/model_fp16.onnx").write_bytes(b"later")
    assert load_files(REPO, dtype="fp16").onnx.read_bytes() == b"later"
    with pytest.raises(ModelNotFoundError, match=FETCH):
        load_files(REPO, revision="v2")
    for status, kind in ((500, DownloadError), (401, GatedModelError), (403, ModelNotFoundError)):
        mirror.status = status
        with pytest.raises(kind):
            load_files(REPO, dtype="q8", revision="v3", token="secret")
    assert mirror.tokens == {None, "Bearer secret"}
    mirror.status, mirror.cut = 0, True
    with pytest.raises(DownloadError, match="Load the model again"):
        load_files(REPO, dtype="q8")
    mirror.cut = False
    with pytest.raises(ValueError, match="mine"):
        load_files(REPO, dtype="q8", progress_callback=_raise_at_progress)
    assert load_files(REPO, dtype="q8").onnx.read_bytes() == WEIGHTS[Q8]
    mirror.stop()
    assert load_files(REPO, dtype="q8").onnx.read_bytes() == WEIGHTS[Q8]
    with pytest.raises(ModelNotFoundError, match="cannot be reached"):
        load_files("someone/else")


def _raise_at_progress(event: dict[str, Any]) -> None:
    if event["status"] == "progress" and event["file"] == Q8:
        raise ValueError("mine")
