"""One image for a caller of the HTTP API: what is wanted of it, and the answer."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from PIL import Image

from transformers_foreground.compositing.cutout import cutout
from transformers_foreground.compositing.measures import measures
from transformers_foreground.errors import ForegroundError, ImageError, UnsupportedOptionError
from transformers_foreground.images.alpha import to_mask
from transformers_foreground.images.download import NotPublicError
from transformers_foreground.images.encode import encode
from transformers_foreground.images.reading import unreadable
from transformers_foreground.images.remote import download
from transformers_foreground.segmenter import Foreground
from transformers_foreground.server.decoding import Upload
from transformers_foreground.server.progress import Failure, Note
from transformers_foreground.server.service import BusyError, Service

DOWNLOAD_SECONDS: Final = 15.0
FETCHES: Final = 10  # at once
# Not the event loop's own threads: servers that answer slowly would hold what all other requests need.
_FETCHERS: Final = ThreadPoolExecutor(FETCHES, "foreground-fetch-image")
_fetching: Final = set[Future[Any]]()
_MEDIA: Final = {"png": "image/png", "webp": "image/webp", "jpeg": "image/jpeg"}


class CallerLeftError(ForegroundError):
    """Nobody waits for the answer any more."""


@dataclass(frozen=True)
class Wanted:
    """What a caller wants of one image.

    Attributes:
        image: The image.
        model: Id of a model on offer; empty for the server's own.
        background: As for `cutout`, but an image is an `Upload`.
        options: Other options of `cutout`.
        mask_only: Give the mask in place of the cut-out.
        kind: `"png"`, `"webp"` or `"jpeg"`; `"auto"` is PNG where anything is transparent, else JPEG.
        max_pixels: Shrink the result to about that many pixels.
        region: Returns what of an image of some width and height may be foreground, as left, top, width, height.
        dtype: One of the model's dtypes; empty for the server's own.
        edit: Name of a touch-up of the mask that is kept.
        longest: Shrink the result to this many pixels at the longer side.
    """

    image: Upload
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
    """An image for a caller.

    Attributes:
        data: The encoded image.
        media_type: Its MIME type.
        width: In pixels.
        height: In pixels.
        box: What is foreground in it: left, top, width, height, in pixels.
    """

    data: bytes
    media_type: str
    width: int
    height: int
    box: tuple[int, int, int, int]


async def made(service: Service, wanted: Wanted, left: Callable[[], Any]) -> Answer:
    """Do what a caller wants.

    Args:
        service: What does the work.
        wanted: What is wanted.
        left: Whether the caller has left, awaited.

    Raises:
        ForegroundError: It cannot be done.
    """
    behind = wanted.background
    if isinstance(behind, Upload):
        behind = await service.decode(behind)

    def then(_: int, foreground: Foreground) -> Answer:
        return _composed(wanted, foreground, behind)

    async with contextlib.aclosing(
        service.run([wanted.image], then, wanted.model, wanted.dtype, wanted.edit)
    ) as outcomes:
        async for outcome in outcomes:
            if isinstance(outcome, Failure):
                raise ImageError(outcome.why)
            if not isinstance(outcome, Note):
                return outcome
            if await left():
                raise CallerLeftError("The caller has left.")
    raise CallerLeftError("The server is ending.")


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
    if kind == "jpeg" and result.mode == "RGBA":  # as remove.bg: white where there is no background
        result = cutout(image, mask, background="white", **options)
    box = measures(alpha)["box"] or [0, 0, 0, 0]
    return Answer(encode(result, kind), _MEDIA[kind], result.width, result.height, tuple(box))


async def fetched(url: str, service: Service) -> Upload:
    """Fetch an image that a caller named by its address; only from the public internet.

    Raises:
        BusyError: Too many others are being fetched.
        ImageError: It cannot be fetched.
        UnsupportedOptionError: This is no address, or the server opens no connections.
    """
    if not url.lower().startswith(("http://", "https://")):
        raise UnsupportedOptionError(f"{url[:80]!r} is no http: or https: address.")
    if service.settings.local_files_only:
        raise UnsupportedOptionError("This server was started with --local-files-only: send the image's file instead.")
    try:
        if len(_fetching) >= FETCHES:
            raise BusyError(f"{FETCHES} other images are being fetched. Try again in a minute, or send the file.")
        fetching = _FETCHERS.submit(download, url, DOWNLOAD_SECONDS, service.settings.max_bytes)
        _fetching.add(fetching)
        fetching.add_done_callback(_fetching.discard)
        found = await asyncio.wrap_future(fetching)
    except NotPublicError as error:
        why = (
            "it is not on the public internet, and this server fetches from nowhere else; send the image's file instead"
        )
        raise unreadable(url[:200], why) from error
    return Upload(url[:200], data=found["bytes"])
