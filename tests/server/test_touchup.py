"""Touching a mask up with a brush: what is restored and erased, and that an image which has left is refused."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import page_server
import pytest
from page_server import Served, file, finished, give, opened, png
from PIL import Image, ImageDraw

from transformers_foreground.errors import ForegroundError
from transformers_foreground.server.decoding import Upload
from transformers_foreground.server.downloads import Downloads
from transformers_foreground.server.looks import Look
from transformers_foreground.server.masks import Masks
from transformers_foreground.server.progress import Note
from transformers_foreground.server.service import Service
from transformers_foreground.server.touchup import ERASE, RESTORE, canvas, painted, touch_up

photo, made, served, chromium = page_server.photo, page_server.made, page_server.served, page_server.chromium


def _strokes() -> Image.Image:
    """Restore the right edge, erase the left one."""
    strokes = Image.new("RGBA", (48, 32))
    draw = ImageDraw.Draw(strokes)
    draw.rectangle((40, 0, 47, 31), fill=RESTORE)
    draw.rectangle((0, 0, 7, 31), fill=ERASE)
    return strokes


def test_what_is_painted() -> None:
    mask = np.zeros((64, 96), np.uint8)
    mask[:, :48] = 255
    changed = painted(mask, _strokes())
    assert changed[:, :12].max() == 0
    assert changed[:, 20:44].min() == 255
    assert changed[:, 52:76].max() == 0
    assert changed[:, 84:].min() == 255
    half = Image.new("RGBA", (1, 1), (0, 255, 0, 128))
    assert set(np.unique(painted(np.zeros((4, 4), np.uint8), half))) == {128}


def test_a_touch_up_is_beside_the_models_mask(made: Callable[..., Service], photo: Upload, tmp_path: Path) -> None:
    async def scenario() -> tuple[list[Any], Image.Image]:
        service = made()
        (result,) = [o async for o in service.remove([photo]) if not isinstance(o, Note)]
        changed = await touch_up(service, result, Upload("strokes.png", data=png(_strokes())))
        shown = await canvas(service, changed)
        whole = [await Downloads(service).full_size(one, Look()) for one in (result, changed)]
        service.masks = Masks()
        for work in (
            canvas(service, changed),
            touch_up(service, changed, photo),
            Downloads(service).full_size(changed, Look()),
        ):
            with pytest.raises(ForegroundError, match="has left the server"):
                await work
        return [np.asarray(Image.open(io.BytesIO(one.data)))[16, :, 3] for one in whole], shown

    (before, after), shown = asyncio.run(scenario())
    assert [before[2], before[20], before[45]] == [255, 255, 0]
    assert [after[2], after[20], after[45]] == [0, 255, 255]
    assert shown.size == (48, 32)
    assert shown.getpixel((45, 16)) < (30, 30, 30)  # restored: not faded any more


def test_strokes_that_are_no_image(made: Callable[..., Service], photo: Upload) -> None:
    async def scenario() -> None:
        service = made()
        (result,) = [o async for o in service.remove([photo]) if not isinstance(o, Note)]
        with pytest.raises(ForegroundError, match="strokes"):
            await touch_up(service, result, Upload("strokes.png", data=b"no image"))

    asyncio.run(scenario())


def test_the_brush_on_the_page(chromium: Any, served: Served) -> None:
    page = opened(chromium, served, viewport={"width": 1280, "height": 1350})
    pixels = np.zeros((240, 360, 3), np.uint8)
    pixels[:, :180] = 255
    give(page, [file("a.png", png(Image.fromarray(pixels)))])
    page.click("#go")
    finished(page)
    page.wait_for_selector("#one")

    def alpha() -> Any:
        with page.expect_download() as download:
            page.click("#one")
        return np.asarray(Image.open(download.value.path()))[120, :, 3]

    assert alpha()[240] == 0
    before = page.get_attribute("#one", "href")
    page.click("#touch button")
    page.wait_for_selector("#editor button[aria-label=Undo]:not([disabled])")  # the canvas has its image
    box = page.locator("#editor canvas").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.5)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] * 0.5, steps=4)
    page.mouse.up()
    page.evaluate("new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
    page.click("#apply")
    changed = "old => document.querySelector('#one').getAttribute('href') != old"
    page.wait_for_function(changed, arg=before)
    assert alpha()[240] == 255
    before = page.get_attribute("#one", "href")
    page.click("#over")
    page.wait_for_function(changed, arg=before)
    assert alpha()[240] == 0
    page.close()
