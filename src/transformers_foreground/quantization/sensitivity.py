"""Which parts of a graph gain most if they are left float."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from transformers_foreground.quantization.figures import ImageFigures


@dataclass(frozen=True)
class Part:
    """Nodes that are quantised, or left float, together.

    Attributes:
        name: The module that they were exported from, or the name of a single node.
        nodes: Their names.
        cost: Share of the graph's multiplications.
    """

    name: str
    nodes: tuple[str, ...]
    cost: float


def parts(model: Any) -> list[Part]:
    """Divide a graph by the outermost module in its nodes' names ("/stage6/rebnconv1/Conv" belongs to "stage6").

    A graph with fewer than four such modules is divided into single convolutions.
    """
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.value_info, *model.graph.output)
    }
    weights = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    nodes: dict[str, list[str]] = {}
    work: dict[str, float] = {}
    several = len({_scope(node.name) for node in model.graph.node if _scope(node.name)}) >= 4
    for node in model.graph.node:
        name = _scope(node.name) if several else node.name if node.op_type == "Conv" else ""
        if not name:
            continue
        nodes.setdefault(name, []).append(node.name)
        if node.op_type == "Conv":
            kernel = weights.get(node.input[1], [0])
            work[name] = work.get(name, 0.0) + float(np.prod(kernel[1:]) * np.prod(shapes.get(node.output[0], [0])))
    total = sum(work.values()) or 1.0
    return [Part(name, tuple(members), work[name] / total) for name, members in nodes.items() if name in work]


def _scope(name: str) -> str:
    pieces = [piece for piece in name.split("/") if piece]
    return pieces[0] if len(pieces) > 1 else ""


def loss(images: Sequence[ImageFigures]) -> float:
    """Return one number to compare candidates by: root mean square of 1 − IoU, plus mean |Δα|.

    The square makes the worst images count most, and is less noisy than the single worst.
    """
    gaps = [1 - image.iou for image in images if image.iou is not None]
    spread = float(np.sqrt(np.mean(np.square(gaps)))) if gaps else 0.0
    return spread + float(np.mean([image.difference for image in images]))


def rank(
    candidates: Sequence[Part],
    measure: Callable[[tuple[str, ...]], float],
    baseline: float,
) -> list[tuple[Part, float]]:
    """Measure how much leaving each part float gains, and sort by gain per cost.

    Args:
        candidates: The parts to try, one at a time.
        measure: Takes names of nodes; returns the loss if these are left float.
        baseline: The loss if none is.

    Returns:
        The parts that gain, and how much. 2 % are added to each cost, so that cheap parts do not win by that alone.
    """
    measured = [(part, baseline - measure(part.nodes)) for part in candidates]
    useful = [(part, gain) for part, gain in measured if gain > 0]
    return sorted(useful, key=lambda pair: (-pair[1] / (pair[0].cost + 0.02), pair[0].name))
