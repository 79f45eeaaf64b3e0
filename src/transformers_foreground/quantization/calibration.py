"""Statistics of every channel of every activation, in bounded memory.

ONNX Runtime's histogram collector keeps the activations of all images (19 GB for IS-Net at 1024×1024). Here those of
each image become one histogram a channel and are dropped; the graph is run in slices if those of one image are too
many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from transformers_foreground.errors import InvalidModelError

BINS: Final = 2048
SLICE_BYTES: Final = 1 << 30


class ChannelHistogram:
    """Histograms of the absolute values of a tensor's channels.

    The range of each is a power of two. It doubles, and pairs of bins are merged, when a larger value comes. So the
    result does not depend on the order of the images, and each is read once.

    Attributes:
        counts: Values per bin, int64, shape (C, bins).
        upper: Upper end of each channel's range, a power of two; 0 as long as all values are 0.
        lowest: Smallest value of each channel.
        highest: Largest value of each channel.
    """

    def __init__(self, channels: int, bins: int = BINS) -> None:
        self.counts = np.zeros((channels, bins), np.int64)
        self.upper = np.zeros(channels)
        self.lowest = np.zeros(channels)
        self.highest = np.zeros(channels)

    def update(self, values: NDArray[np.float32]) -> None:
        """Count the values of one image, float32 of shape (C, ...), all finite."""
        planes = values.reshape(len(values), -1)
        low, high = planes.min(axis=1), planes.max(axis=1)
        self.lowest, self.highest = np.minimum(self.lowest, low), np.maximum(self.highest, high)
        bins = self.counts.shape[1]
        largest = np.maximum(-low, high).astype(np.float64)
        for channel, plane in enumerate(planes):
            self._grow(channel, largest[channel])
            if not self.upper[channel]:
                self.counts[channel, 0] += plane.size
                continue
            scaled = np.abs(plane) if low[channel] < 0 else plane
            index = (scaled * np.float32(bins / self.upper[channel])).astype(np.intp)
            self.counts[channel] += np.bincount(np.minimum(index, bins - 1), minlength=bins)

    def _grow(self, channel: int, largest: float) -> None:
        """Double a channel's range until it holds a value."""
        if largest <= self.upper[channel]:
            return
        wanted = 2.0 ** np.ceil(np.log2(max(largest, 2.0**-100)))
        counts = self.counts[channel]
        if not self.upper[channel]:  # only zeros so far, all in the first bin
            self.upper[channel] = wanted
        while self.upper[channel] < wanted:
            merged = counts.reshape(-1, 2).sum(axis=1)
            counts[:] = 0
            counts[: len(merged)] = merged
            self.upper[channel] *= 2

    @property
    def largest(self) -> NDArray[np.float64]:
        """Largest absolute value of each channel."""
        return np.maximum(-self.lowest, self.highest)


def exposed(model: Any, names: Sequence[str]) -> bytes:
    """Return a graph, serialised, with these tensors as its only outputs."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    copy.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    return bytes(copy.SerializeToString())


def open_session(data: bytes) -> Any:
    """Open a session on the CPU that returns memory to the system after each run.

    Raises:
        InvalidModelError: ONNX Runtime cannot open the graph.
    """
    import onnxruntime as ort

    from transformers_foreground.runtime.cpu import usable_cpus

    options = ort.SessionOptions()
    options.intra_op_num_threads = usable_cpus()
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = False
    try:
        return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions share no base but Exception
        raise InvalidModelError(f"ONNX Runtime cannot open the changed graph: {error}") from error


def slices(model: Any, names: Sequence[str], limit: int = SLICE_BYTES) -> list[list[str]]:
    """Divide tensors into groups of at most `limit` bytes (or one tensor); unknown shapes count as half of it."""
    sizes = {}
    for value in model.graph.value_info:
        dims = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        sizes[value.name] = 4 * int(np.prod(dims)) if all(dims) else limit // 2
    result: list[list[str]] = [[]]
    used = 0
    for name in names:
        size = sizes.get(name, limit // 2)
        if result[-1] and used + size > limit:
            result.append([])
            used = 0
        result[-1].append(name)
        used += size
    return result


def collect(
    model: Any,
    names: Sequence[str],
    images: Iterable[NDArray[np.float32]],
    *,
    bins: int = BINS,
    slice_bytes: int = SLICE_BYTES,
    progress: Callable[[], None] = lambda: None,
) -> Mapping[str, ChannelHistogram]:
    """Run images through a graph and count the values of its tensors.

    Args:
        model: A simplified `onnx.ModelProto`.
        names: The tensors to watch, of shape (1, C, ...).
        images: `pixel_values` of shape (1, 3, h, w) each.
        bins: Bins of each channel's histogram.
        slice_bytes: Most bytes of activations to hold at a time.
        progress: Called after each image.

    Returns:
        A histogram for each name.
    """
    histograms: dict[str, ChannelHistogram] = {}
    parts = [part for part in slices(model, names, slice_bytes) if part]
    sessions = [(part, open_session(exposed(model, part))) for part in parts]
    for image in images:
        for part, session in sessions:
            outputs = session.run(part, {session.get_inputs()[0].name: image})
            for name in reversed(part):
                values = outputs.pop()[0]
                if name not in histograms:
                    histograms[name] = ChannelHistogram(len(values), bins)
                histograms[name].update(values)
        progress()
    return histograms
