"""Read images as `datasets` stores them, in rows of any format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
from datasets.utils.file_utils import xopen

from transformers_foreground.data.store_errors import with_retries
from transformers_foreground.errors import ImageError
from transformers_foreground.images.decode import MAX_BYTES, MAX_PIXELS, TIMEOUT, DecodedImage, decode
from transformers_foreground.images.identify import Limits, damaged, open_image
from transformers_foreground.images.public_http import check_uri
from transformers_foreground.images.reading import read_all
from transformers_foreground.images.sources import name_of, open_stream

_OURS: Final = ("http://", "https://", "file://")  # `decode` opens these


def read_image(image: Any, mode: str | None = None) -> DecodedImage:
    """Decode an image of a row. Files inside archives and on the Hub are opened by `datasets`.

    Args:
        image: Anything that `images.decode` takes, or a mapping whose "path" is a URI that fsspec knows.
        mode: The mode of the column's `datasets.Image(mode=...)`, for mappings.

    Raises:
        ImageError: It cannot be read, or must not be (`env.allow_private_urls`).
    """
    if image is None:
        raise ImageError("There is no image (null).")
    if isinstance(image, Mapping):
        path = image.get("path")
        if image.get("bytes") is None and isinstance(path, str) and "://" in path and not path.startswith(_OURS):
            image = {"bytes": _stored(path), "path": path}
        if mode:
            return _in_mode(image, mode)
    if isinstance(image, np.ndarray) and image.dtype == np.int64 and 0 <= image.min() <= image.max() <= 255:
        image = image.astype(np.uint8)  # what a streaming dataset with the format "numpy" makes of pixels
    url = image.get("path") if isinstance(image, Mapping) and image.get("bytes") is None else image
    if isinstance(url, str) and url.startswith(("http://", "https://")):
        return with_retries(lambda: decode(image), name_of(url))
    return decode(image)


def _stored(path: str) -> bytes:
    name = name_of(path)

    def read_file() -> bytes:
        check_uri(path)
        with xopen(path, "rb") as file:
            return read_all(file.read, name, MAX_BYTES)

    return with_retries(read_file, name)


def _in_mode(image: Mapping[str, Any], mode: str) -> DecodedImage:
    """Convert as `datasets.Image(mode=...)` does, but decode only formats that this package accepts."""
    name = name_of(image)
    with open_stream(image, name, TIMEOUT, MAX_BYTES) as stream:
        opened = open_image(stream, Limits(name, MAX_PIXELS))
        try:
            converted = opened.convert(mode)
        except Exception as error:  # readers of broken files raise nearly anything
            raise damaged(error, name) from error
    return replace(decode(converted), name=name)
