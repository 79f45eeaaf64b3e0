"""Capture: what a caller may change, close or exhaust after handing an image over is taken at once, on its thread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from PIL import Image

from transformers_foreground.images.arrays import is_tensor
from transformers_foreground.images.decode import MAX_BYTES, TIMEOUT, DecodedImage, ImageInput, decode
from transformers_foreground.images.sources import file_of, name_of, open_stream


def capture(source: ImageInput) -> ImageInput:
    """Return an image input that no longer depends on what the caller does with the source.

    Decoding may then wait, on any thread. A path or a URL is not opened here, and encoded bytes are not decoded.

    Args:
        source: Anything that `decode` takes.

    Returns:
        Of a PIL image, an array or a tensor its pixels, as a `DecodedImage` that shares no memory with it. Of a file
        object its bytes, as a dict with "bytes" and "path". Of a `bytearray` or a `memoryview` a copy, as `bytes`.
        Anything else as it is.

    Raises:
        ImageError: A PIL image, an array, a tensor or a file object cannot be read.
    """
    if isinstance(source, bytearray | memoryview):
        return bytes(source)
    if isinstance(source, Mapping):
        return {key: bytes(v) if isinstance(v, bytearray | memoryview) else v for key, v in source.items()}
    if isinstance(source, Image.Image):
        return _detached(decode(source), source)
    if isinstance(source, np.ndarray) or is_tensor(source):
        decoded = decode(source)
        return replace(decoded, pixels=decoded.pixels.copy())
    if callable(getattr(file_of(source), "read", None)):
        name = name_of(source)
        with open_stream(source, name, TIMEOUT, MAX_BYTES) as stream:
            return {"bytes": stream.read(), "path": name}
    return source


def _detached(decoded: DecodedImage, source: Image.Image) -> DecodedImage:
    """Copy what the decoded image still shares with the PIL image."""
    return replace(decoded, _unconverted=source.copy()) if decoded._unconverted is source else decoded
