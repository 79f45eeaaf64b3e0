"""Results: their names, and their previews as files."""

from __future__ import annotations

import io
import re
import secrets
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from PIL import Image

from transformers_foreground.atomic_write import write_whole
from transformers_foreground.images.encode import encode
from transformers_foreground.runtime.doubt import is_high
from transformers_foreground.server.decoding import Upload
from transformers_foreground.server.looks import SUFFIXES, Look
from transformers_foreground.server.masks import Key

_THUMB: Final = 320  # pixels on the longer side
_LONGEST: Final = 80  # characters of a file's stem
_LONGEST_BYTES: Final = 200  # most file systems allow 255 for a whole name
_RESERVED: Final = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")  # device names on Windows


@dataclass(frozen=True)
class Result:
    """A cut-out on the page.

    Attributes:
        upload: The image.
        model: Id of the model that cut it out.
        dtype: The model's dtype.
        stem: Stem of the cut-out's file name, unique within the request.
        source: File of the image, shrunk to preview size.
        before: File of the image, cropped as the cut-out is.
        after: File of the cut-out, of the same size.
        thumb: File of the cut-out, smaller.
        look: The look of these files.
        doubt: How unsure the model is of the mask, in [0, 1].
        edit: Name of the touched-up mask; empty for the model's own.
    """

    upload: Upload
    model: str
    dtype: str
    stem: str
    source: Path
    before: Path
    after: Path
    thumb: Path
    look: Look
    doubt: float = 0.0
    edit: str = ""

    @property
    def name(self) -> str:
        """The image's name."""
        return self.upload.name

    @property
    def key(self) -> Key:
        """The key of its mask in `Masks`."""
        assert self.upload.path
        return self.upload.path, self.model, self.dtype, self.edit

    @property
    def is_doubtful(self) -> bool:
        """Whether somebody should check the cut-out before it is used."""
        return is_high(self.doubt)

    def file_name(self, look: Look) -> str:
        """Name the cut-out's file for a download."""
        return f"{self.stem}.cutout.{SUFFIXES[look.kind]}"

    def files(self) -> list[Path]:
        """List the preview files."""
        return list(dict.fromkeys([self.source, self.before, self.after, self.thumb]))


def gone(name: str) -> str:
    """Say that an image has been deleted."""
    return f"{name} has left the server, which deletes images after a while. Give it again, and press the button."


def clean_stem(name: str) -> str:
    """Return a file name's stem without anything that could name another folder, a device or an option.

    Args:
        name: The name that a browser or program sent; it may be any text.
    """
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", name))[-1]
    stem = last.rpartition(".")[0] or last
    kept = "".join(c if c.isalnum() or c in " ._-()" else "_" for c in stem)
    kept = " ".join(kept.split()).strip(" .-")[:_LONGEST]
    kept = kept.encode()[:_LONGEST_BYTES].decode(errors="ignore").rstrip(" .")
    return f"_{kept}" if _RESERVED.fullmatch(kept) else kept or "image"


def unique_stems(names: Sequence[str]) -> list[str]:
    """Return a clean stem for each name; where two would be equal, a number is added."""
    taken: set[str] = set()
    result = []
    for stem in map(clean_stem, names):
        number, unique = 1, stem
        while unique.casefold() in taken:  # to some file systems "A" and "a" are the same
            number += 1
            unique = f"{stem}-{number}"
        taken.add(unique.casefold())
        result.append(unique)
    return result


def write_source(file: Path, before: Image.Image) -> Image.Image:
    """Write an image of preview size as JPEG, and return it as later previews will read it."""
    write_whole(file, encode(before, "jpeg", quality=90))
    return Image.open(file)


def with_previews(result: Result, before: Image.Image, mask: Image.Image, look: Look, behind: Any) -> Result:
    """Write new previews. The old ones stay: a page may be showing them.

    Args:
        result: The result.
        before: Its image at preview size.
        mask: Its mask, mode "L", of that size.
        look: The new look.
        behind: `look.filled`, decoded if it is an image.
    """
    whole, framed = look.preview(before, mask, behind), look.before(before, mask)
    small = whole.copy()
    small.thumbnail((_THUMB, _THUMB))
    folder = result.source.parent
    return replace(
        result,
        before=result.source if framed is before else _written(framed, folder, "before"),
        after=_written(whole, folder, "after"),
        thumb=_written(small, folder, "thumb"),
        look=look,
    )


def write_thumb(result: Result, before: Image.Image, mask: Image.Image, look: Look, behind: Any) -> Path:
    """Write a new thumbnail; the arguments are those of `with_previews`."""
    before.thumbnail((_THUMB, _THUMB))
    small = look.preview(before, mask.resize(before.size), behind, quick=True)
    return _written(small, result.source.parent, "thumb")


def _written(image: Image.Image, folder: Path, name: str) -> Path:
    """Write a preview: as JPEG, which is quickest, or as WebP if it is transparent."""
    kind, options = ("jpeg", {"quality": 90}) if image.mode == "RGB" else ("webp", {"quality": 85, "method": 0})
    buffer = io.BytesIO()
    image.save(buffer, kind, icc_profile=image.info.get("icc_profile"), **options)
    file = folder / f"{name}-{secrets.token_hex(4)}.{kind}"
    write_whole(file, buffer.getvalue())
    return file
