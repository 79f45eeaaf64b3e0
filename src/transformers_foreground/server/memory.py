"""How many bytes of images the API's calls hold in memory, kept within a limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

IN_MEMORY: Final = 1_000_000_000  # bytes of images that were sent or fetched, until their calls are answered
BUSY: Final = "The memory that this server has for images is full. Try again in a minute."


@dataclass(eq=False)
class Memory:
    """Counts the bytes that calls hold. Use it on one event loop alone.

    Attributes:
        taken: How many they hold now.
    """

    taken: int = 0

    def has_room(self, count: int = 0) -> bool:
        """Whether this many more bytes may be held."""
        return self.taken + count <= IN_MEMORY
