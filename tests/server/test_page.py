"""`foreground serve`: what one request does, what the server lets through, and the page in Chromium."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import numpy as np
import page_server
import pytest
from conftest import ROOT, real_model
from hub_server import HubServer
from page_server import MODEL, Served, client_of, file, finished, give, opened, png, serving
from PIL import Image
from tiny_models import files_of, write_repo
from typer.testing import CliRunner

from transformers_foreground import env
from transformers_foreground.cli import app as command
from transformers_foreground.compositing.cutout import cutout
from transformers_foreground.errors import ForegroundError, ImageError, InvalidModelError, UnsupportedOptionError
from transformers_foreground.segmenter import Segmenter
from transformers_foreground.server import cleanup
from transformers_foreground.server import fetching as fetching_module
from transformers_foreground.server import looks as looks_module
from transformers_foreground.server.callers import names_of
from transformers_foreground.server.choices import choice_of, describe, offered
from transformers_foreground.server.decoding import Upload
from transformers_foreground.server.disk import Disk, sweep
from transformers_foreground.server.downloads import Downloads
from transformers_foreground.server.fetching import Fetch, duration
from transformers_foreground.server.guard import MAX_CALL, Guard
from transformers_foreground.server.looks import Look
from transformers_foreground.server.memory import Memory
from transformers_foreground.server.progress import BusyError, Failure, Note, Settings
from transformers_foreground.server.results import Result, clean_stem, unique_stems
from transformers_foreground.server.service import MAX_IMAGES, Service
from transformers_foreground.server.uploads import upload_of

photo, bad, made, served, chromium = (
    page_server.photo,
    page_server.bad,
    page_server.made,
    page_server.served,
    page_server.chromium,
)


async def _all(service: Service, *args: Any, **options: Any) -> list[Any]:
    return [outcome async for outcome in service.remove(*args, **options)]


def run(service: Service, *args: Any, **options: Any) -> list[Any]:
    """Give what becomes of each image."""
    return [outcome for outcome in asyncio.run(_all(service, *args, **options)) if not isinstance(outcome, Note)]


def full(service: Service, result: Result, look: Look | None = None) -> Image.Image:
    """Give a cut-out in full size, as it is downloaded."""
    return Image.open(io.BytesIO(asyncio.run(Downloads(service).full_size(result, look or Look())).data))


# What one request does.


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("photo.jpg", "photo"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot"),
        ("C:\\fotos\\Zoë 1.jpeg", "Zoë 1"),
        ("a\0b\n<c>|d.png", "a_b__c__d"),
        ("-rf.png", "rf"),
        (".htaccess", "htaccess"),
        ("...", "image"),
        ("", "image"),
        ("CON.png", "_CON"),
        ("写真.jpg", "写真"),
        ("x" * 300 + ".png", "x" * 80),
        ("写" * 300 + ".png", "写" * 66),
    ],
)
def test_names_of_files(name: str, stem: str) -> None:
    assert clean_stem(name) == stem


def test_names_that_would_be_the_same() -> None:
    assert unique_stems(["a.png", "A.jpg", "b/a.webp", "b.png"]) == ["a", "A-2", "a-3", "b"]


def test_sweep(tmp_path: Path) -> None:
    old, new = tmp_path / "x" / "old.png", tmp_path / "y" / "new.png"
    for path in (old, new):
        path.parent.mkdir()
        path.write_bytes(b"")
    os.utime(old, (0, 0))
    os.utime(old.parent, (0, 0))
    assert sweep(tmp_path, 60) == 50_000  # what the new one, which is empty, counts as
    assert new.is_file()
    assert not old.exists()
    os.utime(old.parent, (0, 0))  # it was changed just now
    sweep(tmp_path, 60)
    assert not old.parent.exists()
    assert tmp_path.is_dir()


def test_a_sweep_goes_on_past_a_folder_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "old.png").write_bytes(b"")
    os.utime(tmp_path / "old.png", (0, 0))
    found = [(str(tmp_path / "gone"), [], []), (str(tmp_path), ["gone"], ["old.png"])]
    monkeypatch.setattr(os, "walk", lambda *_, **__: found)
    assert sweep(tmp_path, 60) == 0
    assert not (tmp_path / "old.png").exists()


def test_files_are_deleted_whatever_gradio_has_become(
    made: Callable[..., Service], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cleanup, "_FORGET_SECONDS", 0.02)
    monkeypatch.setattr(cleanup, "_SWEEP_SECONDS", 0.1)
    service = made()
    old = service.folder / "old.png"
    old.write_bytes(b"")
    os.utime(old, (0, 0))

    async def scenario() -> None:
        async with cleanup.running(service, object()):  # no page of Gradio's
            for _ in range(500):
                if not old.exists():
                    return
                await asyncio.sleep(0.02)

    asyncio.run(scenario())
    assert not old.exists()
    assert len([record for record in caplog.records if "cannot be forgotten" in record.message]) == 1


def test_one_image(made: Callable[..., Service], photo: Upload, half_bright: Image.Image) -> None:
    service = made()
    (result,) = run(service, [photo])
    image = full(service, result)
    assert image.mode == "RGBA"
    assert image.size == half_bright.size
    alpha = np.asarray(image)[..., 3]
    assert alpha[:-1, :20].min() == 255  # Transformers.js halves the last row
    assert alpha[:, 28:].max() == 0
    assert result.name == "photo.png"
    assert result.file_name(Look()) == "photo.cutout.png"
    assert all(file.parent.parent == service.folder for file in result.files())
    assert Image.open(result.before).format == "JPEG"
    assert Image.open(result.after).mode == Image.open(result.thumb).mode == "RGBA"


def test_previews_are_small(made: Callable[..., Service], tmp_path: Path) -> None:
    Image.new("RGB", (3200, 800), "white").save(tmp_path / "wide.png")
    service = made()
    (result,) = run(service, [Upload("wide.png", tmp_path / "wide.png")])
    assert full(service, result).size == (3200, 800)
    assert Image.open(result.before).size == Image.open(result.after).size == (1024, 256)
    assert Image.open(result.thumb).size == (320, 80)


def test_a_bad_image_is_named_and_the_others_are_done(
    made: Callable[..., Service], photo: Upload, bad: Upload, tmp_path: Path
) -> None:
    gone = Upload("gone.png", tmp_path / "gone.png")
    outcomes = run(made(), [photo, bad, gone, photo])
    assert [type(outcome).__name__ for outcome in outcomes] == ["Result", "Failure", "Failure", "Result"]
    assert outcomes[1] == Failure(bad.name, outcomes[1].why)
    assert bad.name in outcomes[1].why
    assert str(tmp_path) not in outcomes[1].why  # visitors learn nothing of the server's folders
    assert "upload is gone" in outcomes[2].why
    assert outcomes[3].stem == "photo-2"


@pytest.mark.parametrize("background", ["red", "blur", "image"])
def test_backgrounds(made: Callable[..., Service], photo: Upload, tmp_path: Path, background: str) -> None:
    Image.new("RGB", (10, 10), "red").save(tmp_path / "red.png")
    behind = Upload("red.png", tmp_path / "red.png") if background == "image" else background
    service, look = made(), Look(behind)
    (result,) = run(service, [photo], look=look)
    image = full(service, result, look)
    assert image.mode == Image.open(result.after).mode == "RGB"
    if background != "blur":
        assert image.getpixel((40, 16)) == (255, 0, 0)


def test_a_bad_background(made: Callable[..., Service], photo: Upload, bad: Upload) -> None:
    with pytest.raises(ImageError, match="bad"):
        run(made(), [photo], look=Look(bad))


@pytest.mark.parametrize("colour", ["{file}", "http://127.0.0.1:9/a.png", "nocolour"])
def test_a_colour_is_never_a_file_of_the_server(made: Callable[..., Service], photo: Upload, colour: str) -> None:
    """A caller may send any text as the colour, and `cutout` would take a path or a URL as a background image."""
    pytest.importorskip("gradio", reason="gradio is not installed: pip install -e '.[dev]'")
    from transformers_foreground.server.actions import COLOUR, Actions

    assert photo.path
    service = made()
    mine = service.folder / "mine.png"
    mine.write_bytes(photo.path.read_bytes())
    look = (COLOUR, colour.format(file=photo.path), None, [], 0, "PNG")

    async def scenario() -> list[Any]:
        act = Actions(service, Downloads(service))
        return [told async for told in act.remove([{"path": str(mine)}], MODEL, "auto", False, *look)]

    told = asyncio.run(scenario())
    assert "use a colour" in told[-1][0]
    assert list(service.folder.iterdir()) == [mine]


def test_limits(made: Callable[..., Service], photo: Upload) -> None:
    (failure,) = run(made(max_pixels=1000), [photo])
    assert "48x32 pixels exceed the limit of 1000; shrink it, or serve with a higher --max-pixels" in failure.why
    (failure,) = run(made(max_bytes=50), [photo])
    assert "exceed the limit of 5e-05 MB" in failure.why
    with pytest.raises(UnsupportedOptionError, match=f"at most {MAX_IMAGES}"):
        run(made(), [photo] * (MAX_IMAGES + 1))
    with pytest.raises(UnsupportedOptionError, match="no image yet"):
        run(made(), [])
    with pytest.raises(UnsupportedOptionError, match="not on offer"):
        run(made(), [photo], "somebody/else")
    with pytest.raises(UnsupportedOptionError, match="not on offer as 'q2'"):
        run(made(), [photo], MODEL, "q2")


def test_results_count_too(made: Callable[..., Service], photo: Upload) -> None:
    found = run(made(max_disk=200_000), [photo] * 10)  # a result is three files, of 50 kB each at least
    kinds = [type(outcome) for outcome in found]
    assert kinds[:2] == [Result, Result]
    assert kinds[6:] == [Failure] * 4  # a few more may have begun before the second was counted
    assert "Try again in 10 minutes" in found[-1].why


def test_more_requests_than_may_be_under_way(made: Callable[..., Service], photo: Upload) -> None:
    async def scenario() -> None:
        service = made(queue=1)
        first = service.remove([photo] * 3)
        await anext(first)
        with pytest.raises(ForegroundError, match="1 other requests are under way"):
            await _all(service, [photo])
        await first.aclose()
        assert [o for o in await _all(service, [photo]) if not isinstance(o, Note)]

    asyncio.run(scenario())


def test_visitors_take_turns(made: Callable[..., Service], photo: Upload) -> None:
    async def scenario() -> list[str]:
        service, order = made(), []

        async def visit(name: str, count: int) -> None:
            async for outcome in service.remove([photo] * count):
                if not isinstance(outcome, Note):
                    order.append(name)

        many = asyncio.create_task(visit("many", 30))
        while not order:
            await asyncio.sleep(0.001)
        await asyncio.gather(many, visit("one", 1))
        return order

    order = asyncio.run(scenario())
    assert len(order) == 31
    assert order.index("one") < 12


def test_who_leaves_stops_his_images(
    made: Callable[..., Service], photo: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    forward = Segmenter.run
    monkeypatch.setattr(Segmenter, "run", lambda *args: seen.append(1) or forward(*args))

    async def scenario() -> None:
        request = made().remove([photo] * 50)
        async for outcome in request:
            if not isinstance(outcome, Note):
                break
        await request.aclose()
        await asyncio.sleep(0.3)

    asyncio.run(scenario())
    assert len(seen) < 6


def test_a_load_that_fails_after_its_visitor_has_left(
    made: Callable[..., Service], photo: Upload, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    go_on = threading.Event()

    def fail(*_: Any, **__: Any) -> Any:
        go_on.wait(60)
        raise ForegroundError("It failed.")

    monkeypatch.setattr(fetching_module, "opened", fail)

    async def scenario() -> None:
        service = made()
        request = service.remove([photo])
        await anext(request)
        await anext(request)
        await request.aclose()
        go_on.set()
        (fetch,) = service._models._models.values()
        while not fetch.result.done():
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.1)
        del fetch
        service._models._models.clear()

    asyncio.run(scenario())
    gc.collect()
    assert not [record.message for record in caplog.records if record.name == "asyncio"]


def test_a_model_is_loaded_once_and_with_the_first_image(
    made: Callable[..., Service], photo: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[Any] = []
    load = fetching_module.opened

    def slow(model: str, **options: Any) -> Any:
        loads.append((model, options["dtype"]))
        time.sleep(0.2)
        return load(model, **options)

    monkeypatch.setattr(fetching_module, "opened", slow)
    service = made()
    assert not loads

    async def both() -> None:
        await asyncio.gather(_all(service, [photo]), _all(service, [photo]))

    asyncio.run(both())
    run(service, [photo])
    assert loads == [(MODEL, "auto")]


def test_a_load_that_failed_is_tried_again(made: Callable[..., Service], photo: Upload, tiny: Path) -> None:
    service = made()
    file = tiny / "onnx/model.onnx"
    good = file.read_bytes()
    file.write_bytes(b"broken")
    with pytest.raises(InvalidModelError):
        run(service, [photo])
    file.write_bytes(good)
    assert len(run(service, [photo])) == 1


def test_models_are_loaded_a_few_at_a_time(
    made: Callable[..., Service], photo: Upload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        write_repo(tmp_path / "models/mine" / name)
    go_on = threading.Event()
    load = fetching_module.opened
    monkeypatch.setattr(fetching_module, "opened", lambda *args, **options: (go_on.wait(60), load(*args, **options))[1])

    async def scenario() -> None:
        service = made()
        requests = [service.remove([photo], f"mine/{name}") for name in "abc"]
        for request in requests:
            await anext(request)
            await anext(request)
        with pytest.raises(BusyError, match="Other models are being loaded"):
            await _all(service, [photo])
        go_on.set()
        for request in requests:
            assert isinstance([outcome async for outcome in request][-1], Result)
        assert isinstance((await _all(service, [photo]))[-1], Result)

    asyncio.run(scenario())


def test_models_that_are_not_used_are_closed(made: Callable[..., Service], photo: Upload, tmp_path: Path) -> None:
    for name in "abc":
        write_repo(tmp_path / "models/mine" / name)
    service = made()
    for name in "abcb":
        run(service, [photo], f"mine/{name}")
    assert [key[0] for key in service._models._models] == ["mine/c", "mine/b"]


def test_a_fetch_tells_size_rate_and_time_left(
    tiny: Path, photo: Upload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HubServer() as hub:
        hub.add_repo(MODEL, {**files_of(tiny)})
        shutil.rmtree(tiny)
        monkeypatch.setattr(env, "remote_host", hub.url)
        go_on = hub.hold("onnx/model.onnx", after=400)
        (tmp_path / "page").mkdir()
        service = Service(Settings(MODEL), tmp_path / "page")
        assert not hub.requests
        assert "Not on this machine yet" in describe(service.choices[0], "auto")
        told: list[Note] = []

        async def scenario() -> Any:
            async for outcome in service.remove([photo]):
                if isinstance(outcome, Note) and outcome.text.startswith(f"Fetching {MODEL}: 0.0 of 0.0 MB"):
                    told.append(outcome)
                    go_on.set()
            return outcome

        last = asyncio.run(scenario())
        service.close()
    assert told
    assert all(0 <= note.share < 1 for note in told if note.share is not None)
    assert isinstance(last, Result)
    assert "On this machine: fp32" in describe(service.choices[0], "auto")


def test_words_of_a_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    fetch = Fetch("a/b")
    assert fetch.text == "Opening a/b"
    fetch.on_event({"status": "progress_total", "loaded": 20_000_000, "total": 176_000_000})
    now[0] = 110.0
    fetch.on_event({"status": "progress_total", "loaded": 72_000_000, "total": 176_000_000})
    assert fetch.text == "Fetching a/b: 72.0 of 176.0 MB, 5.2 MB/s, 20 s left"
    fetch.on_event({"status": "progress_total", "loaded": 176_000_000, "total": 176_000_000})
    assert fetch.text == "Opening a/b"
    assert [duration(s) for s in (0.2, 59.4, 61, 3700)] == ["1 s", "59 s", "1 min 01 s", "1 h 01 min"]


def test_what_is_offered(tiny: Path, tmp_path: Path) -> None:
    write_repo(tmp_path / "models/mine/one")
    write_repo(Path(env.user_model_path) / "mine/two")
    choices = offered(MODEL, "auto", local_files_only=True)
    assert [choice.id for choice in choices] == [MODEL, "mine/one", "mine/two"]
    assert choices[0].dtypes == ("auto", "fp32")
    choices = offered("mine/one", "fp16", local_files_only=False)
    assert [choice.id for choice in choices][:2] == ["mine/one", MODEL]
    assert choices[0].dtypes == ("fp16", "auto", "fp32")
    assert choices[1].dtypes == ("auto", "fp32", "fp16", "q8")
    assert "Xenova/modnet" in [choice.id for choice in choices]
    assert "xuebinqin/u2netp" not in [choice.id for choice in choices]  # neither here nor on the Hub
    with pytest.raises(UnsupportedOptionError, match="not on offer"):
        choice_of(choices, "a/b", "auto")


def test_licences_are_shown_before_the_first_download() -> None:
    env.remote_host = "https://huggingface.co"
    first, *others = offered(MODEL, "auto", local_files_only=False)
    text = describe(first, "fp16")
    assert 'href="https://huggingface.co/briaai/RMBG-1.4"' in text
    assert "non-commercial use only" in text
    assert "your first image downloads it from huggingface.co (88.2 MB)" in text
    assert all("Licence" in describe(choice, "auto") for choice in others)
    unknown = offered('a/b"<i>', "auto", local_files_only=False)[0]
    assert "<i>" not in describe(unknown, "auto")


def test_uploads_are_files_that_were_uploaded(tmp_path: Path) -> None:
    folder = tmp_path / "page"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"")
    assert upload_of({"path": str(folder / "a.png"), "orig_name": "b.png"}, folder) == Upload("b.png", folder / "a.png")
    (folder / "link.png").symlink_to("/etc/passwd")
    outside = ("/etc/passwd", str(folder / "link.png"), str(folder / "../page2/x"), str(folder), "https://a.b/c", "")
    for path in (*outside, "\0", str(folder / ("x" * 5000))):
        with pytest.raises(ImageError):
            upload_of({"path": path}, folder)
    for other in (None, [], "a.png", {}, {"path": 3}):
        with pytest.raises(ImageError, match="not an uploaded image"):
            upload_of(other, folder)


# What the server lets through.


def _call(
    path: str, body: bytes = b"", host: str = "127.0.0.1:7860", html: bytes = b"<html>"
) -> tuple[int, dict[str, str], bytes]:
    async def inner(scope: Any, receive: Any, send: Any) -> None:
        got = (await receive())["body"] if body else b""
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
        await send({"type": "http.response.body", "body": html[:9], "more_body": True})
        await send({"type": "http.response.body", "body": html[9:] + got})

    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "path": path,
        "method": "POST" if body else "GET",
        "headers": [(b"host", host.encode()), (b"accept-encoding", b"br")],
    }
    asyncio.run(Guard(inner, names_of("127.0.0.1"), Disk(Path("/nowhere"), 1), 1000, Memory())(scope, receive, send))
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, b"".join(message["body"] for message in sent[1:])


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/vibe-edit",
        "/monitoring",
        "/gradio_api/proxy=https://a.b",
        "/manifest.json",
        "/gradio_api/deep_link",
    ],
)
def test_what_the_page_does_not_need_is_not_there(path: str) -> None:
    assert _call(path)[0] == 404


def test_headers_and_what_is_cut_from_the_page() -> None:
    stray = (
        b'<meta property="og:image"\n content="https://raw.githubusercontent.com/x.jpg" />'
        b'<link rel="manifest" href="/m">'
        b'<script\n src="/static/js/iframeResizer.contentWindow.min.js"\n async\n></script>'
    )
    status, headers, page = _call("/", html=b"<html>" + stray + b"</html>")
    assert status == 200
    assert page == b"<html></html>"
    assert headers["content-length"] == str(len(page))
    assert headers["content-security-policy"].startswith("default-src 'self';")
    assert headers["x-content-type-options"] == "nosniff"


def test_calls_by_another_name() -> None:
    assert _call("/", host="evil.example")[0] == 421
    assert _call("/", host="localhost:1")[0] == 200


def test_calls_with_addresses_and_large_ones() -> None:
    def call(content: Any) -> int:
        return _call("/gradio_api/queue/join", json.dumps(content).encode())[0]

    assert call({"data": [{"path": "/tmp/a", "meta": {}}]}) == 200
    assert call({"data": [{"x": [{"path": "HTTPS://a.b/c.png"}]}]}) == 400
    assert call({"data": ["x" * MAX_CALL]}) == 413
    assert _call("/gradio_api/queue/join", b"{")[0] == 200


# The server.


def test_the_api(served: Served, photo: Upload, half_bright: Image.Image, tmp_path: Path) -> None:
    from gradio_client import handle_file

    client = client_of(served, tmp_path)
    image = handle_file(str(photo.path))
    result = client.predict(image, api_name="/remove_background")
    assert Path(result).name == "photo.cutout.png"
    mask = np.zeros((32, 48), np.uint8)
    mask[:, :24] = 255
    expected = cutout(half_bright, mask)
    with Image.open(result) as made:
        assert made.size == expected.size
        assert (np.asarray(made)[:-1, [0, -1]] == np.asarray(expected)[:-1, [0, -1]]).all()
    result = client.predict(image, background="#ff0000", model=MODEL, dtype="fp32", api_name="/remove_background")
    assert Image.open(result).getpixel((40, 16)) == (255, 0, 0)
    result = client.predict(image, background=image, api_name="/remove_background")
    assert Image.open(result).mode == "RGB"


def test_the_api_says_what_is_wrong(served: Served, photo: Upload, bad: Upload, tmp_path: Path) -> None:
    from gradio_client import handle_file
    from gradio_client.exceptions import AppError

    client = client_of(served, tmp_path)
    image = handle_file(str(photo.path))

    def call(*args: Any, **options: Any) -> str:
        with pytest.raises((AppError, ValueError)) as raised:
            client.predict(*args, api_name="/remove_background", **options)
        return str(raised.value)

    assert "bad.jpg" in call(handle_file(str(bad.path)))
    assert "not on offer" in call(image, model="somebody/else")
    assert "use a colour" in call(image, background="/etc/passwd")
    assert "not an uploaded image" in call("photo.png")
    Image.new("RGB", (2000, 2000)).save(tmp_path / "large.png")
    assert "serve with a higher --max-pixels" in call(handle_file(str(tmp_path / "large.png")))


def test_no_file_of_the_server_can_be_read(served: Served, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    for path in (str(secret), "/etc/passwd", str(ROOT / "pyproject.toml")):
        with pytest.raises(OSError, match="HTTP Error 40"):
            served.get(f"/gradio_api/file={path}")
        file = {"path": path, "meta": {"_type": "gradio.FileData"}}
        event = json.loads(
            served.get(
                "/gradio_api/call/remove_background",
                json.dumps({"data": [file, None, "", ""]}).encode(),
                **{"Content-Type": "application/json"},
            )
        )["event_id"]
        assert b"event: error" in served.get(f"/gradio_api/call/remove_background/{event}")
    kept = [path for path in served.service.folder.rglob("*") if path.is_file()]
    assert all(b"secret" not in path.read_bytes() for path in kept)


def test_uploads_that_are_too_large(served: Served) -> None:
    body = (
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
        + b"0" * 2_100_000
        + b"\r\n--x--\r\n"
    )
    with pytest.raises(OSError, match="413"):
        served.get("/gradio_api/upload", body, **{"Content-Type": "multipart/form-data; boundary=x"})


def test_programs_see_one_endpoint(served: Served) -> None:
    info = json.loads(served.get("/gradio_api/info"))
    assert list(info["named_endpoints"]) == ["/remove_background"]
    assert not info["unnamed_endpoints"]
    config = json.loads(served.get("/config"))
    assert config["analytics_enabled"] is False
    assert not [sheet for sheet in config["stylesheets"] if "//" in sheet]
    assert not re.search(r"@import|url\(['\"]?(https?:)?//", served.get("/theme.css").decode())


def test_temporary_files_end_with_the_server(made: Callable[..., Service], photo: Upload, tmp_path: Path) -> None:
    pytest.importorskip("gradio", reason="gradio is not installed: pip install -e '.[dev]'")
    from gradio_client import handle_file

    before = os.environ.get("GRADIO_TEMP_DIR")
    with serving(made()) as served:
        client_of(served, tmp_path).predict(handle_file(str(photo.path)), api_name="/remove_background")
        uploads = list(served.service.folder.glob("*/photo.png"))
        assert len(uploads) == 1  # all are in our folder, which the command deletes
        sweep(served.service.folder, -1)
        assert not [path for path in served.service.folder.rglob("*") if path.is_file()]
    assert os.environ.get("GRADIO_TEMP_DIR") == before


# The command.

SERVE = """
import sys
import threading
def told(event, args):
    if event == "socket.connect":
        print("CONNECT", args[1], file=sys.stderr, flush=True)
    if event == "socket.getaddrinfo":
        print("RESOLVE", args[0], file=sys.stderr, flush=True)
sys.addaudithook(told)
from transformers_foreground.cli import main
main()
"""


def test_the_command_opens_no_connection(tiny: Path, photo: Upload, tmp_path: Path) -> None:
    pytest.importorskip("gradio", reason="gradio is not installed: pip install -e '.[dev]'")
    from gradio_client import Client, handle_file

    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "TMPDIR": str(tmp_path), "HF_HOME": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, "serve", "--port", "0", "--local-files-only", "--server-name", "page.example"],
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    lines: list[str] = []
    try:
        for line in process.stderr:
            lines.append(line)
            if match := re.search(r"http://127\.0\.0\.1:\d+", line):
                break
        client = Client(match[0], verbose=False, download_files=str(tmp_path / "down"), analytics_enabled=False)
        client.predict(handle_file(str(photo.path)), api_name="/remove_background")
        assert list(tmp_path.glob("foreground-tmp-*"))
        assert b"gradio" in urlopen(Request(match[0], headers={"Host": "page.example"}), timeout=60).read()
    finally:
        process.terminate()
        lines += process.communicate(timeout=60)[1].splitlines()
    connections = [line for line in lines if line.startswith(("CONNECT", "RESOLVE"))]
    assert not [line for line in connections if "127.0.0.1" not in line and "localhost" not in line]
    # Nor has ONNX Runtime begun a session with Microsoft, of which it keeps the number in this file.
    assert not [path for path in tmp_path.iterdir() if path.name.startswith((".ses", "foreground-tmp-", "gradio"))]
    assert not [line for line in lines if "warning" in line.lower()]


def test_a_port_that_is_taken() -> None:
    pytest.importorskip("gradio", reason="gradio is not installed: pip install -e '.[dev]'")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = CliRunner().invoke(command, ["serve", "--port", str(taken.getsockname()[1])])
    assert done.exit_code == 1
    assert "Give another --port" in " ".join(done.stderr.split())


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    done = CliRunner().invoke(command, ["serve"])
    assert done.exit_code == 1
    assert "foreground serve needs gradio" in " ".join(done.stderr.split())
    assert "pip install -e '.[demo]'" in done.stderr


def test_help_is_light() -> None:
    code = (
        "import sys\nfrom transformers_foreground.cli import app\n"
        "app(['serve', '--help'], standalone_mode=False)\nassert 'gradio' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "--max-pixels" in done.stdout


# In a browser, which playwright drives; the images in docs/ are made when
# FOREGROUND_SCREENSHOTS is set.


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed, so axe-core cannot be had")
    folder = tmp_path_factory.mktemp("axe")
    done = subprocess.run([npm, "pack", "axe-core@4.14.1"], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("npm cannot fetch axe-core")
    shutil.unpack_archive(next(folder.glob("*.tgz")), folder)
    return (folder / "package/axe.min.js").read_text()


def test_an_image_through_the_page(chromium: Any, served: Served, half_bright: Image.Image, tmp_path: Path) -> None:
    page = opened(chromium, served)
    give(page, [file("Zoë's photo.png", png(half_bright))])
    page.click("#go")
    assert "Done." in finished(page)
    page.wait_for_selector("#slider img.fixed")
    with page.expect_download() as download:
        page.click("#one")
    assert download.value.suggested_filename == "Zoë_s photo.cutout.png"
    with Image.open(download.value.path()) as image:
        assert image.mode == "RGBA"
    assert page.locator("#every").count() == 0
    assert page.locator("#several").is_hidden()
    page.close()


def test_several_with_a_bad_one(chromium: Any, served: Served, half_bright: Image.Image) -> None:
    page = opened(chromium, served)
    images = [file("a.png", png(half_bright)), file("<img src=x>.jpg", b"no"), file("b.png", png(half_bright))]
    give(page, images)
    page.click("#go")
    text = finished(page)
    page.wait_for_selector("#every")
    assert "2 of 3 images are done" in page.inner_text("#status")
    assert "Cannot read" in text
    assert page.locator("#status li img").count() == 0
    assert page.locator("#several img").count() == 2
    page.click("#several .gallery-item:nth-of-type(2) button")
    page.wait_for_function("document.querySelector('#one').textContent.includes('b.cutout.png')")
    with page.expect_download() as download:
        page.click("#every")
    assert download.value.suggested_filename == "cutouts.zip"
    with zipfile.ZipFile(download.value.path()) as archive:
        assert archive.namelist() == ["a.cutout.png", "b.cutout.png"]
    page.close()


def test_backgrounds_on_the_page(chromium: Any, served: Served, half_bright: Image.Image) -> None:
    page = opened(chromium, served)
    give(page, [file("a.png", png(half_bright))])

    def corner() -> Any:
        before = page.evaluate("document.querySelector('#one')?.href ?? ''")
        page.click("#go")
        new = "old => (document.querySelector('#one')?.href ?? old) != old && document.querySelector('.status.done')"
        page.wait_for_function(new, arg=before)
        with page.expect_download() as download:
            page.click("#one")
        with Image.open(download.value.path()) as image:
            return image.getpixel((40, 16))

    page.check("#kind input[value=Colour]")
    page.wait_for_selector("#colour")
    assert corner() == (255, 255, 255)
    page.check("#kind input[value=Image]")
    page.wait_for_selector("#behind")
    page.wait_for_selector("#links .notice")
    assert "no background image yet" in page.inner_text("#links")
    assert page.locator("#links a").count() == 0  # there is no link to an old file
    page.click("#go")
    page.wait_for_selector(".status.error")
    assert "no background image yet" in page.inner_text("#status")
    page.set_input_files("#behind input[type=file]", [file("red.png", png(Image.new("RGB", (9, 9), "red")))])
    page.wait_for_selector("#behind tr.file")
    assert corner() == (255, 0, 0)
    page.close()


def test_another_model(chromium: Any, served: Served, half_bright: Image.Image) -> None:
    page = opened(chromium, served)
    assert "non-commercial use only" in page.inner_text("#facts")
    assert not page.is_visible("input[aria-label=Model]")
    page.click("#advanced button")
    page.click("input[aria-label=Model]")
    page.click("[role=option][aria-label='mine/one']")
    page.wait_for_function("!document.querySelector('#facts').innerText.includes('non-commercial')")
    assert page.input_value("input[aria-label=Precision]") == "Automatic"
    page.click("input[aria-label=Precision]")
    page.click("[role=option][aria-label='Half precision (fp16)']")
    give(page, [file("a.png", png(half_bright))])
    page.click("#go")
    assert "Done." in finished(page)
    assert list(served.service._models._models) == [("mine/one", "fp16")]
    page.close()


def test_an_image_that_is_too_large(chromium: Any, served: Served, half_bright: Image.Image) -> None:
    page = opened(chromium, served)
    large = file("large.png", b"0" * 2_100_000)
    give(page, [file("a.png", png(half_bright)), large], 1)
    assert "larger than 2 MB: large.png" in page.inner_text("#refused")
    page.set_input_files("#images input[type=file]", [large])
    page.check("#kind input[value=Image]")
    page.wait_for_selector("#behind")
    page.set_input_files("#behind input[type=file]", [file("wide.png", large["buffer"])])
    assert "larger than 2 MB: wide.png" in page.inner_text("#refused")
    assert page.locator("#behind tr.file").count() == 0
    assert page.locator("#images tr.file").count() == 1
    give(page, [file("b.png", png(Image.new("RGB", (9, 9))))], 2)
    assert not page.inner_text("#refused")
    page.close()


def test_the_server_fails(
    chromium: Any, served: Served, half_bright: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks_module, "cutout", lambda *_, **__: 1 / 0)
    page = opened(chromium, served)
    give(page, [file("a.png", png(half_bright))])
    page.click("#go")
    assert "Its log says why" in finished(page)
    page.close()


def test_paste_drop_and_add(chromium: Any, served: Served, half_bright: Image.Image) -> None:
    page = opened(chromium, served)
    carry = """([kind, data]) => {
      const carrier = new DataTransfer();
      carrier.items.add(new File([new Uint8Array(data)], "image.png", { type: "image/png" }));
      const init = { bubbles: true, cancelable: true };
      document.body.dispatchEvent(kind == "paste" ? new ClipboardEvent(kind, { ...init, clipboardData: carrier })
        : new DragEvent(kind, { ...init, dataTransfer: carrier }));
    }"""
    # All are called image.png, as clipboards call them; Gradio takes the same image only once.
    for count, (kind, colour) in enumerate((("paste", "red"), ("drop", "green"), ("paste", "blue")), 1):
        page.evaluate(carry, [kind, list(png(Image.new("RGB", (9, 9), colour)))])
        page.wait_for_function(f"document.querySelectorAll('#images tr.file').length == {count}")
    with page.expect_file_chooser() as chooser:
        page.click("#more")
    chooser.value.set_files([file("more.png", png(half_bright))])
    page.wait_for_function("document.querySelectorAll('#images tr.file').length == 4")
    page.close()


def test_stop(chromium: Any, served: Served, half_bright: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    forward, may_run = Segmenter.run, threading.Semaphore(4)
    monkeypatch.setattr(Segmenter, "run", lambda *args: (may_run.acquire(timeout=60), forward(*args))[1])
    page = opened(chromium, served)
    give(page, [file(f"{i}.png", png(half_bright)) for i in range(20)])
    page.click("#go")
    page.wait_for_selector("#several .gallery-item:nth-of-type(4)")
    assert page.locator("#every").count() == 0
    page.click("#stop")
    page.wait_for_selector("#stop", state="hidden")  # it is there while something runs
    page.wait_for_function("document.querySelector('#status').innerText.includes('Stopped')")
    page.wait_for_selector("#every")
    may_run.release(20)
    page.wait_for_timeout(1500)
    assert "Stopped" in page.inner_text("#status")
    assert page.locator("#status progress").count() == 0
    assert served.service._requests == 0
    with page.expect_download() as download:  # what was done is not lost
        page.click("#every")
    with zipfile.ZipFile(download.value.path()) as archive:
        assert archive.namelist() == [f"{i}.cutout.png" for i in range(4)]
    page.close()


def test_a_page_that_is_closed(
    chromium: Any, served: Served, half_bright: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, seen, may_run = Segmenter.run, [], threading.Semaphore(2)
    monkeypatch.setattr(Segmenter, "run", lambda *a: (seen.append(1), may_run.acquire(timeout=120), forward(*a))[2])
    page = opened(chromium, served)
    give(page, [file(f"{i}.png", png(Image.new("RGB", (9, 9), (i, 0, 0)))) for i in range(40)])
    page.click("#go")
    page.wait_for_selector("#one")
    page.close()
    deadline = time.monotonic() + 60
    while served.service._requests and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not served.service._requests
    may_run.release(40)
    assert len(seen) < 6


def test_progress_of_a_fetch(
    chromium: Any, tiny: Path, half_bright: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "page").mkdir()
    with HubServer() as hub:
        hub.add_repo(MODEL, {**files_of(tiny)})
        shutil.rmtree(tiny)
        monkeypatch.setattr(env, "remote_host", hub.url)
        go_on = hub.hold("onnx/model.onnx", after=400)
        with serving(Service(Settings(MODEL), tmp_path / "page")) as served:
            page = opened(chromium, served)
            page.wait_for_function("document.querySelector('#facts').innerText.includes('your first image downloads')")
            give(page, [file("a.png", png(half_bright))])
            assert not hub.requests  # not at the start, nor with the upload
            page.click("#go")
            page.wait_for_function("document.querySelector('#status').innerText.startsWith('Fetching')")
            share = "document.querySelector('#status progress').value"
            page.wait_for_function(f"0 < {share} && {share} < 1")
            go_on.set()
            assert "Done." in finished(page)
            page.wait_for_function("document.querySelector('#facts').innerText.includes('On this machine')")
            page.close()


def test_with_the_keyboard_alone(chromium: Any, served: Served, half_bright: Image.Image) -> None:
    page = opened(chromium, served)

    def tab_to(selector: str) -> None:
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate("s => document.activeElement.matches(s)", selector):
                return
        pytest.fail(f"Tab does not reach {selector}")

    tab_to("#images button")
    # Chromium opens no dialogue for keys that come from a driver, so this asks whether it would have.
    page.evaluate(
        "document.querySelector('#images input').addEventListener('click', () => { document.title = 'opened' })"
    )
    page.keyboard.press("Enter")
    page.wait_for_function("document.title == 'opened'")
    give(page, [file(f"{name}.png", png(half_bright)) for name in "ab"])
    tab_to("#kind input")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("#colour")
    tab_to("#go")
    page.keyboard.press("Enter")
    assert "Done: 2 images" in finished(page)
    page.wait_for_function("[...document.querySelectorAll('#slider img')].every(image => image.complete)")
    tab_to("[role=slider]")
    page.keyboard.press("Home")
    page.wait_for_function("document.querySelector('#slider [role=slider]').ariaValueNow == 0")
    clip = page.evaluate("document.querySelector('#slider img.fixed').style.clipPath")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.querySelector('#slider [role=slider]').ariaValueNow == 10")
    assert page.evaluate("document.querySelector('#slider img.fixed').style.clipPath") != clip
    tab_to("#several .gallery-item:nth-of-type(2) button")
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('#one').textContent.includes('b.cutout.png')")
    tab_to("#one")
    with page.expect_download():
        page.keyboard.press("Enter")
    page.close()


def test_the_slider_is_left_alone_after_a_request(chromium: Any, served: Served, half_bright: Image.Image) -> None:
    page = opened(chromium, served)
    page.evaluate(
        "window.seen = new Set(); new MutationObserver(() => document.querySelectorAll('#slider img').forEach("
        "image => seen.add(image.src))).observe(document, { subtree: true, childList: true, attributeFilter: ['src'] })"
    )
    give(page, [file(f"{name}.png", png(half_bright)) for name in "ab"])
    page.click("#go")
    page.wait_for_selector("#every")  # comes once the request has ended
    page.wait_for_timeout(500)
    assert page.evaluate("[...seen].filter(Boolean).length") == 2  # the image and its cut-out
    page.check("#kind input[value=Colour]")
    page.wait_for_function("[...seen].filter(Boolean).length > 2")
    page.close()


def test_keys_while_the_slider_loads_an_image(chromium: Any, served: Served, half_bright: Image.Image) -> None:
    page = opened(chromium, served)
    give(page, [file("a.png", png(half_bright))])
    page.click("#go")
    assert "Done." in finished(page)
    page.wait_for_selector("[role=slider]")
    held: list[Any] = []
    go_on = threading.Event()
    page.route("**/gradio_api/file=**", lambda route: route.continue_() if go_on.is_set() else held.append(route))
    page.check("#kind input[value=Colour]")
    while not held:
        page.wait_for_timeout(20)
    page.focus("[role=slider]")
    for key in ("Home", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
        page.wait_for_timeout(100)
    go_on.set()
    for route in held:
        route.continue_()
    page.wait_for_function("document.querySelector('#slider [role=slider]').ariaValueNow == 10")
    assert page.evaluate("document.querySelector('#slider [role=slider]').style.transform")
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_accessibility_and_width(
    chromium: Any, served: Served, half_bright: Image.Image, axe: str, width: int, scheme: str
) -> None:
    page = opened(chromium, served, viewport={"width": width, "height": 1600}, color_scheme=scheme)
    page.add_script_tag(content=axe)
    page.add_style_tag(content="*, ::before, ::after { transition: none !important; animation: none !important }")

    def check() -> None:
        found = page.evaluate("axe.run(document)")["violations"]
        grave = [(v["id"], n["html"]) for v in found if v["impact"] in ("serious", "critical") for n in v["nodes"]]
        assert not grave
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    check()
    long = "a name without any room to break it " * 3
    give(page, [file(f"{long}.png", png(half_bright)), file("x" * 90, b"no"), file("b.png", png(half_bright))])
    page.check("#kind input[value=Colour]")
    page.click("#go")
    page.wait_for_selector("#every")
    page.click("#colour button")
    page.wait_for_selector("#colour input[type=text]")
    check()
    page.check("#kind input[value=Image]")
    page.wait_for_selector("#behind")
    check()
    page.close()


def test_the_browser_asks_nobody_else(chromium: Any, served: Served, half_bright: Image.Image, tmp_path: Path) -> None:
    """From Chromium's own log of the network, which has all that a page makes it do: prefetches, fonts, workers."""
    log = tmp_path / "net.json"
    launcher = chromium.browser_type
    browser = launcher.launch(
        executable_path=shutil.which(os.environ.get("CHROMIUM", "chromium")),
        args=["--no-sandbox", f"--log-net-log={log}", "--net-log-capture-mode=Everything"],
    )
    page = browser.new_page()
    page.set_default_timeout(180_000)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("websocket", lambda socket: asked.append(socket.url))
    page.goto(served.url)
    page.wait_for_selector("#facts p")
    give(page, [file("a.png", png(half_bright)), file("b.png", png(half_bright))])
    for kind in ("Colour", "Blurred", "Image", "Transparent"):
        page.check(f"#kind input[value={kind}]")
        page.wait_for_timeout(200)
    page.click("#go")
    page.wait_for_selector("#every")
    page.wait_for_timeout(1000)
    browser.close()
    hosts = {urlsplit(url).hostname for url in asked if urlsplit(url).scheme not in ("data", "blob")}
    assert hosts == {"127.0.0.1"}

    text = log.read_text()
    if not text.rstrip().endswith("]}"):  # Chromium was ended as it wrote: each event is a line
        text = text[: text.rindex("},\n") + 1] + "]}"
    events = json.loads(text)
    names = {number: name for name, number in events["constants"]["logEventTypes"].items()}
    started = [
        event["params"]
        for event in events["events"]
        if names[event["type"]] == "URL_REQUEST_START_JOB" and "url" in event.get("params", {})
    ]
    # What Chromium asks by itself, for itself (its updates, say), has no page as its initiator.
    urls = {start["url"] for start in started if start.get("initiator", "").startswith("http")}
    assert len(urls) > 10
    assert {urlsplit(url).hostname for url in urls} == {"127.0.0.1"}


def test_the_page_answers_while_others_wait(
    chromium: Any, served: Served, half_bright: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, may_run = Segmenter.run, threading.Semaphore(2)  # either of the first two may run first
    monkeypatch.setattr(Segmenter, "run", lambda *args: (may_run.acquire(timeout=60), forward(*args))[1])
    first, second = opened(chromium, served), opened(chromium, served)
    give(first, [file(f"{i}.png", png(half_bright)) for i in range(12)])
    give(second, [file("only.png", png(half_bright))])
    first.click("#go")
    first.wait_for_selector("#one")
    second.click("#go")
    second.check("#kind input[value=Colour]")
    second.wait_for_selector("#colour")  # the page works on while its image waits
    may_run.release(6)
    assert "Done." in finished(second)
    assert "Image" in first.inner_text("#status")
    may_run.release(12)
    first.close()
    second.close()


@pytest.mark.skipif(not os.environ.get("FOREGROUND_SCREENSHOTS"), reason="FOREGROUND_SCREENSHOTS is not set")
@pytest.mark.parametrize(("name", "width", "height"), [("desktop", 1280, 880), ("phone", 390, 1490)])
def test_screenshots(chromium: Any, tmp_path: Path, name: str, width: int, height: int) -> None:
    real_model("xuebinqin/u2netp")
    scenes = ["armchair", "teapot", "duck"]
    script = [sys.executable, str(ROOT / "scripts/render_photos.py"), str(tmp_path / "photos")]
    subprocess.run([*script, *(word for scene in scenes for word in ("--scene", scene))], check=True)
    env.local_model_path = ROOT / "models"
    (tmp_path / "page").mkdir()
    service = Service(Settings("xuebinqin/u2netp", local_files_only=True), tmp_path / "page")
    with serving(service) as served:
        page = opened(chromium, served, viewport={"width": width, "height": height})
        give(page, [str(tmp_path / "photos" / f"{scene}.jpg") for scene in scenes])
        page.click("#go")
        page.wait_for_selector("#every", timeout=120_000)
        page.wait_for_timeout(1500)
        page.screenshot(path=ROOT / f"docs/page-{name}.png")
        page.close()
