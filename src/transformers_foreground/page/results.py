"""Results as files: their names, previews of them, all in one archive, and their end."""

from __future__ import annotations

import re
import unicodedata
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image

from transformers_foreground.formats import encode
from transformers_foreground.geometry import within
from transformers_foreground.output import write_whole

PREVIEW: Final = 1600  # pixels at the longer side: enough for a page, and quick to send
_LONGEST: Final = 80  # characters
_LONGEST_BYTES: Final = 200  # most file systems allow 255 for a whole name
_RESERVED: Final = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")  # device names on Windows


@dataclass(frozen=True)
class Result:
    """What became of a picture.

    Attributes:
        name: The picture's name.
        file: The cut-out, a PNG file.
        before: Preview of the picture.
        after: Preview of the cut-out.
        width: Its width.
        height: Its height.
    """

    name: str
    file: Path
    before: Path
    after: Path
    width: int
    height: int


def clean_stem(name: str) -> str:
    """Return a file name's stem with nothing in it that could name another folder, a device or an option.

    Args:
        name: What the visitor's browser or program says; it may be anything.
    """
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", name))[-1]
    stem = last.rpartition(".")[0] or last
    kept = "".join(c if c.isalnum() or c in " ._-()" else "_" for c in stem)
    kept = " ".join(kept.split()).strip(" .-")[:_LONGEST]
    kept = kept.encode()[:_LONGEST_BYTES].decode(errors="ignore").rstrip(" .")
    return f"_{kept}" if _RESERVED.fullmatch(kept) else kept or "picture"


def file_names(names: Sequence[str]) -> list[str]:
    """Name the cut-outs of several pictures: `photo.cutout.png`, and a number where two would be the same."""
    taken: set[str] = set()
    result = []
    for stem in map(clean_stem, names):
        number, unique = 1, stem
        while unique.casefold() in taken:  # some file systems do not tell "A" from "a"
            number += 1
            unique = f"{stem}-{number}"
        taken.add(unique.casefold())
        result.append(f"{unique}.cutout.png")
    return result


def write_result(name: str, file: Path, before: Image.Image, cutout: Image.Image) -> Result:
    """Write a cut-out and the previews of it.

    Args:
        name: The picture's name.
        file: Where the cut-out goes; the previews go beside it.
        before: The picture.
        cutout: The cut-out.
    """
    small_before, small_after = file.with_name(f"{file.stem}.before.jpg"), file.with_name(f"{file.stem}.after.webp")
    write_whole(file, encode(cutout, "png"))
    write_whole(small_before, encode(_shrunk(before), "jpeg", quality=88))
    write_whole(small_after, encode(_shrunk(cutout), "webp", quality=88))
    return Result(name, file, small_before, small_after, cutout.width, cutout.height)


def _shrunk(image: Image.Image) -> Image.Image:
    if max(image.size) <= PREVIEW:
        return image
    small = image.resize(within(*image.size, PREVIEW), Image.Resampling.BOX)
    small.info.update(image.info)
    return small


def archive(results: Sequence[Result]) -> Path | None:
    """Put a request's cut-outs into one archive beside them. PNG files are compressed already, so they are stored.

    Returns:
        The archive; `None` where there are not several cut-outs, or not any more.
    """
    files = [result.file for result in results if result.file.is_file()]
    if len(files) < 2:
        return None
    archive, part = files[0].with_name("cutouts.zip"), files[0].with_name("cutouts.zip.part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as zipped:
        for file in files:
            zipped.write(file, file.name)
    return part.replace(archive)
