"""A guard around the server: it serves only what the page and the API need, and only to those whom it is for."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from transformers_foreground.server.asgi import is_api, refuse
from transformers_foreground.server.callers import Names, is_from_elsewhere
from transformers_foreground.server.disk import Disk
from transformers_foreground.server.memory import Memory
from transformers_foreground.server.upload_limits import SmallEnough, UploadLimits

MAX_CALL: Final = 300_000  # bytes of a call of the page, which names images that were uploaded before
CALL_SECONDS: Final = 30
_PAGES: Final = 16
_ADDRESS: Final = (b"host", b"x-forwarded-host", b"x-forwarded-proto", b"x-gradio-server")

_FILE: Final = "/gradio_api/file="
_UPLOAD: Final = "/gradio_api/upload"
_SERVED: Final = re.compile(
    r"/(config/?|theme\.css|robots\.txt|favicon\.ico|(assets|static|svelte)/.+)?"
    r"|/(v1\.0/removebg|api/remove|health|docs|openapi\.json|download/[\w-]+)"
    r"|/gradio_api/(info/?|startup-events|app_id/?|upload|upload_progress|(queue|call|heartbeat)/.+|cancel|reset/?"
    r"|run/predict|theme\.css|file=.+)"
)
_HEADERS: Final = {
    # Gradio's page has inline scripts and styles, and makes functions from text.
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
        "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-DNS-Prefetch-Control": "off",
}
# Nothing in a file that a visitor uploads may run as a part of the page.
_FILE_HEADERS: Final = {**_HEADERS, "Content-Security-Policy": "default-src 'none'; sandbox"}
# Parts of Gradio's index.html for link previews (with images from GitHub), for frames and for installing the page.
_STRAY: Final = re.compile(
    rb"<meta\s+(?:property|name)=\"(?:og|twitter):[^>]*>"
    rb"|<link rel=\"manifest\"[^>]*>"
    rb"|<script\s+src=\"[^\"]*iframeResizer[^>]*>\s*</script>"
)


class Guard:
    """An ASGI application that passes another one only the requests that it should get.

    Args:
        app: The other application.
        names: Host names that the server answers to.
        disk: Where uploads and results are. No other file is served by its path.
        max_bytes: Largest file of an image.
        memory: Counts what calls of the API send.
    """

    def __init__(self, app: ASGIApp, names: Names, disk: Disk, max_bytes: int, memory: Memory) -> None:
        self._max_api_call = 3 * max_bytes + MAX_CALL  # an image in base64, another as its background, and some words
        self._app = app
        self._names = names
        self._folder = disk.folder
        self._limits = UploadLimits(disk, memory)
        self._pages: dict[tuple[tuple[bytes, bytes], ...], tuple[Message, Message]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path, method = scope["path"], scope["method"]
        if not self._names.has(Headers(scope=scope).get("host", "")):
            why = f"This server answers to the name {self._names}. To add a name, start it with --server-name NAME."
            await refuse(scope, receive, send, 421, why)
        elif method not in ("GET", "HEAD", "POST") or is_from_elsewhere(scope):
            await refuse(scope, receive, send, 403, "This server is not for pages of other sites.")
        elif not _SERVED.fullmatch(path) or (path.startswith(_FILE) and not self._is_ours(path.removeprefix(_FILE))):
            await refuse(scope, receive, send, 404, "There is nothing here.")
        elif path == "/" and method == "GET":
            await self._page(_plain(scope), receive, send)
        elif method == "POST" and is_api(scope):
            await self._limits.take(self._pass, scope, receive, send, SmallEnough(self._max_api_call))
        elif method != "POST":
            await self._pass(_plain(scope), receive, send)
        elif path == _UPLOAD:
            await self._limits.files(self._pass, scope, receive, send)
        else:
            await self._call(scope, receive, send)

    def _is_ours(self, path: str) -> bool:
        """Whether a path is that of an upload or a result. Each is in a folder whose name nobody can guess."""
        try:
            return len(Path(path).resolve().relative_to(self._folder).parts) == 2
        except (ValueError, OSError):  # elsewhere, or not a possible path
            return False

    async def _call(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a call of the page, if it is small and names no image at a URL, which Gradio would download."""
        try:
            body = await asyncio.wait_for(_body(receive), CALL_SECONDS)
        except TimeoutError:
            await refuse(scope, receive, send, 408, "This call is too slow. Try again.")
            return
        if body is None:
            return
        if len(body) > MAX_CALL:
            why = "This call is too large. Upload images instead of sending them in it."
            await refuse(scope, receive, send, 413, why)
            return
        if _names_url(body):
            why = "This server downloads no images for the page. Upload the image's file instead."
            await refuse(scope, receive, send, 400, why)
            return
        whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> Message:
            return whole.pop() if whole else await receive()

        await self._pass(scope, again, send)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = _FILE_HEADERS if scope["path"].startswith(_FILE) else _HEADERS

        async def guarded(message: Message) -> None:
            await send(_with(message, headers) if message["type"] == "http.response.start" else message)

        await self._app(scope, receive, guarded)

    async def _page(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the page. It is made once for each address that it is called by: Gradio writes the address in it."""
        called = tuple(h for h in scope["headers"] if h[0].lower() in _ADDRESS)
        answer = self._pages.get(called)
        if answer is None:
            answer = await self._made(scope, receive)
            if len(self._pages) >= _PAGES:
                self._pages.clear()
            if answer[0]["status"] == 200:
                self._pages[called] = answer
        for message in answer:
            await send(message)

    async def _made(self, scope: Scope, receive: Receive) -> tuple[Message, Message]:
        start: list[Message] = []
        page = bytearray()

        async def kept(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.append(message)
            elif message["type"] == "http.response.body":
                page.extend(message.get("body", b""))

        # Not compressed, so that it can be changed.
        plain = [h for h in scope["headers"] if h[0].lower() != b"accept-encoding"]
        await self._app({**scope, "headers": plain}, receive, kept)
        body = _STRAY.sub(b"", bytes(page))
        headers = {**_HEADERS, "Content-Length": str(len(body))}
        return _with(start[0], headers), {"type": "http.response.body", "body": body}


def _with(start: Message, headers: Mapping[str, str]) -> Message:
    """Return the start of an answer with these headers added or replaced."""
    changed = MutableHeaders(raw=list(start["headers"]))
    changed.update(headers)
    return {**start, "headers": changed.raw}


def _plain(scope: Scope) -> Scope:
    """Return a request without parts that Gradio should not see.

    The page's query can name a saved state of the page, and that could be a file which somebody uploaded. Ranges of
    files are dropped because Gradio fails on all but the simplest.
    """
    if scope["path"].startswith(_FILE):
        return {**scope, "headers": [h for h in scope["headers"] if h[0].lower() != b"range"]}
    return {**scope, "query_string": b""} if scope["path"] in ("/", "/config", "/config/") else scope


async def _body(receive: Receive) -> bytes | None:
    """Return a call's body, or the beginning of one that is too large; `None` if the caller has left."""
    body, more = bytearray(), True
    while more and len(body) <= MAX_CALL:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return bytes(body)


def _names_url(body: bytes) -> bool:
    """Whether a call has a file whose path is a URL."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):  # Gradio says what is wrong with it
        return False
    return any(isinstance(p, str) and p.lower().startswith(("http:", "https:")) for p in _paths(content))


def _paths(content: Any) -> Iterator[Any]:
    unseen = [content]
    while unseen:
        value = unseen.pop()
        if isinstance(value, dict):
            yield value.get("path")
            unseen.extend(value.values())
        elif isinstance(value, list):
            unseen.extend(value)
