"""The state of one run: the model's graph, its statistics, and what is compared."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from transformers_foreground.atomic_write import obstacle
from transformers_foreground.errors import UnsupportedOptionError
from transformers_foreground.hub.transfer import sha256_of
from transformers_foreground.quantization import plan
from transformers_foreground.quantization.calibration import ChannelHistogram, collect, open_session
from transformers_foreground.quantization.clipping import thresholds
from transformers_foreground.quantization.comparison import Comparison, level_value, speed_ratio
from transformers_foreground.quantization.figures import Bounds, ImageFigures, failures, shown, summarise
from transformers_foreground.quantization.outcome import Record, Track, Variant, judged
from transformers_foreground.quantization.plan import Method
from transformers_foreground.quantization.samples import Sample
from transformers_foreground.quantization.sensitivity import Part, loss, parts, rank
from transformers_foreground.quantization.simplify import simplify
from transformers_foreground.runtime.geometry import target_size
from transformers_foreground.runtime.opening import installed_device, open_graph
from transformers_foreground.segmenter import Segmenter

KEY: Final = "transformers_foreground.quantization"
PERCENTS: Final = (99.9, 99.95, 99.99)
MOST_PARTS: Final = 4


class Quantizer:
    """A model that is being quantised. Call the methods in the order in which they are defined.

    Attributes:
        source: Name, size and hash of the fp32 file.
        target: The file to write.
    """

    def __init__(
        self,
        model: str | Path,
        output: str | Path | None,
        say: Callable[[str], None],
        track: Track,
        progress_callback: Any = None,
    ) -> None:
        import onnx

        self._segmenter = Segmenter(model, dtype="fp32", device="cpu", progress_callback=progress_callback)
        files = self._segmenter.files
        self.target = Path(output) if output else files.onnx.with_name(f"{files.onnx.stem}_int8.onnx")
        _check_place(self.target)
        self.source: Record = {
            "name": files.onnx.name,
            "bytes": files.onnx.stat().st_size,
            "sha256": sha256_of(files.onnx),
        }
        self._say, self._track = say, track
        self._folder, self._stem = files.onnx.parent, files.onnx.stem
        processing = self._segmenter.processing  # opens the file by its path: refused if its weights are elsewhere
        self._original = open_session(files.onnx.read_bytes())
        height, width = target_size(1, 1, processing) if "width" in (processing.size or {}) else (None, None)
        self._graph = simplify(onnx.load(files.onnx), height, width)
        self._float_bytes = bytes(self._graph.SerializeToString(deterministic=True))
        ends = [level_value(level, self._segmenter) for level in (0, 255)]
        self._input_range = (min(*ends, 0.0), max(*ends, 0.0))
        self._histograms: Mapping[str, ChannelHistogram] = {}
        self._held: Comparison | None = None
        removed = len(onnx.load(files.onnx, load_external_data=False).graph.node) - len(self._graph.graph.node)
        say(f"Simplified: {len(self._graph.graph.node)} nodes, {removed} fewer.")

    def calibrate(self, samples: Sequence[Sample]) -> None:
        """Collect the statistics of all activations."""
        inputs = (self._segmenter.prepare(sample.read()).pixel_values for sample in samples)
        advance = self._track("calibrating", len(samples))
        self._histograms = collect(self._graph, plan.watched(self._graph), inputs, progress=advance)

    def quantised(self, method: Method) -> bytes:
        """Return the graph, quantised and serialised."""
        graph = plan.apply(self._graph, self._histograms, method, self._input_range)
        return bytes(graph.SerializeToString(deterministic=True))

    def choose(
        self, samples: Sequence[Sample], method: Method | None, keep_float: int | str | Sequence[Part], bounds: Bounds
    ) -> tuple[Method, list[str]]:
        """Choose how to quantise, and which parts to leave float, by the results on some images."""
        comparison = Comparison(samples, self._segmenter, self._original, self._track)
        # Stricter than the bounds (half-way to 1): other images do a little worse than those that choose.
        limits = replace(bounds, images=0, worst_iou=(1 + bounds.worst_iou) / 2 - 0.005)

        def measure(candidate: Method) -> list[ImageFigures]:
            images = comparison.measure(self.quantised(candidate), truth=False)
            figures = summarise(images)
            self._say(f"  {candidate}: mean |Δα| {figures.mean_difference:.4f}, worst IoU {shown(figures.worst_iou)}")
            return images

        candidates = [method] if method else [Method(percent=percent) for percent in PERCENTS]
        results = [(candidate, measure(candidate)) for candidate in candidates]
        best, images = min(results, key=lambda pair: loss(pair[1]))
        if not isinstance(keep_float, (int, str)):
            nodes = {node for part in keep_float for node in part.nodes}
            return replace(best, keep_float=tuple(sorted({*best.keep_float, *nodes}))), [p.name for p in keep_float]
        wanted = MOST_PARTS if keep_float == "auto" else int(keep_float)
        enough = keep_float == "auto" and not failures(summarise(images), [], limits)
        if wanted == 0 or enough or best.keep_float:
            return best, []
        self._say("Measuring which parts gain most if they stay float.")
        ranked = self._ranked(comparison, best, images)
        names: list[str] = []
        for part, _ in ranked[:wanted]:
            further = replace(best, keep_float=tuple(sorted({*best.keep_float, *part.nodes})))
            after = measure(further)
            if keep_float == "auto" and loss(after) >= loss(images):
                continue
            best, images = further, after
            names.append(part.name)
            if keep_float == "auto" and not failures(summarise(images), [], limits):
                break
        return best, names

    def named(self, names: Sequence[str]) -> list[Part]:
        """Return the parts of these names.

        Raises:
            UnsupportedOptionError: A part does not exist.
        """
        known = {part.name: part for part in parts(self._graph)}
        unknown = [name for name in names if name not in known]
        if unknown:
            raise UnsupportedOptionError(f"No part is called {', '.join(unknown)}. There are: {', '.join(known)}.")
        return [known[name] for name in names]

    def _ranked(
        self, comparison: Comparison, method: Method, images: Sequence[ImageFigures]
    ) -> list[tuple[Part, float]]:
        """Rank parts on the worst images, at most five."""
        order = sorted(range(len(images)), key=lambda i: loss([images[i]]), reverse=True)[:5]
        worst = comparison.subset(order)

        def measure(nodes: tuple[str, ...]) -> float:
            return loss(worst.measure(self.quantised(replace(method, keep_float=nodes)), truth=False))

        ranked = rank(parts(self._graph), measure, loss([images[i] for i in order]))
        for part, gain in ranked:
            self._say(f"  {part.name}: gains {gain:.4f}, has {part.cost:.1%} of the multiplications")
        return ranked

    def compare_on(self, samples: Sequence[Sample]) -> None:
        """Run fp32 on the held-out images."""
        self._held = Comparison(samples, self._segmenter, self._original, self._track)

    def images(self, data: bytes) -> list[ImageFigures]:
        """Return the figures of a graph on the held-out images."""
        assert self._held is not None
        return self._held.measure(data)

    def variant(self, label: str, data: bytes, images: Sequence[ImageFigures], bounds: Bounds) -> Variant:
        """Judge a graph, and report it with `say`."""
        variant = judged(label, data, images, bounds)
        figures = variant.figures
        self._say(
            f"  {label}: mean |Δα| {figures.mean_difference:.4f}, IoU mean {shown(figures.mean_iou)}, "
            f"worst {shown(figures.worst_iou)}: {'safe' if not variant.unkept else '; '.join(variant.unkept)}"
        )
        return variant

    def float_nodes(self, method: Method) -> list[str]:
        """Return the names of the nodes that stay float."""
        return sorted({*method.keep_float, *(plan.ends(self._graph) if method.float_ends else ())})

    def with_record(self, data: bytes, record: Record) -> bytes:
        """Return the graph with a record of how it was made in its metadata. Equal arguments give equal bytes.

        Read it with ONNX Runtime: `session.get_modelmeta().custom_metadata_map[KEY]`.
        """
        import onnx

        model = onnx.ModelProto.FromString(data)
        del model.metadata_props[:]
        model.metadata_props.add(key=KEY, value=json.dumps(record, sort_keys=True, ensure_ascii=False))
        return bytes(model.SerializeToString(deterministic=True))

    def time(self, data: bytes) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return the shortest seconds of fp32 and of a graph; and their ratio, median of rounds and by the shortest."""
        assert self._held is not None
        a, b, median = speed_ratio(self._float_bytes, data, next(self._held.inputs()))
        return (a, b), (median, a / b)

    def curve(self, chosen: Method, float_parts: Sequence[str], bounds: Bounds) -> list[Variant]:
        """Measure simpler methods, to compare the chosen one with: the naive one first."""
        naive = Method("max", equalise=0, balance=False, float_ends=False)
        ends = replace(naive, float_ends=True)
        clipped = replace(ends, clip="percentile", percent=chosen.percent)
        equal = replace(clipped, equalise=chosen.equalise)
        balanced = replace(equal, balance=True)
        methods = [naive, ends, clipped, equal, balanced, replace(chosen, float_ends=False)]
        if chosen.keep_float:
            methods.append(replace(chosen, balance=False))
            kept: tuple[str, ...] = ()
            for part in self.named(float_parts[:-1]):
                kept = tuple(sorted({*kept, *part.nodes}))
                methods.append(replace(chosen, keep_float=kept))
            first = next((part for part in parts(self._graph) if part.name not in float_parts), None)
            if first:
                methods.append(replace(chosen, keep_float=tuple(sorted({*chosen.keep_float, *first.nodes}))))
        others = [(str(m), self.quantised(m)) for m in dict.fromkeys(methods) if m != chosen]
        q8 = self._folder / f"{self._stem}_quantized.onnx"
        if q8.is_file():
            open_graph(q8, installed_device("cpu"))  # by its path: refused if its weights are elsewhere
            others.insert(0, (f"{q8.name} (as published)", q8.read_bytes()))
        assert self._held is not None
        noisy = self._held.with_noise(self._original)
        result = [self.variant("fp32 itself, each level of the input off by up to ½", self._float_bytes, noisy, bounds)]
        for label, data in others:
            variant = self.variant(label, data, self.images(data), bounds)
            result.append(replace(variant, ratio=self.time(data)[1]))
        return result

    def widest(self, method: Method) -> list[tuple[str, float]]:
        """Return the ten tensors with the heaviest tails: largest value over the median channel's clipping point."""
        tails = []
        for name, histogram in self._histograms.items():
            limit = thresholds(histogram, "percentile", method.percent)
            typical = float(sorted(limit)[len(limit) // 2])
            tails.append((name, float(histogram.largest.max()) / typical if typical > 0 else 0.0))
        return sorted(tails, key=lambda pair: (-pair[1], pair[0]))[:10]


def _check_place(target: Path) -> None:
    """Refuse a place that cannot be written, or that of a file that was not made here: the model's own, an image."""
    import onnx

    if why := obstacle(target):
        raise UnsupportedOptionError(f"{target} cannot be written: {why}. Give another place with --output.")
    if not target.exists():
        return
    try:
        made_here = any(entry.key == KEY for entry in onnx.load(target, load_external_data=False).metadata_props)
    except Exception:  # no ONNX file; protobuf's errors are of many kinds
        made_here = False
    if not made_here:
        raise UnsupportedOptionError(
            f"{target} exists, and was not made by quantizing. Move it away, or give another name with --output."
        )
