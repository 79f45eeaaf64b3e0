"""Run pictures through two graphs, compare what comes out, and time both."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transformers_foreground.postprocessing import postprocess
from transformers_foreground.preprocessing import Processing, preprocess
from transformers_foreground.quantization.calibration import open_session
from transformers_foreground.quantization.evaluation import (
    NEARLY_EMPTY,
    Picture,
    intersection_over_union,
    mean_absolute_error,
    s_measure,
)
from transformers_foreground.quantization.pictures import Sample
from transformers_foreground.sessions import forward, graph_of, session_options

Plane = NDArray[np.float32]


def plane_of(session: Any, values: NDArray[np.float32]) -> Plane:
    """Return the alpha plane, float32 (h, w), of one picture's `pixel_values`."""
    plane: Plane = forward(graph_of(session, Path("The quantised graph")), values)[0, 0]
    return plane


def level_value(level: int, processing: Processing) -> float:
    """Return what a picture of one gray level becomes, in the channel farthest from 0."""
    values = preprocess(np.full((8, 8, 3), level, np.uint8), replace(processing, do_resize=False, size=None))
    return float(values.flat[int(np.argmax(np.abs(values)))])


def compared(name: str, plane: Plane, other: Plane) -> Picture:
    """Return the figures of a picture: how far a plane is from fp32's, which comes first."""
    full = bool(np.mean(plane > 0.5) >= NEARLY_EMPTY)
    return Picture(
        name=name,
        difference=float(np.mean(np.abs(other - plane), dtype=np.float64)),
        iou=intersection_over_union(plane, other) if full else None,
    )


class Comparison:
    """Pictures with what fp32 makes of them, against which any number of quantised graphs is held.

    Planes are kept (4 MB each at 1024×1024), inputs are made again.

    Attributes:
        samples: The pictures.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        processing: Processing,
        session: Any,
        progress: Callable[[], None] = lambda: None,
    ) -> None:
        self.samples = samples
        self._processing = processing
        self._planes: list[Plane] = []
        self._truths: list[tuple[float, float] | None] = []
        for sample in samples:
            pixels = sample.read()
            self._planes.append(plane_of(session, preprocess(pixels, processing)[None]))
            self._truths.append(self._against_truth(sample, self._planes[-1], pixels.shape))
            progress()

    def _against_truth(self, sample: Sample, plane: Plane, shape: tuple[int, ...]) -> tuple[float, float] | None:
        """Return S-measure and MAE of the mask at the picture's own size."""
        truth = sample.mask()
        if truth is None or truth.shape != shape[:2]:
            return None
        alpha = postprocess(plane, shape[0], shape[1], self._processing) / 255.0
        return s_measure(alpha, truth > 128), mean_absolute_error(alpha, truth)

    def measure(self, model: Any, truth: bool = True, progress: Callable[[], None] = lambda: None) -> list[Picture]:
        """Return each picture's figures for a quantised graph (`onnx.ModelProto` or its bytes)."""
        session = open_session(model if isinstance(model, bytes) else model.SerializeToString())
        result = []
        for sample, plane, original in zip(self.samples, self._planes, self._truths, strict=True):
            pixels = sample.read()
            other = plane_of(session, preprocess(pixels, self._processing)[None])
            ours = self._against_truth(sample, other, pixels.shape) if original and truth else None
            picture = compared(sample.name, plane, other)
            if original and ours:
                picture = replace(picture, s_measure=(original[0], ours[0]), mae=(original[1], ours[1]))
            result.append(picture)
            progress()
        return result

    def with_noise(self, session: Any, levels: float = 0.5, seed: int = 0) -> list[Picture]:
        """Return the figures of fp32 itself on inputs with uniform noise: how steady its masks are.

        Args:
            session: The fp32 graph.
            levels: Most that a value may be off, in levels of an 8-bit picture of the model's size.
            seed: Of the noise.
        """
        generator = np.random.default_rng(seed)
        step = abs(level_value(1, self._processing) - level_value(0, self._processing))
        result = []
        for sample, plane in zip(self.samples, self._planes, strict=True):
            values = preprocess(sample.read(), self._processing)[None]
            noise = generator.uniform(-levels * step, levels * step, values.shape)
            other = plane_of(session, (values + noise).astype(np.float32))
            result.append(compared(sample.name, plane, other))
        return result

    def subset(self, indices: Sequence[int]) -> Comparison:
        """Return a comparison on some of the pictures only."""
        result = copy.copy(self)
        result.samples = [self.samples[i] for i in indices]
        result._planes = [self._planes[i] for i in indices]
        result._truths = [self._truths[i] for i in indices]
        return result

    def inputs(self) -> Iterator[NDArray[np.float32]]:
        """Yield `pixel_values` of each picture."""
        for sample in self.samples:
            yield preprocess(sample.read(), self._processing)[None]


def speed_ratio(
    first: bytes, second: bytes, values: NDArray[np.float32], rounds: int = 7
) -> tuple[float, float, float]:
    """Time two graphs in turn (A B A B ...), since a machine that others use too slows down both alike.

    Returns:
        The least seconds of the first, the least of the second, and the median of the rounds' ratios.
    """
    import onnxruntime as ort

    options = session_options({"log_severity_level": 3})
    sessions = [ort.InferenceSession(data, options, providers=["CPUExecutionProvider"]) for data in (first, second)]
    for session in sessions:
        plane_of(session, values)
    times: list[list[float]] = [[], []]
    for _ in range(rounds):
        for session, spent in zip(sessions, times, strict=True):
            started = time.perf_counter()
            plane_of(session, values)
            spent.append(time.perf_counter() - started)
    return min(times[0]), min(times[1]), statistics.median(a / b for a, b in zip(*times, strict=True))
