"""Uploads on their way in: how many, how large and how slow they may be. Gradio takes them apart, and writes them."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.formparsers import MultiPartException

from transformers_foreground.page.asgi import App, Message, Receive, Scope, Send, header, refuse
from transformers_foreground.page.disk import FULL, Disk
from transformers_foreground.page.service import MAX_PICTURES, TOO_MANY

AT_ONCE: Final = 32  # uploads
IDLE_SECONDS: Final = 30  # from one piece of an upload to the next
SLOWEST: Final = 10_000  # bytes a second, on average, after the first `IDLE_SECONDS`


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
        if self._count > MAX_PICTURES:
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


@dataclass(eq=False)
class Intake:
    """Passes uploads on to Gradio, as long as they keep to the limits. All of them are on one event loop.

    Attributes:
        disk: Where they go.
    """

    disk: Disk
    _under_way: int = 0

    async def __call__(self, app: App, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one upload."""
        announced = int(header(scope, b"content-length") or 0)
        boundary = parse_options_header(header(scope, b"content-type"))[1].get(b"boundary")
        if not boundary:
            await refuse(send, 400, "This is no upload of files.")
        elif self._under_way >= AT_ONCE:
            await refuse(send, 503, f"{AT_ONCE} other uploads are under way. Try again in a minute.")
        elif not await asyncio.to_thread(self.disk.make_room, announced):
            await refuse(send, 507, FULL)
        else:
            self._under_way += 1
            try:
                await self._pass(app, scope, receive, send, announced, Parts(boundary))
            finally:
                self._under_way -= 1

    async def _pass(self, app: App, scope: Scope, receive: Receive, send: Send, announced: int, parts: Parts) -> None:
        started, received, taken, ended, status = time.monotonic(), 0, announced, False, 500
        refusal: Refused | None = None
        self.disk.take(taken)

        async def next_piece() -> Message:
            nonlocal received, taken, ended
            if ended:
                return await receive()
            late = started + IDLE_SECONDS + received / SLOWEST - time.monotonic()
            try:
                message = await asyncio.wait_for(receive(), max(0.001, min(IDLE_SECONDS, late)))
            except asyncio.TimeoutError as error:
                raise Refused(408, "This upload is too slow.") from error
            if message["type"] != "http.request":
                raise Refused(400, "The visitor has left.")
            received, ended = received + len(message.get("body", b"")), not message.get("more_body", False)
            if received > taken:  # of an upload that did not say how large it is
                self.disk.take(received - taken)
                taken = received
                if not self.disk.make_room():
                    raise Refused(507, FULL)
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
        finally:
            if refusal or status >= 400:
                self.disk.take(-taken)
        if refusal:
            await refuse(send, refusal.status, str(refusal))
