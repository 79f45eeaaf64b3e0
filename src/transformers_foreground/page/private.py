"""A shell around Gradio's server: only what the page needs is served, and nothing is loaded from elsewhere."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any, Final

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_CALL: Final = 1_000_000  # bytes of a call; pictures are uploaded apart from it
LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")

_SERVED: Final = re.compile(
    r"/(config/?|theme\.css|robots\.txt|favicon\.ico|(assets|static|svelte)/.+)?"
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
# What Gradio's index.html has for link previews (with pictures from GitHub), for frames and for installing the page.
_STRAY: Final = re.compile(
    rb"<meta\s+(?:property|name)=\"(?:og|twitter):[^>]*>"
    rb"|<link rel=\"manifest\"[^>]*>"
    rb"|<script\s+src=\"[^\"]*iframeResizer[^>]*>\s*</script>"
)


class Private:
    """An ASGI application around another.

    Args:
        app: The other.
        hosts: Names by which the server may be called; empty for any. With a server on 127.0.0.1 this keeps other
            sites' pages away, which may have a name made to point there.
    """

    def __init__(self, app: App, hosts: tuple[str, ...] = ()) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.lower(): value for name, value in scope["headers"]}
        host = re.sub(r":\d+$", "", headers.get(b"host", b"").decode("latin-1"))
        if self._hosts and host not in self._hosts:
            await _refuse(send, 421, f"This server is called {' or '.join(self._hosts)}.")
        elif not _SERVED.fullmatch(scope["path"]):
            await _refuse(send, 404, "There is nothing here.")
        elif scope["method"] == "POST" and scope["path"] != "/gradio_api/upload":
            await self._call(scope, receive, send)
        else:
            await self._pass(scope, receive, send)

    async def _call(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a call on if it is small, and names no picture that the server would have to fetch from elsewhere."""
        body, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > MAX_CALL:
                await _refuse(send, 413, "This call is too large. Upload pictures instead of sending them in it.")
                return
        if _names_url(bytes(body)):
            await _refuse(send, 400, "This server fetches nothing from elsewhere. Upload the picture's file instead.")
            return
        whole: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def again() -> Message:
            return whole.pop() if whole else await receive()

        await self._pass(scope, again, send)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        start: list[Message] = []  # of the page itself, until its body is there
        page = bytearray()
        is_page = scope["path"] == "/" and scope["method"] == "GET"
        if is_page:  # compressed, it could not be changed
            scope = {**scope, "headers": [h for h in scope["headers"] if h[0].lower() != b"accept-encoding"]}

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name.lower().encode() for name in _HEADERS} | ({b"content-length"} if is_page else set())
                kept = [header for header in message["headers"] if header[0].lower() not in own]
                added = [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]
                message = {**message, "headers": [*kept, *added]}
                if is_page:
                    start.append(message)
                    return
            elif is_page and message["type"] == "http.response.body":
                page.extend(message.get("body", b""))
                if message.get("more_body", False):
                    return
                message = {"type": "http.response.body", "body": _STRAY.sub(b"", bytes(page)), "more_body": False}
                length = (b"content-length", str(len(message["body"])).encode())
                await send({**start[0], "headers": [*start[0]["headers"], length]})
            await send(message)

        await self._app(scope, receive, guarded)


async def _refuse(send: Send, status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"x-content-type-options", b"nosniff")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})


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
