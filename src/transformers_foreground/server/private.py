"""A shell around Gradio's server: only what the page needs is served, to whom it is for, and nothing from elsewhere."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from transformers_foreground.server.asgi import App, Message, Receive, Scope, Send, header, is_api, refuse
from transformers_foreground.server.callers import Names, is_from_elsewhere
from transformers_foreground.server.disk import Disk
from transformers_foreground.server.intake import Intake, Whole

MAX_CALL: Final = 300_000  # bytes of a call, which names images; they are uploaded apart from it
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
    # Gradio's page has scripts and styles in it, and makes functions of text.
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
# Whatever a visitor uploads, nothing in it runs as a part of the page.
_FILE_HEADERS: Final = {**_HEADERS, "Content-Security-Policy": "default-src 'none'; sandbox"}
# What Gradio's index.html has for link previews (with images from GitHub), for frames and for installing the page.
_STRAY: Final = re.compile(
    rb"<meta\s+(?:property|name)=\"(?:og|twitter):[^>]*>"
    rb"|<link rel=\"manifest\"[^>]*>"
    rb"|<script\s+src=\"[^\"]*iframeResizer[^>]*>\s*</script>"
)


class Private:
    """An ASGI application around another.

    Args:
        app: The other.
        names: By which the server may be called.
        disk: Where uploads and results are, and no other file that is served by its path.
        max_bytes: Size of an image's file.
    """

    def __init__(self, app: App, names: Names, disk: Disk, max_bytes: int) -> None:
        self._max_call = 3 * max_bytes + MAX_CALL  # an image in base64, another as its background, and some words
        self._app = app
        self._names = names
        self._folder = disk.folder
        self._intake = Intake(disk)
        self._pages: dict[tuple[tuple[bytes, bytes], ...], tuple[Message, Message]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path, method = scope["path"], scope["method"]
        if not self._names.has(header(scope, b"host") or ""):
            why = f"This server is called {self._names}. For another name, start it with --server-name NAME."
            await refuse(scope, send, 421, why)
        elif method not in ("GET", "HEAD", "POST") or is_from_elsewhere(scope):
            await refuse(scope, send, 403, "This server is not for other sites' pages.")
        elif not _SERVED.fullmatch(path) or (path.startswith(_FILE) and not self._is_ours(path.removeprefix(_FILE))):
            await refuse(scope, send, 404, "There is nothing here.")
        elif path == "/" and method == "GET":
            await self._page(_plain(scope), receive, send)
        elif method == "POST" and is_api(scope):
            await self._intake.take(self._pass, scope, receive, send, Whole(self._max_call))
        elif method != "POST":
            await self._pass(_plain(scope), receive, send)
        elif path == _UPLOAD:
            await self._intake(self._pass, scope, receive, send)
        else:
            await self._call(scope, receive, send)

    def _is_ours(self, path: str) -> bool:
        """Whether a path is that of an upload or a result: each is in a folder whose name nobody can guess."""
        try:
            return len(Path(path).resolve().relative_to(self._folder).parts) == 2
        except (ValueError, OSError):  # not in the folder; or a path that none can be
            return False

    async def _call(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a call on if it is small, and names no image that the server would have to fetch from elsewhere."""
        try:
            body = await asyncio.wait_for(_body(receive), CALL_SECONDS)
        except TimeoutError:
            await refuse(scope, send, 408, "This call is too slow.")
            return
        if body is None:
            return
        if len(body) > MAX_CALL:
            await refuse(scope, send, 413, "This call is too large. Upload images instead of sending them in it.")
            return
        if _names_url(body):
            await refuse(
                scope, send, 400, "This server fetches nothing from elsewhere. Upload the image's file instead."
            )
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
        """Give the page itself. It is made once for each address that it is called by, since that is written in it."""
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

        # Compressed, it could not be changed.
        plain = [h for h in scope["headers"] if h[0].lower() != b"accept-encoding"]
        await self._app({**scope, "headers": plain}, receive, kept)
        body = _STRAY.sub(b"", bytes(page))
        return _with(start[0], {**_HEADERS, "Content-Length": str(len(body))}), {
            "type": "http.response.body",
            "body": body,
        }


def _with(message: Message, headers: dict[str, str]) -> Message:
    """Return the start of an answer with other headers."""
    added = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    names = {name for name, _ in added}
    kept = [header for header in message["headers"] if header[0].lower() not in names]
    return {**message, "headers": [*kept, *added]}


def _plain(scope: Scope) -> Scope:
    """Return a request without what Gradio should not be asked.

    The page's query may name a state of the page to restore, and that may be a file which somebody uploaded. Of ranges
    Gradio understands only the simplest, and fails on others.
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
    """Whether a call has a file whose path is an address: Gradio would fetch it."""
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
