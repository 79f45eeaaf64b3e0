"""What tests of `foreground serve` share: a service over a tiny model, its server on a free port, and a browser.

A module takes the fixtures by name: `served = page_server.served`.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from PIL import Image
from tiny_models import brightness_model, write_repo

from transformers_foreground.server.callers import names_of
from transformers_foreground.server.decoding import Upload
from transformers_foreground.server.environment import gradio_in
from transformers_foreground.server.progress import Settings
from transformers_foreground.server.service import Service

MODEL = "briaai/RMBG-1.4"
ROOT = Path(__file__).resolve().parents[1]


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def photo(half_bright: Image.Image, tmp_path: Path) -> Upload:
    path = tmp_path / "photo.png"
    path.write_bytes(png(half_bright))
    return Upload("photo.png", path)


@pytest.fixture
def bad(tmp_path: Path) -> Upload:
    (tmp_path / "bad.jpg").write_bytes(b"not an image")
    return Upload("<b>bad</b>.jpg", tmp_path / "bad.jpg")


@pytest.fixture
def made(tiny: Path, tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Make a service over the tiny model."""
    services: list[Service] = []

    def make(**settings: Any) -> Service:
        folder = tmp_path / f"page{len(services)}"
        folder.mkdir()
        services.append(Service(Settings(**{"model": MODEL, "local_files_only": True, **settings}), folder))
        return services[-1]

    yield make
    for service in services:
        service.close()


class Served:
    """A server on a free port of this machine, on a thread."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.url = ""

    def get(self, path: str, data: bytes | None = None, **headers: str) -> bytes:
        with urlopen(Request(self.url + path, data, headers), timeout=60) as answer:
            return bytes(answer.read())


@contextlib.contextmanager
def serving(service: Service) -> Iterator[Served]:
    pytest.importorskip("gradio", reason="gradio is not installed: pip install -e '.[dev]'")
    import uvicorn

    from transformers_foreground.server.app import application
    from transformers_foreground.server.connections import Impatient

    with gradio_in(service.folder), socket.create_server(("127.0.0.1", 0)) as listener:
        app = application(service, names_of("127.0.0.1"))
        config = uvicorn.Config(app, http=Impatient, ws="none", log_level="critical", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.02)
        served = Served(service)
        served.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        yield served
        server.should_exit = True
        thread.join(20)


@pytest.fixture
def served(made: Callable[..., Service], tmp_path: Path) -> Iterator[Served]:
    halves = {"": brightness_model(), "_fp16": brightness_model(half=True)}
    write_repo(tmp_path / "models/mine/one", dtypes=halves, config={"model_type": "mine"})
    with serving(made(max_bytes=2_000_000, max_pixels=3_000_000)) as served:
        yield served


def client_of(served: Served, tmp_path: Path) -> Any:
    from gradio_client import Client

    return Client(served.url, verbose=False, download_files=str(tmp_path / "downloads"), analytics_enabled=False)


def chromium_path() -> str | None:
    names = (os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if name and (path := shutil.which(name))), None)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A browser that logs every request it makes, its own included; gives it and, once closed, the log."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e '.[dev]'")
    found = chromium_path()
    if found is None:
        pytest.skip("no chromium found: apt-get install chromium, or set CHROMIUM")
    with api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


def opened(browser: Any, served: Served, **options: Any) -> Any:
    page = browser.new_page(**{"viewport": {"width": 1280, "height": 900}, **options})
    page.set_default_timeout(180_000)  # of a machine that others use, too
    page.goto(served.url)
    page.wait_for_selector("#go")
    page.wait_for_selector("#facts p")
    page.wait_for_selector("#images input[type=file][accept]", state="attached")
    return page


def give(page: Any, files: list[Any], wanted: int | None = None) -> None:
    page.set_input_files("#images input[type=file]", files)
    page.wait_for_function(f"document.querySelectorAll('#images tr.file').length == {wanted or len(files)}")


def finished(page: Any) -> str:
    page.wait_for_selector(".status.done, .status.error, .status li")
    return str(page.inner_text("#status"))


def file(name: str, data: bytes, kind: str = "image/png") -> dict[str, Any]:
    return {"name": name, "mimeType": kind, "buffer": data}
