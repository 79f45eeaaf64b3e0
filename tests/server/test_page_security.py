"""`foreground serve` under attack: what visitors send, who may call, and many of them at a time."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import page_server
import pytest
from page_server import Served, client_of, file, finished, give, opened, png, serving
from PIL import Image
from tiny_models import write_repo

from transformers_foreground.server.callers import is_from_elsewhere, names_of
from transformers_foreground.server.decoding import Upload
from transformers_foreground.server.disk import Disk
from transformers_foreground.server.service import MAX_IMAGES, Service

photo, made, served, chromium = page_server.photo, page_server.made, page_server.served, page_server.chromium

# Who may call.


@pytest.mark.parametrize(
    ("listens_on", "host", "known"),
    [
        ("127.0.0.1", "127.0.0.1:7860", True),
        ("127.0.0.1", "LOCALHOST", True),
        ("127.0.0.1", "[::1]:7860", True),
        ("127.0.0.1", "page.example", True),
        ("127.0.0.1", "rebound.example:7860", False),
        ("127.0.0.1", "127.0.0.1.evil.example", False),
        ("127.0.0.1", "evil.example:127.0.0.1", False),
        ("127.0.0.1", "192.168.0.7", False),
        ("127.0.0.1", "", False),
        ("0.0.0.0", "192.168.0.7:7860", True),
        ("0.0.0.0", "[fe80::1]:7860", True),
        ("0.0.0.0", socket.gethostname(), True),
        ("0.0.0.0", "page.example:443", True),
        ("0.0.0.0", "rebound.example", False),
    ],
)
def test_names_that_the_server_is_called_by(listens_on: str, host: str, known: bool) -> None:
    assert names_of(listens_on, ["Page.example"]).has(host) is known


@pytest.mark.parametrize(
    ("headers", "elsewhere"),
    [
        ({}, False),  # no browser
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://behind-a-proxy.example"}, False),
        ({"Sec-Fetch-Site": "none"}, False),
        ({"Sec-Fetch-Site": "same-site"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, True),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, False),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, True),
        ({"Origin": "http://127.0.0.1:7860"}, False),
        ({"Origin": "http://127.0.0.1:3000"}, True),
        ({"Origin": "https://evil.example"}, True),
        ({"Origin": "null"}, True),
    ],
)
def test_pages_of_other_origins(headers: dict[str, str], elsewhere: bool) -> None:
    both = {"Host": "127.0.0.1:7860", **headers}
    scope = {"headers": [(k.lower().encode(), v.encode()) for k, v in both.items()], "method": "GET", "path": "/"}
    assert is_from_elsewhere(scope) is elsewhere
    for other in ({"method": "POST"}, {"path": "/gradio_api/upload"}):
        assert is_from_elsewhere({**scope, **other}) is (elsewhere or "Sec-Fetch-Dest" in headers)


def ask(
    served: Served, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Make a call with the path exactly as it is given."""
    with contextlib.closing(http.client.HTTPConnection(served.url.removeprefix("http://"), timeout=60)) as line:
        line.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = line.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


FORM = "multipart/form-data; boundary=x"


def form(*files: tuple[str | bytes, bytes], field: str = "files") -> tuple[bytes, str]:
    parts = []
    for name, data in files:
        head = f'--x\r\nContent-Disposition: form-data; name="{field}"; filename="'.encode()
        parts.append(head + (name if isinstance(name, bytes) else name.encode()) + b'"\r\n\r\n' + data + b"\r\n")
    return b"".join(parts) + b"--x--\r\n", FORM


def upload(served: Served, *files: tuple[str | bytes, bytes], **headers: str) -> tuple[int, bytes]:
    body, kind = form(*files)
    status, _, answer = ask(served, "POST", "/gradio_api/upload", body, Content_Type=kind, **headers)
    return status, answer


@contextlib.contextmanager
def begun(served: Served, data: bytes, sent: int, path: str = "/gradio_api/upload") -> Iterator[socket.socket]:
    """Begin an upload, and send some bytes of it; gives the connection."""
    body, kind = form(("begun.png", data))
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", int(served.url.rpartition(":")[2])), timeout=60) as line:
        line.sendall(head.encode() + body[:sent])
        yield line


def until(done: Callable[[], Any]) -> None:
    limit = time.monotonic() + 60
    while not done():
        assert time.monotonic() < limit, "it did not happen"
        time.sleep(0.02)


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


CALL = json.dumps({"data": [None, None, "", ""]}).encode()


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Host": "rebound.example"},
    ],
)
def test_calls_that_another_page_makes(served: Served, half_bright: Image.Image, headers: dict[str, str]) -> None:
    before = files_in(served.service.folder)
    for kind in ("application/json", "text/plain"):
        status, _, _ = ask(served, "POST", "/gradio_api/call/remove_background", CALL, Content_Type=kind, **headers)
        assert status in (403, 421)
    assert upload(served, ("a.png", png(half_bright)), **headers)[0] in (403, 421)
    status, given, answer = ask(served, "GET", "/config", **headers)
    assert status in (403, 421)
    assert "access-control-allow-origin" not in given
    assert b"components" not in answer
    wanted = {"Access_Control_Request_Method": "POST"}
    assert "access-control-allow-origin" not in ask(served, "OPTIONS", "/gradio_api/upload", **headers, **wanted)[1]
    assert files_in(served.service.folder) == before


class _Elsewhere(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<h1>Another site</h1>")

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def elsewhere() -> Iterator[int]:
    """Another site on this machine; gives its port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Elsewhere) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        yield site.server_port
        site.shutdown()


TRY_ALL = """async ({url, result}) => {
  const attempt = async (what) => { try { return await what() } catch (error) { return "failed" } };
  const form = () => {
    const data = new FormData();
    data.append("files", new File(["stolen"], "a.png"));
    return data;
  };
  const call = JSON.stringify({ data: [null, null, "", ""] });
  const post = (path, body, options) => fetch(url + path, { method: "POST", body, ...options });
  const read = async (path, options) => (await (await fetch(url + path, options)).text()).length > 0;
  const image = () => new Promise((resolve) => {
    const element = new Image();
    [element.onload, element.onerror] = [() => resolve(true), () => resolve("failed")];
    element.src = url + result;
  });
  const events = () => new Promise((resolve) => {
    const source = new EventSource(url + "/gradio_api/heartbeat/abc");
    [source.onmessage, source.onerror] = [() => resolve(true), () => { source.close(); resolve("failed"); }];
  });
  const frame = () => new Promise((resolve) => {
    const element = document.createElement("iframe");
    element.onload = () => { try { resolve(Boolean(element.contentDocument.body)) } catch { resolve("failed") } };
    element.src = url + result;
    document.body.append(element);
  });
  const blind = document.createElement("form");
  Object.assign(blind, { action: url + "/gradio_api/upload", method: "POST", enctype: "multipart/form-data" });
  const input = document.createElement("input");
  Object.assign(input, { type: "file", name: "files" });
  const carrier = new DataTransfer();
  carrier.items.add(new File(["stolen"], "form.png"));
  input.files = carrier.files;
  blind.append(input);
  const target = document.createElement("iframe");
  target.name = blind.target = "target";
  document.body.append(blind, target);
  blind.submit();
  await attempt(() => post("/gradio_api/upload", form(), { mode: "no-cors" }));
  await attempt(() => post("/gradio_api/call/remove_background", call, { mode: "no-cors" }));
  return {
    upload: await attempt(async () => (await post("/gradio_api/upload", form())).ok),
    call: await attempt(async () => (await post("/gradio_api/call/remove_background", call)).ok),
    config: await attempt(() => read("/config")),
    result: await attempt(() => read(result)),
    image: await attempt(image),
    events: await attempt(events),
    frame: await attempt(frame),
  };
}"""


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost"]
)  # to a browser the first is the same site, the other is not
def test_a_page_of_another_origin_in_a_browser(
    chromium: Any, served: Served, half_bright: Image.Image, elsewhere: int, host: str
) -> None:
    status, answer = upload(served, ("mine.png", png(half_bright)))
    assert status == 200
    result = f"/gradio_api/file={json.loads(answer)[0]}"
    assert ask(served, "GET", result)[0] == 200
    before = files_in(served.service.folder)
    page = chromium.new_page()
    page.set_default_timeout(180_000)
    page.goto(f"http://{host}:{elsewhere}/")
    found = page.evaluate(TRY_ALL, {"url": served.url, "result": result})
    assert set(found.values()) == {"failed"}, found
    page.wait_for_timeout(500)
    assert files_in(served.service.folder) == before
    page.evaluate("url => { location.href = url }", served.url)  # but it may have a link to the page
    page.wait_for_selector("#go")
    page.close()


def test_a_name_that_was_made_to_point_here(chromium: Any, served: Served) -> None:
    port = served.url.rpartition(":")[2]
    browser = chromium.browser_type.launch(
        executable_path=page_server.chromium_path(),
        args=["--no-sandbox", "--host-resolver-rules=MAP rebound.example 127.0.0.1"],
    )
    page = browser.new_page()
    page.set_default_timeout(180_000)
    answer = page.goto(f"http://rebound.example:{port}/")
    assert answer.status == 421
    assert "--server-name" in page.inner_text("body")
    browser.close()


# What visitors ask for.


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=../../../../../../etc/passwd",
        "/gradio_api/file=..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/gradio_api/file={folder}/../secret.txt",
        "/gradio_api/file={folder}/x/../../secret.txt",
        "/gradio_api/file={folder}/link/secret.txt",
        "/gradio_api/file={folder}",
        "/gradio_api/file={folder}/x/%00",
        "/gradio_api/file=%00",
        "/gradio_api/file=" + "x" * 5000,
        "/gradio_api/file=..\\..\\secret.txt",
        "/gradio_api/file=C:/Windows/win.ini",
        "/gradio_api/file=file:///etc/passwd",
        "/gradio_api/file=https://evil.example/",
        "/gradio_api/file=//evil.example/",
        "/gradio_api/file=.gradio/cached_examples/x",
        "/gradio_api/file/etc/passwd",
        "/assets/../../../../../../../../../../../etc/passwd",
        "/assets/..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/static/..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/svelte/..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/svelte//etc/passwd",
        "/../../etc/passwd",
        "//etc/passwd",
        "/gradio_api/custom_component/x/y/z/../../etc/passwd",
        "/gradio_api/proxy=http://127.0.0.1/",
        "/gradio_api/stream/x/y/z/playlist.m3u8",
    ],
)
def test_paths_that_lead_elsewhere(served: Served, tmp_path: Path, path: str) -> None:
    folder = served.service.folder
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "link").symlink_to(tmp_path)
    status, headers, answer = ask(served, "GET", path.format(folder=folder).replace("{folder}", str(folder)))
    assert status in (400, 403, 404, 405), (status, answer[:100])
    assert "location" not in headers
    assert b"root:" not in answer
    assert b"secret" not in answer.removeprefix(b"There is nothing here.")


def test_files_of_visitors_are_never_a_part_of_the_page(served: Served) -> None:
    drawing = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    for name in ("a.svg", "a.html", "a.xhtml", "a.js", "a.css", "a.txt", "a.png"):
        path = json.loads(upload(served, (name, drawing))[1])[0]
        call = {"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}, None, "", ""]}
        body = json.dumps(call).encode()  # so that Gradio meets the file in a call, too
        event = ask(served, "POST", "/gradio_api/call/remove_background", body, Content_Type="application/json")[2]
        ask(served, "GET", f"/gradio_api/call/remove_background/{json.loads(event)['event_id']}")
        for more in ({}, {"Range": "bytes=0-9"}, {"Range": "bytes=0-5-7"}, {"Range": "bytes=,,"}):
            status, headers, _ = ask(served, "GET", f"/gradio_api/file={path}", **more)
            assert status == 200
            assert headers["content-security-policy"] == "default-src 'none'; sandbox"
            assert headers["x-content-type-options"] == "nosniff"
            if not name.endswith((".png", ".txt")):
                assert headers["content-disposition"].startswith("attachment")
                assert headers["content-type"] == "application/octet-stream"


def test_no_file_of_a_visitor_becomes_the_page(served: Served) -> None:
    part = {"id": 1, "type": "html", "props": {"value": "<img src=x onerror=alert(1)>"}}
    path = json.loads(upload(served, ("state.json", json.dumps([part]).encode()))[1])[0]
    for address in ("/", "/config", "/config/"):
        status, _, page = ask(served, "GET", f"{address}?deep_link=../{Path(path).parent.name}")
        assert status == 200
        assert b"onerror" not in page
        assert b'"deep_link_state":"valid"' not in page


def test_calls_stand_in_the_queue(served: Served) -> None:
    config = json.loads(served.get("/config"))
    for function in config["dependencies"]:
        if function["queue"]:
            body = json.dumps({"fn_index": function["id"], "data": [None] * len(function["inputs"])}).encode()
            status, _, _ = ask(served, "POST", "/gradio_api/run/predict", body, Content_Type="application/json")
            assert status == 404
    assert ask(served, "DELETE", "/gradio_api/upload")[0] == 403


# What visitors upload.

NAMES = [
    "../../outside.png",
    "/tmp/outside.png",
    "..\\..\\outside.png",
    "C:\\outside.png",
    "..%2f..%2foutside.png",
    b"a\0b.png",
    b"\xff\xfe.png",
    "CON.png",
    "NUL",
    "aux.jpg",
    ".",
    "..",
    "...",
    " ",
    "",
    ".htaccess",
    "-rf.png",
    "$(id);`id`|id.png",
    "a\tb.png",
    "x" * 3000 + ".png",
    "写" * 300 + ".png",
    "state.json",
    "<img src=x onerror=alert(1)>.jpg",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_uploads(served: Served, half_bright: Image.Image, tmp_path: Path, name: str | bytes) -> None:
    folder, data = served.service.folder, png(half_bright)
    outside = {path for path in tmp_path.rglob("*") if not path.is_relative_to(folder)}
    status, answer = upload(served, (name, data))
    assert status in (200, 400)
    for path in map(Path, json.loads(answer) if status == 200 else []):
        assert path.resolve().is_relative_to(folder)
        given = name.decode("latin-1") if isinstance(name, bytes) else name
        told = {"path": str(path), "orig_name": given, "meta": {"_type": "gradio.FileData"}}
        body = json.dumps({"data": [told, None, "", ""]}).encode()
        event = json.loads(
            ask(served, "POST", "/gradio_api/call/remove_background", body, Content_Type="application/json")[2]
        )["event_id"]
        told_back = ask(served, "GET", f"/gradio_api/call/remove_background/{event}")[2].decode()
        if "event: complete" in told_back:
            result = Path(json.loads(told_back.split("data: ")[-1])[0]["path"])
            assert result.is_relative_to(folder)
            assert not set(result.name) & set("<>:\"/\\|?*'`$;\0\n\t")
            assert result.name.split(".")[0].lower() not in ("con", "nul", "aux", "")
            assert len(result.name.encode()) <= 255
        else:
            assert "the upload is gone" in told_back, told_back
    assert {path for path in tmp_path.rglob("*") if not path.is_relative_to(folder)} == outside


def test_uploads_of_too_many_files(served: Served) -> None:
    status, answer = upload(served, *[(f"{i}.png", b"x") for i in range(MAX_IMAGES + 1)])
    assert (status, f"Send at most {MAX_IMAGES} images" in answer.decode()) == (413, True)
    assert not files_in(served.service.folder)
    assert upload(served, *[(f"{i}.png", b"x") for i in range(MAX_IMAGES)])[0] == 200


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (form(("a.png", b"x" * 100_000), field="other")[0], FORM),
        (b'--x\r\nContent-Disposition: form-data; name="files"\r\n\r\nkept in memory\r\n--x--\r\n', FORM),
        (b'--x\r\nContent-Disposition: form-data; filename="a.png"\r\n\r\ndata\r\n--x--\r\n', FORM),
        (b"--x\r\n\r\ndata\r\n--x--\r\n", FORM),
        (form(("a.png", b"data"))[0][:-4] + b"\r\n" + b"y" * 9000 + b"\r\n", FORM),
        (form(("a.png", b"data"), ("b" * 5000, b"data"))[0], FORM),
        (b"--y--\r\n", FORM),
        (b"data", "multipart/form-data"),
        (b"data", "image/png"),
        (b"data", ""),
    ],
)
def test_uploads_that_are_none(served: Served, body: bytes, kind: str) -> None:
    assert ask(served, "POST", "/gradio_api/upload", body, Content_Type=kind)[0] in (200, 400)
    assert not [path for path in files_in(served.service.folder) if path.parent == served.service.folder]


def test_a_part_with_two_content_dispositions(served: Served) -> None:
    """Gradio believes the last one, here that of a text field, which it would keep in memory whatever its size."""
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n'
    body = head + b'Content-Disposition: ; name="files"\r\n\r\nkept in memory\r\n--x--\r\n'
    status, _, answer = ask(served, "POST", "/gradio_api/upload", body, Content_Type=FORM)
    assert (status, b"two Content-Disposition headers" in answer) == (400, True)


def test_the_room_on_the_disk(made: Callable[..., Service], half_bright: Image.Image, tmp_path: Path) -> None:
    service = made(max_disk=1_000_000)
    with serving(service) as served:
        for i in range(9):
            assert upload(served, (f"{i}.png", bytes([i]) * 100_000))[0] == 200
        status, answer = upload(served, ("more.png", b"x" * 200_000))
        assert (status, "Try again in 10 minutes" in answer.decode()) == (507, True)
        with contextlib.closing(http.client.HTTPConnection(served.url.removeprefix("http://"))) as line:
            body, kind = form(("chunked.png", b"y" * 300_000))
            stream = (body[i : i + 10_000] for i in range(0, len(body), 10_000))
            # In chunks, so that nobody knows beforehand how large it is.
            line.request("POST", "/gradio_api/upload", stream, {"Content-Type": kind}, encode_chunked=True)
            assert line.getresponse().status == 507
        assert len(files_in(service.folder)) == 9
        for path in files_in(service.folder)[:5]:
            os.utime(path, (0, 0))
        service.disk._swept = float("-inf")  # as if it were a while ago
        assert upload(served, ("more.png", b"x" * 200_000))[0] == 200
        assert len(files_in(service.folder)) == 5


def test_what_requests_need_is_not_deleted(tmp_path: Path) -> None:
    disk = Disk(tmp_path, 100)
    for name in ("upload.png", "result/a.png", "other/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, (0, 0))
    with disk.holding([tmp_path / "upload.png", tmp_path / "result"]):
        disk.sweep()
        assert sorted(path.name for path in files_in(tmp_path)) == ["a.png", "upload.png"]
    disk.sweep()
    assert not files_in(tmp_path)


@pytest.mark.parametrize("path", ["/gradio_api/upload", "/gradio_api/queue/join"])
def test_slow_visitors(served: Served, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    from transformers_foreground.server import guard, upload_limits

    monkeypatch.setattr(upload_limits, "IDLE_SECONDS", 0.5)
    monkeypatch.setattr(guard, "CALL_SECONDS", 0.5)
    with begun(served, b"x" * 100_000, 1000, path) as line:
        assert b" 408 " in line.recv(1000)  # longer than the timeout fails
    assert not files_in(served.service.folder)


def test_uploads_that_trickle(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers_foreground.server import upload_limits

    monkeypatch.setattr(upload_limits, "IDLE_SECONDS", 1)
    with begun(served, b"x" * 100_000, 100) as line:

        def answered() -> bool:
            if select.select([line], [], [], 0.1)[0]:
                return True
            line.sendall(b"x")  # ten bytes a second
            return False

        until(answered)
        assert b" 408 " in line.recv(1000)


def test_connections_without_a_request(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers_foreground.server import connections

    whole = b"GET /robots.txt HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    for before, said in ((b"", b""), (b"", b"GET / HTTP/1.1\r\nX-Slow: "), (whole, b"GET / HTTP/1.1\r\nX-Slow: ")):
        monkeypatch.setattr(connections, "HEAD_SECONDS", 60 if before else 0.5)
        with socket.create_connection(("127.0.0.1", int(served.url.rpartition(":")[2])), timeout=30) as line:
            line.sendall(before)
            assert not before or b" 200 " in line.recv(10_000)
            monkeypatch.setattr(connections, "HEAD_SECONDS", 0.5)
            line.sendall(said)
            while line.recv(10_000):  # until it is closed; longer than the timeout fails
                pass


def test_an_upload_that_is_broken_off(served: Served) -> None:
    folder = served.service.folder
    for _ in range(3):
        with begun(served, b"x" * 1_000_000, 500_000):
            until(lambda: files_in(folder))  # on its way, where it counts
    until(lambda: not files_in(folder) and served.service.disk._taken == 0)


def test_more_uploads_than_may_be_under_way(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers_foreground.server import upload_limits

    monkeypatch.setattr(upload_limits, "AT_ONCE", 1)
    body, _ = form(("begun.png", b"x" * 1_000_000))
    with begun(served, b"x" * 1_000_000, 500_000) as line:
        until(lambda: files_in(served.service.folder))
        assert upload(served, ("a.png", b"x")) == (503, b"1 other uploads are under way. Try again in a minute.")
        line.sendall(body[500_000:])
        assert b" 200 " in line.recv(1000)
    until(lambda: upload(served, ("a.png", b"x"))[0] == 200)  # once the server has done with the other


def test_calls_that_have_ended_are_forgotten(
    made: Callable[..., Service], photo: Upload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gradio", reason="gradio is not installed: pip install -e '.[dev]'")
    from gradio_client import handle_file

    from transformers_foreground.server import app, cleanup

    pages: list[Any] = []
    layout = app.layout
    monkeypatch.setattr(app, "layout", lambda *given: pages.append(layout(*given)) or pages[-1])
    monkeypatch.setattr(cleanup, "_FORGET_SECONDS", 0.1)
    monkeypatch.setattr(app, "_SESSIONS", 2)
    with serving(made()) as served:
        for _ in range(3):
            client = client_of(served, tmp_path)
            client.predict(handle_file(str(photo.path)), api_name="/remove_background")
        left_alone = ask(served, "POST", "/gradio_api/call/remove_background", CALL, Content_Type="application/json")
        event = json.loads(left_alone[2])["event_id"]  # whose result nobody has fetched yet
        queue = pages[0]._queue
        until(lambda: set(queue.event_ids_to_events) <= {event})  # newer Gradios forget it themselves
        until(lambda: all(call.data is None for call in queue.event_ids_to_events.copy().values()))
        until(lambda: not queue.event_analytics)
        sessions = pages[0].state_holder
        until(lambda: len(sessions.session_data) == len(sessions.time_last_used) == 2)
        assert b"not an uploaded image" in ask(served, "GET", f"/gradio_api/call/remove_background/{event}")[2]
        client.predict(handle_file(str(photo.path)), api_name="/remove_background")


# What visitors see.

SCRIPTS = [
    "<img src=x onerror=alert(1)>.jpg",
    "<svg onload=alert(1)>.png",
    '"onmouseover="alert(1)" x=".png',
    "'><script>alert(1)<script>.png",
    "[x](javascript:alert(1)).png",
    "javascript:alert(1).png",
    "{{7*7}}${7*7}.png",
    "&lt;img src=x onerror=alert(1)&gt;.png",
]


DROP = """(name) => {
  const carrier = new DataTransfer();
  carrier.items.add(new File([new Uint8Array(2_100_000)], name, { type: "image/png" }));
  const init = { bubbles: true, cancelable: true, dataTransfer: carrier };
  document.querySelector("#behind button").dispatchEvent(new DragEvent("drop", init));
}"""


@pytest.fixture
def watched(chromium: Any, served: Served) -> Iterator[Any]:
    """The page, whose dialogues are all kept: a script that was let in opens one."""
    page = opened(chromium, served)
    page.dialogues = []
    page.on("dialog", lambda dialogue: (page.dialogues.append(dialogue.message), dialogue.dismiss()))
    yield page
    page.wait_for_timeout(500)
    for element in page.query_selector_all("#images *, #status *, #several *, #links *"):
        element.dispatch_event("mouseover")
    assert not page.dialogues
    assert page.locator("img[src=x], svg[onload], [onmouseover], a[href^=javascript]").count() == 0
    page.close()


def test_scripts_in_names_of_good_and_bad_images(watched: Any, half_bright: Image.Image) -> None:
    colours = [png(Image.new("RGB", (9, 9), (i, 0, 0))) for i in range(len(SCRIPTS))]
    give(watched, [file(name, data) for name, data in zip(SCRIPTS, colours, strict=True)])
    watched.click("#go")
    watched.wait_for_selector("#every")
    shown = watched.inner_text("#several")
    assert all(name in shown for name in SCRIPTS)
    for i in range(len(SCRIPTS)):
        watched.click(f"#several button.thumbnail-item >> nth={i}")
        watched.wait_for_timeout(50)
    with watched.expect_download() as download:
        watched.click("#one")
    assert not set(download.value.suggested_filename) & set("<>\"'")
    watched.reload()
    watched.wait_for_selector("#images input[type=file][accept]", state="attached")
    give(watched, [file(name, b"no image" + name.encode()) for name in SCRIPTS])
    watched.click("#go")
    watched.wait_for_selector("#status li:nth-of-type(8)")
    assert all(name in watched.inner_text("#status") for name in SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_in_names_of_images_that_are_too_large(watched: Any, name: str) -> None:
    large = file(name, b"0" * 2_100_000)
    watched.set_input_files("#images input[type=file]", [large])
    watched.wait_for_function("document.querySelector('#refused').textContent")
    assert name in watched.inner_text("#refused")
    watched.check("#kind input[value=Image]")
    watched.wait_for_selector("#behind")
    other = file(f"other {name}", large["buffer"])
    watched.set_input_files("#behind input[type=file]", [other])
    assert f"other {name}" in watched.inner_text("#refused")
    watched.evaluate(DROP, name)
    watched.wait_for_function("name => document.querySelector('#refused').textContent.endsWith(': ' + name)", arg=name)
    assert watched.locator(".toast-body").count() == 0


def test_what_the_page_says_of_too_many_pixels(watched: Any) -> None:
    give(watched, [file("large.png", png(Image.new("RGB", (2000, 2000))))])
    watched.click("#go")
    text = finished(watched)
    assert "2000x2000 pixels exceed the limit of 3000000; shrink it, or serve with a higher --max-pixels." in text


def test_what_the_page_says_of_too_many_images(watched: Any) -> None:
    images = [file(f"{i}.png", bytes([i])) for i in range(MAX_IMAGES + 1)]
    watched.set_input_files("#images input[type=file]", images)
    watched.wait_for_function(
        f"[...document.querySelectorAll('.toast-body')].some(t => t.innerText.includes('at most {MAX_IMAGES}'))"
    )


# Many of them.


@pytest.mark.skipif(sys.platform != "linux", reason="page_load.py reads /proc")
def test_eight_visitors_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gradio", reason="gradio is not installed: pip install -e '.[dev]'")
    monkeypatch.syspath_prepend(str(page_server.ROOT / "scripts/reliability"))
    import page_load

    write_repo(tmp_path / "model")
    found = page_load.load(str(tmp_path / "model"), 8, 10)
    assert not found["errors"], found["first_errors"]
    assert found["requests"] == sum(found[how] for how in ("done", "refused", "busy", "left"))
    assert found["done"]
    assert not found["log"]
    assert not found["left_behind"]
