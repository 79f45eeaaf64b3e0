"""The HTTP API for clients of other services, as a FastAPI application without the page.

`POST /v1.0/removebg` has remove.bg's fields, headers and errors; `/api/remove` has the parameters of rembg's server.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import os
from collections.abc import AsyncIterator, Callable, Mapping
from html import escape
from typing import Any, Final

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from transformers_foreground.env import __version__
from transformers_foreground.errors import ForegroundError, ImageError, UnsupportedOptionError
from transformers_foreground.server import rembg, removebg
from transformers_foreground.server.asgi import App, error_json
from transformers_foreground.server.callers import Names
from transformers_foreground.server.cleanup import keep_swept
from transformers_foreground.server.private import Private
from transformers_foreground.server.service import BusyError, Service
from transformers_foreground.server.wanted import Answer, CallerLeftError, made


class KeyRefusedError(ForegroundError):
    """The caller gave no API key, or a wrong one."""


def api_application(service: Service, names: Names, keys: tuple[str, ...] = ()) -> App:
    """Give the API alone as an ASGI application, behind the same shell as the page.

    Args:
        service: What does the work.
        names: By which the server may be called.
        keys: API keys, of which a caller must give one; none for an API that is open.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        sweeping = asyncio.create_task(keep_swept(service.disk))
        yield
        sweeping.cancel()
        service.close()

    app = FastAPI(title="transformers-foreground", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    add_documented_routes(app, service, keys)

    app.add_api_route("/", lambda: RedirectResponse("docs"), include_in_schema=False, response_model=None)
    return Private(app, names, service.disk, service.settings.max_bytes)


def add_documented_routes(app: FastAPI, service: Service, keys: tuple[str, ...] = ()) -> None:
    """Add the API to an application, and the pages that describe it: `/docs` and `/openapi.json`.

    Args:
        app: The application.
        service: What does the work.
        keys: API keys, of which a caller must give one; none for an API that is open.
    """
    router = routes(service, keys)
    schema = get_openapi(title="transformers-foreground", version=__version__, routes=router.routes)
    app.include_router(router)

    page = documentation(schema)
    app.add_api_route("/openapi.json", lambda: JSONResponse(schema), include_in_schema=False, response_model=None)
    app.add_api_route("/docs", lambda: HTMLResponse(page), include_in_schema=False, response_model=None)


def routes(service: Service, keys: tuple[str, ...] = ()) -> APIRouter:
    """Give the routes of the API.

    Args:
        service: What does the work.
        keys: API keys, of which a caller must give one; none for an API that is open.
    """
    router = APIRouter()

    healthy = JSONResponse({"status": "ok"})
    router.add_api_route("/health", lambda: healthy, summary="Whether the server runs", response_model=None)

    def handled(parse: Callable[..., Any], answer: Callable[[Request, Answer], Response]) -> Any:
        async def handle(request: Request) -> Response:
            try:
                check_key(request.headers.get("x-api-key"), keys)
                return answer(request, await made(service, await parse(request, service), request.is_disconnected))
            except ForegroundError as error:
                return refused(error)

        return handle

    removebg.add_routes(router, handled)
    rembg.add_routes(router, handled)
    return router


def check_key(given: str | None, keys: tuple[str, ...]) -> None:
    """Refuse a caller without one of the keys.

    Raises:
        KeyRefusedError: The caller gave none, or a wrong one.
    """
    if keys and not given:
        raise KeyRefusedError("Missing API Key: send it in the header X-Api-Key.")
    # Letters beyond ASCII are sent in UTF-8 by some and in Latin-1 by others, as which servers read all headers.
    sent = str(given).encode("latin-1", errors="replace")
    known = [text for key in keys for text in (os.fsencode(key), key.encode("latin-1", errors="replace"))]
    # In a time that does not tell how much of one is right.
    if keys and not any(hmac.compare_digest(sent, key) for key in known):
        raise KeyRefusedError("API Key invalid")


def refused(error: ForegroundError) -> JSONResponse:
    """Say what is wrong with a call, in remove.bg's form."""
    status, code = next(
        (found for kind, found in _STATUS if isinstance(error, kind)),
        (400, "invalid_parameter"),
    )
    headers = {"Retry-After": "10"} if status == 429 else {}
    return JSONResponse(error_json(str(error), code), status, headers)


_STATUS: Final[tuple[tuple[type[ForegroundError], tuple[int, str]], ...]] = (
    (KeyRefusedError, (403, "auth_failed")),
    (BusyError, (429, "rate_limit_exceeded")),
    (CallerLeftError, (499, "caller_left")),
    (UnsupportedOptionError, (400, "invalid_parameter")),
    (ImageError, (400, "invalid_image")),
)


def documentation(schema: Mapping[str, Any]) -> str:
    """Write the API's OpenAPI description as a page that needs nothing from elsewhere."""
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
