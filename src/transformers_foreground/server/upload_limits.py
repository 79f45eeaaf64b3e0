"""Limits on uploads as they arrive: how many, how large and how slow. Gradio and FastAPI parse and store them."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.datastructures import Headers
from starlette.formparsers import MultiPartException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from transformers_foreground.server.asgi import refuse
from transformers_foreground.server.disk import FULL, Disk
from transformers_foreground.server.memory import BUSY, Memory
from transformers_foreground.server.service import MAX_IMAGES, TOO_MANY

AT_ONCE: Final = 32  # uploads
IDLE_SECONDS: Final = 30  # from one piece of an upload to the next
SLOWEST: Final = 10_000  # bytes a second, on average, after the first `IDLE_SECONDS`

_NO_UPLOAD: Final = "This is not an upload of files. Send multipart/form-data."


class Refused(MultiPartException):
    """An upload is refused. The base class makes Gradio's parser delete what it has written."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class FilesAlone:
    """Checks that an upload for the page has nothing but files in it: Gradio would keep anything else in memory.

    Args:
        boundary: The boundary between its parts.
    """

    def __init__(self, boundary: bytes) -> None:
        self._count = 0
        self._name = b""
        self._value = b""
        self._disposition = b""
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._add_name,
                "on_header_value": self._add_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._check,
            },
        )

    def write(self, data: bytes) -> None:
        """Check the next piece.

        Raises:
            Refused: There are too many files, or other things than files.
        """
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise Refused(400, _NO_UPLOAD) from error

    def _begin(self) -> None:
        self._count += 1
        self._disposition = b""
        if self._count > MAX_IMAGES:
            raise Refused(413, TOO_MANY)

    def _add_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._name.lower() == b"content-disposition":
            if self._disposition:  # Gradio would take the last one
                raise Refused(400, "A part of this upload has two Content-Disposition headers.")
            self._disposition = self._value
        self._name = self._value = b""

    def _check(self) -> None:
        options = parse_options_header(self._disposition)[1]
        if options.get(b"name") != b"files" or b"filename" not in options:
            raise Refused(
                400, "This upload has other things than files in it. Send only files, each in a field named files."
            )


class SmallEnough:
    """Checks that a call of the API, which FastAPI keeps in memory, is not too large.

    Args:
        limit: Bytes that it may have.
    """

    def __init__(self, limit: int) -> None:
        self._left = limit
        self._limit = limit

    def write(self, data: bytes) -> None:
        """Check the next piece.

        Raises:
            Refused: There are too many bytes.
        """
        self._left -= len(data)
        if self._left < 0:
            raise Refused(413, f"This call is too large: {self._limit / 1e6:g} MB at most.")


@dataclass(eq=False)
class UploadLimits:
    """Passes uploads and calls of the API on while they keep to the limits. Use it on one event loop alone.

    Attributes:
        disk: Where uploads are written.
        memory: Counts what calls of the API send.
    """

    disk: Disk
    memory: Memory
    _under_way: int = 0

    async def files(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on an upload of files for the page."""
        boundary = parse_options_header(Headers(scope=scope).get("content-type"))[1].get(b"boundary")
        if not boundary:
            await refuse(scope, receive, send, 400, _NO_UPLOAD)
        else:
            await self.take(app, scope, receive, send, FilesAlone(boundary))

    async def take(
        self, app: ASGIApp, scope: Scope, receive: Receive, send: Send, check: FilesAlone | SmallEnough
    ) -> None:
        """Pass a request on while its body passes a check, and there is room for it.

        Args:
            app: The application that the request is for.
            scope: The request.
            receive: Gives its body.
            send: Takes its answer.
            check: Checks the body.
        """
        announced = int(Headers(scope=scope).get("content-length") or 0)
        if self._under_way >= AT_ONCE:
            text = f"{AT_ONCE} other uploads are under way. Try again in a minute."
            await refuse(scope, receive, send, 503, text)
        elif isinstance(check, SmallEnough) and not self.memory.has_room(announced):
            await refuse(scope, receive, send, 503, BUSY)
        elif not await asyncio.to_thread(self.disk.make_room, announced):
            await refuse(scope, receive, send, 507, FULL)
        else:
            self._under_way += 1
            try:
                await self._pass(app, scope, receive, send, announced, check)
            finally:
                self._under_way -= 1

    async def _pass(
        self,
        app: ASGIApp,
        scope: Scope,
        receive: Receive,
        send: Send,
        announced: int,
        check: FilesAlone | SmallEnough,
    ) -> None:
        started, received, counted, ended, status = time.monotonic(), 0, announced, False, 500
        refusal: Refused | None = None
        self._count(counted, check)

        async def next_piece() -> Message:
            nonlocal received, counted, ended
            if ended:
                return await receive()
            late = started + IDLE_SECONDS + received / SLOWEST - time.monotonic()
            try:
                message = await asyncio.wait_for(receive(), max(0.001, min(IDLE_SECONDS, late)))
            except TimeoutError as error:
                raise Refused(408, "This upload is too slow. Try again, or send smaller files.") from error
            if message["type"] != "http.request":
                raise Refused(400, "The visitor has left.")
            received, ended = received + len(message.get("body", b"")), not message.get("more_body", False)
            if received > counted:  # the upload did not announce its size
                self._count(received - counted, check)
                counted = received
                if not await asyncio.to_thread(self.disk.make_room):
                    raise Refused(507, FULL)
                if not self.memory.has_room():
                    raise Refused(503, BUSY)
            check.write(message.get("body", b""))
            return message

        async def guarded() -> Message:
            nonlocal refusal
            try:
                return await next_piece()
            except Refused as error:
                refusal = error
                raise

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            if refusal is None:
                await send(message)

        try:
            await app(scope, guarded, answer)
        except Refused:  # the application did not answer it itself
            pass
        finally:
            if refusal or status >= 400 or isinstance(check, SmallEnough):  # calls of the API leave no file
                self._count(-counted, check)
        if refusal:
            await refuse(scope, receive, send, refusal.status, str(refusal))

    def _count(self, count: int, check: FilesAlone | SmallEnough) -> None:
        """Count bytes on the disk, and those of API calls also in memory. A negative number gives them back."""
        self.disk.take(count)
        if isinstance(check, SmallEnough):
            self.memory.taken += count
