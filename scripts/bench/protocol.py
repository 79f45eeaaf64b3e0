"""The protocol of the benchmark's Python workers: a line of JSON for each request and answer. Imports nothing heavy."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Cutout = Callable[[str, str], None]  # input file, PNG to write
Folder = Callable[[list[str], str], None]  # input files, folder for the PNGs


def serve(cutout: Cutout, folder: Folder | None = None, about: Mapping[str, Any] | None = None) -> None:
    """Answer requests until standard input ends.

    Args:
        cutout: Processes one image.
        folder: Processes many, in the peer's own way; one after another by default.
        about: Versions and the like, sent first.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print must not mix with the answers

    def loop(inputs: list[str], target: str) -> None:
        for path in inputs:
            cutout(path, os.path.join(target, f"{Path(path).stem}.png"))

    answers.write(json.dumps({"ready": True, **(about or {})}) + "\n")
    for line in sys.stdin:
        request, start = json.loads(line), time.perf_counter()
        try:
            if request["op"] == "folder":
                (folder or loop)(request["inputs"], request["output"])
            else:
                cutout(request["input"], request["output"])
            answer = {"seconds": time.perf_counter() - start}
        except Exception as error:  # a peer may raise anything; the benchmark reports it
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
