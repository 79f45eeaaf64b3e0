"""What quantising gives: graphs with their figures, and what a whole run did."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers_foreground.quantization.figures import Bounds, Figures, ImageFigures, failures, summarise
from transformers_foreground.quantization.plan import Method

Record = dict[str, Any]
Track = Callable[[str, int], Callable[[], None]]


@dataclass(frozen=True)
class Variant:
    """One quantised graph and its figures.

    Attributes:
        label: How it was made.
        bytes: Size of its file.
        figures: Over all held-out images.
        sets: Figures by set of images.
        ratio: fp32's time over its, median of interleaved rounds, and least over least; `None` where not timed.
        unkept: The bounds that it does not keep.
    """

    label: str
    bytes: int
    figures: Figures
    sets: dict[str, Figures]
    ratio: tuple[float, float] | None
    unkept: list[str]


@dataclass
class Outcome:
    """What a run did.

    Attributes:
        path: The file that was written.
        method: How the graph was quantised.
        chosen: The graph that was written.
        curve: All that were measured, `chosen` among them.
        source_bytes: Size of the fp32 file.
        seconds: fp32's and the chosen graph's least time.
        calibration: Number of images to calibrate on and to tune on.
        wide: Tensors with the heaviest tails: name, largest value over the value that it is clipped at.
        float_parts: What was left float by the search.
    """

    path: Path
    method: Method
    chosen: Variant
    curve: list[Variant] = field(default_factory=list)
    source_bytes: int = 0
    seconds: tuple[float, float] = (0.0, 0.0)
    calibration: tuple[int, int] = (0, 0)
    wide: list[tuple[str, float]] = field(default_factory=list)
    float_parts: list[str] = field(default_factory=list)

    @property
    def safe(self) -> bool:
        """Whether the written graph keeps the bounds."""
        return not self.chosen.unkept


def by_set(images: Sequence[ImageFigures]) -> dict[str, Figures]:
    """Group figures by the set that each image's name begins with."""
    groups: dict[str, list[ImageFigures]] = {}
    for image in images:
        groups.setdefault(image.name.split("/")[0], []).append(image)
    return {name: summarise(group) for name, group in groups.items()}


def judged(label: str, data: bytes, images: Sequence[ImageFigures], bounds: Bounds) -> Variant:
    """Return a graph with its figures, and the bounds that it does not keep."""
    figures, sets = summarise(images), by_set(images)
    return Variant(label, len(data), figures, sets, None, failures(figures, list(sets.values()), bounds))
