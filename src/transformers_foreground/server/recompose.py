"""Give results another look, from the masks that are kept. The model does not run again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from transformers_foreground.errors import ForegroundError
from transformers_foreground.images.alpha import to_mask
from transformers_foreground.server.decoding import Upload
from transformers_foreground.server.looks import Look
from transformers_foreground.server.results import Result, gone, with_previews, write_thumb
from transformers_foreground.server.service import Service

T = TypeVar("T")


async def recompose(service: Service, result: Result, look: Look) -> Result:
    """Write new previews of a result, with another look.

    Raises:
        ForegroundError: The image has been deleted, the background cannot be read, or the disk space is full.
    """
    behind = await _behind(service, look)

    def work() -> Result:
        service.disk.need_room()
        before, mask = kept(service, result)
        made = with_previews(result, before, mask, look, behind)
        service.disk.take_files(file for file in made.files() if file != made.source)
        return made

    return await on_side(service, work)


async def thumbs(service: Service, results: Sequence[Result], look: Look) -> list[Path]:
    """Write new thumbnails of results, with another look; one that cannot be written stays the old one.

    Raises:
        ForegroundError: The background cannot be read.
    """
    behind = await _behind(service, look)

    def work(result: Result) -> Path:
        try:
            service.disk.need_room()
            file = write_thumb(result, *kept(service, result), look, behind)
        except ForegroundError:
            return result.thumb
        service.disk.take_files([file])
        return file

    stale = [result for result in results if result.look != look or result.edit]
    made = await asyncio.gather(*(on_side(service, partial(work, result)) for result in stale))
    files = dict(zip((id(result) for result in stale), made, strict=True))
    return [files.get(id(result), result.thumb) for result in results]


async def _behind(service: Service, look: Look) -> Any:
    return await service.decode(look.filled) if isinstance(look.filled, Upload) else look.filled


async def on_side(service: Service, work: Callable[[], T]) -> T:
    """Run a function on one of the threads for work that needs no model."""
    return await asyncio.wrap_future(service.side.submit(work))


def kept(service: Service, result: Result) -> tuple[Image.Image, Image.Image]:
    """Return a result's image and its mask, both at preview size.

    Raises:
        ForegroundError: They have been deleted.
    """
    with suppress(FileNotFoundError):
        if (mask := service.masks.preview(result.key)) is not None:
            with Image.open(result.source) as image:
                image.load()
            return image, to_mask(mask)
    raise ForegroundError(gone(result.name))
