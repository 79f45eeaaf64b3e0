"""What Gradio says of an uploaded file, checked: whoever calls may say anything."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers_foreground.errors import ImageError
from transformers_foreground.server.decoding import Upload


def upload_of(file: Any, folder: Path) -> Upload:
    """Return an upload.

    Args:
        file: Gradio's description of it: `path`, and `orig_name`, which is the visitor's name for it.
        folder: Where uploads lie. No other file is touched.

    Raises:
        ImageError: It is no description of an uploaded file.
    """
    path = file.get("path") if isinstance(file, Mapping) else None
    if not isinstance(path, str) or not path:
        raise ImageError("This is no uploaded image. Upload one: gradio_client.handle_file('photo.jpg').")
    name = file.get("orig_name")
    name = name if isinstance(name, str) and name else Path(path).name
    place = Path(path).resolve()
    if not place.is_relative_to(folder.resolve()) or not place.is_file():
        raise ImageError(f"Cannot read {name[:200]}: the upload is gone, or never was. Give the image again.")
    return Upload(name[:200], place)
