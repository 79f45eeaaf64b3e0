"""Progress events: Transformers.js' shapes and order, for every way to load."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from conftest import SHARED
from hub_server import Fault, HubServer
from huggingface_hub import constants
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
from tiny_models import files_of, write_repo

from transformers_foreground import env, pipeline
from transformers_foreground.errors import DownloadError
from transformers_foreground.hub.model_files import load_files

REPO = "briaai/RMBG-1.4"
MODEL = "onnx/model.onnx"
BARS = ("huggingface_hub.http_get", "huggingface_hub.xet_get")
KEYS = {
    "initiate": ["status", "name", "file"],
    "download": ["status", "name", "file"],
    "progress_total": ["status", "name", "progress", "loaded", "total", "files"],
    "progress": ["status", "name", "file", "progress", "loaded", "total"],
    "done": ["status", "name", "file"],
    "ready": ["status", "task", "model"],
}
Event = dict[str, Any]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", None)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with HubServer() as hub:
        hub.add_repo(REPO, files_of(write_repo(tmp_path / "source")))
        env.remote_host = hub.url
        yield hub


def check(events: list[Event], sizes: dict[str, int], name: str = REPO) -> None:
    """Assert that events without `ready` are well-formed and complete."""
    for event in events:
        assert list(event) == KEYS[event["status"]]
        assert event["name"] == name
    assert {event["file"] for event in events if "file" in event} == set(sizes)
    totals = [event for event in events if event["status"] == "progress_total"]
    loaded = [event["loaded"] for event in totals]
    assert loaded == sorted(loaded)
    for before, event in pairwise(events):
        assert (before["status"] == "progress_total") == (event["status"] == "progress")
        if event["status"] == "progress":
            assert before["files"][event["file"]] == {"loaded": event["loaded"], "total": event["total"]}
            assert before["loaded"] == sum(file["loaded"] for file in before["files"].values())
            assert before["progress"] == pytest.approx(100 * before["loaded"] / before["total"])
    assert totals[-1]["progress"] == 100
    assert totals[-1]["loaded"] == totals[-1]["total"] == sum(sizes.values())
    assert totals[-1]["files"] == {file: {"loaded": size, "total": size} for file, size in sizes.items()}
    for file, size in sizes.items():
        own = [event for event in events if event.get("file") == file]
        statuses = [event["status"] for event in own]
        assert statuses == ["initiate", "download", *["progress"] * (len(own) - 3), "done"]
        steps = [event["loaded"] for event in own[2:-1]]
        assert steps == sorted(steps)
        assert own[-2]["progress"] == 100
        assert own[-2]["loaded"] == own[-2]["total"] == size


@pytest.mark.parametrize("task", ["image-segmentation", "background-removal"])
def test_cold_warm_and_offline(task: str, hub: HubServer, tmp_path: Path) -> None:
    sizes = {name: len(content) for name, content in files_of(tmp_path / "source").items()}
    for state in ("cold", "warm", "offline"):
        if state == "offline":
            hub.offline()
        events: list[Event] = []
        pipeline(task, REPO, progress_callback=events.append)
        assert events.pop() == {"status": "ready", "task": task, "model": REPO}
        check(events, sizes)


def test_a_local_folder(tiny: Path) -> None:
    events: list[Event] = []
    load_files(tiny, progress_callback=events.append)
    check(events, {name: len(content) for name, content in files_of(tiny).items()}, str(tiny))


def test_without_json_files(hub: HubServer) -> None:
    hub.add_repo(REPO, {MODEL: bytes(10)})
    for _ in range(2):
        events: list[Event] = []
        load_files(REPO, progress_callback=events.append)
        check(events, {MODEL: 10})


def test_shapes_are_those_of_transformers_js() -> None:
    recorded = SHARED / "oracle" / "node" / "events.json"
    if not recorded.is_file():
        pytest.skip(f"{recorded} is not here")
    for run in json.loads(recorded.read_text()).values():
        for event in (event for event in run if "status" in event):  # one stands for those left out
            assert list(event) == KEYS[event["status"]]


@pytest.mark.parametrize("resumed", [False, True])
def test_a_slow_download_tells_of_itself(resumed: bool, hub: HubServer) -> None:
    size = 300_000
    hub.add_repo(REPO, {MODEL: bytes(size), "onnx/model_fp16.onnx": b"1" * 700_000})
    root = Path(str(env.cache_dir)) / f"models--{REPO.replace('/', '--')}" / "blobs"
    root.mkdir(parents=True)
    (root / f"{'0' * 64}.incomplete").write_bytes(b"1" * 500_000)  # another file's, interrupted: none of ours
    if resumed:
        hub.cut(f"RMBG-1.4/{MODEL}", after=90_000)  # the longer suffix comes first
        hub.cut(MODEL, after=0, times=99)
        with pytest.raises(DownloadError):
            load_files(REPO)
    hub.faults = {MODEL: Fault(3, cut=70_000, stall=0.25, stall_at=45_000)}
    events: list[Event] = []
    load_files(REPO, progress_callback=events.append)
    check(events, {MODEL: size})
    steps = [event["loaded"] for event in events if event["status"] == "progress"]
    assert len(set(steps)) >= (3 if resumed else 4)
    assert steps[0] >= (80_000 if resumed else 20_000)


class _Mine(Exception):
    pass


@pytest.mark.parametrize("error", [_Mine, OSError, ConnectionError, RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize(
    "when",
    [
        lambda event: event["status"] == "initiate",
        lambda event: event["status"] == "progress" and event["file"] == MODEL and event["loaded"] < event["total"],
        lambda event: event["status"] == "done" and event["file"] == MODEL,
    ],
    ids=["at first", "half-way", "at last"],
)
def test_an_exception_of_the_callback_passes(
    error: type[BaseException], when: Callable[[Event], bool], hub: HubServer
) -> None:
    hub.add_repo(REPO, {MODEL: bytes(300_000)})
    hub.stall(MODEL, 0.2, after=100_000)
    mine = error("mine")

    def callback(event: Event) -> None:
        if when(event):
            raise mine

    with pytest.raises(error) as caught:
        load_files(REPO, progress_callback=callback)
    assert caught.value is mine
    assert not any(map(are_progress_bars_disabled, BARS))
    events: list[Event] = []
    load_files(REPO, progress_callback=events.append)
    check(events, {MODEL: 300_000})


def test_the_clients_bars(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TQDM_POSITION", "-1")  # bars also where there is no terminal
    load_files(REPO)
    shown = capfd.readouterr().err
    assert "model.onnx" in shown
    assert "B/s" in shown
    load_files(REPO, cache_dir=tmp_path / "second", progress_callback=lambda event: None)
    assert "B/s" not in capfd.readouterr().err
    assert not any(map(are_progress_bars_disabled, BARS))
    disable_progress_bars()
    try:
        load_files(REPO, cache_dir=tmp_path / "third", progress_callback=lambda event: None)
        assert all(map(are_progress_bars_disabled, BARS))  # as the user has left them
    finally:
        enable_progress_bars()
