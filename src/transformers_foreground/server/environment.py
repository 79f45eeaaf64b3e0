"""What Gradio takes from its environment. Some of it is read when it is imported, so this must come before."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def gradio_in(folder: Path) -> Iterator[None]:
    """Have Gradio keep all its files in a folder, and make no statistics of the calls.

    It makes these anew from all calls that ever were, after each call. What is on its way in goes to the folder too,
    where it counts, and where it is deleted if the server cannot.

    Args:
        folder: The folder.
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
