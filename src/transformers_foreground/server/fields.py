"""Fields of a call of the HTTP API, read from a form, JSON or the query, and checked."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

from fastapi import Request
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from transformers_foreground.errors import UnsupportedOptionError
from transformers_foreground.server.decoding import Upload

_MAX_FIELDS: Final = 40
_MAX_COMMAS: Final = 1000  # in JSON: calls are small and flat; many tiny values take 100 times their text in memory
_CHARSETS: Final = ("utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin-1")  # others may take hours to decode
_MAX_ESCAPES: Final = 1_000_000  # of a form: to read each takes a microsecond, in which nobody else is answered
_TRUE: Final = ("true", "1", "yes", "on")
_FALSE: Final = ("false", "0", "no", "off", "")


async def fields_of(request: Request, max_bytes: int) -> dict[str, str | Upload]:
    """Return a call's fields: texts and files.

    Args:
        request: The call. `Guard` has limited its size.
        max_bytes: Largest file of an image.

    Raises:
        UnsupportedOptionError: The body is neither a form nor a JSON object, or a field is given twice.
    """
    content_type, parameters = parse_options_header(request.headers.get("content-type", ""))
    kind, charset = content_type.decode("latin-1"), parameters.get(b"charset", b"utf-8").decode("latin-1").lower()
    if charset not in _CHARSETS:
        raise UnsupportedOptionError(f"charset={charset[:40]}: send text in UTF-8.")
    found: list[tuple[str, Any]] = list(request.query_params.multi_items())
    if request.method != "POST":  # the guard limits no other body
        pass
    elif kind == "application/json":
        try:
            text = await request.body()
            body = json.loads(text) if text.count(b",") <= _MAX_COMMAS else None
        except (ValueError, RecursionError) as error:
            raise UnsupportedOptionError("The body is not JSON.") from error
        if not isinstance(body, dict) or any(isinstance(value, dict | list) for value in body.values()):
            raise UnsupportedOptionError("The body is not a JSON object of a few fields, each text, a number or true.")
        found += [(_text(name), _text(value)) for name, value in body.items() if value is not None]
    elif kind in ("multipart/form-data", "application/x-www-form-urlencoded"):
        if kind != "multipart/form-data" and (await request.body()).count(b"%") > _MAX_ESCAPES:
            raise UnsupportedOptionError("The form has too many escapes (%2F). Send multipart/form-data.")
        try:
            # An image in base64 is a field, a third longer than its file.
            form = await request.form(max_files=4, max_fields=_MAX_FIELDS, max_part_size=2 * max_bytes)
        except HTTPException as error:
            raise UnsupportedOptionError(f"The form cannot be read: {error.detail}") from error
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                value = Upload((value.filename or "image")[:200], data=await value.read())
            found.append((name, value))
        await form.close()
    elif await request.body():
        raise UnsupportedOptionError("Send multipart/form-data, application/x-www-form-urlencoded or application/json.")
    if len(found) > _MAX_FIELDS:
        raise UnsupportedOptionError(f"Too many fields. Send at most {_MAX_FIELDS}.")
    for name, count in Counter(name for name, _ in found).items():
        if count > 1:
            raise UnsupportedOptionError(f"{name[:80]} is given twice. Give it once.")
    return dict(found)


def _text(value: Any) -> str:
    """Return a value of JSON as text. Lone surrogates, which cannot be encoded in an answer, become `?`."""
    return (str(value).lower() if isinstance(value, bool) else str(value)).encode(errors="replace").decode()


def only(fields: Mapping[str, Any], known: Iterable[str], refused: Mapping[str, str]) -> None:
    """Refuse fields that this server does not know or does not support.

    Args:
        fields: A call's fields.
        known: Names of the fields that are supported.
        refused: Fields of the service whose clients call, which are not supported, and why.

    Raises:
        UnsupportedOptionError: There is such a field; the message names it.
    """
    for name in fields:
        if name in refused:
            raise UnsupportedOptionError(f"{name} is not supported: {refused[name]}.")
        if name not in known:
            raise UnsupportedOptionError(f"{name[:80]!r} is not a known field. Use {', '.join(known)}.")


def text(fields: Mapping[str, Any], name: str, default: str = "") -> str:
    """Return a text field, stripped.

    Raises:
        UnsupportedOptionError: It is a file.
    """
    value = fields.get(name, default)
    if not isinstance(value, str):
        raise UnsupportedOptionError(f"{name} is a file; send it as text.")
    return value.strip()


def upload(fields: Mapping[str, Any], name: str) -> Upload | None:
    """Return a file field; `None` if it is not given.

    Raises:
        UnsupportedOptionError: It is text.
    """
    value = fields.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, Upload):
        raise UnsupportedOptionError(f"{name} is text; send it as a file: multipart/form-data with a file name.")
    return value


def truth(fields: Mapping[str, Any], name: str) -> bool:
    """Return a yes-or-no field.

    Raises:
        UnsupportedOptionError: It is neither.
    """
    value = text(fields, name).lower()
    if value not in (*_TRUE, *_FALSE):
        raise UnsupportedOptionError(f"{name}={value[:80]!r}: use true or false.")
    return value in _TRUE


def one_of(fields: Mapping[str, Any], name: str, values: Iterable[str], default: str) -> str:
    """Return a text field that must be one of some values.

    Raises:
        UnsupportedOptionError: It is none of them.
    """
    value = text(fields, name) or default
    if value not in values:
        raise UnsupportedOptionError(f"{name}={value[:80]!r}: use {', '.join(values)}.")
    return value


def length(word: str, name: str) -> tuple[float, bool]:
    """Read a length such as "30px", "30" or "10%".

    Returns:
        The number, and whether it is a percentage.

    Raises:
        UnsupportedOptionError: The word is not a length.
    """
    match = re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?)(px|%)?", word, re.ASCII)
    if match is None or (match[2] == "%" and float(match[1]) > 100):
        raise UnsupportedOptionError(f"{name}: {word[:40]!r} is not a length. Use pixels (30px) or a percentage (10%).")
    return float(match[1]), match[2] == "%"


def described(fields: Mapping[str, str], files: Iterable[str]) -> dict[str, Any]:
    """Return a form for an OpenAPI description.

    Args:
        fields: Names of the fields, and what they mean.
        files: Which of them are files.
    """
    properties: dict[str, Any] = {name: {"type": "string", "description": text} for name, text in fields.items()}
    for name in files:
        properties[name]["format"] = "binary"
    return {"content": {"multipart/form-data": {"schema": {"type": "object", "properties": properties}}}}
