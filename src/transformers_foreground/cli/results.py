"""Names of results, and which files in a folder are results of earlier runs."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Final

from transformers_foreground.errors import ForegroundError
from transformers_foreground.images.encode import SUFFIXES

SUFFIX: Final = {"jpeg": "jpg"}  # where it is not the format's name
_MIDDLES: Final = (".cutout", ".mask")
_LONGEST: Final = 255  # bytes of a file's name, on nearly all file systems
_GRAY_KEPT: Final = (".png", ".jpg", ".jpeg", ".tif", ".tiff")  # formats in which a mask stays gray


def result_name(name: str, end: str) -> str:
    """Return the name of an image's result, shortened if it is too long for the file system.

    Args:
        name: The image's name, with or without its suffix.
        end: The rest of the result's name, after a dot.
    """
    room = _LONGEST - len(end) - 1
    encoded = name.encode(errors="surrogatepass")
    if len(encoded) > room:
        digest = hashlib.sha256(encoded).hexdigest()[:8]
        name = f"{encoded[: room - 9].decode(errors='ignore')}~{digest}"
    return f"{name}.{end}"


def results_among(images: Iterable[Path], top: Path, output: str | None) -> set[Path]:
    """Return those of a folder's images that this command made from the others.

    Such a file has the name of another image's result, and lies beside that image or in its place below the output
    folder. A photo called `hat.mask.jpg` is a result only if there is a `hat.jpg`, and if it is gray. In an output
    folder inside the folder, every file with such a name is a result.

    Args:
        images: All images in the folder.
        top: The folder.
        output: The output folder, if any.
    """
    images = list(images)
    candidates = [path for path in images if path.suffix.lower() in SUFFIXES and Path(path.stem).suffix in _MIDDLES]
    if not candidates:
        return set()
    sources = {
        (os.path.abspath(place), name)
        for path in images
        for place in (path.parent, *([] if output is None else [Path(output) / path.parent.relative_to(top)]))
        for name in (path.stem, path.name)
    }
    long = {(place, name) for place, name in sources if len(name) > _LONGEST // 5}  # letters have up to four bytes
    inside = "" if output is None else os.path.join(os.path.abspath(output), "")
    apart = inside and not os.path.join(os.path.abspath(top), "").startswith(inside)

    def is_result(path: Path) -> bool:
        place, name = os.path.abspath(path.parent), Path(path.stem).stem
        if apart and os.path.join(place, "").startswith(inside):
            return True
        end = path.name[len(name) + 1 :]
        known = (place, name) in sources or any(
            place == other and result_name(whole, end) == path.name for other, whole in long
        )
        return known and may_be_result(path)

    return {path for path in candidates if is_result(path)}


def may_be_result(path: Path) -> bool:
    """Whether an image has a result's name and, if that says "mask", is gray or in a format that does not tell."""
    middle = Path(path.stem).suffix
    if middle != ".mask":
        return middle in _MIDDLES
    try:
        status = os.stat(path)
        return path.suffix.lower() not in _GRAY_KEPT or _is_gray(path, status.st_size, status.st_mtime_ns)
    except OSError:
        return True


@lru_cache(maxsize=65_536)  # --watch looks every second
def _is_gray(path: Path, size: int, mtime_ns: int) -> bool:
    from transformers_foreground.images.identify import Limits, open_image

    try:
        with path.open("rb") as file:
            return open_image(file, Limits(str(path), sys.maxsize)).mode == "L"
    except (OSError, ForegroundError):  # a result that was lost half-way
        return True
