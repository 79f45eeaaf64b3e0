"""What the server was started with, and what a request reports while it runs."""

from __future__ import annotations

from dataclasses import dataclass

from transformers_foreground.errors import ForegroundError
from transformers_foreground.server.choices import AUTO


class BusyError(ForegroundError):
    """The server does as much as it can at once. The same request may succeed later."""


@dataclass(frozen=True)
class Settings:
    """What the server was started with.

    Attributes:
        model: Id or folder of the server's own model, which is chosen at first.
        device: Device that models run on.
        dtype: Dtype of the server's own model.
        max_bytes: Largest file of an image.
        max_pixels: Largest width times height of an image.
        queue: Most requests under way at once.
        max_disk: Most bytes of uploads and results on the disk.
        local_files_only: Never open a connection.
    """

    model: str
    device: str = "cpu"
    dtype: str = AUTO
    max_bytes: int = 50_000_000
    max_pixels: int = 100_000_000
    queue: int = 20
    max_disk: int = 5_000_000_000
    local_files_only: bool = False


@dataclass(frozen=True)
class Note:
    """How far a request is: a text to show, and the share that is done (0 to 1) if it is known."""

    text: str
    share: float | None = None


@dataclass(frozen=True)
class Failure:
    """An image that gave no result, and why."""

    name: str
    why: str
