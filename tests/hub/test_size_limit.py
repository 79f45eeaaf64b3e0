"""Models that are too large to be downloaded unasked."""

from __future__ import annotations

import asyncio
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hub_server import HubServer
from huggingface_hub import constants
from PIL import Image
from tiny_data import recipe_of
from tiny_models import brightness_model, files_of, opened, write_repo
from typer.testing import CliRunner

from transformers_foreground import env, pipeline
from transformers_foreground.cli import app
from transformers_foreground.errors import ModelTooLargeError
from transformers_foreground.server.decoding import Upload
from transformers_foreground.server.progress import Settings
from transformers_foreground.server.service import Service

REPO = "me/large"
FP32, Q8 = "onnx/model.onnx", "onnx/model_quantized.onnx"
SRC = str(Path(__file__).resolve().parents[2] / "src")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    folder = write_repo(tmp_path / "source", dtypes={"": brightness_model(), "_quantized": brightness_model()})
    with HubServer() as hub:
        hub.add_repo(REPO, {**files_of(folder), f"{FP32}_data": b"0" * 100})
        env.remote_host = hub.url
        yield hub


@pytest.fixture
def photo(tmp_path: Path, half_bright: Image.Image, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    half_bright.save("photo.png")
    return tmp_path / "photo.png"


def claim(hub: HubServer, **sizes: int) -> None:
    """Let the Hub list other sizes than the files have."""
    (files,) = hub.repos[REPO].commits.values()
    for name, size in sizes.items():
        files[{"fp32": FP32, "q8": Q8, "data": f"{FP32}_data"}[name]].size = size


def weights_asked(hub: HubServer) -> bool:
    return any("/resolve/" in path and ".onnx" in path for _, path, _ in hub.requests)


def test_a_large_model_is_not_downloaded(hub: HubServer) -> None:
    claim(hub, fp32=3_100_000_000, q8=790_000_000)
    with pytest.raises(
        ModelTooLargeError,
        match=r"^me/large \(fp32\) is 3\.1 GB; [\d.]+ [GM]B are free in .*/cache\. "
        r"env\.max_model_bytes allows 2\.1 GB: .* None \(the command: --yes\), "
        r"or choose a smaller dtype: q8 \(0\.8 GB\)\.$",
    ) as caught:
        pipeline("image-segmentation", REPO)
    assert not weights_asked(hub)
    assert caught.value.size == 3_100_000_000
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.fact, again.size) == (str(caught.value), caught.value.fact, caught.value.size)


def test_external_data_counts(hub: HubServer) -> None:
    claim(hub, fp32=1_100_000_000, data=1_100_000_000)
    with pytest.raises(ModelTooLargeError, match=r"is 2\.2 GB"):
        pipeline("image-segmentation", REPO, use_external_data_format={"model": True})
    assert not weights_asked(hub)


@pytest.mark.parametrize("limit", [None, 10**6])
def test_what_the_limit_allows_is_downloaded_and_then_is_here(limit: int | None, hub: HubServer) -> None:
    env.max_model_bytes = 1
    with pytest.raises(ModelTooLargeError):
        pipeline("image-segmentation", REPO)
    env.max_model_bytes = limit
    pipeline("image-segmentation", REPO)
    env.max_model_bytes = 1
    pipeline("image-segmentation", REPO)  # nobody is asked about what is here
    with pytest.raises(ModelTooLargeError, match=r"large \(q8\) is 0\.0 MB"):
        pipeline("image-segmentation", REPO, dtype="q8")
    write_repo(Path(env.local_model_path, REPO), dtypes={"_quantized": brightness_model()})
    pipeline("image-segmentation", REPO, dtype="q8")


# --- a server that does not say sizes ---------------------------------------------------------------------------------


@pytest.fixture
def endless() -> Iterator[list[int]]:
    """A plain server that says no sizes, and has a graph of 40 MB; gives how many bytes of it went out."""
    sent = [0]

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self.send_response(404 if "json" in self.path else 200)
            self.end_headers()
            try:
                while self.command == "GET" and "onnx" in self.path and sent[0] < 40_000_000:
                    sent[0] += self.wfile.write(bytes(100_000))
            except OSError:  # the client has gone
                pass

        do_HEAD = do_GET

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        env.remote_host, env.remote_path_template = f"http://127.0.0.1:{server.server_address[1]}", "{model}/{revision}"
        yield sent
        server.shutdown()


@pytest.mark.parametrize("callback", [None, lambda event: None])
def test_a_download_of_unknown_size_stops_at_the_limit(
    callback: Any, endless: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    env.max_model_bytes = 2_000_000
    with pytest.raises(
        ModelTooLargeError, match=r"\(fp32\) is more than 2\.0 MB; .*smaller dtype: fp16, q8,"
    ) as caught:
        opened(REPO, progress_callback=callback)
    assert caught.value.size is None
    assert 2_000_000 < endless[0] < 40_000_000
    assert not [
        path for path in Path(str(env.cache_dir)).rglob("*") if path.is_file() and ".no_exist" not in path.parts
    ]


# --- the command ------------------------------------------------------------------------------------------------------


def run(*args: str) -> Any:
    return CliRunner().invoke(app, list(args))


def test_without_a_terminal_the_command_names_the_option(hub: HubServer, photo: Path) -> None:
    env.max_model_bytes = 1
    result = run("photo.png", "-m", REPO)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: me/large (fp32) is 0.0 MB; ")
    assert "--yes" in line
    assert not weights_asked(hub)
    assert run("photo.png", "-m", REPO, "-y").exit_code == 0
    assert Path("photo.cutout.png").is_file()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such terminals")
@pytest.mark.parametrize("answer", ["y", "n", ""])
def test_on_a_terminal_the_command_asks(answer: str, hub: HubServer, photo: Path) -> None:
    code = "from transformers_foreground import cli, env; env.max_model_bytes = 1; cli.main()"
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(photo.parent / "home"), "PYTHONPATH": SRC}
    environment |= {"HF_HUB_OFFLINE": "0", "COLUMNS": "300"}
    ours, its = os.openpty()
    command = [sys.executable, "-c", code, "photo.png", "-m", REPO, "-o", "-"]
    with Path("result.png").open("wb") as result:
        process = subprocess.Popen(command, env=environment, stdin=its, stdout=result, stderr=its)
    os.close(its)
    os.write(ours, f"{answer}\n".encode())
    shown = b""
    while chunk := read(ours):
        shown += chunk
    os.close(ours)
    assert b"me/large (fp32) is 0.0 MB; " in shown
    assert b". Download it? [y/N]: " in shown
    assert process.wait(timeout=60) == (0 if answer == "y" else 1)
    assert Path("result.png").read_bytes()[:8] == (b"\x89PNG\r\n\x1a\n" if answer == "y" else b"")
    assert weights_asked(hub) == (answer == "y")
    assert (b"Nothing was downloaded." in shown) == (answer != "y")


def read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # Linux says so when the other side is closed
        return b""


def test_evaluate_takes_a_yes_too(hub: HubServer, data: Path, photo: Path) -> None:
    pytest.importorskip("py_sod_metrics")
    import json

    env.max_model_bytes = 1
    Path("recipe.yaml").write_text(json.dumps(recipe_of([{"id": REPO}])))  # JSON is YAML
    result = run("evaluate", "recipe.yaml", "-o", "out")
    assert result.exit_code == 1
    assert "--yes" in result.stderr
    assert run("evaluate", "recipe.yaml", "-o", "out", "--yes").exit_code == 0


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_tells(hub: HubServer, photo: Path, tmp_path: Path) -> None:
    env.max_model_bytes = 1
    service = Service(Settings(REPO), tmp_path / "page")

    async def ask() -> None:
        async for _ in service.remove([Upload("photo.png", photo)]):
            pass

    try:
        with pytest.raises(ModelTooLargeError, match="--yes"):
            asyncio.run(ask())
    finally:
        service.close()


def test_serve_takes_a_yes_in_advance(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gradio")
    import uvicorn

    monkeypatch.setattr(uvicorn.Server, "run", lambda *_, **__: None)
    assert run("serve", "--port", "0").exit_code == 0
    assert env.max_model_bytes == 2 * 2**30
    assert run("serve", "--port", "0", "--yes").exit_code == 0
    assert env.max_model_bytes is None
