"""Helpers for plain ASGI code: whether a request is for the HTTP API, and how to refuse one."""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

API: Final = ("/v1.0/removebg", "/api/remove")
_CODES: Final = {403: "forbidden", 408: "timeout", 413: "file_too_large", 429: "rate_limit_exceeded"}


def is_api(scope: Scope) -> bool:
    """Whether a request is for the HTTP API."""
    return scope["path"] in API


def error_json(title: str, code: str) -> dict[str, Any]:
    """Return an error in remove.bg's form."""
    return {"errors": [{"title": title, "code": code}]}


async def refuse(scope: Scope, receive: Receive, send: Send, status: int, text: str) -> None:
    """Answer a request with an error: JSON for the HTTP API, plain text for the page."""
    headers = {"X-Content-Type-Options": "nosniff"}
    answer: Response = PlainTextResponse(text, status, headers)
    if is_api(scope):
        answer = JSONResponse(error_json(text, _CODES.get(status, "invalid_request")), status, headers)
    await answer(scope, receive, send)
