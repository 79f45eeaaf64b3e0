"""`/api/remove`: as the server of rembg has it. `GET` with an image's address, `POST` with its file.

Reference: https://github.com/danielgatis/rembg
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import Response

from transformers_foreground.errors import UnsupportedOptionError
from transformers_foreground.server.fields import fields_of, only, text, truth, upload
from transformers_foreground.server.service import Service
from transformers_foreground.server.wanted import Answer, Wanted, fetched

_FIELDS: Final = {
    "model": "Id of a model that this server offers.",
    "a": "true: give soft edges the foreground's own colours.",
    "om": "true: give the mask alone.",
    "bgc": "Colour of the background: red,green,blue or red,green,blue,alpha, each 0 to 255.",
}
_REFUSED: Final = {
    "af": "the matting of rembg is not here",
    "ab": "the matting of rembg is not here",
    "ae": "the matting of rembg is not here",
    "ppm": "masks are the model's own",
    "extras": "models take nothing more",
}


def add_routes(router: APIRouter, handled: Callable[..., Any]) -> None:
    """Add the routes to the API."""
    said = {"response_class": Response, "description": "The answer is a PNG image. Errors are JSON."}
    own = [{"name": "url", "description": "The image's address, on the public internet."}]
    shared = [{"name": name, "description": about} for name, about in _FIELDS.items()]
    parameters = [{**each, "in": "query", "schema": {"type": "string"}} for each in (*own, *shared)]
    router.add_api_route(
        "/api/remove",
        handled(_by_url, _answer),
        methods=["GET"],
        summary="Remove the background of an image at an address, for clients of rembg",
        openapi_extra={"parameters": parameters},
        name="rembg_get",
        **said,
    )
    properties = {name: {"type": "string", "description": about} for name, about in _FIELDS.items()}
    properties = {"file": {"type": "string", "format": "binary", "description": "The image."}, **properties}
    body = {"content": {"multipart/form-data": {"schema": {"type": "object", "properties": properties}}}}
    router.add_api_route(
        "/api/remove",
        handled(_by_file, _answer),
        methods=["POST"],
        summary="Remove the background of an image, for clients of rembg",
        openapi_extra={"requestBody": body},
        name="rembg_post",
        **said,
    )


async def _by_url(request: Request, service: Service) -> Wanted:
    fields = dict(await fields_of(request, service.settings.max_bytes))
    only(fields, ("url", *_FIELDS), _REFUSED)
    options = _options(fields)
    if not (url := text(fields, "url")):
        raise UnsupportedOptionError("No image: give its address as url, or POST its file.")
    return Wanted(await fetched(url, service), **options)


async def _by_file(request: Request, service: Service) -> Wanted:
    fields = dict(await fields_of(request, service.settings.max_bytes))
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
    parts = written.split(",")
    if len(parts) not in (3, 4) or not all(re.fullmatch(r"\s*\d{1,3}\s*", part) and int(part) <= 255 for part in parts):
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
