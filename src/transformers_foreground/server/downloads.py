"""Downloads of cut-outs in full size. They are made when they are downloaded, so a link never gives an old one."""

from __future__ import annotations

import asyncio
import secrets
import zipfile
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, Response, StreamingResponse

from transformers_foreground.errors import ForegroundError
from transformers_foreground.server.looks import Look
from transformers_foreground.server.progress import BusyError
from transformers_foreground.server.results import Result
from transformers_foreground.server.service import Service
from transformers_foreground.server.wanted import Answer, Wanted, cut_out

ARCHIVE: Final = "cutouts.zip"
_MOST: Final = 5000  # links that work; above that the oldest are dropped
_PAUSE: Final = 0.5  # seconds after which a busy server is asked again
_GONE: Final = "This link is old, or the image has left the server. Give the image again."


@dataclass(eq=False)
class Downloads:
    """Links to cut-outs in full size.

    Attributes:
        service: Makes the cut-outs.
    """

    service: Service
    _offers: OrderedDict[str, tuple[tuple[Result, ...], Look]] = field(default_factory=OrderedDict)

    def offer(self, results: Sequence[Result], look: Look) -> str:
        """Make a link to one cut-out, or to a zip of several.

        Returns:
            The link, relative to the page. Nobody can guess it.
        """
        token = secrets.token_urlsafe(24)
        self._offers[token] = tuple(results), look
        if len(self._offers) > _MOST:
            self._offers.popitem(last=False)
        return f"download/{token}"

    def add_routes(self, app: FastAPI) -> None:
        """Add the links' route to an application."""

        async def download(token: str, request: Request) -> Response:
            results, look = self._offers.get(token, ((), Look()))
            try:
                if not results:
                    raise ForegroundError(_GONE)
                if len(results) > 1:
                    archive = StreamingResponse(self._zipped(results, look), 200, {}, "application/zip")
                    return _attachment(ARCHIVE, archive)
                answer = await self.full_size(results[0], look, request.is_disconnected)
                return _attachment(results[0].file_name(look), Response(answer.data, 200, {}, answer.media_type))
            except BusyError as error:
                return PlainTextResponse(str(error), 429)
            except ForegroundError as error:
                return PlainTextResponse(str(error), 404)

        app.add_api_route("/download/{token}", download, include_in_schema=False, response_model=None)

    async def full_size(
        self, result: Result, look: Look, has_left: Callable[[], Awaitable[bool]] | None = None
    ) -> Answer:
        """Make a cut-out in full size.

        Args:
            result: The result to make it of.
            look: The look of the cut-out.
            has_left: As for `cut_out`.

        Raises:
            ForegroundError: It cannot be made; the image has been deleted, for example.
        """
        wanted = Wanted(
            result.upload,
            result.model,
            look.filled,
            look.options,
            kind=look.kind,
            dtype=result.dtype,
            edit=result.edit,
            longest=look.size,
        )
        return await cut_out(self.service, wanted, has_left)

    async def _in_turn(self, result: Result, look: Look) -> Answer:
        """Do `full_size`; while the server does as much as it can at once, wait."""
        while True:
            with suppress(BusyError):
                return await self.full_size(result, look)
            await asyncio.sleep(_PAUSE)

    async def _zipped(self, results: Sequence[Result], look: Look) -> AsyncIterator[bytes]:
        """Make a zip while it is sent. The images are compressed already, so they are only stored."""
        pipe, failed = _Pipe(), []

        with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED) as zipped:  # type: ignore[call-overload]
            for result in results:
                try:
                    answer = await self._in_turn(result, look)
                    zipped.writestr(result.file_name(look), answer.data)
                except ForegroundError as error:
                    failed.append(f"{result.name}: {error}\n")
                yield pipe.take()
            if failed:
                zipped.writestr("not-done.txt", "".join(failed))
        yield pipe.take()


class _Pipe:
    """A file to write to, from which what was written is taken piece by piece."""

    def __init__(self) -> None:
        self._pieces = bytearray()

    def write(self, data: bytes) -> int:
        self._pieces += data
        return len(data)

    def flush(self) -> None:
        """Do nothing: there is no buffer."""

    def take(self) -> bytes:
        taken, self._pieces = bytes(self._pieces), bytearray()
        return taken


def _attachment(name: str, response: Response) -> Response:
    response.headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(name)}"
    response.headers["Cache-Control"] = "no-store"
    return response
