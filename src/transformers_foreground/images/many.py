"""Tell one image from many."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Any

from PIL import Image


def is_many(inputs: Any) -> bool:
    """Whether the inputs are many images: a list or a tuple, a column, a dataset or an iterator."""
    if isinstance(inputs, (list, tuple)) or _is_column(inputs):
        return True
    if isinstance(inputs, (str, bytes, bytearray, memoryview, PathLike, Mapping, Image.Image)):
        return False
    if hasattr(inputs, "read") or hasattr(inputs, "__array__"):
        return False
    return hasattr(inputs, "__iter__") or (hasattr(inputs, "__getitem__") and hasattr(inputs, "__len__"))


def _is_column(inputs: Any) -> bool:
    """Whether the inputs are an Arrow array or a pandas series. Both can also be converted to one numpy array."""
    return hasattr(inputs, "to_pylist") or (hasattr(inputs, "iloc") and getattr(inputs, "ndim", 0) == 1)


def items_of(inputs: Any) -> Iterable[Any]:
    """Iterate over inputs, also over a torch dataset that can only be indexed, and over an Arrow or pandas column."""
    if hasattr(inputs, "to_pylist"):
        return (value.as_py() for value in inputs)
    if hasattr(inputs, "__iter__"):
        return inputs  # type: ignore[no-any-return]
    return (inputs[i] for i in range(len(inputs)))
