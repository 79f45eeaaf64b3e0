"""`/api/remove`, as rembg's server has it: `GET` with an image's address, `POST` with its file.

Reference: https://github.com/danielgatis/rembg
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import Response

from transformers_foreground.errors import UnsupportedOptionError
from transformers_foreground.server.fields import described, fields_of, only, text, truth, upload
from transformers_foreground.server.service import Service
from transformers_foreground.server.wanted import Answer, Wanted

_FIELDS: Final = {
    "model": "Id of a model that this server offers.",
    "a": "true: give soft edges the foreground's own colours.",
    "om": "true: answer with the mask alone.",
    "bgc": "Colour of the background: red,green,blue or red,green,blue,alpha, each 0 to 255.",
}
_REFUSED: Final = {
    **dict.fromkeys(("af", "ab", "ae"), "this server has no alpha matting"),
    "ppm": "masks are not post-processed",
    "extras": "models take no extra parameters",
}


def add_routes(router: APIRouter, handled: Callable[..., Any]) -> None:
    """Add the routes to the API."""
    fields = {"url": "The image's address, on the public internet.", **_FIELDS}
    query = [
        {"name": name, "description": about, "in": "query", "schema": {"type": "string"}}
        for name, about in fields.items()
    ]
    form = described({"file": "The image.", **_FIELDS}, ["file"])
    for method, parse, source, extra in (
        ("GET", _by_url, " at an address", {"parameters": query}),
        ("POST", _by_file, "", {"requestBody": form}),
    ):
        router.add_api_route(
            "/api/remove",
            handled(parse, _answer),
            methods=[method],
            response_class=Response,
            summary=f"Remove the background of an image{source}, for clients of rembg",
            description="The answer is a PNG image. Errors are JSON.",
            openapi_extra=extra,
            name=f"rembg_{method.lower()}",
        )


async def _by_url(request: Request, service: Service) -> Wanted:
    fields = await fields_of(request, service.settings.max_bytes)
    only(fields, ("url", *_FIELDS), _REFUSED)
    options = _options(fields)
    if not (url := text(fields, "url")):
        raise UnsupportedOptionError("No image: give its address as url, or POST its file.")
    return Wanted(url, **options)


async def _by_file(request: Request, service: Service) -> Wanted:
    fields = await fields_of(request, service.settings.max_bytes)
    only(fields, ("file", *_FIELDS), _REFUSED)
    image = upload(fields, "file")
    if image is None:
        raise UnsupportedOptionError("No image: send it as the file called file.")
    return Wanted(image, **_options(fields))


def _options(fields: Mapping[str, Any]) -> dict[str, Any]:
    colour = text(fields, "bgc")
    return {
        "model": text(fields, "model"),
        "options": {"decontaminate": truth(fields, "a")},
        "mask_only": truth(fields, "om"),
        "background": _colour(colour) if colour else None,
    }


def _colour(written: str) -> tuple[int, ...] | None:
    parts = [part.strip() for part in written.split(",")]
    if len(parts) not in (3, 4) or not all(re.fullmatch(r"[0-9]{1,3}", part) and int(part) <= 255 for part in parts):
        raise UnsupportedOptionError(
            f"bgc={written[:80]!r}: use red,green,blue or red,green,blue,alpha, each 0 to 255."
        )
    red, green, blue, alpha = (*map(int, parts), 255)[:4]
    if alpha == 0:
        return None
    if alpha != 255:
        raise UnsupportedOptionError(f"bgc={written[:80]!r}: a background is opaque (alpha 255), or none (alpha 0).")
    return red, green, blue


def _answer(request: Request, made: Answer) -> Response:
    return Response(made.data, media_type=made.media_type)
