"""How pixels go into a model, by its files, its graph and the options of a call."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np

from transformers_foreground.errors import UnsupportedOptionError
from transformers_foreground.hub.known_models import known_preprocessor
from transformers_foreground.hub.model_files import ModelFiles
from transformers_foreground.runtime.graphs import Graph
from transformers_foreground.runtime.processing import Processing, choose


def processing_of(files: ModelFiles, graph: Graph, resampling: str | None = None) -> Processing:
    """Decide how pixels go into a model.

    The repository's own `preprocessor_config.json` alone counts where there is one (see `processing.choose`).

    Args:
        files: The model's files.
        graph: Its session.
        resampling: One of `resampling.RESAMPLINGS`; `None` for the file's, else `"transformers.js"`.

    Raises:
        UnsupportedOptionError: Nothing says what size the model takes, or the resampling is unknown.
    """
    known = None
    if files.preprocessor is None:
        known = known_preprocessor(files.model_id, files.config.get("model_type"))
    size = graph.height, graph.width
    return choose(files.preprocessor, known, size, source=files.model_id, resampling=resampling)


def fitting_size(size: Any, graph: Graph) -> tuple[int, int]:
    """Read the option `model_input_size`.

    Args:
        size: [height, width], or a number for a square.
        graph: The graph that is to take it.

    Returns:
        Height and width.

    Raises:
        UnsupportedOptionError: It is neither, or the graph takes another size only.
    """
    pair: Sequence[Any] = (size, size) if isinstance(size, Integral) else ()
    if isinstance(size, (list, tuple, np.ndarray)):
        pair = list(size)
    if len(pair) != 2 or not all(_is_side(side) for side in pair):
        raise UnsupportedOptionError(f"model_input_size={size!r}: use [height, width], or a number for a square.")
    height, width = map(int, pair)
    if (graph.height or height, graph.width or width) != (height, width):
        raise UnsupportedOptionError(
            f"model_input_size={[height, width]}: this graph takes {[graph.height, graph.width]} only."
        )
    return height, width


def _is_side(side: Any) -> bool:
    return isinstance(side, Integral) and not isinstance(side, bool) and int(side) > 0
