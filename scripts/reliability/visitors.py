"""A visitor of the page of `foreground serve`: the requests of a browser, without one."""

from __future__ import annotations

import contextlib
import html
import http.client
import json
import random
import re
import secrets
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hostile import encoded
from PIL import Image

MAX_SIZE, MAX_PIXELS = 1, 2_000_000  # megabytes and pixels that the server allows
TIMEOUT = 120.0
PAUSE = (0.2, 2.0)  # seconds between two visits of the same visitor
BUSY = ("Try again in a minute", "Queue is full")
REFUSED = ("Cannot read", "maximum allowed size")
FIRST_ERRORS = 10


@dataclass
class Seen:
    """What all visitors saw."""

    counts: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    page_seconds: list[float] = field(default_factory=list)

    def error(self, text: str) -> None:
        """Count an error."""
        self.counts["errors"] += 1
        if len(self.errors) < FIRST_ERRORS:
            self.errors.append(text[:500])


@dataclass(frozen=True)
class Address:
    """A server, and what its page sends to get a cut-out.

    Attributes:
        port: Its port.
        function: Gradio's number of the call.
        trigger: Gradio's number of the button.
        choices: The call's arguments after the images, as the page has them at first.
    """

    port: int
    function: int
    trigger: int
    choices: tuple[Any, ...] = ()

    def ask(self, method: str, path: str, body: bytes | None = None, kind: str = "") -> tuple[int, bytes]:
        """Make one call, and read the whole answer."""
        with connection(self.port) as line:
            line.request(method, path, body, {"Content-Type": kind} if kind else {})
            answer = line.getresponse()
            return answer.status, answer.read()


@contextlib.contextmanager
def connection(port: int) -> Iterator[http.client.HTTPConnection]:
    """Open a connection, and close it."""
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        yield line
    finally:
        line.close()


def images() -> dict[str, tuple[str, bytes]]:
    """Return what visitors bring: a name and a file for each kind."""
    noise = np.random.default_rng(0).integers(0, 255, (1500, 1500, 3), np.uint8)
    small = encoded(Image.fromarray(noise[:240, :320]), "JPEG")
    return {
        "small": ("small.jpg", small),
        "photo": ("photo.jpg", encoded(Image.fromarray(noise[:600, :800]), "JPEG")),
        "flat": ("flat.png", encoded(Image.new("RGB", (1000, 800), "teal"), "PNG")),
        "broken": ("broken.jpg", small[:2000]),
        "other": ("<b>letter</b>.png", b"Dear Sir or Madam"),
        "vast": ("vast.png", encoded(Image.new("L", (2000, 1500)), "PNG")),
        "heavy": ("heavy.png", b"\x89PNG\r\n\x1a\n" + noise.tobytes()[: MAX_SIZE * 1_100_000]),
    }


WEIGHTS = {"small": 6, "photo": 4, "flat": 3, "broken": 1, "other": 1, "vast": 1, "heavy": 1}
GOOD = ("small", "photo", "flat")


def form(name: str, data: bytes) -> tuple[bytes, str]:
    """Return a form with one file, and its content type."""
    boundary = secrets.token_hex(12)
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    return head.encode() + data + f"\r\n--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def visit(server: Address, kind: str, name: str, data: bytes, leaves: str, seen: Seen) -> None:
    """Make one visit: page, upload, cut-out, download."""
    started = time.perf_counter()
    status, page = server.ask("GET", "/")
    seen.page_seconds.append(time.perf_counter() - started)
    if status != 200 or b"gradio" not in page:
        seen.error(f"GET /: {status} {page[:200]!r}")
        return
    body, content_type = form(name, data)
    if leaves == "upload":
        with connection(server.port) as line:
            line.putrequest("POST", "/gradio_api/upload")
            line.putheader("Content-Type", content_type)
            line.putheader("Content-Length", str(len(body)))
            line.endheaders(body[: len(body) // 2])
        seen.counts["left"] += 1
        return
    status, answer = server.ask("POST", "/gradio_api/upload", body, content_type)
    if status != 200:
        settle(kind, f"{status} {answer.decode(errors='replace')}", seen)
        return
    path = json.loads(answer)[0]
    file = {"path": path, "orig_name": name, "size": len(data), "meta": {"_type": "gradio.FileData"}}
    session = secrets.token_hex(5)
    call = {
        "data": [[file], *server.choices],
        "fn_index": server.function,
        "trigger_id": server.trigger,
        "session_hash": session,
        "event_data": None,
    }
    status, answer = server.ask("POST", "/gradio_api/queue/join", json.dumps(call).encode(), "application/json")
    if status != 200:
        settle(kind, f"{status} {answer.decode(errors='replace')}", seen)
        return
    with connection(server.port) as heart, connection(server.port) as line:  # as a page that is open holds them
        heart.request("GET", f"/gradio_api/heartbeat/{session}")
        line.request("GET", f"/gradio_api/queue/data?session_hash={session}")
        words = list(told(line.getresponse(), 2 if leaves == "queue" else None))
    if leaves == "queue":
        seen.counts["left"] += 1
        return
    last = next((text for text in reversed(words) if 'class="status' in text), "no status")
    link = next((m[1] for text in reversed(words) if (m := re.search(r'href="(download/[^"]+)"', text))), None)
    if link is None or 'class="status done"' not in last:
        settle(kind, html.unescape(last), seen)
        return
    status, cutout = server.ask("GET", "/" + html.unescape(link))
    if status == 200 and whole_png(cutout) and kind in GOOD:
        seen.counts["done"] += 1
    else:
        seen.error(f"{kind}: {status}, {len(cutout)} bytes that are no PNG file, or should not be")


def told(answer: http.client.HTTPResponse, count: int | None) -> Iterator[str]:
    """Yield all texts of a request's events, of the first `count` or until the stream ends."""
    number = 0
    for line in answer:
        if not line.startswith(b"data:"):
            continue
        event = json.loads(line[5:])
        unseen: list[Any] = [event.get("output")]
        while unseen:
            value = unseen.pop(0)
            if isinstance(value, str):
                yield value
            elif isinstance(value, dict | list):
                unseen += value.values() if isinstance(value, dict) else value
        number += 1
        if number == count or event.get("msg") == "close_stream":
            return


def settle(kind: str, text: str, seen: Seen) -> None:
    """Count an answer that is not a cut-out."""
    if any(word in text for word in BUSY):
        seen.counts["busy"] += 1
    elif kind not in GOOD and any(word in text for word in REFUSED):
        seen.counts["refused"] += 1
    else:
        seen.error(f"{kind}: {text}")


def whole_png(data: bytes) -> bool:
    """Whether a file is a PNG with a beginning and an end."""
    return data.startswith(b"\x89PNG\r\n\x1a\n") and data.endswith(b"IEND\xaeB`\x82")


def user(server: Address, number: int, until: float, brought: dict[str, tuple[str, bytes]], seen: Seen) -> None:
    """Be one visitor, again and again."""
    chance = random.Random(number)
    time.sleep(chance.uniform(0, 1))
    while time.monotonic() < until:
        kind = chance.choices(list(WEIGHTS), WEIGHTS.values())[0]
        name, data = brought[kind]
        leaves = chance.choices(["", "upload", "queue"], [18, 1, 1])[0]
        seen.counts["requests"] += 1
        try:
            visit(server, kind, name, data + bytes([number]), leaves, seen)  # different for each visitor
        except Exception as error:
            seen.error(f"{kind}: {type(error).__name__}: {error}")
        time.sleep(chance.uniform(*PAUSE))
