"""Requests and downloads with the standard library: redirects, resumption, proxies and what a token is kept from."""

from __future__ import annotations

import threading
import time
import urllib.error
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from transformers_foreground.hub import http_client

CONTENT = bytes(range(256)) * 4000
Answer = Callable[[BaseHTTPRequestHandler], None]


class Server:
    """Answers by path; notes method, path and headers of every request."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                server.asked.append((self.command, self.path, dict(self.headers.items())))
                server.answers[self.path](self)

            do_HEAD = do_GET

        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.httpd.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.httpd.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    server = Server()
    yield server
    server.httpd.shutdown()
    server.httpd.server_close()


def redirect(to: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", to)
        handler.end_headers()

    return answer


def send(body: bytes = CONTENT, *, ranges: bool = True, length: bool = True, status: int = 200) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        start = int(handler.headers.get("Range", "bytes=0-")[6:-1]) if ranges else 0
        handler.send_response(status if not start else 206 if start < len(body) else 416)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if length:
            handler.send_header("Content-Length", str(max(len(body) - start, 0)))
        handler.end_headers()
        if handler.command == "GET":
            handler.wfile.write(body[start:])

    return answer


def get(server: Server, path: Path, **options: object) -> bytes:
    http_client.download(f"{server.url}/file", {}, path, timeout=60, **options)  # type: ignore[arg-type]
    return path.read_bytes()


def test_a_token_goes_to_its_own_host_alone(server: Server) -> None:
    server.answers = {
        "/a": redirect("/b"),
        "/b": redirect(f"http://localhost:{server.port}/c"),
        "/c": send(),
    }
    for method in ("GET", "HEAD"):
        server.asked.clear()
        headers = {"Authorization": "Bearer secret", "X-Other": "1"}
        with http_client.request(method, f"{server.url}/a", headers, 5) as answer:
            assert answer.read() == (CONTENT if method == "GET" else b"")
        assert [(m, path) for m, path, _ in server.asked] == [(method, "/a"), (method, "/b"), (method, "/c")]
        assert [h.get("Authorization") for *_, h in server.asked] == ["Bearer secret", "Bearer secret", None]


@pytest.mark.parametrize("to", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x"])
def test_redirects_lead_to_http_alone(to: str, server: Server) -> None:
    server.answers["/a"] = redirect(to)
    with pytest.raises(urllib.error.URLError), http_client.request("GET", f"{server.url}/a", {}, 5):
        pass


def test_a_circle_of_redirects_is_an_error(server: Server) -> None:
    server.answers["/a"] = redirect("/a")
    with pytest.raises(urllib.error.HTTPError) as caught, http_client.request("GET", f"{server.url}/a", {}, 5):
        pass
    assert caught.value.code == 302


@pytest.mark.parametrize("url", ["nonsense", "file:///etc/passwd", "http://", "ftp://127.0.0.1/"])
def test_what_is_no_web_address(url: str) -> None:
    with pytest.raises(urllib.error.URLError) as caught, http_client.request("GET", url, {}, 5):
        pass
    assert http_client.is_unreachable(caught.value)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (urllib.error.URLError(ConnectionRefusedError(111, "Connection refused")), "Connection refused"),
        (urllib.error.URLError(TimeoutError("timed out")), "nothing came for too long"),
        (TimeoutError(), "nothing came for too long"),
        (ConnectionError("the connection was cut, 7 bytes too early"), "the connection was cut, 7 bytes too early"),
        (OSError(28, "No space left on device", "/x"), "No space left on device"),
        (ConnectionResetError(), "ConnectionResetError"),
    ],
)
def test_reasons_are_told_in_words(error: OSError, says: str) -> None:
    assert http_client.reason_of(error) == says


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("had", [0, 1000, len(CONTENT) - 1])
def test_a_download_goes_on_from_what_is_here(had: int, ranges: bool, server: Server, tmp_path: Path) -> None:
    server.answers["/file"] = send(ranges=ranges)
    (tmp_path / "part").write_bytes(CONTENT[:had])
    assert get(server, tmp_path / "part", size=len(CONTENT)) == CONTENT
    assert server.asked[0][2].get("Range") == (f"bytes={had}-" if had else None)


def test_a_whole_file_is_not_asked_for(server: Server, tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(CONTENT)
    assert get(server, tmp_path / "part", size=len(CONTENT)) == CONTENT
    assert server.asked == []


@pytest.mark.parametrize("size", [None, len(CONTENT)])
def test_a_longer_file_than_the_servers_is_begun_anew(size: int | None, server: Server, tmp_path: Path) -> None:
    server.answers["/file"] = send()
    (tmp_path / "part").write_bytes(CONTENT + b"more")
    assert get(server, tmp_path / "part", size=size) == CONTENT


def test_progress_moves_in_small_steps(server: Server, tmp_path: Path) -> None:
    server.answers["/file"] = send()
    steps: list[int] = []
    get(server, tmp_path / "part", on_bytes=steps.append)
    assert steps == sorted(set(steps))
    assert steps[-1] == len(CONTENT)
    assert len(steps) >= len(CONTENT) // (1 << 18)


def test_a_length_that_nobody_states(server: Server, tmp_path: Path) -> None:
    server.answers["/file"] = send(length=False)
    assert get(server, tmp_path / "part") == CONTENT


@pytest.mark.parametrize(("status", "tries"), [(404, 1), (429, 1), (500, 3), (503, 3)])
def test_only_a_failing_server_is_asked_again(status: int, tries: int, server: Server, tmp_path: Path) -> None:
    server.answers["/file"] = send(b"", status=status)
    with pytest.raises(urllib.error.HTTPError):
        get(server, tmp_path / "part")
    assert len(server.asked) == tries


def test_the_proxy_of_the_environment(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.answers["http://models.example/x"] = send(b"through the proxy")
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with http_client.request("GET", "http://models.example/x", {}, 5) as answer:
        assert answer.read() == b"through the proxy"
    assert http_client.proxy_of("http://models.example/x") == server.url
    monkeypatch.setenv("no_proxy", "models.example")
    assert http_client.proxy_of("http://models.example/x") is None
