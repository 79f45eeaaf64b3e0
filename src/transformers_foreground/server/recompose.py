"""Another look for what was cut out before, from the masks that are kept; the model does not run again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from transformers_foreground.errors import ForegroundError
from transformers_foreground.images.alpha import to_mask
from transformers_foreground.server.decoding import Upload
from transformers_foreground.server.disk import FULL
from transformers_foreground.server.looks import Look
from transformers_foreground.server.results import Result, gone, with_previews, write_thumb
from transformers_foreground.server.service import Service

T = TypeVar("T")


async def recompose(service: Service, result: Result, look: Look) -> Result:
    """Write other previews of a result.

    Args:
        service: What has the masks.
        result: The result.
        look: What its cut-out shall look like.

    Raises:
        ForegroundError: The image has left the server, or the background cannot be read.
    """
    behind = await _behind(service, look)

    def work() -> Result:
        with _opened(service, result) as before:
            made = with_previews(result, before, _mask(service, result), look, behind)
        service.disk.take_files(file for file in made.files() if file != made.source)
        return made

    return await _on_side(service, work)


async def thumbs(service: Service, results: Sequence[Result], look: Look) -> list[Path]:
    """Write other thumbnails of results; those of images that have left the server stay as they are.

    Args:
        service: What has the masks.
        results: The results.
        look: What their cut-outs shall look like.

    Raises:
        ForegroundError: The background cannot be read.
    """
    behind = await _behind(service, look)

    def work(result: Result) -> Path:
        try:
            with _opened(service, result) as before:
                file = write_thumb(result, before, _mask(service, result), look, behind)
        except ForegroundError:
            return result.thumb
        service.disk.take_files([file])
        return file

    stale = [result for result in results if result.look != look or result.edit]
    made = await asyncio.gather(*(_on_side(service, partial(work, result)) for result in stale))
    files = dict(zip((id(result) for result in stale), made, strict=True))
    return [files.get(id(result), result.thumb) for result in results]


async def _behind(service: Service, look: Look) -> Any:
    return await service.decode(look.filled) if isinstance(look.filled, Upload) else look.filled


async def _on_side(service: Service, work: Callable[[], T]) -> T:
    return await asyncio.wrap_future(service.side.submit(work))


def _opened(service: Service, result: Result) -> Image.Image:
    if not result.source.is_file():
        raise ForegroundError(gone(result.name))
    if not service.disk.make_room():
        raise ForegroundError(FULL)
    return Image.open(result.source)


def _mask(service: Service, result: Result) -> Image.Image:
    mask = service.masks.preview(result.key)
    if mask is None:
        raise ForegroundError(gone(result.name))
    return to_mask(mask)
