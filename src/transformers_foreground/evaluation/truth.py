"""Pictures with their truth: from two folders, from Parquet files, or by `datasets`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from transformers_foreground.errors import ImageError, UnsupportedOptionError
from transformers_foreground.evaluation.extras import need
from transformers_foreground.evaluation.matting import soft_band
from transformers_foreground.evaluation.recipes import DatasetSpec
from transformers_foreground.images import decode


@dataclass(frozen=True)
class Item:
    """One picture, not read yet.

    Attributes:
        index: Its place in the data set.
        key: Its name.
        image: What `images.decode` takes.
        truth: The same of its mask.
        bands: The same of its trimaps.
        error: Why there is nothing to read.
    """

    index: int
    key: str
    image: Any = None
    truth: Any = None
    bands: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True, eq=False)
class Truth:
    """What is known of one picture.

    Attributes:
        mask: Foreground, bool, (H, W).
        alpha: The truth as it is, float64 in [0, 1].
        counted: The pixels that count; `None` for all.
        bands: The pixels of each band.
    """

    mask: NDArray[np.bool_]
    alpha: NDArray[np.float64]
    counted: NDArray[np.bool_] | None
    bands: Mapping[str, NDArray[np.bool_]]


class Source(Protocol):
    """A data set whose keys are known.

    Attributes:
        keys: Names of all its pictures, in order.
    """

    keys: Sequence[str]

    def read(self, indices: Sequence[int]) -> Iterator[Item]:
        """Yield some pictures, by their places in `keys`, in ascending order."""


def open_source(spec: DatasetSpec, root: Path) -> Source:
    """Open a data set.

    Args:
        spec: What it is.
        root: What its paths are relative to.

    Raises:
        UnsupportedOptionError: It is not there, or holds nothing.
    """
    source: Source
    if spec.images is not None:
        source = _Folders(spec, root)
    elif spec.parquet is not None:
        source = _Parquet(spec, root)
    else:
        source = _Named(spec)
    keys = source.keys
    missing = sorted(set(spec.only) - set(keys))
    if missing:
        raise UnsupportedOptionError(f"{spec.name} has no {', '.join(missing)}.")
    places = [i for i, k in enumerate(keys) if (not spec.only or k in spec.only) and k not in spec.without]
    places = places[: spec.limit]
    if not places:
        raise UnsupportedOptionError(f"{spec.name}: no pictures with a truth found.")
    return source if len(places) == len(keys) else _Part(source, places)


class _Part:
    """Some pictures of another source."""

    def __init__(self, source: Source, places: Sequence[int]) -> None:
        self.source = source
        self.places = places
        self.keys: Sequence[str] = [source.keys[i] for i in places]

    def read(self, indices: Sequence[int]) -> Iterator[Item]:
        for index, item in zip(indices, self.source.read([self.places[i] for i in indices]), strict=True):
            yield Item(index, item.key, item.image, item.truth, item.bands, item.error)


class _Folders:
    """Two folders (and one more for each trimap) with matching stems."""

    def __init__(self, spec: DatasetSpec, root: Path) -> None:
        assert spec.images is not None
        assert spec.truth is not None
        self.images = _by_stem(root / spec.images, spec.name)
        self.truths = _by_stem(root / spec.truth, spec.name)
        bands = {name: band for name, band in spec.bands.items() if isinstance(band, str)}
        self.bands = {name: _by_stem(root / band, spec.name) for name, band in bands.items()}
        if not self.images.keys() & self.truths.keys():
            raise UnsupportedOptionError(
                f"{spec.name}: no picture in {spec.images} has the stem of one in {spec.truth}."
            )
        self.keys: Sequence[str] = sorted(self.images.keys() | self.truths.keys())

    def read(self, indices: Sequence[int]) -> Iterator[Item]:
        for index in indices:
            key = self.keys[index]
            parts = {"picture": self.images, "truth": self.truths, **self.bands}
            missing = [name for name, paths in parts.items() if key not in paths]
            if missing:
                yield Item(index, key, error=f"{key}: there is no {' and no '.join(missing)}.")
            else:
                bands = {name: paths[key] for name, paths in self.bands.items()}
                yield Item(index, key, self.images[key], self.truths[key], bands)


def _by_stem(folder: Path, name: str) -> dict[str, Path]:
    if not folder.is_dir():
        raise UnsupportedOptionError(f"{name}: there is no folder {folder}. Give the folder of the data with --data.")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.name.startswith("."):
            if path.stem in found:
                raise UnsupportedOptionError(f"{name}: {found[path.stem]} and {path.name} have the same stem.")
            found[path.stem] = path
    return found


class _Parquet:
    """Parquet files, read row group by row group."""

    def __init__(self, spec: DatasetSpec, root: Path) -> None:
        pq = need("pyarrow.parquet")
        assert spec.parquet is not None
        self.spec = spec
        paths = sorted(glob(str(root / spec.parquet), recursive=True))
        if not paths:
            raise UnsupportedOptionError(f"{spec.name}: no file matches {spec.parquet} in {root}.")
        self.columns = _columns(spec)
        self.groups: list[tuple[Any, int, int]] = []  # file, row group, its first row
        keys: list[str] = []
        rows = 0
        try:
            for path in paths:
                file = pq.ParquetFile(path)
                absent = {*self.columns, spec.key_column or spec.image_column} - set(file.schema_arrow.names)
                if absent:
                    raise UnsupportedOptionError(f"{spec.name}: {path} has no column {', '.join(sorted(absent))}.")
                for group in range(file.num_row_groups):
                    self.groups.append((file, group, rows))
                    rows += file.metadata.row_group(group).num_rows
                if spec.key_column:
                    keys += map(str, file.read([spec.key_column])[spec.key_column].to_pylist())
        except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
            raise UnsupportedOptionError(f"{spec.name}: {path} cannot be read: {error}") from error
        self.keys: Sequence[str] = keys or [str(i) for i in range(rows)]
        self.rows = rows

    def read(self, indices: Sequence[int]) -> Iterator[Item]:
        ends = [first for _, _, first in self.groups[1:]] + [self.rows]
        remaining = list(indices)
        for (file, group, first), end in zip(self.groups, ends, strict=True):
            wanted = [i for i in remaining if first <= i < end]
            if not wanted:
                continue
            remaining = remaining[len(wanted) :]
            try:
                table = file.read_row_group(group, columns=list(self.columns))
                rows = table.take([i - first for i in wanted]).to_pylist()
            except Exception as error:  # of pyarrow, for a damaged group
                yield from (Item(i, self.keys[i], error=f"{self.keys[i]}: {error}") for i in wanted)
                continue
            for i, row in zip(wanted, rows, strict=True):
                yield _item(i, self.keys[i], row, self.spec)


class _Named:
    """What `datasets.load_dataset` loads."""

    def __init__(self, spec: DatasetSpec) -> None:
        import datasets

        try:
            self.data = datasets.load_dataset(spec.dataset, spec.config, split=spec.split)
            for column in _columns(spec):
                if isinstance(self.data.features[column], datasets.Image):
                    self.data = self.data.cast_column(column, datasets.Image(decode=False))
        except Exception as error:  # of the Hub, of fsspec, of the builder
            raise UnsupportedOptionError(f"{spec.name}: {spec.dataset} cannot be loaded: {error}") from error
        self.data = self.data.select_columns([*_columns(spec), *([spec.key_column] if spec.key_column else [])])
        self.spec = spec
        count = range(len(self.data))
        self.keys: Sequence[str] = list(map(str, self.data[spec.key_column] if spec.key_column else count))

    def read(self, indices: Sequence[int]) -> Iterator[Item]:
        for index in indices:
            try:
                row = self.data[index]
            except Exception as error:  # of datasets, for a damaged row
                yield Item(index, self.keys[index], error=f"{self.keys[index]}: {error}")
            else:
                yield _item(index, self.keys[index], row, self.spec)


def _columns(spec: DatasetSpec) -> tuple[str, ...]:
    bands = (band for band in spec.bands.values() if isinstance(band, str))
    return (spec.image_column, spec.truth_column, *bands)


def _item(index: int, key: str, row: Mapping[str, Any], spec: DatasetSpec) -> Item:
    bands = {name: row[band] for name, band in spec.bands.items() if isinstance(band, str)}
    values = {spec.image_column: row[spec.image_column], spec.truth_column: row[spec.truth_column], **bands}
    missing = [name for name, value in values.items() if value is None]
    if missing:
        return Item(index, key, error=f"{key}: {' and '.join(missing)} is null.")
    return Item(index, key, row[spec.image_column], row[spec.truth_column], bands)


def read_truth(item: Item, spec: DatasetSpec, height: int, width: int) -> Truth:
    """Read what is known of one picture.

    Args:
        item: The picture.
        spec: How its mask is to be understood.
        height: The picture's height.
        width: The picture's width.

    Raises:
        ImageError: A mask cannot be read, has colours, or has not the picture's size.
    """
    plane = _plane(item.truth, "truth", height, width)
    bands = {}
    for name, band in spec.bands.items():
        if isinstance(band, Mapping):
            bands[name] = soft_band(plane, float(band["grow"]))
        else:
            trimap = _plane(item.bands[name], name, height, width)
            bands[name] = (trimap != 0) & (trimap != 255)
    return Truth(
        mask=plane > spec.threshold(),
        alpha=plane / 255.0,
        counted=None if spec.ignore is None else plane != spec.ignore,
        bands=bands,
    )


def _plane(source: Any, what: str, height: int, width: int) -> NDArray[np.uint8]:
    """Read a gray picture, or the alpha of one that has some, as uint8 (H, W)."""
    image = decode(source)
    pixels = image.pixels
    if pixels.shape[:2] != (height, width):
        raise ImageError(
            f"{image.name}: the {what} has {image.width}×{image.height} pixels, the picture {width}×{height}."
        )
    if pixels.shape[2] == 4 and (pixels[..., 3] < 255).any():
        return pixels[..., 3]
    if pixels.shape[2] > 1 and not (pixels[..., :1] == pixels[..., :3]).all():
        raise ImageError(f"{image.name}: the {what} has colours; a mask must be gray, or in the alpha channel.")
    return pixels[..., 0]
