"""Masks that are kept: another background at once, without the model."""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import page_server
import pytest
from page_server import Served, file, finished, give, opened, png
from PIL import Image

from transformers_foreground.errors import ForegroundError
from transformers_foreground.segmenter import Segmenter
from transformers_foreground.server import downloads, masks
from transformers_foreground.server.decoding import Upload
from transformers_foreground.server.downloads import Downloads
from transformers_foreground.server.looks import Look
from transformers_foreground.server.masks import Masks
from transformers_foreground.server.progress import Note
from transformers_foreground.server.recompose import recompose, thumbs
from transformers_foreground.server.service import Service

photo, made, served, chromium = page_server.photo, page_server.made, page_server.served, page_server.chromium


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts runs of the model."""
    seen: list[int] = []
    run = Segmenter.run
    monkeypatch.setattr(Segmenter, "run", lambda *args: (seen.append(1), run(*args))[1])
    return seen


def test_another_look_runs_no_model(made: Callable[..., Service], photo: Upload, runs: list[int]) -> None:
    async def scenario() -> tuple[list[Image.Image], list[Image.Image]]:
        service = made()
        (result,) = [o async for o in service.remove([photo]) if not isinstance(o, Note)]
        looks = [Look("red"), Look("blue", crop=True), Look("blue", square=True, shadow=True, size=24, kind="webp")]
        previews = [await recompose(service, result, look) for look in looks]
        whole = [await Downloads(service).full_size(result, look) for look in looks]
        assert not service._decoders._held
        assert len(await thumbs(service, previews, looks[0])) == 3
        for one in previews:  # before and after can be laid over each other
            assert Image.open(one.before).size == Image.open(one.after).size
        return [Image.open(one.after) for one in previews], [Image.open(io.BytesIO(one.data)) for one in whole]

    previews, whole = asyncio.run(scenario())
    assert len(runs) == 1
    for images in (previews, whole):
        red, blue = (np.asarray(image.convert("RGB"), int)[0, -1] for image in images[:2])
        assert abs(red - (255, 0, 0)).max() < 8
        assert abs(blue - (0, 0, 255)).max() < 8
    assert [image.size for image in whole] == [(48, 32), whole[1].size, (24, 24)]
    assert whole[1].width < 40
    assert whole[2].format == "WEBP"


def test_a_zip_waits_while_the_server_is_busy(
    made: Callable[..., Service], photo: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "_PAUSE", 0.01)

    async def scenario() -> list[bytes]:
        service = made(queue=1)
        results: Any = [o async for o in service.remove([photo] * 2) if not isinstance(o, Note)]
        other = service.remove([photo])
        await anext(other)  # it has the only place

        async def pieces() -> list[bytes]:
            return [piece async for piece in Downloads(service)._zipped(results, Look())]

        zipped = asyncio.create_task(pieces())
        await asyncio.sleep(0.1)
        assert not zipped.done()
        await other.aclose()
        return await zipped

    with zipfile.ZipFile(io.BytesIO(b"".join(asyncio.run(scenario())))) as archive:
        assert archive.namelist() == ["photo.cutout.png", "photo-2.cutout.png"]


def test_jpeg_is_white_where_it_would_be_transparent(made: Callable[..., Service], photo: Upload) -> None:
    async def scenario() -> tuple[Image.Image, Image.Image]:
        service, look = made(), Look(kind="jpeg")
        (result,) = [o async for o in service.remove([photo], look=look) if not isinstance(o, Note)]
        whole = await Downloads(service).full_size(result, look)
        return Image.open(result.after), Image.open(io.BytesIO(whole.data))

    preview, whole = asyncio.run(scenario())
    assert whole.format == "JPEG"
    assert min(*preview.getpixel((46, 1)), *whole.getpixel((46, 1))) > 247


def test_an_image_that_has_left(made: Callable[..., Service], photo: Upload) -> None:
    async def scenario() -> None:
        service = made()
        (result,) = [o async for o in service.remove([photo]) if not isinstance(o, Note)]
        service.masks = Masks()
        with pytest.raises(ForegroundError, match="has left the server"):
            await recompose(service, result, Look("red"))
        assert await thumbs(service, [result], Look("red")) == [result.thumb]

    asyncio.run(scenario())


def test_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, paths = Masks(), [tmp_path / name for name in "abc"]
    mask = np.random.default_rng(0).integers(0, 256, (30, 40), np.uint8)
    for path in paths:
        path.touch()
        kept.keep((path, "m", "auto", ""), mask)
    for path in paths:
        found = kept.get((path, "m", "auto", ""))
        assert found is not None
        assert (found == mask).all()
    assert kept.get((paths[0], "m", "fp16", "")) is None
    paths[0].unlink()
    monkeypatch.setattr(masks, "MOST_BYTES", kept._size - 1)
    kept.keep((paths[2], "m", "auto", ""), mask)
    assert kept.get((paths[0], "m", "auto", "")) is None  # its upload is gone
    monkeypatch.setattr(masks, "MOST_BYTES", 1500)
    kept.keep((paths[2], "m", "auto", ""), mask)
    assert [key[0] for key in kept._kept] == [paths[2]]


def test_the_page_composes_anew(
    chromium: Any, served: Served, half_bright: Image.Image, runs: list[int], tmp_path: Path
) -> None:
    page = opened(chromium, served)
    give(page, [file(f"{name}.png", png(half_bright)) for name in "ab"])
    page.click("#go")
    page.wait_for_selector("#every")  # comes once the request has ended
    for kind in ("Colour", "Blurred"):
        before = page.get_attribute("#one", "href")
        page.check(f"#kind input[value={kind}]")
        page.wait_for_function("old => document.querySelector('#one').getAttribute('href') != old", arg=before)
        with page.expect_download() as download:
            page.click("#one")
        assert Image.open(download.value.path()).mode == "RGB"
    assert len(runs) == 2
    page.close()


def test_on_a_phone_the_status_and_the_result_are_shown(
    chromium: Any, served: Served, half_bright: Image.Image
) -> None:
    page = opened(chromium, served, viewport={"width": 390, "height": 844})
    give(page, [file("a.png", png(half_bright))])
    page.click("#go")
    finished(page)
    page.wait_for_function(
        "() => { const box = document.querySelector('#slider').getBoundingClientRect();"
        " return box.top >= -5 && box.bottom <= 850 }"
    )
    page.close()
