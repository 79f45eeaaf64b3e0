"""Reading: all bytes of what can be read, within a limit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers_foreground.errors import ImageError


def unreadable(name: str, why: str) -> ImageError:
    """Return the error to raise for the source of that name."""
    return ImageError(f"Cannot read {name}: {why}.")


def read_all(read: Callable[[int], Any], name: str, max_bytes: int) -> bytes:
    """Read to the end.

    Args:
        read: Gives at most that many bytes; none at the end.
        name: What messages call it.
        max_bytes: Most bytes to take.

    Raises:
        ImageError: It has more; or it gives something else than bytes.
    """
    data = bytearray()
    while chunk := read(1 << 16):
        if isinstance(chunk, str):
            raise unreadable(name, "the file object gives text; open it in binary mode ('rb')")
        if not isinstance(chunk, bytes | bytearray | memoryview):
            raise unreadable(name, f"read() gives {type(chunk).__name__}, not bytes; read it yourself, pass the bytes")
        data += chunk
        if len(data) > max_bytes:
            raise unreadable(name, f"it has more than {max_bytes} bytes, the limit; in Python, raise max_bytes")
    return bytes(data)
