"""What a graph takes and gives, and whether it is a foreground model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from transformers_foreground.errors import NotForegroundError
from transformers_foreground.hub.dtypes import SUFFIXES

if TYPE_CHECKING:
    import onnxruntime as ort

_DTYPES: Final[Mapping[str, type[np.floating[Any]]]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
}
_LARGEST_PLANE: Final = 8192 * 8192  # pixels of all images of a batch
_PLANE_TYPES: Final = (*_DTYPES, "tensor(uint8)", "tensor(bool)")
_PROBE: Final = 64  # pixels a side, where a graph takes any


@dataclass(frozen=True)
class Graph:
    """A session and the little that must be known to call it.

    Attributes:
        session: The ONNX Runtime session.
        input_name: Name of its single input.
        output_name: Name of its first output, the only one that is asked for.
        dtype: Element type of the input.
        batch: The fixed batch size, or `None` where any will do.
        height: The fixed input height, or `None`.
        width: The fixed input width, or `None`.
        channels_last: Whether the input is (B, H, W, 3).
        name: Name of the file and its dtype, for messages.
    """

    session: ort.InferenceSession
    input_name: str
    output_name: str
    dtype: type[np.floating[Any]]
    batch: int | None
    height: int | None
    width: int | None
    channels_last: bool
    name: str = "the graph"


def graph_of(session: ort.InferenceSession, path: Path | str) -> Graph:
    """Find out how to call a session.

    Args:
        session: An open session.
        path: Names the file in messages.

    Raises:
        NotForegroundError: It is no foreground model; see `why_not_foreground`.
    """
    why_not = why_not_foreground(session)
    if why_not:
        raise NotForegroundError(f"{path} {why_not}. Foreground extraction is for models with one foreground plane.")
    model_input, output = session.get_inputs()[0], session.get_outputs()[0]
    batch, height, width, channels_last = _layout(model_input.shape)
    return Graph(
        session=session,
        input_name=model_input.name,
        output_name=output.name,
        dtype=_DTYPES[model_input.type],
        batch=batch,
        height=height,
        width=width,
        channels_last=channels_last,
        name=_named(Path(path)),
    )


def _named(path: Path) -> str:
    """Return a file's name with its dtype, which its suffix tells: `model_fp16.onnx (dtype fp16)`."""
    dtype = next((name for name, suffix in SUFFIXES.items() if suffix and path.stem.endswith(suffix)), "fp32")
    return f"{path.name} (dtype {dtype})"


def why_not_foreground(session: ort.InferenceSession) -> str:
    """Say why a graph is no foreground model, by its shapes alone; empty where it is one.

    A foreground model takes one image and its first output is one plane of it: (B, h, w), (B, 1, h, w) or (B, h, w, 1).
    Three dimensions are also what a classifier of queries has (MaskFormer, DETR), so there all outputs must be planes,
    fixed where the input is fixed and of its ratio. Names and `model_type` say nothing.

    Args:
        session: An open session.

    Returns:
        The reason, a predicate whose subject is the file: "takes …", "gives …".
    """
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type not in _DTYPES:
        got = ", ".join(f"{i.name} {i.type} {i.shape}" for i in inputs) or "nothing"
        return f"does not take one image (a 4-D float tensor) but: {got}"
    if not outputs:
        return "gives nothing"
    taken = [_known(dim) for dim in inputs[0].shape]
    if 0 in taken or (None not in (taken[1], taken[3]) and 3 not in (taken[1], taken[3])):
        return f"does not take RGB images: its input {inputs[0].name!r} has shape {inputs[0].shape}"
    batch, height, width, _ = _layout(inputs[0].shape)
    if (batch or 1) * (height or 1) * (width or 1) > _LARGEST_PLANE:
        return f"takes inputs of {inputs[0].shape}, more than this package gives"
    first = outputs[0]
    shape = _probed(session) if _is_vague(first.shape) else first.shape
    if first.type not in _PLANE_TYPES or not _is_plane(shape):
        return f"does not give one alpha plane: its first output {first.name!r} is {first.type} {shape}"
    if len(shape) == 3:
        beside = [other for other in outputs[1:] if not _is_plane(other.shape)]
        if beside:
            return f"gives {beside[0].name!r} {beside[0].shape} beside {first.name!r} {shape}: those are no planes"
        if not _is_of(shape, height, width):
            return f"gives {first.name!r} {shape} of an image of {inputs[0].shape}: that is no plane of it"
    return ""


def _known(dim: int | str | None) -> int | None:
    """Return a dimension's size; `None` where it is free."""
    return dim if isinstance(dim, int) and dim >= 0 else None


def _layout(shape: Sequence[int | str | None]) -> tuple[int | None, int | None, int | None, bool]:
    """Return batch, height and width of an input, where they are fixed, and whether its channels come last."""
    batch, second, third, last = (_known(dim) for dim in shape)
    channels_last = last == 3 and second != 3
    return (batch, second, third, True) if channels_last else (batch, third, last, False)


def _is_plane(shape: Sequence[int | str | None]) -> bool:
    """Whether an output of this shape can be (B, h, w), (B, 1, h, w) or (B, h, w, 1), and is neither empty nor huge."""
    known = [_known(dim) for dim in shape]
    if 0 in known or math.prod(dim or 1 for dim in known) > _LARGEST_PLANE:
        return False
    return len(shape) == 3 or (len(shape) == 4 and (known[1] in (1, None) or known[3] == 1))


def _is_of(plane: Sequence[int | str | None], height: int | None, width: int | None) -> bool:
    """Whether (B, h, w) can be of an image of this size: free where that is free, of its ratio where that is fixed."""
    rows, columns = _known(plane[1]), _known(plane[2])
    if not (height and width and rows and columns):
        return not (rows or columns)
    return rows * width == columns * height


def _is_vague(shape: Sequence[int | str | None]) -> bool:
    """Whether a declared shape leaves open how many planes there are."""
    return not shape or (len(shape) == 4 and _known(shape[1]) is None and _known(shape[3]) != 1)


def _probed(session: ort.InferenceSession) -> Sequence[int | str | None]:
    """Return the shape of the first output of a black image, (B, h, w) being free; the declared one if that fails."""
    model_input, output = session.get_inputs()[0], session.get_outputs()[0]
    batch, height, width, channels_last = _layout(model_input.shape)
    size = (height or _PROBE, width or _PROBE)
    shape = (batch or 1, *size, 3) if channels_last else (batch or 1, 3, *size)
    try:
        (raw,) = session.run([output.name], {model_input.name: np.zeros(shape, _DTYPES[model_input.type])})
    except Exception:  # it may take other sizes only; what it gives then shows with the first image
        return output.shape or (None, 1, None, None)
    got = list(np.shape(raw))
    if len(got) == 4:
        return [None, got[1], None, None] if got[1] == 1 or got[3] != 1 else [None, None, None, 1]
    return [None] * len(got)
