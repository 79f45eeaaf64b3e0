"""Images of strangers: decoded within limits, and honest visitors do not wait for hostile ones."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any

import page_server
import pytest
from conftest import SHARED
from page_server import png
from PIL import Image

from transformers_foreground.errors import ForegroundError, ImageError
from transformers_foreground.images import bounded
from transformers_foreground.images.bounded import BeyondLimitsError, decode_bounded
from transformers_foreground.server import decoding, results
from transformers_foreground.server.decoding import Decoders, Lane, Turn, Upload
from transformers_foreground.server.progress import Failure, Note
from transformers_foreground.server.results import Result
from transformers_foreground.server.service import Service

photo, made = page_server.photo, page_server.made


async def _outcomes(service: Service, uploads: list[Upload]) -> list[Any]:
    """Return what comes of a request's images."""
    return [outcome async for outcome in service.remove(uploads) if not isinstance(outcome, Note)]


def many_segments(image: bytes, count: int) -> bytes:
    """Put many tiny Exif segments into a JPEG."""
    segment = b"\xff\xe1\x00\x0aExif\x00\x00MM"
    return image[:2] + segment * count + image[2:]


def jpeg(tmp_path: Path) -> bytes:
    Image.effect_noise((64, 48), 50).convert("RGB").save(tmp_path / "noise.jpg")
    return (tmp_path / "noise.jpg").read_bytes()


def test_honest_visitors_beside_hostile_ones(made: Callable[..., Service], photo: Upload, tmp_path: Path) -> None:
    (tmp_path / "bomb.jpg").write_bytes(many_segments(jpeg(tmp_path), 800_000))
    bomb = Upload("bomb.jpg", tmp_path / "bomb.jpg")

    async def scenario() -> tuple[Any, ...]:
        service = made()
        await _outcomes(service, [photo])
        hostile = [asyncio.create_task(_outcomes(service, [bomb, bomb])) for _ in range(4)]
        await asyncio.sleep(0.2)
        beside = await asyncio.gather(*(_outcomes(service, [photo]) for _ in range(3)))
        waiting = [task for task in hostile if not task.done()]
        return beside, waiting, await asyncio.gather(*hostile)

    beside, waiting, hostile = asyncio.run(scenario())
    assert all(isinstance(found[0], Result) for found in beside)
    assert waiting
    assert all(isinstance(outcome, Failure | Result) for found in hostile for outcome in found)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Images called "slow" are too slow for the quick lane at once, and for the other when the event is set."""
    end = threading.Event()

    def decode(data: bytes, name: str, *, max_pixels: int, cpu_seconds: float) -> Any:
        if name == "slow":
            if cpu_seconds == decoding.SLOW_SECONDS:
                end.wait(60)
            raise BeyondLimitsError("Cannot read slow: too slow.")
        return decode_bounded(data, name, max_pixels=max_pixels)

    monkeypatch.setattr(decoding, "decode_bounded", decode)
    yield end
    end.set()


def test_slow_images_do_not_stand_before_others(
    made: Callable[..., Service], photo: Upload, slow: threading.Event
) -> None:
    async def scenario() -> None:
        service = made()
        hostile = [asyncio.create_task(_outcomes(service, [Upload("slow", data=b"x")] * 3)) for _ in range(4)]
        await asyncio.sleep(0.1)
        found = await _outcomes(service, [photo] * 3)
        assert [type(outcome) for outcome in found] == [Result] * 3
        assert not any(task.done() for task in hostile)
        for task in hostile:
            task.cancel()
        await asyncio.gather(*hostile, return_exceptions=True)
        assert service._requests == 0
        assert not service._under_way

    asyncio.run(scenario())


def test_what_is_too_slow_is_named(made: Callable[..., Service], slow: threading.Event) -> None:
    slow.set()
    found = asyncio.run(_outcomes(made(), [Upload("slow", data=b"x")]))
    assert [outcome.why for outcome in found] == ["Cannot read slow: too slow."]


def test_images_are_decoded_in_another_process(photo: Upload, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers_foreground.images import decode as here

    monkeypatch.setattr(here, "open_image", lambda *_: 1 / 0)
    decoders = Decoders(10**6, 10**6)
    assert decoders.submit(photo, Turn()).result(60).name == "photo.png"
    decoders.close()


def test_large_images_wait_until_there_is_room(photo: Upload, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_HELD", 1)
    decoders = Decoders(10**6, 10**6)
    first = decoders.submit(photo, Turn()).result(60)
    second = decoders.submit(photo, Turn())
    assert futures.wait([second], 0.3).not_done
    decoders.release(first)
    decoders.release(second.result(60))
    assert not decoders._held
    decoders.close()


def test_an_image_whose_visitor_leaves_as_it_is_decoded(
    made: Callable[..., Service], photo: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        service, decoded = made(), list[Any]()
        submit = service._decoders.submit
        monkeypatch.setattr(service._decoders, "submit", lambda *args: decoded.append(submit(*args)) or decoded[-1])
        waiting = asyncio.create_task(service.decode(photo))
        await asyncio.sleep(0)
        decoded[0].result(60)  # the event loop stands still, and does not hear of it before the visitor leaves
        waiting.cancel()
        assert isinstance((await asyncio.gather(waiting, return_exceptions=True))[0], asyncio.CancelledError)
        for _ in range(1000):
            await asyncio.sleep(0 if not service._decoders._held else 0.05)
        assert not service._decoders._held

    asyncio.run(scenario())


def test_an_image_that_begins_anew_as_the_server_ends(photo: Upload, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "QUICK_PIXELS", 1)
    decoders = Decoders(10**6, 10**6)
    decoders._slow.close()
    with pytest.raises(ForegroundError, match="server is ending"):
        decoders.submit(photo, Turn()).result(60)
    decoders.close()


def test_large_images_take_no_room_of_others(photo: Upload, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_HELD", 1)
    monkeypatch.setattr(decoding, "QUICK_PIXELS", 48 * 32)
    large = Upload("large.png", data=png(Image.new("L", (48, 33))))
    decoders = Decoders(10**6, 48 * 33)
    waiting = [decoders.submit(large, Turn()) for _ in range(3)]  # more than there are threads
    decoded = as_completed(waiting, 60)
    first = next(decoded).result()
    for _ in range(3):
        decoders.release(decoders.submit(photo, Turn()).result(60))
    assert not all(future.done() for future in waiting)
    decoders.release(first)
    for future in decoded:
        decoders.release(future.result())
    with pytest.raises(ImageError, match="its 48x34 pixels exceed the limit of 1584; shrink it, or serve with"):
        decoders.submit(Upload("larger.png", data=png(Image.new("L", (48, 34)))), Turn()).result(60)
    decoders.close()


def test_one_large_image_at_a_time(
    made: Callable[..., Service], photo: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers_foreground.server.service._LARGE", 48 * 32)
    started = threading.Semaphore(0)
    go_on = threading.Event()
    write = results.with_previews

    def slowly(result: Result, *rest: Any) -> Result:
        if result.name == "large.png":
            started.release()
            go_on.wait(60)
        return write(result, *rest)

    monkeypatch.setattr("transformers_foreground.server.service.with_previews", slowly)
    large = Upload("large.png", data=png(Image.new("L", (48, 33))))

    async def scenario() -> None:
        service = made()
        hostile = [asyncio.create_task(_outcomes(service, [large] * 2)) for _ in range(3)]
        await asyncio.to_thread(started.acquire)
        assert isinstance((await _outcomes(service, [photo]))[0], Result)
        assert not started.acquire(blocking=False)
        go_on.set()
        assert all(isinstance(outcome, Result) for found in await asyncio.gather(*hostile) for outcome in found)

    asyncio.run(scenario())


def test_turns(half_bright: Image.Image) -> None:
    many, other = Turn(), Turn()
    orders = [("many", many.next(1.0)) for _ in range(3)] + [("other", other.next(1.0))]
    assert [name for name, _ in sorted(orders, key=lambda order: order[1])][1] == "other"
    many.spent(10)
    assert many.next(0) > other.next(1.0)
    small, large = Upload("a", data=png(half_bright)), Upload("b", data=bytes(10_000_000))
    assert (small.size, large.size) == (len(small.data), 10_000_000)


def test_a_lane_takes_the_lowest_order_first() -> None:
    lane, done = Lane("test"), list[int]()
    lane.hold(decoding._HELD)
    waiting = [lane.submit(order, lambda order=order: done.append(order)) for order in (3, 1, 2)]
    waiting[1].cancel()
    lane.hold(-1)
    waiting[0].result(60)
    waiting[2].result(60)
    assert sorted(done) == [2, 3]
    lane.hold(1)
    last = lane.submit(1, lambda: None)
    lane.close()
    assert last.cancelled()


@pytest.mark.parametrize("data", [b"", b"no image"])
def test_what_is_no_image(made: Callable[..., Service], data: bytes) -> None:
    found = asyncio.run(_outcomes(made(), [Upload("bad.jpg", data=data)]))
    assert "bad.jpg" in found[0].why


def test_no_visitor_starts_a_program(
    made: Callable[..., Service], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = SHARED / "cases/iptc_eps.jpg"
    if not case.exists():
        pytest.skip(f"{case} is not there")
    (tmp_path / "bin").mkdir()
    ghostscript = tmp_path / "bin/gs"
    ghostscript.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    bounded._idle.clear()  # a worker that starts now has this PATH
    (found,) = asyncio.run(_outcomes(made(), [Upload("photo.jpg", case)]))
    assert isinstance(found, Failure)
    assert "photo.jpg" in found.why
    assert not (tmp_path / "started").exists()
