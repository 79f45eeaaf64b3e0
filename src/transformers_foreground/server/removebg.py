"""`POST /v1.0/removebg`, with remove.bg's fields, headers and errors: its clients need only another address.

Reference: https://www.remove.bg/api
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from transformers_foreground.compositing.backgrounds import colour_of
from transformers_foreground.errors import UnsupportedOptionError
from transformers_foreground.server.decoding import Upload
from transformers_foreground.server.fields import described, fields_of, length, one_of, only, text, truth, upload
from transformers_foreground.server.service import Service
from transformers_foreground.server.wanted import Answer, Wanted

_FIELDS: Final = {
    "image_file": "The image, as a file. Give this, image_file_b64 or image_url.",
    "image_file_b64": "The image, in base64.",
    "image_url": "The image's address, on the public internet.",
    "size": "Most megapixels of the result: preview, small and regular 0.25; medium 1.5; hd 4; 4k 10; 50MP 50. "
    "auto (the default) and full keep the image's size.",
    "format": "auto (PNG if anything is transparent, else JPEG), png, jpg or webp.",
    "channels": "rgba, or alpha for the mask alone.",
    "bg_color": "Colour of the background: a name, or hexadecimal with or without #.",
    "bg_image_file": "Background image, as a file.",
    "crop": "true: crop to the foreground.",
    "crop_margin": "With crop: room around the foreground, in pixels (30px) or percent of its longer side (10%). "
    "One value for all sides; two: top and bottom, left and right; four: top, right, bottom, left.",
    "roi": "The box that may hold foreground: x1 y1 x2 y2, in pixels or percent (0% 0% 100% 100%).",
    "add_shadow": "true: add a soft shadow below the foreground.",
}
_REFUSED: Final = {
    "bg_image_url": "send the image as bg_image_file",
    "type": "one model is for all kinds of images",
    "type_level": "images are not classified",
    "scale": "the foreground keeps its size; crop_margin adds room around it",
    "position": "the foreground keeps its place",
    "semitransparency": "soft edges are always kept",
    **dict.fromkeys(("shadow_type", "shadow_opacity"), "there is one kind of shadow, add_shadow"),
}
# What clients send that fill in every field: it asks for nothing.
_DEFAULTS: Final = {
    **{"type": "auto", "type_level": "none", "scale": "original", "position": "original"},
    **{"semitransparency": "true", "shadow_type": "none"},
}
_SIZES: Final = {
    **dict.fromkeys(("auto", "full"), None),
    **dict.fromkeys(("preview", "small", "regular"), 0.25e6),
    **{"medium": 1.5e6, "hd": 4e6, "4k": 10e6, "50MP": 50e6},
}
_HEX: Final = re.compile(r"#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})")


def add_routes(router: APIRouter, handled: Callable[..., Any]) -> None:
    """Add the route to the API."""
    router.add_api_route(
        "/v1.0/removebg",
        handled(_parse, _answer),
        methods=["POST"],
        response_class=Response,
        summary="Remove the background of an image, for clients of remove.bg",
        description="The answer is an image; with the header Accept: application/json it is JSON. Errors are JSON.",
        openapi_extra={"requestBody": described(_FIELDS, ["image_file", "bg_image_file"])},
        name="removebg",
    )


async def _parse(request: Request, service: Service) -> Wanted:
    """Read a call.

    Raises:
        UnsupportedOptionError: A field is not supported, or has a wrong value.
    """
    given = await fields_of(request, service.settings.max_bytes)
    fields = {name: value for name, value in given.items() if value not in ("", _DEFAULTS.get(name))}
    only(fields, _FIELDS, _REFUSED)
    crop = truth(fields, "crop")
    options: dict[str, Any] = {"crop": crop, "shadow": truth(fields, "add_shadow")}
    if margin := text(fields, "crop_margin"):
        options |= {"pad": _margin(margin)} if crop else {}
    kind = one_of(fields, "format", ("auto", "png", "jpg", "webp"), "auto")
    return Wanted(
        background=_background(fields),
        options=options,
        mask_only=one_of(fields, "channels", ("rgba", "alpha"), "rgba") == "alpha",
        kind={"jpg": "jpeg"}.get(kind, kind),
        max_pixels=_SIZES[one_of(fields, "size", tuple(_SIZES), "auto")],
        region=_region(text(fields, "roi")) if text(fields, "roi") else None,
        image=_image(fields),
    )


def _answer(request: Request, made: Answer) -> Response:
    """Answer with an image, or with JSON if the call accepts that."""
    left, top, width, height = made.box
    headers = {
        "X-Width": str(made.width),
        "X-Height": str(made.height),
        "X-Credits-Charged": "0",
        "X-Foreground-Left": str(left),
        "X-Foreground-Top": str(top),
        "X-Foreground-Width": str(width),
        "X-Foreground-Height": str(height),
    }
    if "application/json" in request.headers.get("accept", ""):
        data = {
            "result_b64": base64.b64encode(made.data).decode(),
            "foreground_left": left,
            "foreground_top": top,
            "foreground_width": width,
            "foreground_height": height,
        }
        return JSONResponse({"data": data}, headers=headers)
    return Response(made.data, media_type=made.media_type, headers=headers)


def _image(fields: Mapping[str, Any]) -> Upload | str:
    given = [name for name in ("image_file", "image_file_b64", "image_url") if fields.get(name)]
    if len(given) != 1:
        which = f"give one of {', '.join(given)}" if given else "give image_file, image_file_b64 or image_url"
        raise UnsupportedOptionError(f"{'More than one' if given else 'No'} image: {which}.")
    if given == ["image_url"]:
        return text(fields, "image_url")
    file = fields[given[0]]
    if given == ["image_file"] and (file := upload(fields, "image_file")):
        return file
    if isinstance(file, Upload):  # some clients send base64 as a file
        file = file.data.decode("ascii", "replace")
    packed = "".join(re.sub(r"^\s*data:[^,]{0,100},", "", file).split())  # programs write it in lines
    try:
        return Upload("image_file_b64", data=base64.b64decode(packed, validate=True))
    except (binascii.Error, ValueError) as error:
        raise UnsupportedOptionError("image_file_b64 is not base64.") from error


def _background(fields: Mapping[str, Any]) -> Any:
    colour, image = text(fields, "bg_color"), upload(fields, "bg_image_file")
    if not colour:
        return image
    if image:
        raise UnsupportedOptionError("Give bg_color or bg_image_file, not both.")
    if match := _HEX.fullmatch(colour):
        colour = f"#{match[1]}"
    if colour_of(colour) is None:
        raise UnsupportedOptionError(f"bg_color={colour[:80]!r}: use a name, or hexadecimal such as 81d4fa.")
    return colour


def _margin(margin: str) -> list[int | float]:
    sides = [length(word, "crop_margin") for word in margin.split(maxsplit=4)]
    if len(sides) not in (1, 2, 4):
        raise UnsupportedOptionError(
            f"crop_margin={margin[:40]!r}: use one value; two: top and bottom, left and right; or four: top, right, "
            "bottom, left."
        )
    if any(not percent and number > 500 for number, percent in sides):
        raise UnsupportedOptionError(f"crop_margin={margin[:40]!r}: at most 500px or 100%.")
    return [number / 100 if percent else round(number) for number, percent in sides * (4 // len(sides))]


def _region(roi: str) -> Callable[[int, int], tuple[int, int, int, int]]:
    sides = [length(word, "roi") for word in roi.split(maxsplit=4)]
    if len(sides) != 4:
        raise UnsupportedOptionError(f"roi={roi[:80]!r}: use x1 y1 x2 y2, in pixels (0px) or percent (0%).")

    def region(width: int, height: int) -> tuple[int, int, int, int]:
        ends = (width, height, width, height)
        x1, y1, x2, y2 = (
            min(end, round(number * end / 100 if percent else number))
            for (number, percent), end in zip(sides, ends, strict=True)
        )
        if x1 >= x2 or y1 >= y2:
            raise UnsupportedOptionError(f"roi={roi[:80]!r} is empty in this image of {width}x{height} pixels.")
        return x1, y1, x2 - x1, y2 - y1

    return region
