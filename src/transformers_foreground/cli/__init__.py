"""The `foreground` command: one file for each subcommand."""

from __future__ import annotations

import ctypes
import io
import sys
from contextlib import suppress
from typing import Final

from transformers_foreground.cli.app import app

_M_ARENA_MAX: Final = -8  # of glibc's mallopt(3)


def main() -> None:
    """Run the command."""
    use_one_heap()
    if isinstance(sys.stdout, io.TextIOWrapper):  # Windows writes files in an old encoding, which lacks letters
        sys.stdout.reconfigure(errors="backslashreplace")
    app()


def use_one_heap() -> None:
    """Have glibc's threads share one heap: each heap keeps freed memory, 80 MB in a folder of large images."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


__all__ = ["app", "main", "use_one_heap"]
