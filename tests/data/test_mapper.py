"""`ForegroundMapper` under `Dataset.map` and `IterableDataset.map`."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hub_server import HubServer
from PIL import Image, UnidentifiedImageError
from tiny_models import RMBG_PREPROCESSOR, brightness_model, files_of, write_repo

from transformers_foreground import ForegroundMapper, env, pipeline
from transformers_foreground.data.encoded_image import EncodedImage
from transformers_foreground.errors import (
    ImageError,
    InvalidModelError,
    ModelFileNotFoundError,
    UnsupportedOptionError,
)
from transformers_foreground.runtime.doubt import doubt

datasets = pytest.importorskip("datasets")
SHADES = [0, 50, 100, 150, 200, 250]


@pytest.fixture(autouse=True)
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give each test a cache of its own, and no progress bars."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


@pytest.fixture
def mapper(tiny: Path) -> ForegroundMapper:
    return ForegroundMapper(alpha_column="alpha", cutout_column="cutout")


def shade(value: int, size: tuple[int, int] = (20, 10)) -> Image.Image:
    return Image.new("RGB", size, (value, value, value))


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def table(*images: Any, **columns: Any) -> Any:
    """Make a dataset of images, or of bytes that may be damaged, with an `id`."""
    stored = [{"bytes": p if isinstance(p, bytes) else encoded(p), "path": f"{i}.png"} for i, p in enumerate(images)]
    values = {"id": list(range(len(images))), "image": stored, **columns}
    result = datasets.Dataset.from_dict(values)
    return result.cast_column("image", datasets.Image())


def shades(masks: Any) -> list[int]:
    return [round(float(np.median(np.asarray(mask)))) for mask in masks]  # its edges are blurred


def near(values: list[int]) -> Any:
    return pytest.approx(values, abs=1)


# --- what comes out ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"batched": True, "batch_size": 4}, {}, {"batched": True, "keep_in_memory": True}])
def test_masks_cutouts_and_alphas(mapper: ForegroundMapper, options: dict[str, Any]) -> None:
    rows = table(*[shade(value, (20 + value, 10)) for value in SHADES])
    typed = rows.map(mapper, features=mapper.features(rows.features), **options)
    inferred = rows.map(mapper, **options)
    for result in (typed, inferred):
        assert result.features["mask"] == result.features["cutout"] == datasets.Image()
        assert result.features["alpha"] == datasets.Sequence(datasets.Sequence(datasets.Value("float32")))
        assert [(m.mode, m.format, m.size) for m in result["mask"]] == [("L", "PNG", (20 + v, 10)) for v in SHADES]
        assert shades(result["mask"]) == near(SHADES)
        assert [cutout.getpixel((3, 3)) for cutout in result["cutout"]][3] == (
            150,
            150,
            150,
            result[3]["mask"].getpixel((3, 3)),
        )
        alpha = result.with_format("numpy")[4]["alpha"]
        assert (alpha.shape, alpha.dtype) == ((16, 16), np.float32)
        np.testing.assert_allclose(alpha[:-1], 200 / 255, atol=1e-6)  # the last row meets the border
    assert typed.features == inferred.features


@pytest.mark.parametrize("options", [{"batched": True}, {}])
def test_doubt(tiny: Path, options: dict[str, Any]) -> None:
    mapper = ForegroundMapper(mask_column=None, alpha_column="alpha", doubt_column="doubt")
    rows = table(shade(0), shade(100), shade(150), shade(255))
    for result in (rows.map(mapper, **options), rows.map(mapper, features=mapper.features(rows.features), **options)):
        assert result.features["doubt"] == datasets.Value("float64")
        assert result["doubt"] == [doubt(np.float32(alpha)) for alpha in result["alpha"]]
        assert result["doubt"][0] == 0  # nothing found
        assert result["doubt"][1] == 1  # all is soft
        assert 0 < result["doubt"][2] < 1


def test_masks_are_the_pipelines(tiny: Path, half_bright: Image.Image) -> None:
    rows = table(half_bright)
    for resampling in (None, "bria", "antialias"):
        mask = rows.map(ForegroundMapper(resampling=resampling), batched=True)[0]["mask"]
        with pipeline("image-segmentation", "briaai/RMBG-1.4", resampling=resampling) as segmenter:
            assert mask.tobytes() == segmenter(half_bright)[0]["mask"].tobytes()


def test_a_cutout_hides_no_colours(mapper: ForegroundMapper) -> None:
    cutout = mapper({"image": Image.fromarray(np.zeros((8, 8, 3), np.uint8)), "id": 1})["cutout"]
    assert cutout.getpixel((1, 1)) == (0, 0, 0, 0)


def test_images_are_quick_to_encode_and_pickle_plain(mapper: ForegroundMapper) -> None:
    mask = mapper({"image": shade(90), "id": 1})["mask"]
    quick, slow = io.BytesIO(), io.BytesIO()
    mask.save(quick, format="PNG")
    mask.copy().save(slow, format="PNG", compress_level=1)
    assert quick.getvalue() == slow.getvalue()
    assert type(pickle.loads(pickle.dumps(mask))) is Image.Image


def test_memory_does_not_grow_with_the_batch(mapper: ForegroundMapper) -> None:
    kept: list[Any] = []

    def pixels_held(batch: Any) -> Any:
        columns = mapper(batch)
        kept.extend(len(pickle.dumps(image.fp.getvalue())) for image in [*columns["mask"], *columns["cutout"]])
        return columns

    rows = table(*[shade(value, (400, 300)) for value in SHADES])
    result = rows.map(pixels_held, batched=True)
    assert len(kept) == 12
    assert max(kept) < 400 * 300 / 5
    assert [cutout.getpixel((200, 150))[:3] for cutout in result["cutout"]][1:] == [(v, v, v) for v in SHADES[1:]]


def test_encoded_images_can_be_changed() -> None:
    image = EncodedImage(shade(90))
    stored = io.BytesIO()
    image.save(stored, format="PNG")
    assert Image.open(stored).tobytes() == shade(90).tobytes()
    image.putpixel((0, 0), (1, 2, 3))
    changed = io.BytesIO()
    image.save(changed, format="PNG")
    assert Image.open(changed).getpixel((0, 0)) == (1, 2, 3)
    assert type(pickle.loads(pickle.dumps(image))) is Image.Image


@pytest.mark.parametrize("options", [{"batched": True}, {}])
def test_arrays_of_pixels(tiny: Path, options: dict[str, Any]) -> None:
    mapper = ForegroundMapper()
    values = [np.full((10, 20, 3), value, np.uint8) for value in SHADES]
    rows = datasets.Dataset.from_dict(
        {"image": values}, features=datasets.Features(image=datasets.Array3D((10, 20, 3), "uint8"))
    )
    assert shades(rows.map(mapper, features=mapper.features(rows.features), **options)["mask"]) == near(SHADES)
    flat = datasets.Dataset.from_dict(
        {"image": [value[..., 0] for value in values]},
        features=datasets.Features(image=datasets.Array2D((10, 20), "uint8")),
    )
    assert shades(flat.map(mapper, **options)["mask"]) == near(SHADES)
    planes = datasets.Dataset.from_dict(
        {"image": [value.transpose(2, 0, 1) for value in values]},
        features=datasets.Features(image=datasets.Array3D((3, 10, 20), "uint8")),
    )
    with pytest.raises(UnsupportedOptionError, match=r"\(3, 10, 20\)"):
        planes.map(mapper, **options)
    with pytest.raises(UnsupportedOptionError, match="has numbers"):
        datasets.Dataset.from_dict({"image": [value.tolist() for value in values]}).map(mapper, **options)


def test_map_gives_an_empty_dataset_its_columns(tiny: Path) -> None:
    mapper = ForegroundMapper(error_column="error")
    rows = table(shade(60), shade(90))
    full = mapper.map(rows, remove_columns="id")
    assert shades(full["mask"]) == near([60, 90])
    for empty in (rows.select([]), table()):
        result = mapper.map(empty, remove_columns="id")
        assert result.features == full.features
        assert len(result) == 0
    assert shades(row["mask"] for row in mapper.map(rows.to_iterable_dataset())) == near([60, 90])


@pytest.mark.parametrize("streaming", [False, True])
def test_map_takes_all_splits(tiny: Path, streaming: bool) -> None:
    splits = {"train": table(shade(60)), "test": table(shade(90))}
    rows: Any = datasets.DatasetDict(splits)
    if streaming:
        rows = datasets.IterableDatasetDict({name: split.to_iterable_dataset() for name, split in splits.items()})
    result = ForegroundMapper().map(rows)
    assert type(result) is type(rows)
    assert [shades(row["mask"] for row in result[name]) for name in splits] == [near([60]), near([90])]


def test_columns_to_remove_that_do_not_exist_are_an_error(tiny: Path) -> None:
    mapper = ForegroundMapper()
    rows = table(shade(60), note=["a"])
    assert list(mapper.features(rows.features, "note")) == ["id", "image", "mask"]
    said = "remove_columns: there is no column 'notes'. Did you mean 'note'"
    for dataset in (rows, rows.select([]), rows.to_iterable_dataset()):
        with pytest.raises(UnsupportedOptionError, match=said):
            mapper.map(dataset, remove_columns=["id", "notes"])


@pytest.mark.parametrize("kind", ["arrow", "pandas", "polars"])
def test_formats_whose_rows_are_no_mappings(tiny: Path, kind: str) -> None:
    pytest.importorskip({"arrow": "pyarrow"}.get(kind, kind), reason=f"{kind} is not installed: pip install {kind}")
    mapper = ForegroundMapper(doubt_column="doubt")
    plain = table(shade(60), shade(90), note=["a", "b"])
    rows = plain.with_format(kind, columns=["image"])
    result = mapper.map(rows, remove_columns="note")
    assert (result.format["type"], result.format["columns"]) == (kind, ["image", "mask", "doubt"])
    unformatted = result.with_format(None)
    assert unformatted.to_dict() == mapper.map(plain, remove_columns="note").to_dict()
    assert shades(unformatted["mask"]) == near([60, 90])
    empty = mapper.map(rows.select([]), remove_columns="note")
    assert (empty.features, empty.format) == (result.features, result.format)
    if kind != "polars":
        with pytest.raises(UnsupportedOptionError, match=r"mapper\.map\(ds\)"):
            rows.map(mapper, batched=True)
    with pytest.raises(UnsupportedOptionError, match=r"of a stream ds\.with_format\(None\)"):
        list(plain.to_iterable_dataset().with_format(kind).map(mapper, batched=True))


def test_a_polars_dataset_cannot_be_mapped_by_itself(tiny: Path) -> None:
    """`datasets` decodes no image for polars, and raises before it calls the mapper: the docstring says so."""
    pytest.importorskip("polars", reason="polars is not installed: pip install polars")
    rows = table(shade(60)).with_format("polars")
    with pytest.raises(TypeError, match="not callable"):
        rows.map(ForegroundMapper(), batched=True)
    undecoded = table(shade(60)).cast_column("image", datasets.Image(decode=False)).with_format("polars")
    with pytest.raises(UnsupportedOptionError, match=r"mapper\.map\(ds\)"):
        undecoded.map(ForegroundMapper(), batched=True)


def test_masks_above_pillows_limit_of_pixels(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = ForegroundMapper().map(table(shade(60)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 99)
    again = ForegroundMapper(mask_column="again").map(rows)  # our own limit is another
    with pytest.raises(Image.DecompressionBombError):
        rows["mask"][0]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert shades(again["mask"]) == shades(again["again"]) == near([60])


def test_batches_of_the_graph_change_nothing(tmp_path: Path) -> None:
    folder = write_repo(
        tmp_path / "m",
        dtypes={"": brightness_model(size=None, batch=None)},
        preprocessor={**RMBG_PREPROCESSOR, "size": {"shortest_edge": 16}},
    )
    rows = table(*[shade(value, (20 + 20 * (i % 2), 20)) for i, value in enumerate(SHADES)])
    results = [rows.map(ForegroundMapper(folder, batch_size=n), batched=True)["mask"] for n in (1, 4)]
    assert [m.tobytes() for m in results[0]] == [m.tobytes() for m in results[1]]


# --- where images come from -----------------------------------------------------------------------------------------


def test_imagefolder(mapper: ForegroundMapper, tmp_path: Path) -> None:
    for name, value in (("dark", 40), ("light", 240)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        shade(value).save(tmp_path / "photos" / name / "a.png")
    rows = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "photos"), split="train")
    result = rows.map(mapper, batched=True)
    assert shades(result["mask"]) == near([40, 240])
    assert result["label"] == [0, 1]
    streamed = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "photos"), split="train", streaming=True)
    assert shades(row["mask"] for row in streamed.map(mapper, batched=True)) == near([40, 240])
    assert shades(row["mask"] for row in streamed.decode(False).map(mapper)) == near([40, 240])


def test_parquet(mapper: ForegroundMapper, tmp_path: Path) -> None:
    table(shade(10), shade(90)).to_parquet(tmp_path / "a.parquet")
    rows = datasets.load_dataset("parquet", data_files=str(tmp_path / "a.parquet"), split="train")
    result = rows.map(mapper, batched=True, features=mapper.features(rows.features))
    result.to_parquet(tmp_path / "b.parquet")
    again = datasets.load_dataset("parquet", data_files=str(tmp_path / "b.parquet"), split="train")
    assert again.features["mask"] == datasets.Image()
    assert shades(again["mask"]) == near([10, 90])


@pytest.mark.parametrize("streaming", [False, True])
def test_webdataset(tiny: Path, tmp_path: Path, streaming: bool) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for key, data in (
            ("one", encoded(shade(30), "JPEG")),
            ("two", b"damaged"),
            ("three", encoded(shade(210), "JPEG")),
        ):
            info = tarfile.TarInfo(f"{key}.jpg")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    rows = datasets.load_dataset("webdataset", data_files=str(tmp_path / "a.tar"), split="train", streaming=streaming)
    if streaming:
        rows = rows.decode(False)
    mapper = ForegroundMapper(image_column="jpg", on_error="none", error_column="error")
    result = list(rows.map(mapper, batched=True, batch_size=2, remove_columns=["jpg"]))
    assert [row["__key__"] for row in result] == ["one", "two", "three"]
    assert shades(result[i]["mask"] for i in (0, 2)) == near([30, 210])
    assert result[1]["mask"] is None
    assert "two.jpg" in result[1]["error"]


@pytest.mark.parametrize("batched", [True, False])
def test_lists_of_images(mapper: ForegroundMapper, batched: bool) -> None:
    rows = datasets.Dataset.from_dict(
        {"image": [[shade(10), shade(90)], [], [shade(200)]]},
        features=datasets.Features(image=datasets.Sequence(datasets.Image())),
    )
    features = mapper.features(rows.features)
    assert features["mask"] == datasets.Sequence(datasets.Image())
    result = rows.map(mapper, batched=batched, features=features)
    assert [shades(masks) for masks in result["mask"]] == [near([10, 90]), [], near([200])]
    assert [len(alphas) for alphas in result["alpha"]] == [2, 0, 1]


@pytest.mark.parametrize("batched", [True, False])
def test_fields_inside_columns(tiny: Path, batched: bool) -> None:
    rows = datasets.Dataset.from_dict(
        {"page": [{"photo": shade(70), "name": "a"}, {"photo": shade(130), "name": "b"}],
         "turns": [[{"photo": shade(10)}, {"photo": shade(20)}], [{"photo": shade(30)}]]},
        features=datasets.Features(
            page={"photo": datasets.Image(), "name": datasets.Value("string")}, turns=[{"photo": datasets.Image()}]
        ),
    )  # fmt: skip
    mapper = ForegroundMapper(image_column="page.photo")
    assert shades(rows.map(mapper, batched=batched)["mask"]) == near([70, 130])
    mapper = ForegroundMapper(image_column="turns.photo")
    result = rows.map(mapper, batched=batched, features=mapper.features(rows.features))
    assert [shades(masks) for masks in result["mask"]] == [near([10, 20]), near([30])]


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("sizes", [(20, 20), (20, 30)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_formats(tiny: Path, kind: str, batched: bool, sizes: tuple[int, int], mode: str) -> None:
    pytest.importorskip(kind)
    mapper = ForegroundMapper()
    rows = table(*[shade(60 * i, (size, 10)).convert(mode) for i, size in enumerate(sizes)]).with_format(kind)
    result = rows.map(mapper, batched=batched, features=mapper.features(rows.features))
    assert result.format["type"] == kind
    assert shades(result["mask"]) == near([0, 60])
    streamed = list(rows.to_iterable_dataset().with_format(kind).map(mapper, batched=batched))
    assert shades(row["mask"] for row in streamed) == near([0, 60])


def test_undecoded_images_bytes_and_paths(mapper: ForegroundMapper, tmp_path: Path) -> None:
    shade(80).save(tmp_path / "a.png")
    rows = table(shade(80)).cast_column("image", datasets.Image(decode=False))
    for column in (rows, datasets.Dataset.from_dict({"image": [encoded(shade(80))]}),
                   datasets.Dataset.from_dict({"image": [str(tmp_path / "a.png")]})):  # fmt: skip
        result = column.map(mapper, batched=True)
        assert shades(result["mask"]) == near([80])
        assert result.features["image"] == column.features["image"]


def test_the_mode_of_the_column_counts(mapper: ForegroundMapper) -> None:
    rows = table(Image.new("RGB", (20, 10), (255, 0, 0)))
    gray = rows.cast_column("image", datasets.Image(mode="L"))
    assert shades(rows.map(mapper)["mask"]) == near([85])
    assert shades(gray.map(mapper)["mask"]) == near([76])


def test_files_in_archives(mapper: ForegroundMapper, tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", encoded(shade(120)))
    path = f"zip://a.png::{tmp_path / 'a.zip'}"
    assert shades([mapper({"image": {"bytes": None, "path": path}, "id": 1})["mask"]]) == near([120])
    with pytest.raises(ImageError, match=r"b\.png"):
        mapper({"image": {"bytes": None, "path": path.replace("a.png", "b.png")}, "id": 1})


def test_streaming_is_lazy(mapper: ForegroundMapper) -> None:
    read = []

    def endless() -> Iterator[dict[str, Any]]:
        while True:
            read.append(1)
            yield {"image": shade(len(read) % 200), "id": len(read)}

    rows = datasets.IterableDataset.from_generator(endless).map(mapper, batched=True, batch_size=4)
    assert not read
    assert shades(row["mask"] for row in rows.take(6)) == near([1, 2, 3, 4, 5, 6])
    assert len(read) <= 12
    with pytest.raises(UnsupportedOptionError, match="features"):
        mapper.features(rows.features)


def test_streaming_with_features(mapper: ForegroundMapper) -> None:
    rows = table(*map(shade, SHADES)).to_iterable_dataset(num_shards=2)
    result = rows.map(mapper, batched=True, batch_size=4, features=mapper.features(rows.features))
    assert result.features["mask"] == datasets.Image()
    assert shades(row["mask"] for row in result) == near(SHADES)


# --- images that cannot be read -------------------------------------------------------------------------------------


def test_a_damaged_image_is_named(tiny: Path) -> None:
    rows = table(shade(1), b"damaged", shade(2))
    with pytest.raises(ImageError, match=r"Row 1 of its batch: Cannot read 1\.png"):
        rows.map(ForegroundMapper(), batched=True)
    with pytest.raises(ImageError, match=r"Row 1: Cannot read 1\.png"):
        rows.map(ForegroundMapper(), with_indices=True, with_rank=True)
    with pytest.raises(ImageError, match=r"^Row 1 of its batch: Cannot read"):
        ForegroundMapper()({"image": [shade(1), b"damaged"]}, 3)  # as map(with_rank=True) does: not a row's number


def test_rows_are_named_by_their_ids(tiny: Path) -> None:
    rows = table(shade(1), b"damaged", key=["a", "b"])
    mapper = ForegroundMapper(id_column="key")
    for options in ({"batched": True}, {}):
        with pytest.raises(ImageError, match=r"^Row key=b: Cannot read 1\.png"):
            rows.map(mapper, **options)
        with pytest.raises(ImageError, match=r"^Row 1 \(key=b\): Cannot read 1\.png"):
            rows.map(mapper, with_indices=True, **options)
    with pytest.raises(ImageError, match=r"^Row key=b: "):
        list(rows.to_iterable_dataset().decode(False).map(mapper, batched=True))
    with pytest.raises(UnsupportedOptionError, match="Set id_column to one of: id, image, key"):
        rows.map(ForegroundMapper(id_column="name"))


@pytest.mark.parametrize("batched", [True, False])
def test_none_keeps_the_row(tiny: Path, batched: bool, caplog: pytest.LogCaptureFixture) -> None:
    mapper = ForegroundMapper(
        on_error="none", error_column="error", cutout_column="cutout", alpha_column="alpha", doubt_column="doubt"
    )
    rows = table(b"damaged", encoded(shade(9))[:45], shade(250), b"")
    result = rows.map(mapper, batched=batched, batch_size=2, with_indices=True, features=mapper.features(rows.features))
    assert [m is None for m in result["mask"]] == [True, True, False, True]
    assert [m is None for m in result["cutout"]] == [True, True, False, True]
    assert [m is None for m in result["alpha"]] == [True, True, False, True]
    assert [d is None for d in result["doubt"]] == [True, True, False, True]
    assert [error and error[:24] for error in result["error"]] == [
        "Row 0: Cannot read 0.png", "Row 1: Cannot read 1.png", None, "Row 3: Cannot read 3.png",
    ]  # fmt: skip
    assert mapper.errors == 3
    assert not caplog.records


def test_types_hold_where_no_image_can_be_read(tiny: Path) -> None:
    mapper = ForegroundMapper(on_error="none", cutout_column="cutout", error_column="error")
    rows = table(b"damaged", b"damaged")
    result = rows.map(mapper, batched=True, batch_size=1, features=mapper.features(rows.features))
    assert result.features["mask"] == result.features["cutout"] == datasets.Image()
    assert result["mask"] == [None, None]


def test_damaged_images_that_are_kept(tiny: Path) -> None:
    mapper = ForegroundMapper(on_error="none", error_column="error")
    rows = table(shade(9), b"damaged", shade(90))
    result = rows.map(mapper, batched=True)
    with pytest.raises(UnidentifiedImageError):
        list(result)
    good = result.filter(lambda error: error is None, input_columns="error")
    assert [row["id"] for row in good] == [0, 2]
    assert [row["image"].size for row in good] == [(20, 10), (20, 10)]
    encoded_rows = result.cast_column("image", datasets.Image(decode=False))
    assert [row["id"] for row in encoded_rows.filter(lambda row: row["error"] is not None)] == [1]
    stream = rows.to_iterable_dataset().decode(False).map(mapper, batched=True)
    assert [row["id"] for row in stream.filter(lambda row: row["error"] is None)] == [0, 2]


def test_null_is_no_image(tiny: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = datasets.Dataset.from_dict({"image": [None, shade(5)]}, features=datasets.Features(image=datasets.Image()))
    result = rows.map(ForegroundMapper(on_error="none"), batched=True)
    assert [m is None for m in result["mask"]] == [True, False]
    assert "Row 0 of its batch: There is no image" in caplog.text


@pytest.mark.parametrize("workers", [None, 2])
def test_skip_drops_the_row(tiny: Path, workers: int | None) -> None:
    rows = table(
        shade(0), b"damaged", shade(100), b"damaged", b"damaged", shade(200), when=["a", "b", "c", "d", "e", "f"]
    )
    mapper = ForegroundMapper(on_error="skip")
    options = {"batched": True, "batch_size": 2, "num_proc": workers}
    for typed in ({}, {"features": mapper.features(rows.features)}):
        result = rows.map(mapper, **options, **typed)
        assert result["id"] == [0, 2, 5]
        assert result["when"] == ["a", "c", "f"]
        assert shades(result["mask"]) == near([0, 100, 200])
        assert result.features == mapper.features(rows.features)
    stored = result.cast_column("image", datasets.Image(decode=False))[1]["image"]
    assert stored == {"bytes": encoded(shade(100)), "path": "2.png"}
    features = mapper.features(rows.features, remove_columns=["image"])
    assert rows.map(mapper, remove_columns=["image"], features=features, **options).column_names == [
        "id",
        "when",
        "mask",
    ]


def test_skip_while_streaming(tiny: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = table(shade(0), b"damaged", shade(100)).to_iterable_dataset().decode(False)
    mapper = ForegroundMapper(on_error="skip")
    for size in (1, 3):
        result = list(rows.map(mapper, batched=True, batch_size=size, remove_columns=["image"]))
        assert [row["id"] for row in result] == [0, 2]
        assert shades(row["mask"] for row in result) == near([0, 100])
        assert "image" not in result[0]
    assert mapper.errors == 2
    assert caplog.text.count("1.png") == 2


def test_every_row_may_be_dropped(tiny: Path) -> None:
    rows = table(b"damaged", b"damaged")
    mapper = ForegroundMapper(on_error="skip")
    result = rows.map(mapper, batched=True, batch_size=1, features=mapper.features(rows.features))
    assert len(result) == 0
    assert result.features["mask"] == datasets.Image()


def test_a_list_with_a_damaged_image(tiny: Path) -> None:
    rows = datasets.Dataset.from_dict(
        {"image": [[{"bytes": encoded(shade(10)), "path": None}, {"bytes": b"x", "path": None}]]},
        features=datasets.Features(image=datasets.Sequence(datasets.Image())),
    )
    mapper = ForegroundMapper(on_error="none", error_column="error")
    result = rows.map(mapper, batched=True, features=mapper.features(rows.features))
    assert [m is None for m in result["mask"][0]] == [False, True]
    assert "<bytes>" in result["error"][0]


# --- what is refused --------------------------------------------------------------------------------------------------


def test_what_cannot_be_done_is_refused(tiny: Path, tmp_path: Path) -> None:
    rows = table(shade(1), b"damaged")
    with pytest.raises(UnsupportedOptionError, match="skip"):
        ForegroundMapper(on_error="drop")  # type: ignore[arg-type]
    with pytest.raises(UnsupportedOptionError, match="Two new columns are called 'm'"):
        ForegroundMapper(mask_column="m", cutout_column="m")
    with pytest.raises(UnsupportedOptionError, match="canvas"):
        ForegroundMapper(resampling="lanczos")
    with pytest.raises(ModelFileNotFoundError, match="fp32"):
        ForegroundMapper(dtype="fp16")
    with pytest.raises(UnsupportedOptionError, match=r"'photo'.*id, image"):
        rows.map(ForegroundMapper(image_column="photo"), batched=True)
    with pytest.raises(UnsupportedOptionError, match=r"'sub'.*no fields"):
        rows.map(ForegroundMapper(image_column="image.sub"), batched=True)
    with pytest.raises(UnsupportedOptionError, match="batched=True"):
        rows.map(ForegroundMapper(on_error="skip"))
    with pytest.raises(UnsupportedOptionError, match="input_columns"):
        table(shade(1)).map(ForegroundMapper(), batched=True, input_columns=["image"])
    with pytest.raises(UnsupportedOptionError, match="with_format"):
        rows.with_format("arrow").map(ForegroundMapper(), batched=True)
    null = datasets.Dataset.from_dict({"image": [None]}).with_format("numpy")
    with pytest.raises(UnsupportedOptionError, match="with_format"):
        null.map(ForegroundMapper(on_error="skip"), batched=True)


def test_a_model_that_fails_is_no_matter_of_on_error(tmp_path: Path) -> None:
    folder = write_repo(tmp_path / "m", size=16, preprocessor={**RMBG_PREPROCESSOR})  # 1024 for a graph of 16
    with pytest.raises(InvalidModelError, match="16×16"):
        table(shade(1)).map(ForegroundMapper(folder, on_error="none"), batched=True)


# --- processes and the cache ------------------------------------------------------------------------------------------


def test_a_forked_child_destroys_no_inherited_session(tiny: Path) -> None:
    script = f"""
import gc, os, sys
sys.path[:0] = {sys.path!r}
from transformers_foreground import ForegroundMapper
mapper = ForegroundMapper({str(tiny)!r}, session_options={{"intra_op_num_threads": 4}})
cycle = [mapper.model.open()]
cycle.append(cycle)
del cycle
gc.disable()
child = os.fork()
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
del mapper
gc.collect()
os._exit(7)
"""
    done = subprocess.run([sys.executable, "-c", script], timeout=120, check=False)
    assert done.returncode == 7


def saved(rows: Any, folder: Path) -> Any:
    """Return the dataset from a file: `datasets` caches only what comes from one."""
    rows.save_to_disk(folder)
    return datasets.load_from_disk(folder)


def test_processes_divide_the_cores(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = saved(table(*map(shade, SHADES)), tmp_path / "rows")
    monkeypatch.setattr("transformers_foreground.runtime.model.usable_cpus", lambda: 6)
    mapper = ForegroundMapper()

    def traced(batch: Any) -> dict[str, Any]:
        columns = mapper(batch)
        session = mapper.model.open().graph.session
        threads = session.get_session_options().intra_op_num_threads
        return {**columns, "trace": [f"{os.getpid()} {id(session)} {threads}"] * len(columns["mask"])}

    result = rows.map(traced, batched=True, batch_size=1, num_proc=2)
    assert shades(result["mask"]) == near(SHADES)
    traces = {tuple(map(int, trace.split())) for trace in result["trace"]}
    assert len(traces) == 2  # one session in each of two processes
    assert {threads for *_, threads in traces} == {3}
    assert os.getpid() not in {pid for pid, *_ in traces}
    mapper = ForegroundMapper(session_options={"intra_op_num_threads": 2})
    assert {t.split()[2] for t in rows.map(traced, batched=True, num_proc=2)["trace"]} == {"2"}


def test_a_second_run_comes_from_the_cache(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = saved(table(*map(shade, SHADES)), tmp_path / "rows")
    first = ForegroundMapper()
    result = rows.map(first, batched=True, batch_size=2, num_proc=2)
    again = ForegroundMapper()
    monkeypatch.setattr(again, "errors", 5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ForegroundMapper, "__call__", None)
        assert shades(rows.map(again, batched=True, batch_size=2, num_proc=2)["mask"]) == near(SHADES)
    assert result._fingerprint == rows.map(again, batched=True, batch_size=2)._fingerprint


def test_a_fingerprint_is_what_the_mapper_was_made_from(tiny: Path, tmp_path: Path) -> None:
    from datasets.fingerprint import Hasher

    write_repo(tiny, dtypes={"": brightness_model(size=16), "_fp16": brightness_model(half=True)})
    hashes = {
        "default": Hasher.hash(ForegroundMapper()),
        "dtype": Hasher.hash(ForegroundMapper(dtype="fp16")),
        "error column": Hasher.hash(ForegroundMapper(error_column="error")),
        "graph": Hasher.hash(ForegroundMapper(session_options={"free_dimension_overrides": {"batch": 1}})),
        "resampling": Hasher.hash(ForegroundMapper(resampling="bria")),
        "doubt": Hasher.hash(ForegroundMapper(doubt_column="doubt")),
        "column": Hasher.hash(ForegroundMapper(mask_column="alpha")),
        "on_error": Hasher.hash(ForegroundMapper(on_error="none")),
        "model": Hasher.hash(ForegroundMapper(write_repo(tmp_path / "other", dtypes={"": brightness_model(size=8)}))),
    }
    assert len(set(hashes.values())) == len(hashes)

    used = ForegroundMapper(on_error="none")
    used({"image": [shade(1), b"damaged"], "id": [1, 2]})
    assert used.errors == 1
    assert Hasher.hash(used) == Hasher.hash(pickle.loads(pickle.dumps(used))) == hashes["on_error"]

    script = (
        "from transformers_foreground import ForegroundMapper, env\nfrom datasets.fingerprint import Hasher\n"
        f"import sys\nenv.local_model_path = {env.local_model_path!r}\nmapper = ForegroundMapper()\n"
        "mapper({'image': b'', 'id': 1}) if 0 else None\nprint(Hasher.hash(mapper))\n"
        "print([name for name in ('torch', 'transformers') if name in sys.modules])\n"
    ).replace("PosixPath", "__import__('pathlib').PosixPath")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.splitlines() == [hashes["default"], "[]"]

    preprocessor = {**RMBG_PREPROCESSOR, "size": {"width": 16, "height": 16}, "image_mean": [0.4, 0.5, 0.5]}
    (tiny / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    assert Hasher.hash(ForegroundMapper()) != hashes["default"]
    write_repo(tiny, dtypes={"": brightness_model(output_name="retrained")})
    assert Hasher.hash(ForegroundMapper()) != hashes["default"]


def test_what_changes_no_mask_is_not_in_the_fingerprint(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datasets.fingerprint import Hasher

    folder = write_repo(tmp_path / "here" / "model")
    shutil.copytree(folder, tmp_path / "copied")
    monkeypatch.chdir(tmp_path)
    wanted = Hasher.hash(ForegroundMapper(folder))
    for options in (
        {"num_workers": 3}, {"batch_size": 4}, {"session_options": {"intra_op_num_threads": 3}}, {"dtype": "fp32"},
        {"cache_dir": tmp_path / "cache"},
        {"provider_options": {"NUM_STREAMS": "1"}}, {"id_column": "id"}, {"strict": True},
    ):  # fmt: skip
        assert Hasher.hash(ForegroundMapper(folder, **options)) == wanted, options
    assert Hasher.hash(ForegroundMapper("here/model")) == wanted
    assert Hasher.hash(ForegroundMapper(tmp_path / "copied")) == wanted
    env.backends.onnx["intra_op_num_threads"] = 2
    assert Hasher.hash(ForegroundMapper(folder)) == wanted

    options = {"num_workers": 3, "batch_size": 4, "session_options": {"intra_op_num_threads": 3}}
    there = pickle.loads(pickle.dumps(ForegroundMapper(folder, **options)))  # which does carry them
    assert (there.num_workers, there.batch_size) == (3, 4)
    assert there.model.session_options["intra_op_num_threads"] == 3

    rows = saved(table(*map(shade, SHADES)), tmp_path / "rows")
    rows.map(ForegroundMapper(folder), batched=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ForegroundMapper, "__call__", None)
        assert shades(rows.map(ForegroundMapper("copied", **options), batched=True)["mask"]) == near(SHADES)


class Doubled(ForegroundMapper):
    """Computes something else."""


def test_a_subclass_has_a_fingerprint_of_its_own(tiny: Path) -> None:
    from datasets.fingerprint import Hasher

    assert Hasher.hash(Doubled()) != Hasher.hash(ForegroundMapper())


def test_a_forked_child_opens_its_own_session(tiny: Path) -> None:
    torch = pytest.importorskip("torch")
    mapper = ForegroundMapper()
    mapper({"image": shade(1), "id": 1})
    rows = table(*map(shade, SHADES)).to_iterable_dataset(num_shards=2).map(mapper, batched=True, batch_size=2)
    loader = torch.utils.data.DataLoader(rows, batch_size=None, num_workers=2, multiprocessing_context="fork")
    assert sorted(shades(row["mask"] for row in loader)) == near(SHADES)


# --- cards, and transformers' own way ---------------------------------------------------------------------------------


def test_card(tiny: Path, tmp_path: Path) -> None:
    from huggingface_hub import DatasetCard

    mapper = ForegroundMapper(cutout_column="cutout", resampling="bria")
    mapper.card("Photos with masks").save(tmp_path / "README.md")
    card = DatasetCard.load(tmp_path / "README.md")
    made = card.data.to_dict()["foreground"]
    assert made["columns"] == ["mask", "cutout"]
    assert (made["model"], made["revision"], made["dtype"]) == ("briaai/RMBG-1.4", "main (commit unknown)", "fp32")
    assert (made["engine"], made["resampling"]) == ("CPUExecutionProvider", "bria")
    assert made["model_license"] == "bria-rmbg-1.4"
    assert made["package"].endswith(env.version)
    assert made["sha256"] == mapper.model.sha256[0]
    assert card.data.license is None
    assert "non-commercial" in card.text


def test_a_card_has_no_local_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_repo(tmp_path / "secret" / "matte")
    monkeypatch.chdir(tmp_path)
    for name in (folder, "secret/matte"):
        text = str(ForegroundMapper(name).card("Photos"))
        assert "secret" not in text
        assert "a local folder named matte" in text
        assert "revision: unknown" in text


def test_a_card_says_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with HubServer() as hub:
        hub.add_repo("briaai/RMBG-1.4", files_of(write_repo(tmp_path / "source")))
        env.remote_host = hub.url
        mapper = ForegroundMapper("briaai/RMBG-1.4", cache_dir=tmp_path / "hub")
        commit = mapper.model.files.commit
        assert commit
        assert f"revision: {commit}" in str(mapper.card("Photos"))


def test_keydataset_is_read_only_a_little_ahead(tiny: Path) -> None:
    pytest.importorskip("torch")
    from transformers.pipelines.pt_utils import KeyDataset

    class Counting:
        read = 0

        def __len__(self) -> int:
            return 1000

        def __getitem__(self, i: int) -> dict[str, Any]:
            self.read += 1
            return {"image": shade(i % 200)}

    source = Counting()
    segmenter = pipeline("image-segmentation", "briaai/RMBG-1.4")
    results = segmenter(KeyDataset(source, "image"), batch_size=2, num_workers=1)
    assert shades(next(results)[0]["mask"] for _ in range(5)) == near([0, 1, 2, 3, 4])
    assert source.read <= 20
    results.close()


def test_an_option_that_there_is_not(tiny: Path) -> None:
    with pytest.raises(TypeError, match=r"'image_col'\. Did you mean 'image_column'\? The options are: image_column, "):
        ForegroundMapper(tiny, image_col="image")
