"""The HTTP API for clients of remove.bg (`POST /v1.0/removebg`) and of rembg's server (`/api/remove`)."""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable, Mapping
from html import escape
from typing import Any, Final

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from transformers_foreground.env import __version__
from transformers_foreground.errors import ForegroundError, ImageError, UnsupportedOptionError
from transformers_foreground.server import rembg, removebg
from transformers_foreground.server.asgi import error_json
from transformers_foreground.server.callers import Names
from transformers_foreground.server.cleanup import running
from transformers_foreground.server.guard import Guard
from transformers_foreground.server.progress import BusyError
from transformers_foreground.server.service import Service
from transformers_foreground.server.wanted import Answer, CallerLeftError, cut_out


class KeyRefusedError(ForegroundError):
    """The caller gave no API key, or a wrong one."""


def api_application(service: Service, names: Names, keys: tuple[str, ...] = ()) -> Guard:
    """Make the API alone as an ASGI application, behind the same guard as the page.

    Args:
        service: Does the work.
        names: Host names that the server answers to.
        keys: API keys, of which a caller must send one; none for an open API.
    """
    app = FastAPI(lifespan=lambda _: running(service), docs_url=None, redoc_url=None, openapi_url=None)
    add_documented_routes(app, service, keys)
    app.add_api_route("/", lambda: RedirectResponse("docs"), include_in_schema=False, response_model=None)
    return Guard(app, names, service.disk, service.settings.max_bytes, service.memory)


def add_documented_routes(app: FastAPI, service: Service, keys: tuple[str, ...] = ()) -> None:
    """Add the API to an application, and its description: `/docs` and `/openapi.json`."""
    router = APIRouter()
    healthy = JSONResponse({"status": "ok"})
    router.add_api_route("/health", lambda: healthy, summary="Whether the server runs", response_model=None)

    def handled(parse: Callable[..., Any], answer: Callable[[Request, Answer], Response]) -> Any:
        async def handle(request: Request) -> Response:
            try:
                check_key(request.headers.get("x-api-key"), keys)
                wanted = await parse(request, service)
                return answer(request, await cut_out(service, wanted, request.is_disconnected))
            except ForegroundError as error:
                return refused(error)

        return handle

    removebg.add_routes(router, handled)
    rembg.add_routes(router, handled)
    app.include_router(router)

    schema = get_openapi(title="transformers-foreground", version=__version__, routes=router.routes)
    page = documentation(schema)
    app.add_api_route("/openapi.json", lambda: JSONResponse(schema), include_in_schema=False, response_model=None)
    app.add_api_route("/docs", lambda: HTMLResponse(page), include_in_schema=False, response_model=None)


def check_key(given: str | None, keys: tuple[str, ...]) -> None:
    """Refuse a caller without one of the keys.

    Raises:
        KeyRefusedError: The caller gave none, or a wrong one.
    """
    if not keys:
        return
    if not given:
        raise KeyRefusedError("Missing API Key: send it in the header X-Api-Key.")
    # Servers read headers as Latin-1, but some clients send letters beyond ASCII in UTF-8: so allow both.
    known = [os.fsencode(key) for key in keys]
    known += [key.encode("latin-1") for key in keys if all(letter <= "\xff" for letter in key)]
    # compare_digest takes equally long whether little or much of a key is right.
    if not any(hmac.compare_digest(given.encode("latin-1"), key) for key in known):
        raise KeyRefusedError("API Key invalid: it is none of this server's keys.")


_STATUS: Final[tuple[tuple[type[ForegroundError], int, str], ...]] = (
    (KeyRefusedError, 403, "auth_failed"),
    (BusyError, 429, "rate_limit_exceeded"),
    (CallerLeftError, 499, "caller_left"),
    (UnsupportedOptionError, 400, "invalid_parameter"),
    (ImageError, 400, "invalid_image"),
    (ForegroundError, 500, "server_error"),  # the model cannot be downloaded or run, for example
)


def refused(error: ForegroundError) -> JSONResponse:
    """Say in remove.bg's form why a call failed."""
    status, code = next((status, code) for kind, status, code in _STATUS if isinstance(error, kind))
    return JSONResponse(error_json(str(error), code), status, {"Retry-After": "10"} if status == 429 else {})


def documentation(schema: Mapping[str, Any]) -> str:
    """Write an OpenAPI description as an HTML page. FastAPI's own pages load scripts from another server."""
    parts = []
    for path, methods in schema["paths"].items():
        for method, route in methods.items():
            fields = "".join(
                f"<tr><td><code>{escape(name)}</code><td>{escape(str(about.get('description', '')))}"
                for name, about in _fields(route).items()
            )
            table = f"<table><tr><th>Field<th>Meaning{fields}</table>" if fields else ""
            parts.append(
                f"<h2><code>{method.upper()} {escape(path)}</code></h2>"
                f"<p>{escape(route.get('summary', ''))}</p><p>{escape(route.get('description', ''))}</p>{table}"
            )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>API</title>'
        '<meta name="viewport" content="width=device-width"><style>body{font:16px/1.5 system-ui,sans-serif;'
        "max-width:50rem;margin:2rem auto;padding:0 1rem}td,th{text-align:left;padding:.2rem 1rem .2rem 0;"
        'vertical-align:top}</style><h1>transformers-foreground: HTTP API</h1><p>For programs: <a href="openapi.json">'
        f"openapi.json</a></p>{''.join(parts)}</html>"
    )


def _fields(route: Mapping[str, Any]) -> dict[str, Any]:
    found = {each["name"]: each for each in route.get("parameters", [])}
    for content in route.get("requestBody", {}).get("content", {}).values():
        found |= content.get("schema", {}).get("properties", {})
    return found
