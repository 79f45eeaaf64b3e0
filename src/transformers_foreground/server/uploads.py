"""Check the images and backgrounds that callers of the page name: they may send anything."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers_foreground.compositing.backgrounds import colour_of
from transformers_foreground.errors import ImageError, UnsupportedOptionError
from transformers_foreground.server.decoding import Upload


def upload_of(file: Any, folder: Path) -> Upload:
    """Return the upload that a caller names.

    Args:
        file: Gradio's description of a file: `path`, and `orig_name`, the visitor's name for it.
        folder: Where uploads are. A path anywhere else is refused.

    Raises:
        ImageError: This describes no uploaded file.
    """
    path = file.get("path") if isinstance(file, Mapping) else None
    if not isinstance(path, str) or not path:
        raise ImageError("This is not an uploaded image. Upload one: gradio_client.handle_file('photo.jpg').")
    name = file.get("orig_name")
    name = (name if isinstance(name, str) and name else Path(path).name)[:200]
    try:
        place = Path(path).resolve()
        is_there = place.is_relative_to(folder.resolve()) and place.is_file()
    except (OSError, ValueError):  # a name too long, or with a zero byte
        is_there = False
    if not is_there:
        raise ImageError(f"Cannot read {name}: the upload is gone, or never was. Give the image again.")
    return Upload(name, place)


def background_of(given: Any, folder: Path) -> str | Upload | None:
    """Return the background that a caller names. Text is a colour or "blur", never a path or URL for `cutout` to read.

    Args:
        given: Text, or Gradio's description of an uploaded file; `None` or empty for no background.
        folder: Where uploads are.

    Raises:
        UnsupportedOptionError: The text is neither a colour nor "blur".
        ImageError: This describes no uploaded file.
    """
    if given is None or given == "":
        return None
    if not isinstance(given, str):
        return upload_of(given, folder)
    if given != "blur" and colour_of(given) is None:
        raise UnsupportedOptionError(f"background={given[:80]!r}: use a colour, 'blur' or an uploaded image.")
    return given
