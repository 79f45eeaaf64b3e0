"""Images with their ground truth: from two folders, from Parquet files, or by `datasets`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path
from typing import Any, Protocol

from transformers_foreground.errors import UnsupportedOptionError
from transformers_foreground.evaluation.extras import need
from transformers_foreground.evaluation.recipe_file import nearest
from transformers_foreground.evaluation.recipes import DatasetSpec


@dataclass(frozen=True)
class Item:
    """One image, not decoded yet.

    Attributes:
        index: Its index in the data set.
        key: Its name in the data set.
        image: The image, in a form that `images.decode` takes.
        truth: Its mask, in such a form.
        bands: Name of each band to its trimap, in such a form.
        error: Why it cannot be read, or `None`.
    """

    index: int
    key: str
    image: Any = None
    truth: Any = None
    bands: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None


class Source(Protocol):
    """A data set.

    Attributes:
        keys: Names of all its images, in order.
    """

    keys: Sequence[str]

    def read(self, indices: Sequence[int]) -> Iterator[Item]:
        """Yield the images at these indices of `keys`, which ascend."""


def open_source(spec: DatasetSpec, root: Path) -> Source:
    """Open a data set, whose paths are relative to `root`.

    Raises:
        UnsupportedOptionError: It is missing or empty, or lacks a column or an image that the recipe names.
    """
    source: Source
    if spec.images is not None:
        source = _Folders(spec, root)
    elif spec.parquet is not None:
        source = _Parquet(spec, root)
    else:
        source = _Named(spec)
    keys = source.keys
    if absent := sorted(set(spec.only) - set(keys)):
        raise UnsupportedOptionError(
            f"{spec.name}, only: no image is called {absent[0]!r}.{nearest(absent[0], keys)} In YAML, names that begin "
            "with 0 need quotes."
        )
    places = [i for i, k in enumerate(keys) if (not spec.only or k in spec.only) and k not in spec.without]
    places = places[: spec.limit]
    if not places:
        raise UnsupportedOptionError(f"{spec.name}: no images are left to measure. Check only, without and the files.")
    return source if len(places) == len(keys) else _Part(source, places)


class _Part:
    """A subset of another source."""

    def __init__(self, source: Source, places: Sequence[int]) -> None:
        self.source = source
        self.places = places
        self.keys: Sequence[str] = [source.keys[i] for i in places]

    def read(self, indices: Sequence[int]) -> Iterator[Item]:
        for index, item in zip(indices, self.source.read([self.places[i] for i in indices]), strict=True):
            yield Item(index, item.key, item.image, item.truth, item.bands, item.error)


class _Folders:
    """A folder of images, one of masks and one for each trimap; files that belong together have the same stem."""

    def __init__(self, spec: DatasetSpec, root: Path) -> None:
        assert spec.images is not None
        assert spec.truth is not None
        self.images = _by_stem(root / spec.images, spec.name)
        self.truths = _by_stem(root / spec.truth, spec.name)
        bands = {name: band for name, band in spec.bands.items() if isinstance(band, str)}
        self.bands = {name: _by_stem(root / band, spec.name) for name, band in bands.items()}
        if not self.images.keys() & self.truths.keys():
            raise UnsupportedOptionError(
                f"{spec.name}: no image in {spec.images} has the same stem as a mask in {spec.truth}."
            )
        self.keys: Sequence[str] = sorted(self.images.keys() | self.truths.keys())

    def read(self, indices: Sequence[int]) -> Iterator[Item]:
        for index in indices:
            key = self.keys[index]
            parts = {"image": self.images, "truth": self.truths, **self.bands}
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
                raise UnsupportedOptionError(
                    f"{name}: {found[path.stem]} and {path.name} have the same stem: rename one."
                )
            found[path.stem] = path
    return found


class _Parquet:
    """Parquet files, read row group by row group."""

    def __init__(self, spec: DatasetSpec, root: Path) -> None:
        pq = need("pyarrow.parquet")
        assert spec.parquet is not None
        self.spec = spec
        paths = sorted(str(root / path) for path in glob(spec.parquet, root_dir=root, recursive=True))
        if not paths:
            raise UnsupportedOptionError(f"{spec.name}: no file matches {spec.parquet} in {root}.")
        self.groups: list[tuple[Any, int, int]] = []  # file, row group, its first row
        keys: list[str] = []
        rows = 0
        try:
            for path in paths:
                file = pq.ParquetFile(path)
                _check_columns(spec, path, file.schema_arrow.names)
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
                table = file.read_row_group(group, columns=list(_columns(self.spec)))
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
        except Exception as error:  # of the Hub, of fsspec, of the builder
            raise UnsupportedOptionError(f"{spec.name}: {spec.dataset} cannot be loaded: {error}") from error
        _check_columns(spec, str(spec.dataset), self.data.column_names)
        columns = _columns(spec)
        self.data = self.data.select_columns([*columns, *([spec.key_column] if spec.key_column else [])])
        for column in columns:
            if isinstance(self.data.features[column], datasets.Image):
                self.data = self.data.cast_column(column, datasets.Image(decode=False))
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


def _check_columns(spec: DatasetSpec, where: str, there: Sequence[str]) -> None:
    absent = {*_columns(spec), spec.key_column or spec.image_column} - set(there)
    if absent:
        raise UnsupportedOptionError(
            f"{spec.name}: {where} has no column {', '.join(sorted(absent))}; it has {', '.join(there)}. Set "
            "image_column, truth_column and key_column in the recipe."
        )


def _item(index: int, key: str, row: Mapping[str, Any], spec: DatasetSpec) -> Item:
    bands = {name: row[band] for name, band in spec.bands.items() if isinstance(band, str)}
    values = {spec.image_column: row[spec.image_column], spec.truth_column: row[spec.truth_column], **bands}
    missing = [name for name, value in values.items() if value is None]
    if missing:
        return Item(index, key, error=f"{key}: {' and '.join(missing)} is null.")
    return Item(index, key, row[spec.image_column], row[spec.truth_column], bands)
