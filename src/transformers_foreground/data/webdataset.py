"""WebDataset: the rows of a tar file, each of which is a run of members."""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Iterator
from io import IOBase
from typing import Any, Self

from transformers_foreground.images.decode import MAX_BYTES
from transformers_foreground.images.formats import SUFFIXES


def samples(file: IOBase, column: str) -> Iterator[dict[str, Any]]:
    """Yield one row for each run of members whose names are equal up to the first dot.

    Args:
        file: The tar file, compressed or not; it is read from its start to its end, once.
        column: The extension of the images, such as `"jpg"`; `"image"` for the first image of each row.

    Yields:
        `"__key__"`, the name; and under `column` a mapping of "bytes" and "path", or `None`.

    Raises:
        EOFError: The file is damaged or was cut short. So do `tarfile.TarError` and `OSError` say.
    """
    row: dict[str, Any] | None = None
    with tarfile.open(fileobj=file, mode="r|*", tarinfo=_Member) as tar:
        for member in tar:
            folder, base = posixpath.split(member.name)
            if not member.isfile() or base[:1] == ".":
                continue
            stem, _, extension = base.partition(".")
            key = posixpath.join(folder, stem)
            if row is None or row["__key__"] != key:
                if row is not None:
                    yield row
                row = {"__key__": key, column: None}
            if row[column] is None and _is_image(extension.lower(), column):
                row[column] = {"bytes": _bytes_of(tar, member), "path": member.name}
    if row is not None:
        yield row


class _Member(tarfile.TarInfo):
    """A member of a tar file; the file's end must be there, since `tarfile` does not notice one that was cut short."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(archive)
        except tarfile.HeaderError as error:
            if type(error).__name__ == "EOFHeaderError":  # the blocks of zeros at the end
                raise
            raise EOFError("the tar file is damaged or was cut short") from error


def _is_image(extension: str, column: str) -> bool:
    return extension == column.lower() or (column == "image" and f".{extension}" in SUFFIXES)


def _bytes_of(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """Return an image's bytes; none where they are more than an image may have, which is then an error of its row."""
    file = tar.extractfile(member) if member.size <= MAX_BYTES else None
    return b"" if file is None else file.read()
