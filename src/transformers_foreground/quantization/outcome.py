"""Results of a run: the quantised graphs with their figures, and the file that was written."""

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
        ratio: How many times as fast as fp32: median of interleaved rounds, and by the shortest times; `None` if not
            timed.
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
    """The result of a run.

    Attributes:
        path: The file that was written.
        method: How the graph was quantised.
        chosen: The graph that was written.
        curve: All graphs that were measured, with `chosen`.
        source_bytes: Size of the fp32 file.
        seconds: Shortest time of fp32 and of the chosen graph.
        calibration: How many images were used to calibrate, and to choose.
        wide: Tensors with the heaviest tails: name, and largest value over typical clipping point.
        float_parts: Names of the parts that stay float.
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
    """Summarise the images' figures of a graph, and check the bounds."""
    figures, sets = summarise(images), by_set(images)
    return Variant(label, len(data), figures, sets, None, failures(figures, list(sets.values()), bounds))
