"""What a server was started with, and what a request tells while it is under way."""

from __future__ import annotations

from dataclasses import dataclass

from transformers_foreground.server.choices import AUTO


@dataclass(frozen=True)
class Settings:
    """What the server was started with.

    Attributes:
        model: The model that is chosen at first.
        device: What models run on.
        dtype: The first model's dtype.
        max_bytes: Size of an image's file.
        max_pixels: Width times height of an image.
        queue: How many requests may be under way.
        max_disk: Bytes that uploads and results may take.
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
    """How far a request is.

    Attributes:
        text: In words.
        share: Of the whole, where that is known.
    """

    text: str
    share: float | None = None


@dataclass(frozen=True)
class Failure:
    """An image that gave no result, and why."""

    name: str
    why: str
