"""Cut-outs in full size, made when they are downloaded: so no link gives an old one."""

from __future__ import annotations

import secrets
import zipfile
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, Response, StreamingResponse

from transformers_foreground.errors import ForegroundError
from transformers_foreground.server.looks import Look
from transformers_foreground.server.results import Result
from transformers_foreground.server.service import BusyError, Service
from transformers_foreground.server.wanted import Answer, Wanted, made

ARCHIVE: Final = "cutouts.zip"
_MOST: Final = 5000  # links that work; the oldest go
_GONE: Final = "This link is old, or the image has left the server. Give the image again."


@dataclass(eq=False)
class Downloads:
    """What visitors may download.

    Attributes:
        service: What does the work.
    """

    service: Service
    _offers: OrderedDict[str, tuple[tuple[Result, ...], Look]] = field(default_factory=OrderedDict)

    def offer(self, results: Sequence[Result], look: Look) -> str:
        """Offer one cut-out, or several in an archive.

        Returns:
            The address, which nobody can guess, below the server's.
        """
        token = secrets.token_urlsafe(24)
        self._offers[token] = tuple(results), look
        if len(self._offers) > _MOST:
            self._offers.popitem(last=False)
        return f"download/{token}"

    def add_routes(self, app: FastAPI) -> None:
        """Add the addresses of the offers to an application."""

        async def download(token: str, request: Request) -> Response:
            results, look = self._offers.get(token, ((), Look()))
            try:
                if not results:
                    raise ForegroundError(_GONE)
                if len(results) > 1:
                    return _attachment(
                        ARCHIVE, StreamingResponse(self._zipped(results, look), 200, {}, "application/zip")
                    )
                answer = await self.made(results[0], look, request.is_disconnected)
                return _attachment(results[0].file_name(look), Response(answer.data, 200, {}, answer.media_type))
            except BusyError as error:
                return PlainTextResponse(str(error), 429)
            except ForegroundError as error:
                return PlainTextResponse(str(error), 404)

        app.add_api_route("/download/{token}", download, include_in_schema=False, response_model=None)

    async def made(self, result: Result, look: Look, left: Callable[[], Awaitable[Any]] | None = None) -> Answer:
        """Make a cut-out in full size.

        Args:
            result: The cut-out.
            look: What it shall look like.
            left: Whether who wanted it has left, awaited.

        Raises:
            ForegroundError: It cannot be made: its image has left the server, say.
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
        return await made(self.service, wanted, left or _never)

    async def _zipped(self, results: Sequence[Result], look: Look) -> AsyncIterator[bytes]:
        """Make an archive while it is sent. Images are compressed already, so they are stored."""
        pipe, failed = _Pipe(), []

        with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED) as zipped:  # type: ignore[call-overload]
            for result in results:
                try:
                    answer = await self.made(result, look)
                    zipped.writestr(result.file_name(look), answer.data)
                except ForegroundError as error:
                    failed.append(f"{result.name}: {error}\n")
                yield pipe.take()
            if failed:
                zipped.writestr("not-done.txt", "".join(failed))
        yield pipe.take()


async def _never() -> bool:
    return False


class _Pipe:
    """A file that is only written, and taken away piece by piece."""

    def __init__(self) -> None:
        self._pieces = bytearray()

    def write(self, data: bytes) -> int:
        self._pieces += data
        return len(data)

    def flush(self) -> None:
        """Do nothing: what is written is there at once."""

    def take(self) -> bytes:
        taken, self._pieces = bytes(self._pieces), bytearray()
        return taken


def _attachment(name: str, response: Response) -> Response:
    response.headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(name)}"
    response.headers["Cache-Control"] = "no-store"
    return response
