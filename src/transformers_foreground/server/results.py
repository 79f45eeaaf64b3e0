"""Results: their names, and previews of them as files."""

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
from transformers_foreground.runtime.doubt import HIGH
from transformers_foreground.server.decoding import Upload
from transformers_foreground.server.looks import SUFFIXES, Look
from transformers_foreground.server.masks import Key

_THUMB: Final = 320  # pixels at the longer side
_LONGEST: Final = 80  # characters
_LONGEST_BYTES: Final = 200  # most file systems allow 255 for a whole name
_RESERVED: Final = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")  # device names on Windows


@dataclass(frozen=True)
class Result:
    """What became of an image.

    Attributes:
        upload: The image.
        model: Id of the model that cut it out.
        dtype: The model's dtype.
        stem: What its cut-out is called, without an ending; no other result of the request has the same.
        source: The image, shrunk, a file.
        before: Preview of the image, framed as the next one, a file.
        after: Preview of the cut-out, a file.
        thumb: A smaller one.
        look: What these look like.
        doubt: How unsure the model is of the mask, in [0, 1].
        edit: Name of a touch-up of the mask; none for the model's own.
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
        """What its mask is kept as."""
        assert self.upload.path
        return self.upload.path, self.model, self.dtype, self.edit

    @property
    def is_doubtful(self) -> bool:
        """Whether somebody should look at it before it is used."""
        return self.doubt > HIGH

    def file_name(self, look: Look) -> str:
        """Name its cut-out."""
        return f"{self.stem}.cutout.{SUFFIXES[look.kind]}"

    def files(self) -> list[Path]:
        """List its previews."""
        return list(dict.fromkeys([self.source, self.before, self.after, self.thumb]))


def gone(name: str) -> str:
    """Say that an image is not there any more."""
    return f"{name} has left the server, which deletes images after a while. Give it again, and press the button."


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
    return f"_{kept}" if _RESERVED.fullmatch(kept) else kept or "image"


def unique_stems(names: Sequence[str]) -> list[str]:
    """Name the cut-outs of several images: a number follows where two would be the same."""
    taken: set[str] = set()
    result = []
    for stem in map(clean_stem, names):
        number, unique = 1, stem
        while unique.casefold() in taken:  # some file systems do not tell "A" from "a"
            number += 1
            unique = f"{stem}-{number}"
        taken.add(unique.casefold())
        result.append(unique)
    return result


def write_source(file: Path, before: Image.Image) -> Image.Image:
    """Write an image that is shrunk, and return it as it will be read again."""
    write_whole(file, encode(before, "jpeg", quality=90))
    return Image.open(file)


def with_previews(result: Result, before: Image.Image, mask: Image.Image, look: Look, behind: Any) -> Result:
    """Write previews of a cut-out beside those that are there, which a page may be showing.

    Args:
        result: The cut-out.
        before: The image, shrunk.
        mask: Its mask, of that size.
        look: What the cut-out shall look like.
        behind: Its background: what `cutout` takes.
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
    """Write the thumbnail of a cut-out anew; the arguments are those of `with_previews`."""
    size = before.width, before.height
    before.thumbnail((_THUMB, _THUMB))
    small = mask.resize(before.size) if before.size != size else mask
    return _written(look.preview(before, small, behind, quick=True), result.source.parent, "thumb")


def _written(image: Image.Image, folder: Path, name: str) -> Path:
    """Write a preview: JPEG is quickest, and WebP where it is transparent."""
    kind, options = ("jpeg", {"quality": 90}) if image.mode == "RGB" else ("webp", {"quality": 85, "method": 0})
    buffer = io.BytesIO()
    image.save(buffer, kind, icc_profile=image.info.get("icc_profile"), **options)
    file = folder / f"{name}-{secrets.token_hex(4)}.{kind}"
    write_whole(file, buffer.getvalue())
    return file
