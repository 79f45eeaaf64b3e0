"""Bounded decoding: images from strangers in a process of its own, which is ended where it takes too much.

A decoder in C cannot be interrupted in a thread. Here it runs in a worker process whose CPU seconds and memory the
system limits; a worker that goes beyond them dies, and the next image gets a new one. It sends no code (no pickle),
only numbers and bytes, so that a decoder which was taken over gains nothing here.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transformers_foreground.errors import ImageError
from transformers_foreground.images.decode import MAX_PIXELS, DecodedImage
from transformers_foreground.images.exif import exif_from
from transformers_foreground.images.identify import TooManyPixelsError

CPU_SECONDS: Final = 30.0
MEMORY: Final = 4 * 1024**3
_WAITING: Final = 4.0
"""How many times its CPU seconds a worker may take by the clock, where others use the processors, too."""


class BeyondLimitsError(ImageError):
    """An image was not decoded within the limits on CPU time and memory."""


def decode_bounded(
    data: bytes, name: str, *, max_pixels: int = MAX_PIXELS, cpu_seconds: float = CPU_SECONDS, memory: int = MEMORY
) -> DecodedImage:
    """Decode an image as `decode` does, within limits on CPU time and memory.

    The worker processes stay for the next images: as many as there were calls at the same time.

    Args:
        data: The bytes of an image file.
        name: What messages call it.
        max_pixels: Most pixels, width times height.
        cpu_seconds: Most seconds of CPU; by the clock, four times as many, which is all that Windows holds.
        memory: Most bytes of address space for the worker, all of it: interpreter, libraries and pixels. Linux alone
            holds it.

    Returns:
        The image.

    Raises:
        BeyondLimitsError: It is not decoded within the limits.
        TooManyPixelsError: It is larger than `max_pixels`.
        ImageError: It cannot be read.
    """
    with _worker(memory) as worker:
        return worker.decode(data, name, max_pixels, cpu_seconds)


class _Worker:
    """A process that decodes one image after another."""

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self._process = subprocess.Popen(
            [sys.executable, "-m", "transformers_foreground.images.bounded_worker", str(memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        weakref.finalize(self, _end, self._process)
        assert self._process.stdout is not None
        self._process.stdout.readline()  # until it is ready

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def end(self) -> None:
        _end(self._process)

    def decode(self, data: bytes, name: str, max_pixels: int, cpu_seconds: float) -> DecodedImage:
        late = threading.Timer(cpu_seconds * _WAITING, self._process.kill)
        late.daemon = True
        late.start()
        try:
            head = {"length": len(data), "name": name, "max_pixels": max_pixels, "cpu_seconds": cpu_seconds}
            answer = self._ask(json.dumps(head).encode() + b"\n", data)
            if "error" not in answer:
                return self._image(answer, name)
        except (EOFError, OSError, ValueError) as error:  # it is dead, or about to be
            self.end()
            limits = f"{cpu_seconds:g} s of CPU and {self.memory >> 20} MB"
            why = f"decoding it took more than {limits}, the limits of this server, or crashed"
            raise BeyondLimitsError(f"Cannot read {name}: {why}.") from error
        finally:
            late.cancel()
        raise (TooManyPixelsError if answer["too_many_pixels"] else ImageError)(answer["error"])

    def _ask(self, *parts: bytes) -> dict[str, Any]:
        """Send a task, and wait for the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        for part in parts:
            self._process.stdin.write(part)
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def _image(self, answer: dict[str, Any], name: str) -> DecodedImage:
        """Read the pixels and the rest that follow an answer."""

        def array(shape: Sequence[int]) -> NDArray[np.uint8]:
            made = np.empty(shape, np.uint8)
            if made.size and self._process.stdout.readinto(made.data) != made.nbytes:  # type: ignore[union-attr]
                raise EOFError
            return made

        pixels = array(answer["shape"])
        own = Image.fromarray(array(answer["own"])) if answer["own"] else None
        profile, exif_data = (array([answer[part]]).tobytes() for part in ("profile", "exif"))
        exif = exif_from(exif_data) if exif_data else None
        across, down = answer["dpi"] or (None, None)
        return DecodedImage(pixels, name, profile, exif, (across, down) if across and down else None, _unconverted=own)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


_idle: list[_Worker] = []
_lock = threading.Lock()


@contextmanager
def _worker(memory: int) -> Iterator[_Worker]:
    """Take an idle worker, or start one. It stays for the next image if it lives and nothing unforeseen happened."""
    with _lock:
        worker = next((idle for idle in _idle if idle.memory == memory and idle.alive), None)
        if worker is not None:
            _idle.remove(worker)
    worker, usable = worker or _Worker(memory), False
    try:
        yield worker
        usable = True
    except ImageError:
        usable = worker.alive
        raise
    finally:
        if not usable:
            worker.end()
        with _lock:
            _idle[:] = [idle for idle in (*_idle, worker) if idle.alive]
