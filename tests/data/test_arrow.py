"""`ArrowMapper`, which does the work on Ray and Spark, and the stores that it reads from; no cluster needed."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.fs
import pytest
from hub_server import HubServer
from huggingface_hub import constants
from PIL import Image
from s3_server import S3Server
from tiny_data import shade
from tiny_models import brightness_model, files_of, write_repo

from transformers_foreground import ForegroundMapper, env
from transformers_foreground.data import remote_files, store_errors
from transformers_foreground.data.arrow import ArrowMapper
from transformers_foreground.errors import (
    ForegroundError,
    ImageError,
    InvalidModelError,
    MissingExtraError,
    ModelNotFoundError,
    UnsupportedOptionError,
)
from transformers_foreground.segmenter import Segmenter

SHADES = [0, 60, 120, 180]


def opened(file: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(file))
    assert image.format == "PNG"
    return image


def shades(masks: Any) -> list[Any]:
    return [m and pytest.approx(float(np.median(np.asarray(opened(m)))), abs=1) for m in masks]


def table(*images: Any, **columns: Any) -> pa.Table:
    return pa.table({"id": list(range(len(images))), "image": list(images), **columns})


# --- what comes out ---------------------------------------------------------------------------------------------------


def test_columns_are_the_dataset_mappers(tiny: Path) -> None:
    rows = table(*map(shade, SHADES), mask=["replaced"] * 4, note=[None, 2**60 + 1, 2, 3])
    options = {"cutout_column": "cutout", "alpha_column": "alpha", "doubt_column": "doubt"}
    result = ArrowMapper("briaai/RMBG-1.4", error_column="error", **options)(rows)
    assert result.column_names == ["id", "image", "mask", "note", "cutout", "alpha", "doubt", "error"]
    assert result.drop_columns(["mask", "cutout", "alpha", "doubt", "error"]) == rows.drop_columns(["mask"])
    wanted = ForegroundMapper(**options)(rows.to_pydict())
    for i, row in enumerate(result.to_pylist()):
        mask, cutout = opened(row["mask"]), opened(row["cutout"])
        assert (mask.mode, cutout.mode, mask.size) == ("L", "RGBA", (20 + SHADES[i], 10))
        assert mask.tobytes() == wanted["mask"][i].tobytes()
        assert cutout.tobytes() == wanted["cutout"][i].tobytes()
        np.testing.assert_array_equal(np.float32(row["alpha"]), wanted["alpha"][i])
        assert row["doubt"] == wanted["doubt"][i]
        assert row["error"] is None
    assert ArrowMapper("briaai/RMBG-1.4", mask_column=None)(rows) == rows


def test_types_do_not_depend_on_values(tiny: Path) -> None:
    mapper = ArrowMapper(
        "briaai/RMBG-1.4",
        cutout_column="cutout",
        alpha_column="alpha",
        doubt_column="doubt",
        error_column="error",
        on_error="none",
    )
    for rows in (table(shade(1)), table(b"damaged"), table(shade(1)).slice(0, 0)):
        result = mapper(rows)
        assert [result.schema.field(f.name) for f in mapper.added(rows.schema)] == list(mapper.added(rows.schema))
        assert result.schema.field("alpha").type == pa.list_(pa.list_(pa.float32()))
        assert result.schema.field("doubt").type == pa.float64()


@pytest.mark.parametrize(
    ("column", "image", "masks"),
    [
        ("image", [{"bytes": shade(60), "path": "no such file"}, {"bytes": shade(180), "path": None}], [60, 180]),
        ("image.photo", [{"photo": shade(60)}, {"photo": shade(0)}], [60, 0]),
        ("image", [[shade(60), shade(120)], []], [[60, 120], []]),
        ("image.photo", [[{"photo": shade(60)}], [{"photo": shade(120)}]], [[60], [120]]),
    ],
)
def test_shapes_of_columns(tiny: Path, column: str, image: Any, masks: list[Any]) -> None:
    got = ArrowMapper("briaai/RMBG-1.4", image_column=column)(table(*image)).column("mask").to_pylist()
    for mask, wanted in zip(got, masks, strict=True):
        assert shades(mask if isinstance(mask, list) else [mask]) == (wanted if isinstance(wanted, list) else [wanted])


def test_numbers_are_refused(tiny: Path) -> None:
    for numbers in ([[1, 2], [3, 4]], 5):
        with pytest.raises(UnsupportedOptionError, match="has numbers"):
            ArrowMapper(tiny)(pa.table({"image": [numbers]}))


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"image": pa.array([[("a", b"")]], pa.map_(pa.string(), pa.binary()))}, "'image' holds map<string, binary"),
        ({"image": [[{"photo": b"", "size": 1}]]}, "holds structs: set it to one of 'image.photo', 'image.size'"),
    ],
)
def test_types_that_hold_no_images_are_refused_without_a_row(tiny: Path, columns: Any, said: str) -> None:
    with pytest.raises(UnsupportedOptionError, match=said):
        ArrowMapper(tiny)(pa.table(columns).slice(0, 0))


@pytest.mark.parametrize("name", ["image", "id", "mask"])
def test_two_columns_of_one_name_are_refused(tiny: Path, name: str) -> None:
    rows = pa.Table.from_arrays([pa.array([b""])] * 3, [name, name, "image" if name != "image" else "id"])
    with pytest.raises(UnsupportedOptionError, match=f"2 columns are called '{name}'"):
        ArrowMapper(tiny, id_column="id")(rows)


# --- where images come from -----------------------------------------------------------------------------------------


def test_s3(tiny: Path) -> None:
    with S3Server({"photos/my cat#1 50%.png": shade(60), "photos/a/b.png": shade(120)}) as server:
        mapper = ArrowMapper(
            "briaai/RMBG-1.4", filesystem=server.filesystem(), on_error="none", error_column="error", num_workers=2
        )
        mapper = pickle.loads(pickle.dumps(mapper))
        paths = ["s3://photos/my cat#1 50%.png", "photos/a/b.png", "s3://photos/lost.png"]
        result = mapper(table(*paths)).to_pydict()
        assert shades(result["mask"]) == [60, 120, None]
        assert "Cannot read s3://photos/lost.png" in result["error"][2]
        structs = mapper(table(*[{"bytes": None, "path": path} for path in paths])).to_pydict()
        assert structs["mask"] == result["mask"]


def test_paths_and_uris(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "a b.png").write_bytes(shade(60))
    with fsspec.open("memory://bucket/a.png", "wb") as file:
        file.write(shade(180))
    images = [str(tmp_path / "a b.png"), (tmp_path / "a b.png").as_uri(), "memory://bucket/a.png"]
    assert shades(ArrowMapper("briaai/RMBG-1.4")(table(*images)).column("mask").to_pylist()) == [60, 60, 180]


@pytest.mark.parametrize(
    "filesystem",
    [
        lambda folder: pyarrow.fs.SubTreeFileSystem(str(folder), pyarrow.fs.LocalFileSystem()),
        lambda folder: fsspec.filesystem("dir", path=str(folder), fs=fsspec.filesystem("file")),
    ],
)
def test_a_filesystem_opens_all_paths_but_urls(tmp_path: Path, filesystem: Callable[[Path], Any]) -> None:
    (tmp_path / "bucket").mkdir()
    (tmp_path / "bucket" / "a.png").write_bytes(shade(9))
    store = filesystem(tmp_path)
    for path in ("bucket/a.png", "s3://bucket/a.png", (tmp_path / "bucket" / "a.png").as_uri()):
        image = remote_files.read(path, store)
        assert (image.width, image.name) == (29, path)


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (None, "no image"),
        ({"bytes": None, "path": None}, "neither"),
        ("nosuchscheme://a/b.png", r"Cannot read nosuchscheme://a/b\.png"),
        ("memory://nowhere/b.png", r"memory://nowhere/b\.png"),
        (b"damaged", "not an image"),
    ],
)
def test_what_cannot_be_read(image: Any, why: str) -> None:
    with pytest.raises(ImageError, match=why):
        remote_files.read(image)


def test_a_huge_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_files, "MAX_BYTES", 10)
    (tmp_path / "a.png").write_bytes(shade(9))
    with pytest.raises(ImageError, match="more than 10 bytes"):
        remote_files.read(str(tmp_path / "a.png"), pyarrow.fs.LocalFileSystem())


# --- on_error ---------------------------------------------------------------------------------------------------------


class Failing(pyarrow.fs.FSSpecHandler):  # type: ignore[misc]
    """Local files; the first so many openings fail."""

    def __init__(self, error: Exception, times: int) -> None:
        super().__init__(fsspec.filesystem("file"))
        self.error, self.left = error, times

    def open_input_file(self, path: str) -> Any:
        self.left -= 1
        if self.left >= 0:
            raise self.error
        return super().open_input_file(path)


class ClientPayloadError(Exception):
    """As aiohttp calls it."""


class HttpError(Exception):
    """As gcsfs calls it."""

    code = 503


PASSING = [
    OSError("When reading: AWS Error SLOW_DOWN during GetObject operation: Please reduce your request rate."),
    OSError("AWS Error NETWORK_CONNECTION during HeadObject operation: curlCode: 28, Timeout was reached"),
    OSError("AWS Error UNKNOWN (HTTP status 503) during HeadObject operation: No response body."),
    ConnectionResetError(104, "Connection reset by peer"),
    TimeoutError(),
    ClientPayloadError("Response payload is not completed"),
    HttpError("backend"),
]


@pytest.mark.parametrize("error", PASSING, ids=lambda error: str(error)[-20:] or type(error).__name__)
def test_what_fails_for_the_moment_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    (tmp_path / "a.png").write_bytes(shade(60))
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    image = remote_files.read(str(tmp_path / "a.png"), pyarrow.fs.PyFileSystem(Failing(error, 3)))
    assert image.width == 80
    assert len(waited) == 3
    assert waited[0] < waited[2]  # ever longer


def test_a_store_that_goes_on_failing_is_named(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_errors, "PAUSES", (0.0, 0.0))
    (tmp_path / "a.png").write_bytes(shade(60))
    store = Failing(OSError("AWS Error SLOW_DOWN"), 99)
    mapper = ArrowMapper(
        tiny, on_error="none", error_column="error", filesystem=pyarrow.fs.PyFileSystem(store), num_workers=1
    )
    error = mapper(table(str(tmp_path / "a.png")))["error"][0].as_py()
    assert "the store failed, not the image, in 3 attempts" in error
    assert "SLOW_DOWN" in error


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError("timeout/503.png"),
        PermissionError("AWS Error ACCESS_DENIED"),
        OSError("AWS Error ACCESS_DENIED at slow_down/timeout.png"),
        ValueError("no such bucket"),
    ],
)
def test_what_stays_wrong_is_not_read_again(error: Exception) -> None:
    store = Failing(error, 99)
    with pytest.raises(ImageError, match="Cannot read") as caught:
        remote_files.read("slow_down/timeout.png", pyarrow.fs.PyFileSystem(store))
    assert store.left == 98
    assert "the store failed" not in str(caught.value)


def test_rows_are_named_by_their_ids(tiny: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = table(shade(0), b"damaged", key=["a", "b"], path=["x/1.png", None], info=[{"id": 8}, {"id": 9}])
    named = {"key": "Row key=b: Cannot read", "info.id": r"Row info.id=9: Cannot read"}
    for column, message in named.items():
        with pytest.raises(ImageError, match=message):
            ArrowMapper(tiny, id_column=column)(rows)
    kept = ArrowMapper(tiny, id_column="key", on_error="none", error_column="error")(rows.take([1, 0]))
    assert kept["error"][0].as_py().startswith("Row key=b: ")
    ArrowMapper(tiny, on_error="skip")(table(b"damaged", path=["s3://b/1.png"]))
    assert "Row path=s3://b/1.png: Cannot read" in caplog.text
    with pytest.raises(UnsupportedOptionError, match=r"'photo'.*Set id_column to one of: id, image"):
        ArrowMapper(tiny, id_column="photo")(rows)
    for column in ("info.key", "key.id"):
        with pytest.raises(UnsupportedOptionError, match=f"id_column='{column}': there is no field"):
            ArrowMapper(tiny, id_column=column)(rows)


def test_a_batch_that_fails_is_named(tmp_path: Path) -> None:
    wrong = write_repo(tmp_path / "m", dtypes={"": brightness_model(size=8)}, size=16)
    with pytest.raises(InvalidModelError) as caught:
        ArrowMapper(wrong, id_column="id", on_error="none")(table(shade(1), shade(2)))
    assert caught.value.__notes__ == ["In the batch from Row id=0 to Row id=1."]


def test_raise(tiny: Path) -> None:
    with pytest.raises(ImageError, match="Row 1 of its batch: Cannot read"):
        ArrowMapper("briaai/RMBG-1.4")(table(shade(1), b"damaged"))


@pytest.mark.parametrize("column", ["error", None])
def test_none_and_skip(tiny: Path, column: str | None, caplog: pytest.LogCaptureFixture) -> None:
    rows = table(shade(0), b"damaged", shade(120), None)
    kept = ArrowMapper("briaai/RMBG-1.4", on_error="none", error_column=column)(rows)
    assert shades(kept.column("mask").to_pylist()) == [0, None, 120, None]
    assert len(caplog.records) == (0 if column else 2)
    if column:
        assert [bool(error) for error in kept.column("error").to_pylist()] == [False, True, False, True]
    skipped = ArrowMapper("briaai/RMBG-1.4", on_error="skip", error_column=column)(rows)
    assert skipped.column("id").to_pylist() == [0, 2]
    assert "Row 3 of its batch" in caplog.text


def test_what_cannot_be_done_is_refused(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedOptionError, match="skip"):
        ArrowMapper(on_error="drop", model=tiny)  # type: ignore[arg-type]
    with pytest.raises(UnsupportedOptionError, match=r"'photo'.*id, image"):
        ArrowMapper(tiny, image_column="photo")(table(shade(1)))
    with pytest.raises(UnsupportedOptionError, match=r"no 'photo' in binary"):
        ArrowMapper(tiny, image_column="image.photo")(table(shade(1)))
    wrong = write_repo(tmp_path / "m", dtypes={"": brightness_model(size=8)}, size=16)
    with pytest.raises(InvalidModelError, match="8×8"):
        ArrowMapper(wrong, on_error="none")(table(shade(1)))


@pytest.mark.parametrize(
    ("extra", "module", "function"),
    [("ray", "ray.data", "map_batches"), ("spark", "pyspark.sql.types", "map_in_arrow")],
)
def test_a_missing_extra_is_named(extra: str, module: str, function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    call = getattr(import_module(f"transformers_foreground.data.{extra}"), function)
    with pytest.raises(MissingExtraError, match=rf"pip install -e '\.\[{extra}\]'"):
        call(None)


# --- other machines ---------------------------------------------------------------------------------------------------


def test_a_session_has_the_cores_it_was_given(tiny: Path) -> None:
    def threads(**options: Any) -> int:
        session = ArrowMapper(tiny, **options).model.open().graph.session
        return int(session.get_session_options().intra_op_num_threads)

    assert threads() == 1
    assert threads(cores=3) == 3
    assert threads(cores=3, session_options={"intra_op_num_threads": 2}) == 2


def test_a_folder_may_be_named_from_here(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny.parent)
    mapper = ArrowMapper(tiny.name)
    monkeypatch.chdir(tmp_path)
    assert shades(mapper(table(shade(60))).column("mask").to_pylist()) == [60]


def test_a_machine_without_the_files_downloads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    source = write_repo(tmp_path / "source")
    with HubServer() as hub:
        hub.add_repo("briaai/RMBG-1.4", files_of(source))
        env.remote_host = hub.url
        model = Segmenter("briaai/RMBG-1.4", token="hf_secret", progress_callback=lambda _: None)
        sent = pickle.dumps(model)
        assert b"hf_secret" not in sent
        # Meanwhile main has moved on; the other machine still gets the commit that this one had.
        hub.add_repo("briaai/RMBG-1.4", {**files_of(source), "onnx/model.onnx": b"newer"})
        env.cache_dir = tmp_path / "other"
        shutil.rmtree(tmp_path / "cache")
        there = pickle.loads(sent)
        there.open()
        assert tmp_path / "other" in there.files.onnx.parents
        assert there.files.commit == model.files.commit
        assert pickle.loads(sent).sha256 == there.sha256


def test_a_machine_with_other_files_says_so(tiny: Path) -> None:
    sent = pickle.dumps(Segmenter("briaai/RMBG-1.4"))
    shutil.move(tiny, f"{tiny}-away")
    with pytest.raises(ForegroundError, match=r"RMBG-1\.4"):
        pickle.loads(sent).open()
    env.local_model_path = tiny.parents[1] / "elsewhere"
    write_repo(Path(env.local_model_path) / "briaai" / "RMBG-1.4", dtypes={"": brightness_model(logits=True)})
    with pytest.raises(ModelNotFoundError, match=f"on {os.uname().nodename} is not the file"):
        pickle.loads(sent).open()
