"""What ASGI passes around, and a short answer in it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

API: Final = ("/v1.0/removebg", "/api/remove")
_CODES: Final = {403: "forbidden", 408: "timeout", 413: "file_too_large", 429: "rate_limit_exceeded"}


def header(scope: Scope, name: bytes) -> str | None:
    """Return a request's header by its name in lower case; `None` where there is none."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name), None)


def is_api(scope: Scope) -> bool:
    """Whether a request is for the HTTP API."""
    return scope["path"] in API


def error_json(title: str, code: str) -> dict[str, Any]:
    """Write an error as remove.bg does."""
    return {"errors": [{"title": title, "code": code}]}


async def refuse(scope: Scope, send: Send, status: int, text: str) -> None:
    """Answer a request with a sentence; one for the API as JSON."""
    body, kind = text.encode(), b"text/plain; charset=utf-8"
    if is_api(scope):
        code = _CODES.get(status, "invalid_request")
        body, kind = json.dumps(error_json(text, code)).encode(), b"application/json"
    headers = [(b"content-type", kind), (b"x-content-type-options", b"nosniff")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
