"""Servers that take URLs from strangers fetch nothing for them that only they can reach."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from PIL import Image

from transformers_foreground import env
from transformers_foreground.errors import ImageError
from transformers_foreground.images import public_http as addresses
from transformers_foreground.images.decode import decode


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700:4700::1111", True),
        ("127.0.0.1", False),
        ("127.9.9.9", False),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("100.64.0.1", False),  # carriers' networks
        ("169.254.169.254", False),  # clouds' metadata
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),  # IPv4 in IPv6's clothes
        ("::ffff:8.8.8.8", True),
        ("2002:7f00:1::", False),
        ("64:ff9b::a00:1", False),
        ("64:ff9b::808:808", True),
        ("64:ff9b:1::7f00:1", False),  # networks' own translation
        ("fec0::1", False),  # site-local, of old
        ("::127.0.0.1", False),
        ("::8.8.8.8", False),
        ("::ffff:0:127.0.0.1", False),
        ("2002:808:808::", True),
        ("5f00::1", False),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert addresses.is_public(address) is public


class Handler(BaseHTTPRequestHandler):
    target = ""

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/to":
            self.send_response(302)
            self.send_header("Location", self.target)
            self.end_headers()
            return
        buffer = io.BytesIO()
        Image.new("RGB", (3, 2), (1, 2, 3)).save(buffer, "PNG")
        self.send_response(200)
        self.end_headers()
        self.wfile.write(buffer.getvalue())


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A server on all of 127.*; the port."""
    monkeypatch.setattr(env, "allow_private_urls", False)
    with ThreadingHTTPServer(("0.0.0.0", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "2130706433", "0x7f.1"])
def test_private_hosts_are_refused(server: int, host: str) -> None:
    with pytest.raises(ImageError, match=r"is not on the public internet, and env\.allow_private_urls is False"):
        decode(f"http://{host}:{server}/x.png")


def test_they_are_allowed_by_default(server: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(env, "allow_private_urls", True)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert decode(f"http://127.0.0.1:{server}/x.png").width == 3


@pytest.fixture
def first_is_public(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let 127.0.0.1 pass for an address of the internet, since none can be reached from a test."""
    real = addresses.is_public
    monkeypatch.setattr(addresses, "is_public", lambda address: address == "127.0.0.1" or real(address))


@pytest.mark.usefixtures("first_is_public")
def test_public_hosts_are_reached(server: int) -> None:
    assert decode(f"http://127.0.0.1:{server}/x.png").width == 3


@pytest.mark.usefixtures("first_is_public")
def test_a_redirect_is_checked_again(server: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Handler, "target", f"http://127.0.0.2:{server}/x.png")
    with pytest.raises(ImageError, match=r"127\.0\.0\.2 is not on the public internet"):
        decode(f"http://127.0.0.1:{server}/to")
    monkeypatch.setattr(Handler, "target", f"http://127.0.0.1:{server}/x.png")
    assert decode(f"http://127.0.0.1:{server}/to").width == 3


@pytest.mark.usefixtures("first_is_public")
def test_a_name_is_resolved_once(server: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that has another address when it is asked for again (DNS rebinding) gains nothing."""
    answers = iter(["127.0.0.1", "127.0.0.2"])

    def getaddrinfo(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        assert host == "rebind.example"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert decode(f"http://rebind.example:{server}/x.png").width == 3
    with pytest.raises(ImageError, match=r"rebind\.example is not on the public internet"):
        decode(f"http://rebind.example:{server}/x.png")


def test_one_private_address_among_public_ones_is_enough(server: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, server)) for a in ("8.8.8.8", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(ImageError, match="is not on the public internet"):
        decode("http://mixed.example/x.png")


def test_no_proxy_is_asked(server: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server}")
    with pytest.raises(ImageError, match="is not on the public internet"):
        decode("http://127.0.0.1/x.png")


def test_other_schemes_stay_refused(server: int, monkeypatch: pytest.MonkeyPatch, first_is_public: None) -> None:
    monkeypatch.setattr(Handler, "target", "file:///etc/hostname")
    with pytest.raises(ImageError, match="not allowed"):
        decode(f"http://127.0.0.1:{server}/to")


@pytest.mark.parametrize(
    ("uri", "allowed"),
    [
        ("s3://bucket/key.png", True),
        ("gs://bucket/key.png", True),
        ("hf://datasets/a/b/c.png", True),
        ("zip://a.png::/data/b.zip", True),
        ("zip://a.png::s3://bucket/b.zip", True),
        ("zip://a.png::http://127.0.0.1/b.zip", False),
        ("zip://a.png::https://host/b.zip", False),
        ("webhdfs://127.0.0.1:9870/a.png", False),
        ("hdfs://127.0.0.1/a.png", False),
        ("SFTP://127.0.0.1/a.png", False),
        ("simplecache::http://127.0.0.1/a.png", False),
        ("simplecache::s3://bucket/a.png", True),
        ("reference::hf://datasets/a/b/refs.json", False),  # whose JSON names any address
        ("zip://a.png::reference::s3://bucket/refs.json", False),
        ("s3://bucket/key.png?endpoint_override=127.0.0.1:80", False),
        ("s3://bucket?endpoint_override=127.0.0.1:80", False),
    ],
)
def test_which_uris_may_be_opened(uri: str, allowed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    addresses.check_uri(uri)
    monkeypatch.setattr(env, "allow_private_urls", False)
    if allowed:
        addresses.check_uri(uri)
    else:
        with pytest.raises(addresses.PrivateAddressError, match=r"env\.allow_private_urls is False"):
            addresses.check_uri(uri)


@pytest.fixture
def requests_seen(server: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that anyone asked the server for."""
    seen: list[str] = []
    answer = Handler.do_GET

    def do_GET(handler: Handler) -> None:
        seen.append(handler.path)
        answer(handler)

    monkeypatch.setattr(Handler, "do_GET", do_GET)
    monkeypatch.setattr(Handler, "do_HEAD", do_GET, raising=False)
    return seen


@pytest.mark.parametrize("form", ["http://127.0.0.1:{}/x.png", "zip://x.png::http://127.0.0.1:{}/x.zip"])
@pytest.mark.parametrize("mode", [None, "RGB"])
def test_rows_of_a_dataset(server: int, form: str, mode: str | None, requests_seen: list[str]) -> None:
    reading = pytest.importorskip("transformers_foreground.data.reading")
    with pytest.raises(ImageError, match=r"env\.allow_private_urls is False"):
        reading.read_image({"bytes": None, "path": form.format(server)}, mode)
    assert requests_seen == []


@pytest.mark.parametrize(
    "form", ["http://127.0.0.1:{}/x.png", "zip://x.png::http://127.0.0.1:{}/x.zip", "webhdfs://127.0.0.1:{}/x"]
)
def test_columns_of_ray_and_spark(server: int, form: str, requests_seen: list[str]) -> None:
    remote_files = pytest.importorskip("transformers_foreground.data.remote_files")
    for image in (form.format(server), {"bytes": None, "path": form.format(server)}):
        with pytest.raises(ImageError, match=r"env\.allow_private_urls is False"):
            remote_files.read(image)
    assert requests_seen == []
