"""The process in which `bounded` has images decoded: `python -m ...bounded_worker MEMORY`.

It reads tasks from standard input, a line of JSON and then the file's bytes; it writes a line of JSON to standard
output, and then the pixels.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from transformers_foreground.errors import ImageError
from transformers_foreground.images.decode import DecodedImage, decode
from transformers_foreground.images.identify import TooManyPixelsError
from transformers_foreground.images.sources import enough_memory


def main(memory: int) -> None:
    """Decode until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever started this, who then ends it
    _limit_memory(memory)
    tasks = sys.stdin.buffer
    with open(os.dup(1), "wb") as answers:
        os.dup2(2, 1)  # what a decoder in C prints is no answer
        answers.write(b"ready\n")  # its start does not count as an image's time
        answers.flush()
        while line := tasks.readline():
            task = json.loads(line)
            answer, *parts = _answer(task, tasks.read(task["length"]))
            answers.write(json.dumps(answer).encode() + b"\n")
            for part in parts:
                answers.write(part)
            answers.flush()


def _answer(task: dict[str, Any], data: bytes) -> tuple[Any, ...]:
    """Return what to say of a task's image, and bytes that follow."""
    _limit_cpu(task["cpu_seconds"])
    name = task["name"]
    try:
        with enough_memory(name):
            image = decode({"bytes": data, "path": name}, max_pixels=task["max_pixels"])
            return _described(replace(image, name=name))
    except ImageError as error:
        return ({"error": str(error), "too_many_pixels": isinstance(error, TooManyPixelsError)},)


def _described(image: DecodedImage) -> tuple[Any, ...]:
    own = image.in_own_space() if image.profile else np.empty(0, np.uint8)
    exif = _bytes_of(image.exif)
    own_shape = own.shape if image.profile else None
    lengths = {"profile": len(image.profile), "exif": len(exif)}
    answer = {"shape": image.pixels.shape, "own": own_shape, "dpi": image.dpi, **lengths}
    return answer, image.pixels.data, own.data, image.profile, exif


def _bytes_of(exif: Image.Exif | None) -> bytes:
    try:
        return exif.tobytes() if exif else b""
    except Exception:  # broken EXIF data is no reason to refuse the image
        return b""


def _limit_memory(size: int) -> None:
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (size, size))


def _limit_cpu(seconds: float) -> None:
    """Have the system end this process when it has used that many more seconds."""
    if sys.platform != "win32":
        import resource

        used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(used + seconds), hard))


if __name__ == "__main__":
    main(int(sys.argv[1]))
