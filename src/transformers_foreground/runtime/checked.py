"""int8 with a check: images whose mask is doubtful go through the fp32 graph as well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from transformers_foreground.errors import InvalidModelError
from transformers_foreground.runtime.doubt import doubt
from transformers_foreground.runtime.graphs import Graph
from transformers_foreground.runtime.sessions import forward

MOST_DOUBT: Final = 1 / 5
"""Planes with more doubt than this are run again; docs/engines.md says what that costs and gains."""


def forward_checked(
    graph: Graph, full: Callable[[], Graph], pixel_values: NDArray[np.floating[Any]]
) -> NDArray[np.float32]:
    """Run a graph of low precision, and again in full precision what it doubts.

    Where int8 differs from fp32, its plane is nearly always soft: see docs/engines.md.

    Args:
        graph: The int8 graph.
        full: Returns the fp32 graph; called only if a plane is doubtful.
        pixel_values: float, shape (B, 3, h, w).

    Returns:
        Alpha, as `sessions.forward` gives it: for each image of one of the graphs, never a mixture.

    Raises:
        InvalidModelError: As `sessions.forward` says, of either graph; or their planes differ in size.
        InferenceError: As `sessions.forward` says.
    """
    alphas = forward(graph, pixel_values)
    again = [i for i, alpha in enumerate(alphas) if doubt(alpha) > MOST_DOUBT]
    if not again:
        return alphas
    precise = forward(full(), pixel_values[again])
    if precise.shape[1:] != alphas.shape[1:]:
        raise InvalidModelError(
            f"{full().name} gives planes of {precise.shape[2:]}, and {graph.name} of {alphas.shape[2:]}: "
            "they are not of one model. Make the int8 file again (`foreground quantize`)."
        )
    alphas = np.array(alphas)  # what OpenVINO or a session gave may be shared
    alphas[again] = precise
    return alphas
