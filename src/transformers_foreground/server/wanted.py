"""One image in full size, for the HTTP API or a download: what is wanted of it, and the answer."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

import numpy as np
from PIL import Image

from transformers_foreground.compositing.cutout import cutout
from transformers_foreground.compositing.measures import measures
from transformers_foreground.errors import ForegroundError, ImageError, UnsupportedOptionError
from transformers_foreground.images.alpha import to_mask
from transformers_foreground.images.download import NotPublicError, download
from transformers_foreground.images.encode import encode
from transformers_foreground.images.sources import name_of, unreadable
from transformers_foreground.segmenter import Foreground
from transformers_foreground.server.decoding import Upload
from transformers_foreground.server.fetching import on_thread
from transformers_foreground.server.memory import BUSY, IN_MEMORY
from transformers_foreground.server.progress import BusyError, Failure, Note
from transformers_foreground.server.service import Service

DOWNLOAD_SECONDS: Final = 15.0
FETCHES: Final = 10  # at once
_MEDIA: Final = {"png": "image/png", "webp": "image/webp", "jpeg": "image/jpeg"}


class CallerLeftError(ForegroundError):
    """Nobody waits for the answer any more."""


@dataclass(frozen=True)
class Wanted:
    """What is wanted of one image.

    Attributes:
        image: The image, or its URL on the public internet.
        model: Id of a model on offer; empty for the server's own.
        background: As for `cutout`, but an image is an `Upload`.
        options: Other options of `cutout`.
        mask_only: Answer with the mask instead of the cut-out.
        kind: `"png"`, `"webp"` or `"jpeg"`; `"auto"` is PNG if anything is transparent, else JPEG.
        max_pixels: Shrink the result to about this many pixels.
        region: Given an image's width and height, returns the box that may hold foreground: left, top, width, height.
        dtype: One of the model's dtypes; empty for the server's own.
        edit: Name of the touched-up mask; empty for the model's own.
        longest: Shrink the result to this many pixels on the longer side.
    """

    image: Upload | str
    model: str = ""
    background: Any = None
    options: Mapping[str, Any] = field(default_factory=dict)
    mask_only: bool = False
    kind: str = "png"
    max_pixels: float | None = None
    region: Callable[[int, int], tuple[int, int, int, int]] | None = None
    dtype: str = ""
    edit: str = ""
    longest: int | None = None


@dataclass(frozen=True)
class Answer:
    """The image that was wanted.

    Attributes:
        data: The encoded image.
        media_type: Its MIME type.
        width: In pixels.
        height: In pixels.
        box: Where its foreground is: left, top, width, height, in pixels.
    """

    data: bytes
    media_type: str
    width: int
    height: int
    box: tuple[int, int, int, int]


async def cut_out(service: Service, wanted: Wanted, has_left: Callable[[], Awaitable[bool]] | None = None) -> Answer:
    """Cut out one image.

    Args:
        service: Does the work.
        wanted: What is wanted.
        has_left: Says whether the caller has left; the work is stopped then. Without it, cancel the task instead.

    Raises:
        ForegroundError: It cannot be done, or the caller has left.
    """
    given = wanted.image
    if isinstance(given, str):
        async with _fetched(given, service) as image:
            return await cut_out(service, replace(wanted, image=image), has_left)
    behind = wanted.background
    if isinstance(behind, Upload):
        behind = await service.decode(behind)

    def then(_: int, foreground: Foreground) -> Answer:
        return _composed(wanted, foreground, behind)

    async with aclosing(service.run([given], then, wanted.model, wanted.dtype, wanted.edit)) as outcomes:
        async for outcome in outcomes:
            if isinstance(outcome, Failure):
                raise ImageError(outcome.why)
            if not isinstance(outcome, Note):
                return outcome
            if has_left and await has_left():
                break
    raise CallerLeftError("The caller has left.")


def _composed(wanted: Wanted, foreground: Foreground, background: Any) -> Answer:
    image, mask = foreground.image, to_mask(foreground.mask)
    scale = min(1.0, math.sqrt((wanted.max_pixels or math.inf) / (image.width * image.height)))
    options: dict[str, Any] = {
        **wanted.options,
        "max_size": wanted.longest if scale == 1.0 else max(1, math.floor(scale * max(mask.size))),
        "roi": wanted.region(image.width, image.height) if wanted.region else None,
    }
    transparent = cutout(image, mask, **options)
    alpha = np.asarray(transparent.getchannel("A"))
    result = transparent
    if wanted.mask_only:
        result = Image.fromarray(alpha)
    elif background is not None:
        result = cutout(image, mask, background=background, **options)
    kind = wanted.kind
    if kind == "auto":
        kind = "png" if result.mode == "RGBA" and alpha.min() < 255 else "jpeg"
    if kind == "jpeg" and result.mode == "RGBA":  # JPEG has no transparency: white, as remove.bg does
        result = cutout(image, mask, background="white", **options)
    box = measures(alpha)["box"] or [0, 0, 0, 0]
    return Answer(encode(result, kind), _MEDIA[kind], result.width, result.height, tuple(box))


@asynccontextmanager
async def _fetched(url: str, service: Service) -> AsyncIterator[Upload]:
    """Download an image, which counts as held in memory meanwhile.

    Raises:
        BusyError: The memory for images is full.
        ForegroundError: As for `fetch_image`.
    """
    size = min(service.settings.max_bytes, IN_MEMORY // FETCHES)  # until it is there: it may be as large as that
    if not service.memory.has_room(size):
        raise BusyError(BUSY)
    service.memory.taken += size
    try:
        image = await fetch_image(url, service)
        service.memory.taken -= size - image.size
        size = image.size
        yield image
    finally:
        service.memory.taken -= size


async def fetch_image(url: str, service: Service) -> Upload:
    """Download an image from a URL of the public internet.

    Raises:
        BusyError: Too many other images are being downloaded.
        ImageError: It cannot be downloaded, or the URL is not on the public internet.
        UnsupportedOptionError: This is not an http: or https: URL, or the server was started with `--local-files-only`.
    """
    if not url.lower().startswith(("http://", "https://")):
        raise UnsupportedOptionError(f"{url[:80]!r} is not an http: or https: address.")
    if service.settings.local_files_only:
        raise UnsupportedOptionError("This server was started with --local-files-only: send the image's file instead.")
    name = name_of(url)[:200]
    try:
        if len(service.fetching) >= FETCHES:
            raise BusyError(f"{FETCHES} other images are being fetched. Try again in a minute, or send the file.")
        # Not on the event loop's own threads: slow servers would keep them from all other requests.
        get = partial(download, url, name, DOWNLOAD_SECONDS, service.settings.max_bytes)
        fetching = on_thread(get, "foreground-get")
        service.fetching.add(fetching)
        fetching.add_done_callback(service.fetching.discard)
        data = await asyncio.wrap_future(fetching)
    except NotPublicError as error:
        why = "it is not on the public internet, and this server reads from nowhere else; send the image's file instead"
        raise unreadable(name, why) from error
    return Upload(name, data=data)
