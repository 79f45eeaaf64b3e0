"""Awaited calls: results, order, a free event loop, cancelling, errors, the end, and many loops.

Nothing here is timed. A gate holds the model where a test wants it, and only what the test itself does opens the gate:
an event loop that were blocked would never get there.
"""

from __future__ import annotations

import asyncio
import gc
import http.server
import io
import os
import pickle
import signal
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_models import brightness_model, write_repo

from transformers_foreground import pipeline
from transformers_foreground import segmenter as engine
from transformers_foreground.errors import (
    ForegroundError,
    ImageError,
    InferenceError,
    UnsupportedOptionError,
    UnsupportedTaskError,
)
from transformers_foreground.runtime import model

_PATIENCE = 60  # seconds after which a test that hangs fails


def shade(value: int, size: tuple[int, int] = (20, 10)) -> Image.Image:
    return Image.new("RGB", size, (value, value, value))


def shades(count: int) -> list[Image.Image]:
    return [shade(10 * i, (20 + i, 10)) for i in range(count)]


def plain(result: Any) -> bytes | None:
    """Return a result's bytes."""
    image = result[0]["mask"] if isinstance(result, list) else result
    return None if image is None else image.mode.encode() + image.tobytes()


def run(awaitable: Awaitable[Any]) -> Any:
    """Run to the end in a loop of its own; what hangs fails."""

    async def main() -> Any:
        return await asyncio.wait_for(awaitable, _PATIENCE)

    return asyncio.run(main())


async def until(condition: Callable[[], bool]) -> None:
    """Go round the event loop until something has happened on another thread."""
    while not condition():
        await asyncio.sleep(0.001)


async def rounds(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("foreground")]


def no_threads() -> list[threading.Thread]:
    """Let the threads of other tests' forgotten pipelines end first, so that none ends in the middle of this one."""
    gc.collect()
    for thread in threads():
        thread.join(_PATIENCE)
    left = threads()
    assert not left
    return left


def sizes(images: list[Any]) -> list[tuple[int, int]]:
    return [(image.width, image.height) for image in images]


class Gate:
    """Stands in for the model's forward: notes what comes, and lets through only what it is told to."""

    def __init__(self, forward: Callable[..., Any]) -> None:
        self._forward = forward
        self._open = threading.Semaphore(0)
        self._lock = threading.Lock()
        self.inside = 0
        self.most_inside = 0
        self.came: list[list[int]] = []
        """The shades of each run's images, in tens: resizing may take one off."""

    def let(self, count: int = 1000) -> None:
        self._open.release(count)

    def __call__(self, graph: Any, values: np.ndarray) -> Any:
        with self._lock:
            self.came.append([10 * round(25.5 * (float(image.mean()) + 0.5)) for image in values])
            self.inside += 1
            self.most_inside = max(self.most_inside, self.inside)
        try:
            assert self._open.acquire(timeout=_PATIENCE), "nobody opened the gate: was the event loop blocked?"
            return self._forward(graph, values)
        finally:
            with self._lock:
                self.inside -= 1


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate(model.forward)
    monkeypatch.setattr(model, "forward", gate)
    yield gate
    gate.let()


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The images whose decoding has begun."""
    begun: list[Any] = []
    decode = engine.decode
    monkeypatch.setattr(engine, "decode", lambda image, **options: begun.append(image) or decode(image, **options))
    return begun


@pytest.fixture
def segmenter(tiny: Path) -> Iterator[Any]:
    segmenter = pipeline("image-segmentation", "briaai/RMBG-1.4", num_workers=2)
    yield segmenter
    segmenter.dispose()


@pytest.fixture
def batching(tmp_path: Path) -> Iterator[Any]:
    """A pipeline whose graph takes any batch and any size."""
    folder = write_repo(tmp_path / "batching", dtypes={"": brightness_model(size=None, batch=None)})
    with pipeline("image-segmentation", folder, num_workers=2) as segmenter:
        yield segmenter


# --- results ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["image-segmentation", "background-removal"])
@pytest.mark.parametrize("options", [{}, {"return_mask": True}, {"resampling": "bria"}], ids=str)
def test_results_are_those_of_a_call(tiny: Path, task: str, options: dict[str, Any]) -> None:
    called = pipeline(task, "briaai/RMBG-1.4")
    images = shades(12)

    async def main() -> list[Any]:
        async with called:
            return await asyncio.gather(*(called.acall(image, **options) for image in images))

    expected = [plain(called(image, **options)) for image in images]
    assert [plain(result) for result in run(main())] == expected


@pytest.mark.parametrize("count", [0, 1, 2, 11])
@pytest.mark.parametrize("kind", [list, tuple])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_list_gives_a_list(batching: Any, count: int, kind: Any, batch_size: int) -> None:
    images = kind(shades(count))
    results = run(batching.acall(images, batch_size=batch_size))
    assert isinstance(results, list)
    assert [plain(result) for result in results] == [plain(result) for result in batching(images)]


def test_every_kind_of_input(segmenter: Any, tmp_path: Path, half_bright: Image.Image) -> None:
    path = tmp_path / "a b.png"
    half_bright.save(path)
    data = path.read_bytes()
    kinds = [str(path), path.as_uri(), data, io.BytesIO(data), np.array(half_bright), {"bytes": data, "path": None}]

    async def main() -> list[Any]:
        return await asyncio.gather(*(segmenter.acall(kind) for kind in kinds), segmenter.acall(images=half_bright))

    assert {plain(result) for result in run(main())} == {plain(segmenter(half_bright))}


def test_the_pipelines_own_options_hold(tiny: Path) -> None:
    with pipeline("image-segmentation", "briaai/RMBG-1.4", resampling="bria", num_workers=0, batch_size=2) as segmenter:
        assert plain(run(segmenter.acall(shade(90)))) == plain(segmenter(shade(90)))


def test_another_kind_of_model_is_called_whole(segmenter: Any) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.SegformerConfig(
        hidden_sizes=[8] * 4, depths=[1] * 4, num_attention_heads=[1] * 4, decoder_hidden_size=8
    )
    from transformers_foreground import ForegroundExtractionPipeline

    other = ForegroundExtractionPipeline(
        model=transformers.SegformerForSemanticSegmentation(config).eval(),
        image_processor=transformers.SegformerImageProcessor(size={"height": 64, "width": 64}),
        task="image-segmentation",
    )
    image = Image.linear_gradient("L").convert("RGB")
    expected = [(part["label"], plain(part["mask"])) for part in other(image)]

    async def main() -> list[Any]:
        async with other:
            return [await other.acall(image), *await other.acall([image], subtask="semantic")]

    for result in run(main()):
        assert [(part["label"], plain(part["mask"])) for part in result] == expected


# --- one queue for all ------------------------------------------------------------------------------------------------


def test_first_come_first_served(segmenter: Any, gate: Gate) -> None:
    async def main() -> None:
        calls = [asyncio.create_task(segmenter.acall(image)) for image in shades(20)]
        await rounds()  # all have come
        gate.let()
        await asyncio.gather(*calls)

    run(main())
    assert gate.came == [[10 * i] for i in range(20)]
    assert gate.most_inside == 1


def test_the_event_loop_stays_free(segmenter: Any, gate: Gate) -> None:
    async def main() -> int:
        ticks = 0

        async def ticker() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        ticking = asyncio.create_task(ticker())
        calls = [asyncio.create_task(segmenter.acall(image)) for image in shades(3)]
        await until(lambda: gate.inside == 1)
        before = ticks
        await rounds(500)  # the model is held inside, and only what comes after this frees it
        during = ticks - before
        gate.let()
        await asyncio.gather(*calls)
        ticking.cancel()
        return during

    assert run(main()) >= 500


def test_decoding_and_finishing_overlap_the_model(segmenter: Any, gate: Gate, decoded: list[Any]) -> None:
    first, second, third = shades(3)

    async def main() -> None:
        calls = [asyncio.create_task(segmenter.acall(image)) for image in (first, second)]
        await until(
            lambda: gate.inside == 1 and second.size in sizes(decoded)
        )  # decoded while the first one is in the model
        gate.let(1)
        await until(lambda: len(gate.came) == 2)
        assert await calls[0]  # finished while the second one is in the model
        calls.append(asyncio.create_task(segmenter.acall(third)))
        await until(lambda: third.size in sizes(decoded))
        assert gate.came == [[0], [10]]
        gate.let()
        await asyncio.gather(*calls)

    run(main())


@pytest.mark.parametrize("whose", ["one caller's list", "a caller each"])
def test_only_the_next_few_are_decoded(segmenter: Any, gate: Gate, decoded: list[Any], whose: str) -> None:
    images = shades(25)
    room = segmenter.segmenter.queue.room(1)

    async def main() -> None:
        calls = [[image] for image in images] if whose == "a caller each" else [images]
        tasks = [asyncio.create_task(segmenter.acall(call)) for call in calls]
        await until(lambda: gate.inside == 1 and len(decoded) == room)
        for done in range(1, len(images)):
            gate.let(1)
            await until(lambda done=done: len(gate.came) > done)
            await rounds()
            assert len(decoded) <= done + room
        gate.let()
        await asyncio.gather(*tasks)

    run(main())
    assert len(decoded) == len(images)


def test_a_long_list_lets_others_have_their_turn(segmenter: Any, gate: Gate) -> None:
    async def main() -> None:
        many = asyncio.create_task(segmenter.acall([shade(1)] * 50))
        await until(lambda: gate.inside == 1)
        one = asyncio.create_task(segmenter.acall(shade(200)))
        await rounds()
        gate.let()
        await one
        await many

    run(main())
    assert gate.came.index([200]) <= segmenter.segmenter.queue.room(1)


def test_ready_images_of_all_callers_make_a_batch(batching: Any, gate: Gate, decoded: list[Any]) -> None:
    async def main() -> list[Any]:
        calls = [asyncio.create_task(batching.acall(image, batch_size=3)) for image in shades(7)]
        await until(lambda: gate.inside == 1 and len(decoded) == 7)
        queue = batching.segmenter.queue
        await until(lambda: all(job.prepared.done() for job in list(queue._begun)))
        gate.let()
        return await asyncio.gather(*calls)

    results = [plain(result) for result in run(main())]
    assert [shade for batch in gate.came for shade in batch] == [10 * i for i in range(7)]
    assert all(len(batch) == 3 for batch in gate.came[1:-1])
    assert results == [plain(batching(image)) for image in shades(7)]


@pytest.fixture
def slow_server() -> Iterator[Any]:
    """A server that answers when it is told to; gives its URL and that event."""
    go = threading.Event()
    data = io.BytesIO()
    shade(200).save(data, "PNG")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            go.wait(_PATIENCE)
            self.send_response(200 if self.path == "/a.png" else 404)
            self.end_headers()
            if self.path == "/a.png":
                self.wfile.write(data.getvalue())

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", go
        go.set()
        server.shutdown()


def test_nobody_waits_for_anothers_download(segmenter: Any, slow_server: Any) -> None:
    url, go = slow_server

    async def main() -> None:
        slow = asyncio.create_task(segmenter.acall(f"{url}/a.png"))
        missing = asyncio.create_task(segmenter.acall(f"{url}/b.png"))
        await rounds()
        assert await segmenter.acall([shade(i) for i in range(9)])
        assert not slow.done()
        go.set()
        assert plain(await slow) == plain(segmenter(shade(200)))
        with pytest.raises(ImageError, match=r"/b\.png: the server answered 404"):
            await missing

    run(main())


# --- cancelling -------------------------------------------------------------------------------------------------------


def test_cancelled_work_that_has_not_begun_never_runs(segmenter: Any, gate: Gate, decoded: list[Any]) -> None:
    images = shades(10)

    async def main() -> None:
        calls = [asyncio.create_task(segmenter.acall(image)) for image in images]
        await until(lambda: gate.inside == 1 and len(decoded) == segmenter.segmenter.queue.room(1))
        for i in (0, 2, 8):  # in the model; decoded; waiting
            calls[i].cancel()
        results = await asyncio.gather(*(calls[i] for i in (0, 2, 8)), return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
        assert gate.inside == 1  # a run that has begun ends by itself
        gate.let()
        kept = [call for i, call in enumerate(calls) if i not in (0, 2, 8)]
        assert None not in [plain(result) for result in await asyncio.gather(*kept)]

    run(main())
    assert gate.came == [[10 * i] for i in range(10) if i not in (2, 8)]
    assert images[8] not in decoded


def test_a_cancelled_list_leaves_the_queue(segmenter: Any, gate: Gate, decoded: list[Any]) -> None:
    async def main() -> None:
        call = asyncio.create_task(segmenter.acall([shade(1)] * 30))
        await until(lambda: gate.inside == 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        other = asyncio.create_task(segmenter.acall(shade(200)))
        await rounds()
        gate.let()
        await other

    run(main())
    assert gate.came == [[0], [200]]
    assert len(decoded) <= 1 + segmenter.segmenter.queue.room(1)


def test_a_timeout_cancels(segmenter: Any, gate: Gate) -> None:
    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(segmenter.acall(shade(1)), 0.001)
        gate.let()
        await segmenter.acall(shade(200))

    run(main())
    assert gate.came[-1] == [200]


def test_cancelling_leaves_nothing_behind(segmenter: Any, gate: Gate) -> None:
    async def main() -> list[Any]:
        images = shades(30)
        remembered = [weakref.ref(image) for image in images]
        calls = [asyncio.create_task(segmenter.acall(image)) for image in images]
        await until(lambda: gate.inside == 1)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        gate.let()
        await segmenter.acall(shade(200))
        await until(lambda: queue._held == 0)
        return remembered

    queue = segmenter.segmenter.queue
    remembered = run(main())
    assert not queue._unfinished
    assert not queue._waiting
    assert not queue._begun
    gc.collect()
    assert [ref() for ref in remembered] == [None] * 30


def test_a_loop_that_ends_takes_its_calls_along(segmenter: Any, gate: Gate) -> None:
    async def main() -> None:
        forgotten.extend(asyncio.create_task(segmenter.acall(image)) for image in shades(9))
        await until(lambda: gate.inside == 1)

    forgotten: list[asyncio.Task[Any]] = []
    run(main())
    gate.let()
    assert all(call.cancelled() for call in forgotten)
    assert run(segmenter.acall(shade(200)))
    assert gate.came == [[0], [200]]


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "options", "error", "message"),
    [
        (b"not an image", {}, ImageError, "<bytes>"),
        ("missing.png", {}, ImageError, r"missing\.png: there is no such file"),
        ([shade(1), "missing.png"], {}, ImageError, r"missing\.png"),
        ("http://127.0.0.1:9/a.png", {"timeout": 5}, ImageError, r"127\.0\.0\.1:9/a\.png: the download failed"),
        (shade(1), {"subtask": "semantic"}, UnsupportedTaskError, "foreground-extraction"),
        (shade(1), {"returnMask": True}, TypeError, "return_mask"),
        (shade(1), {"model_input_size": [8, 8]}, UnsupportedOptionError, r"\[16, 16\]"),
        (shade(1), {"batch_size": 0}, UnsupportedOptionError, "batch_size=0"),
        (shade(1), {"num_workers": 4}, UnsupportedOptionError, r"to pipeline\(\)"),
        ((shade(i) for i in range(3)), {}, UnsupportedOptionError, r"generator: await a call for each image"),
    ],
    ids=lambda value: None if isinstance(value, type) else str(value)[:30],
)
def test_errors_are_those_of_a_call(
    segmenter: Any, inputs: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        run(segmenter.acall(inputs, **options))
    assert run(segmenter.acall(shade(1)))  # and it goes on


@pytest.mark.parametrize(
    ("inputs", "on_error", "left"),
    [
        (b"x", "none", None),
        ([shade(1), b"x", shade(2)], "none", [True, False, True]),
        ([b"x", shade(2), b"y"], "skip", [True]),
    ],
    ids=str,
)
def test_on_error(segmenter: Any, inputs: Any, on_error: str, left: Any) -> None:
    results = run(segmenter.acall(inputs, on_error=on_error))
    assert (results and [result is not None for result in results]) == left


def test_one_callers_error_is_not_anothers(segmenter: Any) -> None:
    async def main() -> list[Any]:
        images = [b"not an image" if i % 3 == 0 else shade(i) for i in range(12)]
        return await asyncio.gather(*map(segmenter.acall, images), return_exceptions=True)

    results = run(main())
    assert [isinstance(result, ImageError) for result in results] == [i % 3 == 0 for i in range(12)]


def test_one_callers_image_does_not_spoil_the_batch(
    batching: Any, gate: Gate, decoded: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def picky(graph: Any, values: np.ndarray) -> Any:
        outputs = gate(graph, values)
        if 40 in gate.came[-1]:
            raise InferenceError("not this one")
        return outputs

    monkeypatch.setattr(model, "forward", picky)

    async def main() -> list[Any]:
        calls = [asyncio.create_task(batching.acall(image, batch_size=4)) for image in shades(8)]
        await until(lambda: gate.inside == 1 and len(decoded) == 8)
        gate.let()
        return await asyncio.gather(*calls, return_exceptions=True)

    results = run(main())
    assert [isinstance(result, InferenceError) for result in results] == [i == 4 for i in range(8)]


def test_an_error_in_the_last_step_comes_too(segmenter: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(engine, "postprocess", fail)
    with pytest.raises(ImageError, match="not enough memory for this image"):
        run(segmenter.acall(shade(1)))


# --- the end ----------------------------------------------------------------------------------------------------------


def test_dispose_ends_what_waits(segmenter: Any, gate: Gate) -> None:
    async def main() -> None:
        calls = [asyncio.create_task(segmenter.acall(image)) for image in shades(9)]
        calls.append(asyncio.create_task(segmenter.acall(shades(9), on_error="none")))
        await until(lambda: gate.inside == 1)
        segmenter.dispose()
        results = await asyncio.gather(*calls, return_exceptions=True)  # with the model still held
        assert {type(result) for result in results} == {ForegroundError}
        assert "disposed" in str(results[0])
        with pytest.raises(ForegroundError, match=r"disposed.*pipeline\(\)"):
            await segmenter.acall(shade(1))
        gate.let()

    run(main())
    segmenter.dispose()
    assert gate.came == [[0]]


def test_dispose_does_not_wait_for_a_download(segmenter: Any, slow_server: Any) -> None:
    async def main() -> None:
        call = asyncio.create_task(segmenter.acall(f"{slow_server[0]}/a.png"))
        await rounds()
        segmenter.dispose()
        with pytest.raises(ForegroundError, match="disposed"):
            await call

    run(main())


@pytest.mark.parametrize("used", [True, False])
def test_async_with(tiny: Path, used: bool) -> None:
    before = no_threads()

    async def main() -> Any:
        async with pipeline("image-segmentation", "briaai/RMBG-1.4") as segmenter:
            if used:
                await segmenter.acall(shade(1))
        assert threads() == before
        with pytest.raises(ForegroundError, match="disposed"):
            await segmenter.acall(shade(1))
        with pytest.raises(ForegroundError, match="disposed"):
            segmenter(shade(1))

    run(main())


def test_the_end_of_async_with_waits_without_blocking(tiny: Path, gate: Gate) -> None:
    before = no_threads()

    async def use() -> None:
        async with pipeline("image-segmentation", "briaai/RMBG-1.4") as segmenter:
            calls.append(asyncio.create_task(segmenter.acall(shade(1))))
            await until(lambda: gate.inside == 1)

    async def main() -> None:
        using = asyncio.create_task(use())
        await until(lambda: bool(calls) and calls[0].done())
        assert isinstance(calls[0].exception(), ForegroundError)
        await rounds()
        assert not using.done()  # the model is still held
        gate.let()
        await using
        assert threads() == before

    calls: list[asyncio.Task[Any]] = []
    run(main())


def test_a_forgotten_pipeline_frees_its_threads(tiny: Path) -> None:
    before = no_threads()
    segmenter = pipeline("image-segmentation", "briaai/RMBG-1.4")
    run(segmenter.acall(shade(1)))
    started = [thread for thread in threads() if thread not in before]
    assert started
    del segmenter
    gc.collect()
    for thread in started:
        thread.join(_PATIENCE)
        assert not thread.is_alive()


# --- loops, threads, processes ----------------------------------------------------------------------------------------


def test_one_loop_after_another(segmenter: Any) -> None:
    expected = plain(segmenter(shade(90)))
    assert [plain(run(segmenter.acall(shade(90)))) for _ in range(3)] == [expected] * 3


def test_loops_in_several_threads(segmenter: Any, gate: Gate) -> None:
    gate.let()
    images = shades(16)
    expected = [plain(segmenter(image)) for image in images]
    got: list[list[Any]] = []

    async def main() -> list[Any]:
        return await asyncio.gather(*map(segmenter.acall, images))

    workers = [threading.Thread(target=lambda: got.append(run(main()))) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [[plain(result) for result in results] for results in got] == [expected] * 4
    assert gate.most_inside == 1
    assert len(segmenter.segmenter._queues) == 1


def test_a_pipeline_pickles_as_before_a_call(segmenter: Any) -> None:
    before = pickle.dumps(segmenter)
    expected = plain(run(segmenter.acall(shade(90))))
    assert pickle.dumps(segmenter) == before
    with pickle.loads(before) as copy:
        assert plain(run(copy.acall(shade(90)))) == expected


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_has_a_line_of_its_own(tiny: Path, gate: Gate) -> None:
    options = {"intra_op_num_threads": 1}  # a session's own threads are not there after a fork, either
    with pipeline("image-segmentation", "briaai/RMBG-1.4", session_options=options) as segmenter:
        gate.let()
        expected = plain(run(segmenter.acall(shade(90))))
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = 7 if plain(run(segmenter.acall(shade(90)))) == expected else 2
            finally:
                os._exit(status)
        for _ in range(10 * _PATIENCE):
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                break
            time.sleep(0.1)
        else:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            pytest.fail("the child hangs")
        assert os.waitstatus_to_exitcode(status) == 7
