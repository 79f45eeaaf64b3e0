"""Settings that Gradio reads from the process's environment, some of them when it is imported: so set them before."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def gradio_in(folder: Path) -> Iterator[None]:
    """Make Gradio keep all its files in a folder, also uploads under way, and compute no statistics of its calls.

    It would compute them after each call, from all calls since the start.
    """
    wanted = {"GRADIO_TEMP_DIR": str(folder), "GRADIO_ANALYTICS_CACHE_FREQUENCY": str(sys.maxsize)}
    before, place = {name: os.environ.get(name) for name in wanted}, tempfile.tempdir
    os.environ.update(wanted)
    tempfile.tempdir = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = place
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
