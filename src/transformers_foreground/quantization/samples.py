"""Images for calibration and evaluation: from a folder, with or without masks, or from a dataset of the Hub."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from transformers_foreground.errors import UnsupportedOptionError
from transformers_foreground.evaluation.ground_truth import Truth, read_truth
from transformers_foreground.evaluation.recipes import DatasetSpec
from transformers_foreground.evaluation.sources import Item
from transformers_foreground.images.decode import decode
from transformers_foreground.images.formats import SUFFIXES

_DATASET: Final = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Sample:
    """An image, read each time it is needed.

    Attributes:
        name: Set and name, for reports.
        sha256: Hash of the file; of the pixels if it comes from a dataset.
        read: Returns the pixels, uint8 (H, W, 3).
        truth: File of its true mask, or `None`.
    """

    name: str
    sha256: str
    read: Callable[[], NDArray[np.uint8]]
    truth: Path | None = None

    def ground_truth(self, height: int, width: int) -> Truth | None:
        """Return the true mask of an image of this size, or `None`.

        Raises:
            ImageError: It cannot be read, has another size, or holds labels; see `read_truth`.
        """
        if self.truth is None:
            return None
        spec = DatasetSpec(self.name, measures=("alpha",))
        return read_truth(Item(0, self.name, truth=self.truth), spec, height, width)


def samples(source: str | Path, count: int | None = None, without: Collection[str] = ()) -> list[Sample]:
    """Find images.

    Args:
        source: A folder with images in it, or in its subfolder `im` (and then masks in `gt`, with the same stems); or
            the name of a dataset with an image column, and a split after a colon if need be.
        count: How many to take, evenly spread over the sorted names; `None` for all. Of a dataset, the first ones, 256
            by default.
        without: Hashes of images to leave out.

    Raises:
        UnsupportedOptionError: The source is neither a folder nor a dataset that can be loaded.
    """
    folder = Path(source)
    if not folder.is_dir():
        _check_dataset(str(source))
        return [s for s in _from_dataset(str(source), count or 256) if s.sha256 not in without]
    place = folder / "im" if (folder / "im").is_dir() else folder
    masks = {path.stem: path for path in sorted((place.parent / "gt").glob("*"))} if place.name == "im" else {}
    label = place.parent.name if place.name == "im" else place.name
    paths = sorted(path for path in place.iterdir() if path.suffix.lower() in SUFFIXES)
    found = []
    for path in paths:
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        if sha256 not in without:
            found.append(Sample(f"{label}/{path.name}", sha256, partial(_read, path), masks.get(path.stem)))
    return spread(found, count)


def _check_dataset(source: str) -> None:
    """Check that the Hub has a dataset, unless this looks like a missing folder."""
    from huggingface_hub import HfApi

    folder, name = Path(source), source.partition(":")[0]
    if folder.exists() or (folder.parent != Path(".") and folder.parent.is_dir()) or not _DATASET.fullmatch(name):
        places = (
            (path.name for path in folder.absolute().parent.glob("*/")) if folder.absolute().parent.is_dir() else ()
        )
        close = difflib.get_close_matches(folder.name, places, 1)
        meant = f" Did you mean {folder.with_name(close[0])}?" if close else ""
        raise UnsupportedOptionError(
            f"{source} is not a folder.{meant} Give a folder of images, or a dataset of the Hub as owner/name."
        )
    try:
        HfApi().dataset_info(name, timeout=10)
    except Exception as error:  # of the Hub's client, which changed its HTTP library more than once
        raise UnsupportedOptionError(
            f"{source!r} is neither a folder here nor a dataset of the Hub: {' '.join(str(error).split())}"
        ) from error


def spread(found: Sequence[Sample], count: int | None) -> list[Sample]:
    """Return `count` samples, evenly spread; all if there are fewer or `count` is `None`."""
    if count is None or count >= len(found):
        return list(found)
    return [found[i * len(found) // count] for i in range(count)]


def _read(path: Path) -> NDArray[np.uint8]:
    return decode(path).rgb()


def _from_dataset(name: str, count: int) -> list[Sample]:
    import datasets

    path, _, split = name.partition(":")
    try:
        rows = datasets.load_dataset(path, split=split or "train", streaming=True)
        first = list(islice(rows, count))
    except Exception as error:  # datasets raises many kinds, its own and those of the Hub's client
        raise UnsupportedOptionError(
            f"{name!r} is neither a folder nor a dataset that can be loaded: {error}"
        ) from error
    result = []
    for i, row in enumerate(first):
        image = _image_of(row)
        if image is None:
            raise UnsupportedOptionError(f"The dataset {name!r} has no image column; it has {', '.join(row)}.")
        pixels = decode(image).rgb()
        sha256 = hashlib.sha256(pixels.tobytes()).hexdigest()
        result.append(Sample(f"{path}/{i}", sha256, partial(np.copy, pixels)))
    return result


def _image_of(row: dict[str, Any]) -> Any:
    from PIL import Image

    named = [row[key] for key in ("image", "img", "pixel_values") if key in row]
    return next((value for value in [*named, *row.values()] if isinstance(value, Image.Image)), None)


def fingerprint(found: Sequence[Sample]) -> str:
    """Return one hash for a set of images in any order."""
    return hashlib.sha256("".join(sorted(sample.sha256 for sample in found)).encode()).hexdigest()
