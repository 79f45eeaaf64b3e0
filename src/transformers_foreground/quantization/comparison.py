"""Run images through the fp32 and the quantised graph; compare their planes, and time both."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from transformers_foreground.evaluation.metrics import s_measure
from transformers_foreground.quantization.calibration import open_session
from transformers_foreground.quantization.figures import (
    NEARLY_EMPTY,
    ImageFigures,
    intersection_over_union,
    mean_absolute_error,
)
from transformers_foreground.quantization.outcome import Track
from transformers_foreground.quantization.samples import Sample
from transformers_foreground.runtime.graphs import graph_of
from transformers_foreground.runtime.sessions import forward, session_options
from transformers_foreground.segmenter import Prepared, Ran, Segmenter

Plane = NDArray[np.float32]
_ROUNDS: Final = 7  # of timing, after one that is not counted


def plane_of(session: Any, prepared: Prepared) -> Plane:
    """Return the alpha plane, float32 (h, w), that a session gives for one image."""
    plane: Plane = forward(graph_of(session, "The quantised graph"), prepared.pixel_values)[0, 0]
    return plane


def level_value(level: int, segmenter: Segmenter) -> float:
    """Return the input value of an image of one gray level, in the channel farthest from 0."""
    values = segmenter.prepare(np.full((8, 8, 3), level, np.uint8)).pixel_values[0]
    middle = values[:, values.shape[1] // 2, values.shape[2] // 2]  # resampling may darken the edges
    return float(middle[np.argmax(np.abs(middle))])


def compared(name: str, plane: Plane, other: Plane) -> ImageFigures:
    """Return how far a plane (`other`) is from fp32's (`plane`)."""
    full = bool(np.mean(plane > 0.5) >= NEARLY_EMPTY)
    return ImageFigures(
        name=name,
        difference=float(np.mean(np.abs(other - plane), dtype=np.float64)),
        iou=intersection_over_union(plane, other) if full else None,
    )


class Comparison:
    """Images with their fp32 planes, to compare any number of quantised graphs with.

    Planes are kept (4 MB each at 1024×1024); inputs are prepared again each time.

    Attributes:
        samples: The images.
    """

    def __init__(self, samples: Sequence[Sample], segmenter: Segmenter, session: Any, track: Track) -> None:
        self.samples = samples
        self._segmenter, self._track = segmenter, track
        self._planes: list[Plane] = []
        self._truths: list[tuple[float, float] | None] = []
        advance = track("fp32", len(samples))
        for sample, prepared in zip(samples, self.inputs(), strict=True):
            self._planes.append(plane_of(session, prepared))
            self._truths.append(self._against_truth(sample, prepared, self._planes[-1]))
            advance()

    def inputs(self) -> Iterator[Prepared]:
        """Yield each image, prepared for the graph."""
        for sample in self.samples:
            yield self._segmenter.prepare(sample.read())

    def _against_truth(self, sample: Sample, prepared: Prepared, plane: Plane) -> tuple[float, float] | None:
        """Return S-measure and MAE of the mask at the image's own size; `None` if there is no true mask."""
        truth = sample.ground_truth(prepared.image.height, prepared.image.width)
        if truth is None:
            return None
        ran = Ran(prepared.image, plane, prepared.processing, seconds=0.0)
        alpha = self._segmenter.finish(ran).mask / 255.0
        return s_measure(alpha, truth.mask), mean_absolute_error(alpha, truth.alpha)

    def measure(self, model: Any, truth: bool = True) -> list[ImageFigures]:
        """Return each image's figures for a quantised graph (`onnx.ModelProto` or its bytes)."""
        session = open_session(model if isinstance(model, bytes) else model.SerializeToString())
        result, advance = [], self._track("int8", len(self.samples))
        for sample, prepared, plane, original in zip(
            self.samples, self.inputs(), self._planes, self._truths, strict=True
        ):
            other = plane_of(session, prepared)
            ours = self._against_truth(sample, prepared, other) if original and truth else None
            image = compared(sample.name, plane, other)
            if original and ours:
                image = replace(image, s_measure=(original[0], ours[0]), mae=(original[1], ours[1]))
            result.append(image)
            advance()
        return result

    def with_noise(self, session: Any) -> list[ImageFigures]:
        """Return the figures of fp32 itself on noisy inputs: how much its masks change if nothing visible does.

        Args:
            session: The fp32 graph. The noise is uniform, of up to half a level of an 8-bit image of the model's size.
        """
        generator = np.random.default_rng(0)
        half = abs(level_value(1, self._segmenter) - level_value(0, self._segmenter)) / 2
        result = []
        for sample, prepared, plane in zip(self.samples, self.inputs(), self._planes, strict=True):
            noise = generator.uniform(-half, half, prepared.pixel_values.shape)
            noisy = replace(prepared, pixel_values=(prepared.pixel_values + noise).astype(np.float32))
            result.append(compared(sample.name, plane, plane_of(session, noisy)))
        return result

    def subset(self, indices: Sequence[int]) -> Comparison:
        """Return a comparison on some of the images."""
        result = copy.copy(self)
        result.samples = [self.samples[i] for i in indices]
        result._planes = [self._planes[i] for i in indices]
        result._truths = [self._truths[i] for i in indices]
        return result


def speed_ratio(first: bytes, second: bytes, prepared: Prepared) -> tuple[float, float, float]:
    """Time two graphs in turn (A B A B ...), so that other load on the machine slows down both alike.

    Returns:
        The shortest time of the first in seconds, that of the second, and the median over rounds of first / second.
    """
    import onnxruntime as ort

    options = session_options({"log_severity_level": 3})
    sessions = [ort.InferenceSession(data, options, providers=["CPUExecutionProvider"]) for data in (first, second)]
    for session in sessions:
        plane_of(session, prepared)
    times: list[list[float]] = [[], []]
    for _ in range(_ROUNDS):
        for session, spent in zip(sessions, times, strict=True):
            started = time.perf_counter()
            plane_of(session, prepared)
            spent.append(time.perf_counter() - started)
    return min(times[0]), min(times[1]), statistics.median(a / b for a, b in zip(*times, strict=True))
