"""Downloads: one deadline for all of it, packed answers, passwords; and texts and uploads that hold images."""

from __future__ import annotations

import base64
import gzip
import io
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from transformers_foreground.errors import ImageError
from transformers_foreground.images.capture import capture
from transformers_foreground.images.decode import decode

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 4, 3), np.uint8)
_buffer = io.BytesIO()
Image.fromarray(PIXELS).save(_buffer, "PNG")
PNG = _buffer.getvalue()

Answer = Callable[[socket.socket, bytes], None]
TIMEOUT = 0.5


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Answer], str]]:
    """Answer connections with a function of the connection and the request; gives the server's URL."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    listening: list[socket.socket] = []

    def start(answer: Answer) -> str:
        server = socket.create_server(("127.0.0.1", 0))
        listening.append(server)

        def talk(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                answer(connection, connection.recv(65536))

        def accept() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=talk, args=(server.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        return f"http://127.0.0.1:{server.getsockname()[1]}"

    yield start
    for server in listening:
        server.close()


def drip(connection: socket.socket, start: bytes, piece: bytes) -> None:
    connection.sendall(start)
    for _ in range(600):  # a minute in all
        connection.sendall(piece)
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (b"", b"H"),
        (b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n", b"X-A: b\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 302 Found\r\n", b"X-A: b\r\n"),
    ],
    ids=["status", "headers", "body", "chunk size", "trailers", "100 Continue", "redirect's headers"],
)
def test_a_server_that_drips_holds_nobody_beyond_the_deadline(serve, start, piece):
    url = serve(lambda connection, _: drip(connection, start, piece))
    begin = time.monotonic()
    # Whether trailers are waited for is Python's to decide; what came before them is no image.
    with pytest.raises(ImageError, match=r"did not end within 0\.5 s|not an image"):
        decode(url + "/x.png", timeout=TIMEOUT)
    assert time.monotonic() - begin < 30


def test_redirects_share_the_deadline(serve):
    def answer(connection: socket.socket, request: bytes) -> None:
        time.sleep(0.2)
        number = int(request.split(b" ")[1].strip(b"/"))
        connection.sendall(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: /%d\r\n\r\n" % (number + 1))

    with pytest.raises(ImageError, match="did not end within"):  # with a deadline for each there would be too many
        decode(serve(answer) + "/1", timeout=TIMEOUT)


def test_a_name_that_is_slow_to_resolve(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(60))
    begin = time.monotonic()
    with pytest.raises(ImageError, match="did not end within"):
        decode("http://slow.example/x.png", timeout=TIMEOUT)
    assert time.monotonic() - begin < 30


def test_nothing_stays_open_after_the_deadline(serve):
    ended = threading.Event()

    def answer(connection: socket.socket, _: bytes) -> None:
        connection.settimeout(60)
        assert connection.recv(1) == b""  # the other side has closed
        ended.set()

    with pytest.raises(ImageError, match="did not end within"):
        decode(serve(answer) + "/x.png", timeout=TIMEOUT)
    assert ended.wait(60)


def packed(body: bytes, encoding: bytes) -> Answer:
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\nContent-Length: %d\r\n\r\n" % (encoding, len(body))
    return lambda connection, _: connection.sendall(head + body)


@pytest.mark.parametrize(
    ("body", "encoding"), [(gzip.compress(PNG), b"gzip"), (zlib.compress(PNG), b"deflate"), (PNG, b"identity")]
)
def test_packed_answers(serve, body, encoding):
    np.testing.assert_array_equal(decode(serve(packed(body, encoding)) + "/x").pixels, PIXELS)


@pytest.mark.parametrize(
    ("body", "encoding", "message"),
    [
        (b"?", b"br", "packed as br, which is not read"),
        (gzip.compress(PNG)[:-20], b"gzip", "truncated"),
        (PNG, b"gzip", "the download failed"),
        (gzip.compress(bytes(5_000_000)), b"gzip", "unpacked, it has more than 100000 bytes"),
    ],
)
def test_packed_answers_that_are_not_read(serve, body, encoding, message):
    with pytest.raises(ImageError, match=message):
        decode(serve(packed(body, encoding)) + "/x", max_bytes=100_000)


def test_a_password_goes_to_its_host_alone(serve):
    seen: list[bytes] = []

    def other(connection: socket.socket, request: bytes) -> None:
        seen.append(request)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(PNG) + PNG)

    elsewhere = serve(other).replace("127.0.0.1", "localhost")

    def first(connection: socket.socket, request: bytes) -> None:
        seen.append(request)
        connection.sendall(f"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: {elsewhere}/x\r\n\r\n".encode())

    url = serve(first).replace("http://", "http://me:s%40cret@") + "/x.png"
    np.testing.assert_array_equal(decode(url).pixels, PIXELS)
    assert b"Basic " + base64.b64encode(b"me:s@cret") in seen[0]
    assert b"Authorization" not in seen[1]
    refusing = serve(lambda connection, _: connection.sendall(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"))
    with pytest.raises(ImageError, match="answered 404") as caught:
        decode(refusing.replace("http://", "http://me:s%40cret@"))
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize("text", [base64.b64encode(PNG).decode(), base64.encodebytes(PNG).decode()])
def test_base64_text(text):
    np.testing.assert_array_equal(decode(text).pixels, PIXELS)
    np.testing.assert_array_equal(decode(text.rstrip().rstrip("=")).pixels, PIXELS)


@pytest.mark.parametrize("text", ["photos/" + "a" * 60, base64.b64encode(b"no image" * 9).decode(), "A" * 41])
def test_text_that_only_looks_like_base64_is_a_path(text):
    with pytest.raises(ImageError, match="no such file"):
        decode(text)


def test_an_upload():
    async def read(size: int = -1) -> bytes:
        raise AssertionError("the file beneath is read, without an event loop")

    for read_it in (decode, capture):
        upload = SimpleNamespace(file=io.BytesIO(PNG), filename="hat.png", read=read)
        image = decode(read_it(upload))
        assert image.name == "hat.png"
        np.testing.assert_array_equal(image.pixels, PIXELS)
    with pytest.raises(ImageError, match=r"read\(\) gives object, not bytes"):
        decode(SimpleNamespace(read=lambda size: object()))


def test_what_comes_with_a_redirect_is_not_read(serve: Callable[[Answer], str]) -> None:
    sent = list[int]()

    def answer(connection: socket.socket, request: bytes) -> None:
        if request.startswith(b"GET /there "):
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + PNG)
            return
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /there\r\nTransfer-Encoding: chunked\r\n\r\n")
        while sum(sent) < 200_000_000:
            sent.append(connection.send(b"10000\r\n" + bytes(0x10000) + b"\r\n"))

    np.testing.assert_array_equal(decode(serve(answer), timeout=60).pixels, PIXELS)
    assert sum(sent) < 50_000_000


@pytest.mark.parametrize("timeout", [float("inf"), 1e300])
def test_no_deadline(serve: Callable[[Answer], str], timeout: float) -> None:
    url = serve(lambda connection, _: connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + PNG))
    np.testing.assert_array_equal(decode(url, timeout=timeout).pixels, PIXELS)


@pytest.mark.parametrize("port", ["99999", "9" * 30, "9" * 5000, "-1", "0x50"])
def test_ports_that_are_none(port: str) -> None:
    with pytest.raises(ImageError, match="Cannot read"):
        decode(f"http://127.0.0.1:{port}/a.png", timeout=5)
