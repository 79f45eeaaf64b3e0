"""The HTTP API: clients of remove.bg and of rembg, pointed at this server."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import httpx
import numpy as np
import page_server
import pytest
from page_server import MODEL, png
from PIL import Image

from transformers_foreground.env import env
from transformers_foreground.errors import ImageError
from transformers_foreground.server.callers import names_of
from transformers_foreground.server.decoding import Upload
from transformers_foreground.server.http_api import api_application
from transformers_foreground.server.progress import BusyError
from transformers_foreground.server.service import Service

photo, made = page_server.photo, page_server.made
REMOVEBG, REMBG = "/v1.0/removebg", "/api/remove"


@contextlib.contextmanager
def serving(service: Service, *keys: str) -> Iterator[httpx.Client]:
    import uvicorn

    with socket.create_server(("127.0.0.1", 0)) as listener:
        app = api_application(service, names_of("127.0.0.1"), keys)
        server = uvicorn.Server(uvicorn.Config(app, ws="none", log_level="critical", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.02)
        with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=60) as client:
            yield client
        server.should_exit = True
        thread.join(20)


@pytest.fixture
def client(made: Callable[..., Service], monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    monkeypatch.setattr(env, "allow_private_urls", False)
    with serving(made(max_bytes=1_000_000, local_files_only=False)) as client:
        yield client


@pytest.fixture
def data(half_bright: Image.Image) -> bytes:
    """Its left half, 24 of 48 columns of 32 pixels, is foreground."""
    return png(half_bright)


def image_of(answer: httpx.Response) -> Image.Image:
    assert answer.status_code == 200, answer.text
    return Image.open(io.BytesIO(answer.content))


def error_of(answer: httpx.Response) -> tuple[int, str, str]:
    (error,) = answer.json()["errors"]
    return answer.status_code, error["code"], error["title"]


def test_an_image_as_remove_bg_gives_it(client: httpx.Client, data: bytes) -> None:
    answer = client.post(REMOVEBG, files={"image_file": data}, data={"size": "auto"})
    image = image_of(answer)
    assert (image.mode, image.size) == ("RGBA", (48, 32))
    alpha = np.asarray(image)[..., 3]
    assert (alpha[:30, :20] == 255).all()
    assert not alpha[:, 28:].any()
    assert answer.headers["content-type"] == "image/png"
    told = {name: answer.headers[name] for name in ("X-Width", "X-Height", "X-Credits-Charged", "X-Foreground-Left")}
    assert told == {"X-Width": "48", "X-Height": "32", "X-Credits-Charged": "0", "X-Foreground-Left": "0"}
    assert 20 <= int(answer.headers["X-Foreground-Width"]) <= 28


def test_the_ways_to_send_an_image(client: httpx.Client, data: bytes) -> None:
    expected = client.post(REMOVEBG, files={"image_file": data}).content
    b64 = base64.b64encode(data).decode()
    assert client.post(REMOVEBG, data={"image_file_b64": b64}).content == expected
    assert client.post(REMOVEBG, json={"image_file_b64": f"data:image/png;base64,{b64}"}).content == expected
    lines = base64.encodebytes(data).decode()  # as programs write it
    assert client.post(REMOVEBG, data={"image_file_b64": lines}).content == expected
    assert client.post(REMOVEBG, json={"image_file_b64": f"data:image/png;base64,\r\n{lines}"}).content == expected
    answer = client.post(REMOVEBG, files={"image_file": data}, headers={"Accept": "application/json"})
    told = answer.json()["data"]
    assert base64.b64decode(told["result_b64"]) == expected
    assert told["foreground_height"] == 32


@pytest.mark.parametrize(
    ("fields", "format", "mode", "size"),
    [
        ({"format": "jpg"}, "JPEG", "RGB", (48, 32)),
        ({"format": "webp"}, "WEBP", "RGBA", (48, 32)),
        ({"format": "auto", "bg_color": "red"}, "JPEG", "RGB", (48, 32)),
        ({"format": "png", "bg_color": "81d4fa"}, "PNG", "RGB", (48, 32)),
        ({"format": "png", "channels": "alpha"}, "PNG", "L", (48, 32)),
        ({"roi": "0px 0px 10px 50%", "crop": "true", "format": "png"}, "PNG", "RGBA", (10, 16)),
        ({"roi": "0px 0px 10px 50%", "crop": "true", "crop_margin": "5px", "format": "png"}, "PNG", "RGBA", (20, 26)),
        ({"roi": "0 0 10 10", "crop": "true", "crop_margin": "50%", "format": "png"}, "PNG", "RGBA", (20, 20)),
        ({"roi": "0 0 10 10", "crop": "true", "crop_margin": "1px 20%", "format": "png"}, "PNG", "RGBA", (14, 12)),
        ({"roi": "0 0 10 10", "crop": "true", "crop_margin": "1 2 3 50%", "format": "png"}, "PNG", "RGBA", (17, 14)),
        ({"crop_margin": "5px", "format": "png"}, "PNG", "RGBA", (48, 32)),
        ({"add_shadow": "true", "format": "png"}, "PNG", "RGBA", (48, 32)),
    ],
)
def test_fields(
    client: httpx.Client, data: bytes, fields: dict[str, str], format: str, mode: str, size: tuple[int, int]
) -> None:
    image = image_of(client.post(REMOVEBG, files={"image_file": data}, data=fields))
    assert (image.format, image.mode, image.size) == (format, mode, size)


def test_fields_that_ask_for_nothing(client: httpx.Client, data: bytes) -> None:
    """Clients of remove.bg that fill in every field send these."""
    fields = {"type": "auto", "type_level": "none", "scale": "original", "position": "original", "bg_image_url": ""}
    fields |= {"semitransparency": "true", "shadow_type": "none", "bg_color": "", "roi": "", "image_url": ""}
    image = image_of(client.post(REMOVEBG, files={"image_file": data}, data=fields))
    assert image.tobytes() == image_of(client.post(REMOVEBG, files={"image_file": data})).tobytes()


def test_backgrounds(client: httpx.Client, data: bytes) -> None:
    def right(**options: Any) -> Any:
        answer = client.post(REMOVEBG, data={"format": "png", **options.pop("data", {})}, **options)
        return image_of(answer).getpixel((40, 16))

    assert right(files={"image_file": data}, data={"bg_color": "#00ff00"}) == (0, 255, 0)
    behind = png(Image.new("RGB", (20, 20), "blue"))
    assert right(files={"image_file": data, "bg_image_file": behind}) == (0, 0, 255)
    jpeg = image_of(client.post(REMOVEBG, files={"image_file": data}, data={"format": "jpg"}))
    assert min(jpeg.getpixel((40, 16))) > 250  # white where there is no background


def test_sizes(client: httpx.Client) -> None:
    large = png(Image.new("RGB", (1000, 500), "white"))
    for size, limit in (("regular", 250_000), ("full", 500_000), ("hd", 500_000)):
        width, height = image_of(client.post(REMOVEBG, files={"image_file": large}, data={"size": size})).size
        assert 0.98 * limit < width * height <= 1.01 * limit


WRONG = [
    ({}, None, "invalid_parameter", "No image"),
    ({"image_file_b64": "###"}, None, "invalid_parameter", "not base64"),
    ({"image_file": "text"}, None, "invalid_parameter", "send it as a file"),
    ({"type": "person"}, b"", "invalid_parameter", "type is not supported"),
    ({"scale": "80%"}, b"", "invalid_parameter", "scale is not supported"),
    ({"bg_image_url": "http://x.example/"}, b"", "invalid_parameter", "bg_image_file"),
    ({"colour": "red"}, b"", "invalid_parameter", "'colour' is not a known field. Use image_file"),
    ({"format": "zip"}, b"", "invalid_parameter", "use auto, png, jpg, webp"),
    ({"size": "huge"}, b"", "invalid_parameter", "size='huge'"),
    ({"crop": "maybe"}, b"", "invalid_parameter", "use true or false"),
    ({"crop": "true", "crop_margin": "10em"}, b"", "invalid_parameter", "crop_margin"),
    ({"crop": "true", "crop_margin": "10 20 30"}, b"", "invalid_parameter", "crop_margin"),
    ({"crop": "true", "crop_margin": "501px"}, b"", "invalid_parameter", "crop_margin"),
    ({"roi": "0 0 10"}, b"", "invalid_parameter", "x1 y1 x2 y2"),
    ({"roi": "0 0 10 10 x" + " 0" * 500_000}, b"", "invalid_parameter", "roi: 'x 0 0"),  # not looked at word by word
    ({"roi": "5 5 5 5"}, b"", "invalid_image", "is empty in this image"),
    ({"roi": "nan 0 1 1"}, b"", "invalid_parameter", "not a length"),
    ({"bg_color": "nocolour"}, b"", "invalid_parameter", "bg_color"),
    ({"image_url": "file:///etc/passwd"}, None, "invalid_parameter", "not an http: or https: address"),
    ({"image_url": "http://127.0.0.1:9/a.png"}, None, "invalid_image", "send the image's file instead"),
    ({"image_url": "http://[::ffff:127.0.0.1]/a.png"}, None, "invalid_image", "not on the public internet"),
    ({}, b"no image", "invalid_image", "Cannot read"),
]


@pytest.mark.parametrize(("fields", "file", "code", "title"), WRONG)
def test_what_is_wrong_is_named(
    client: httpx.Client, data: bytes, fields: dict[str, str], file: bytes | None, code: str, title: str
) -> None:
    files = None if file is None else {"image_file": file or data}
    status, found, said = error_of(client.post(REMOVEBG, data=fields, files=files))
    assert (status, found) == (400, code)
    assert title in said


def test_bodies_that_are_none(client: httpx.Client, data: bytes) -> None:
    for body, kind in ((b"[1]", "application/json"), (b"{", "application/json"), (b"x", "text/plain")):
        assert error_of(client.post(REMOVEBG, content=body, headers={"Content-Type": kind}))[0] == 400
    assert error_of(client.post(REMOVEBG, content=b"x", headers={"Content-Type": "multipart/form-data"}))[0] == 400
    twice = [("image_file", ("a.png", data)), ("image_file", ("b.png", data))]
    assert "given twice" in error_of(client.post(REMOVEBG, files=twice))[2]
    assert error_of(client.post(REMOVEBG, content=bytes(4_000_000)))[:2] == (413, "file_too_large")
    large = error_of(client.post(REMOVEBG, files={"image_file": data + bytes(1_100_000)}))
    assert large[0] == 400
    assert "exceed the limit of 1 MB" in large[2]


@pytest.mark.parametrize(
    ("body", "title"),
    [
        (b'{"image_url": "http://a/\\ud800"}', "Cannot read http://a/?"),
        (b'{"\\ud800": 1}', "'?' is not a known field"),
        (b'{"size": "\\udfff"}', "size='?'"),
        (b'{"size": [' + b"[]," * 1_000_000 + b"1]}", "not a JSON object of a few fields"),
        (b"{" + b",".join(b'"a%d":1' % i for i in range(200_000)) + b"}", "not a JSON object of a few fields"),
        (b"{" + b",".join(b'"a%d":1' % i for i in range(100)) + b"}", "Too many fields"),
        (b"[" * 1_000_000, "not JSON"),
        *((b'{"size": ' + b"[" * deep + b"]" * deep + b"}", "not ") for deep in (1, 500, 800, 990, 40_000)),
    ],
)
def test_json_that_is_made_to_harm(client: httpx.Client, body: bytes, title: str) -> None:
    status, _, said = error_of(client.post(REMOVEBG, content=body, headers={"Content-Type": "application/json"}))
    assert (status, title in said) == (400, True), said


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=x", "application/x-www-form-urlencoded"])
def test_text_in_a_code_that_takes_hours_to_read(client: httpx.Client, kind: str) -> None:
    """Python decodes punycode in quadratic time, and a form says itself what its text is in."""
    text = ("ü" * 40_000).encode("punycode")
    body = b'--x\r\nContent-Disposition: form-data; name="size"\r\n\r\n' + text + b"\r\n--x--\r\n"
    for name in ("punycode", '"PunyCode"', "idna", "utf-7"):
        answer = client.post(REMOVEBG, content=body, headers={"Content-Type": f"{kind}; charset={name}"})
        assert "send text in UTF-8" in error_of(answer)[2]
    for name in ("utf-8", "UTF-8", "iso-8859-1"):
        answer = client.post(REMOVEBG, content=body, headers={"Content-Type": f"{kind}; charset={name}"})
        assert "UTF-8" not in error_of(answer)[2]


def test_a_form_of_escapes(client: httpx.Client) -> None:
    """Python reads each by itself, and answers nobody meanwhile."""
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    assert "too many escapes" in error_of(client.post(REMOVEBG, content=b"size=" + b"%" * 1_000_001, headers=kind))[2]


def test_many_fields(client: httpx.Client) -> None:
    """Their number is checked before they are compared with each other."""
    query = "&".join(f"a{i}=1" for i in range(5000))
    assert "Too many fields" in error_of(client.get(f"{REMBG}?{query}"))[2]
    body, kind = "&".join(f"a{i}=1" for i in range(900)), "application/x-www-form-urlencoded"
    status, _, said = error_of(client.post(REMOVEBG, content=body, headers={"Content-Type": kind}))
    assert (status, "oo many fields" in said) == (400, True), said


def test_keys_beyond_ascii(made: Callable[..., Service], data: bytes) -> None:
    with serving(made(), "ключ-kéy", "kéy") as client:
        for key, status in (("kéy".encode(), 200), ("kéy".encode("latin-1"), 200), ("ключ-kéy".encode(), 200)):
            answer = client.post(REMOVEBG, files={"image_file": data}, headers={b"X-Api-Key": key})
            assert answer.status_code == status
        for key in (b"k?y", b"\xff\xfe", b"k\xc3y", b"????-k\xe9y"):
            answer = client.post(REMOVEBG, files={"image_file": data}, headers={b"X-Api-Key": key})
            assert answer.status_code == 403


def test_calls_that_fill_the_memory(made: Callable[..., Service], data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers_foreground.server import memory

    with serving(made()) as client:
        for _ in range(3):  # what was answered does not count any more
            monkeypatch.setattr(memory, "IN_MEMORY", 1000 + len(data))
            assert client.post(REMOVEBG, files={"image_file": data}).status_code == 200
            monkeypatch.setattr(memory, "IN_MEMORY", len(data))
            assert client.post(REMOVEBG, files={"image_file": data}).status_code == 503
        chunks = client.post(REMOVEBG, content=iter([b"x" * 5000] * 9), headers={"Content-Type": "image/png"})
        assert chunks.status_code == 503


def test_images_that_are_fetched_fill_the_memory_too(
    made: Callable[..., Service], data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers_foreground.server import memory, wanted

    service, seen = made(local_files_only=False, max_bytes=5000), list[int]()
    composed, call = wanted._composed, wanted.Wanted("http://example.org/a.png")

    def cut_out() -> Any:
        return asyncio.run(wanted.cut_out(service, call))

    monkeypatch.setattr(wanted, "download", lambda *_: (seen.append(service.memory.taken), data)[1])
    monkeypatch.setattr(wanted, "_composed", lambda *args: (seen.append(service.memory.taken), composed(*args))[1])
    assert cut_out().width == 48
    assert seen == [5000, len(data)]  # as much as it may be, until its size is known
    service.memory.taken = memory.IN_MEMORY - 4999
    with pytest.raises(BusyError, match="memory"):
        cut_out()
    service.memory.taken = 0
    monkeypatch.setattr(wanted, "download", lambda *_: b"no image")
    with pytest.raises(ImageError):
        cut_out()
    assert service.memory.taken == 0


def test_keys(made: Callable[..., Service], data: bytes) -> None:
    with serving(made(), "one", "two") as client:
        for path, field in ((REMOVEBG, "image_file"), (REMBG, "file")):
            send = {field: data}
            assert error_of(client.post(path, files=send))[:2] == (403, "auth_failed")
            assert error_of(client.post(path, files=send, headers={"X-Api-Key": "on"}))[:2] == (403, "auth_failed")
            assert client.post(path, files=send, headers={"X-Api-Key": "two"}).status_code == 200
        assert client.get(REMBG, params={"url": "http://127.0.0.1/"}).status_code == 403
        assert client.get("/health").json() == {"status": "ok"}


def test_callers_that_are_too_many(made: Callable[..., Service], data: bytes) -> None:
    service = made(queue=1)
    with serving(service) as client:
        service._requests = 1
        answer = client.post(REMOVEBG, files={"image_file": data})
        assert error_of(answer)[:2] == (429, "rate_limit_exceeded")
        assert int(answer.headers["Retry-After"]) > 0


def test_a_model_that_cannot_be_opened(made: Callable[..., Service], data: bytes, tiny: Path) -> None:
    (tiny / "onnx/model.onnx").write_bytes(b"broken")
    with serving(made()) as client:
        assert error_of(client.post(REMOVEBG, files={"image_file": data}))[:2] == (500, "server_error")


def test_pages_of_other_sites(client: httpx.Client, data: bytes) -> None:
    for headers in ({"Origin": "https://evil.example"}, {"Host": "rebound.example"}):
        answer = client.post(REMOVEBG, files={"image_file": data}, headers=headers)
        assert error_of(answer)[0] in (403, 421)


def test_no_connection_where_none_is_allowed(made: Callable[..., Service]) -> None:
    with serving(made()) as client:
        said = error_of(client.post(REMOVEBG, data={"image_url": "http://example.org/a.png"}))[2]
        assert "--local-files-only" in said


def test_what_rembg_clients_send(client: httpx.Client, data: bytes) -> None:
    image = image_of(client.post(REMBG, files={"file": data}))
    assert (image.format, image.mode, image.getpixel((2, 2))[3], image.getpixel((45, 2))[3]) == ("PNG", "RGBA", 255, 0)
    mask = image_of(client.post(REMBG, files={"file": data}, data={"om": "true", "model": MODEL}))
    assert (mask.mode, mask.getpixel((2, 2)), mask.getpixel((45, 2))) == ("L", 255, 0)
    behind = image_of(client.post(REMBG, files={"file": data}, data={"bgc": "255,0,0,255", "a": "true"}))
    assert behind.getpixel((45, 2)) == (255, 0, 0)


@pytest.mark.parametrize(
    ("fields", "title"),
    [
        ({"model": "u2net"}, "Did you mean xuebinqin/u2net?"),
        ({"bgc": "red"}, "red,green,blue"),
        ({"bgc": "1,2,300"}, "red,green,blue"),
        ({"bgc": "1,2,3,128"}, "opaque"),
        ({"bgc": "1,2," + "9" * 5000}, "red,green,blue"),
        ({"af": "240"}, "af is not supported"),
        ({"ppm": "true"}, "ppm is not supported"),
        ({"extras": "{}"}, "extras is not supported"),
        ({"b": "1"}, "'b' is not a known field"),
    ],
)
def test_what_rembg_clients_may_not_send(client: httpx.Client, data: bytes, fields: dict[str, str], title: str) -> None:
    assert title in error_of(client.post(REMBG, files={"file": data}, data=fields))[2]


def test_addresses_for_rembg(client: httpx.Client) -> None:
    assert "No image" in error_of(client.get(REMBG))[2]
    said = error_of(client.get(REMBG, params={"url": "http://localhost:1/a.png"}))[2]
    assert "not on the public internet" in said
    assert "No image" in error_of(client.post(REMBG))[2]
    for body in ({"files": {"url": b"x"}}, {"data": {"url": "x"}}, {"json": {"url": "x"}}):
        assert "No image" in error_of(client.request("GET", REMBG, **body))[2]  # type: ignore[arg-type]


def test_an_address_is_fetched(
    client: httpx.Client, data: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    (tmp_path / "a.png").write_bytes(data)

    def handler(*args: Any) -> SimpleHTTPRequestHandler:
        return SimpleHTTPRequestHandler(*args, directory=str(tmp_path))

    monkeypatch.setattr(env, "allow_private_urls", True)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as elsewhere:
        threading.Thread(target=elsewhere.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{elsewhere.server_port}/a.png"
        assert image_of(client.get(REMBG, params={"url": url})).size == (48, 32)
        assert image_of(client.post(REMOVEBG, data={"image_url": url})).size == (48, 32)
        elsewhere.shutdown()


def test_servers_that_say_nothing_hold_no_other_caller(
    client: httpx.Client, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers_foreground.server import wanted

    monkeypatch.setattr(env, "allow_private_urls", True)
    monkeypatch.setattr(wanted, "DOWNLOAD_SECONDS", 200.0)
    answers: list[httpx.Response] = []

    def call(url: str) -> None:
        answers.append(httpx.post(str(client.base_url.join(REMOVEBG)), data={"image_url": url}, timeout=300))

    with socket.create_server(("127.0.0.1", 0), backlog=100) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a.png"
        threads = [threading.Thread(target=call, args=(url,)) for _ in range(wanted.FETCHES + 5)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 100
        while len(answers) < 5 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert client.post(REMOVEBG, files={"image_file": data}).status_code == 200
        assert [error_of(answer)[1] for answer in answers] == ["rate_limit_exceeded"] * 5  # the others still wait
    for thread in threads:  # nobody listens any more
        thread.join()
    assert {error_of(answer)[1] for answer in answers[5:]} == {"invalid_image"}


def test_the_end_waits_for_no_slow_address() -> None:
    code = """if True:
        import asyncio
        import time
        from types import SimpleNamespace
        from transformers_foreground.server import wanted
        from transformers_foreground.server.progress import Settings

        wanted.download = lambda *_: time.sleep(1000)

        async def main():
            service = SimpleNamespace(settings=Settings("a/b"), fetching=set())
            waiting = asyncio.create_task(wanted.fetch_image("http://example.org/", service))
            await asyncio.sleep(0.2)
            assert not waiting.done()

        asyncio.run(main())
    """
    done = subprocess.run([sys.executable, "-c", code], timeout=300, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_image_at_an_address_is_no_larger_than_others(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = list[int]()

    def talk(listening: socket.socket) -> None:
        with listening.accept()[0] as connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while sum(taken) < 100_000_000:
                taken.append(connection.send(bytes(65536)))

    monkeypatch.setattr(env, "allow_private_urls", True)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=talk, args=(listening,), daemon=True).start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/a.png"
        assert "more than 1000000 bytes" in error_of(client.post(REMOVEBG, data={"image_url": url}))[2]
    assert sum(taken) < 50_000_000


def test_a_large_background_is_held_small(made: Callable[..., Service], monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers_foreground.server import decoding

    monkeypatch.setattr(decoding, "QUICK_PIXELS", 1000)
    for mode, channels in (("L", 3), ("RGB", 3), ("RGBA", 4)):
        behind = Upload("b.png", data=png(Image.new(mode, (400, 100), "white")))
        image = asyncio.run(made().decode(behind))
        assert image.pixels.shape == (16, 63, channels)
        assert image.pixels.min() == 255


def test_a_margin_that_makes_the_result_too_large(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers_foreground.compositing import frame

    monkeypatch.setattr(frame, "MAX_PIXELS", 10_000)
    white = png(Image.new("RGB", (100, 50), "white"))
    fields = {"crop": "true", "crop_margin": "100%"}
    status, code, said = error_of(client.post(REMOVEBG, files={"image_file": white}, data=fields))
    assert (status, code) == (400, "invalid_image")
    assert "300x250 pixels, more than 10000" in said


def test_a_client_library_of_remove_bg(client: httpx.Client, photo: Upload, monkeypatch: pytest.MonkeyPatch) -> None:
    removebg = pytest.importorskip("removebg", reason="removebg is not installed: pip install -e '.[dev]'")
    monkeypatch.setattr("removebg.removebg.API_ENDPOINT", f"{client.base_url}".rstrip("/") + REMOVEBG)
    assert photo.path
    foreign = removebg.RemoveBg("key", str(photo.path.with_name("errors.log")))
    foreign.remove_background_from_img_file(str(photo.path), bg_color="red")
    with Image.open(f"{photo.path}_no_bg.png") as image:
        assert image.size == (48, 32)
        assert np.asarray(image.convert("RGB"))[16, 40, 0] > 240
    b64 = base64.b64encode(photo.path.read_bytes())
    foreign.remove_background_from_base64_img(b64, new_file_name=str(photo.path.with_name("b.png")))
    assert Image.open(photo.path.with_name("b.png")).getpixel((40, 16))[3] == 0


def test_the_description(client: httpx.Client) -> None:
    schema = client.get("/openapi.json").json()
    fields = schema["paths"][REMOVEBG]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    assert {"image_file", "crop_margin", "roi"} <= set(fields)
    page = client.get("/").text if client.get("/").status_code == 200 else client.get("/docs").text
    assert "bg_image_file" in page
    assert "http://" not in page
    assert "https://" not in page


def test_the_page_has_the_api_too(made: Callable[..., Service], data: bytes) -> None:
    with page_server.serving(made()) as served:
        answer = httpx.post(served.url + REMOVEBG, files={"image_file": data}, timeout=60)
        assert image_of(answer).size == (48, 32)
        assert json.loads(served.get("/health")) == {"status": "ok"}
        with pytest.raises(HTTPError), urlopen(Request(served.url + "/v1.0/other"), timeout=60):
            pass
