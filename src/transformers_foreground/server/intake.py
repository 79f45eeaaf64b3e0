"""Uploads on their way in: how many, how large and how slow they may be. Gradio takes them apart, and writes them."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.formparsers import MultiPartException

from transformers_foreground.server.asgi import App, Message, Receive, Scope, Send, header, refuse
from transformers_foreground.server.disk import FULL, Disk
from transformers_foreground.server.service import MAX_IMAGES, TOO_MANY

AT_ONCE: Final = 32  # uploads
IN_MEMORY: Final = 1_000_000_000  # bytes of calls of the API, whose images are in memory until they are answered
IDLE_SECONDS: Final = 30  # from one piece of an upload to the next
SLOWEST: Final = 10_000  # bytes a second, on average, after the first `IDLE_SECONDS`


_BUSY: Final = "Other images fill the memory that this server has for them. Try again in a minute."


class Refused(MultiPartException):
    """An upload is not taken. Gradio's parser deletes what it has of one when it meets an error of this kind."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Parts:
    """Looks at the parts of an upload as they come by. Gradio would keep all that is no file in memory.

    Args:
        boundary: What stands between the parts.
    """

    def __init__(self, boundary: bytes) -> None:
        self._count = 0
        self._name = b""
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
        """Look at the next piece.

        Raises:
            Refused: There are too many files, or other things than files.
        """
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise Refused(400, "This is no upload of files.") from error

    def _begin(self) -> None:
        self._count += 1
        self._disposition = b""
        if self._count > MAX_IMAGES:
            raise Refused(413, TOO_MANY)

    def _add_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition += data[start:end]

    def _end_header(self) -> None:
        self._name = b""

    def _check(self) -> None:
        options = parse_options_header(self._disposition)[1]
        if options.get(b"name") != b"files" or b"filename" not in options:
            raise Refused(400, "This upload has something else than files in it.")


class Whole:
    """Looks at the size of a call as it comes by.

    Args:
        limit: Bytes that it may have.
    """

    def __init__(self, limit: int) -> None:
        self._left = limit
        self._limit = limit

    def write(self, data: bytes) -> None:
        """Look at the next piece.

        Raises:
            Refused: There are too many bytes.
        """
        self._left -= len(data)
        if self._left < 0:
            raise Refused(413, f"This call is too large: {self._limit / 1e6:g} MB at most.")


@dataclass(eq=False)
class Intake:
    """Passes uploads on to Gradio, as long as they keep to the limits. All of them are on one event loop.

    Attributes:
        disk: Where they go.
    """

    disk: Disk
    _under_way: int = 0
    _in_memory: int = 0

    async def __call__(self, app: App, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one upload for the page."""
        boundary = parse_options_header(header(scope, b"content-type"))[1].get(b"boundary")
        if not boundary:
            await refuse(scope, send, 400, "This is no upload of files.")
        else:
            await self.take(app, scope, receive, send, Parts(boundary))

    async def take(self, app: App, scope: Scope, receive: Receive, send: Send, parts: Parts | Whole) -> None:
        """Pass a request on while its body keeps to the limits.

        Args:
            app: What it is for.
            scope: The request.
            receive: Its body.
            send: Its answer.
            parts: Looks at the body.
        """
        announced = int(header(scope, b"content-length") or 0)
        if self._under_way >= AT_ONCE:
            await refuse(scope, send, 503, f"{AT_ONCE} other uploads are under way. Try again in a minute.")
        elif isinstance(parts, Whole) and self._in_memory + announced > IN_MEMORY:
            await refuse(scope, send, 503, _BUSY)
        elif not await asyncio.to_thread(self.disk.make_room, announced):
            await refuse(scope, send, 507, FULL)
        else:
            self._under_way += 1
            try:
                await self._pass(app, scope, receive, send, announced, parts)
            finally:
                self._under_way -= 1

    async def _pass(
        self, app: App, scope: Scope, receive: Receive, send: Send, announced: int, parts: Parts | Whole
    ) -> None:
        started, received, taken, ended, status = time.monotonic(), 0, announced, False, 500
        refusal: Refused | None = None
        self._take(taken, parts)

        async def next_piece() -> Message:
            nonlocal received, taken, ended
            if ended:
                return await receive()
            late = started + IDLE_SECONDS + received / SLOWEST - time.monotonic()
            try:
                message = await asyncio.wait_for(receive(), max(0.001, min(IDLE_SECONDS, late)))
            except TimeoutError as error:
                raise Refused(408, "This upload is too slow.") from error
            if message["type"] != "http.request":
                raise Refused(400, "The visitor has left.")
            received, ended = received + len(message.get("body", b"")), not message.get("more_body", False)
            if received > taken:  # of an upload that did not say how large it is
                self._take(received - taken, parts)
                taken = received
                if not self.disk.make_room():
                    raise Refused(507, FULL)
                if self._in_memory > IN_MEMORY:
                    raise Refused(503, _BUSY)
            parts.write(message.get("body", b""))
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
            if refusal or status >= 400 or isinstance(parts, Whole):  # of the API's calls nothing stays
                self._take(-taken, parts)
        if refusal:
            await refuse(scope, send, refusal.status, str(refusal))

    def _take(self, count: int, parts: Parts | Whole) -> None:
        """Count bytes on the disk, and in memory those of the API's calls; less than nothing gives them back."""
        self.disk.take(count)
        if isinstance(parts, Whole):
            self._in_memory += count
