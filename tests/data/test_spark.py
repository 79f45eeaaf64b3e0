"""`spark.map_in_arrow` on a local Spark."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.fs
import pytest
from clusters import spark_session
from deadly_store import DeadlyStore, readers
from PIL import Image
from tiny_data import shade

from transformers_foreground import ForegroundMapper
from transformers_foreground.data.spark import map_in_arrow
from transformers_foreground.data.spark_deaths import Recorder
from transformers_foreground.errors import UnsupportedOptionError
from transformers_foreground.runtime.doubt import doubt

pyspark = pytest.importorskip("pyspark", reason="pyspark is not installed: pip install -e '.[spark]'")
if shutil.which("java") is None:
    pytest.skip("Spark needs Java", allow_module_level=True)
COUNT = 24


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    with spark_session() as session:
        yield session


def assert_masks(rows: Any) -> None:
    """Compare with the masks that `ForegroundMapper` computes of the shades that the ids are."""
    mapper = ForegroundMapper()
    for row in rows:
        mask = Image.open(io.BytesIO(row["mask"]))
        assert (mask.format, mask.mode) == ("PNG", "L")
        np.testing.assert_array_equal(mask, mapper({"image": shade(row["id"]), "id": 1})["mask"])


def test_bytes(spark: Any, tiny: Path) -> None:
    from pyspark.sql.types import ArrayType, BinaryType, DoubleType, FloatType, StringType

    images = [(i, b"damaged" if i == 9 else shade(i), None if i == 5 else 2**60 + i) for i in range(COUNT)]
    df = spark.createDataFrame(images, "id int, image binary, note long").repartition(4)
    result = map_in_arrow(
        df,
        on_error="none",
        error_column="error",
        alpha_column="alpha",
        doubt_column="doubt",
        cutout_column="image",
        batch_size=3,
    )
    assert [field.dataType for field in result.schema][3:] == [
        BinaryType(), ArrayType(ArrayType(FloatType())), DoubleType(), StringType(),
    ]  # fmt: skip
    rows = sorted(result.collect(), key=lambda row: row["id"])
    assert [(row["id"], row["note"]) for row in rows] == [(i, note) for i, _, note in images]
    assert [row["id"] for row in rows if row["error"] or row["mask"] is None] == [9]
    assert_masks(row for row in rows if row["id"] != 9)
    assert [row["id"] for row in rows if row["doubt"] is None] == [9]
    assert rows[3]["doubt"] == doubt(np.float32(rows[3]["alpha"]))
    assert np.shape(rows[3]["alpha"]) == (16, 16)
    assert Image.open(io.BytesIO(rows[3]["image"])).mode == "RGBA"
    assert map_in_arrow(df, on_error="skip").count() == COUNT - 1
    with pytest.raises(pyspark.errors.PythonException, match=r"ImageError: Row \d of its batch"):
        map_in_arrow(df).collect()
    with pytest.raises(UnsupportedOptionError, match="photo"):
        map_in_arrow(df, image_column="photo")
    with pytest.raises(UnsupportedOptionError, match="Set id_column to one of: id, image, note"):
        map_in_arrow(df, id_column="key")


def test_a_worker_is_killed_half_way(spark: Any, tiny: Path, tmp_path: Path) -> None:
    for i in range(COUNT):
        (tmp_path / f"{i}.png").write_bytes(shade(i))
    df = spark.createDataFrame([(i, str(tmp_path / f"{i}.png")) for i in range(COUNT)], "id int, image string")
    store = pyarrow.fs.PyFileSystem(DeadlyStore(str(tmp_path / "log"), "14.png"))
    rows = map_in_arrow(df.repartition(4, "id"), filesystem=store).collect()
    assert sorted(row["id"] for row in rows) == list(range(COUNT))
    assert_masks(rows)
    assert sum("14.png" in names for names in readers(tmp_path / "log").values()) == 2  # of the dead one, and another


@pytest.fixture
def deadly(spark: Any, tiny: Path, tmp_path: Path) -> tuple[Any, dict[str, Any]]:
    """Rows of which one kills each worker, and options that read them."""
    for i in range(COUNT):
        (tmp_path / f"{i}.png").write_bytes(shade(i))
    df = spark.createDataFrame([(i, str(tmp_path / f"{i}.png")) for i in range(COUNT)], "id int, image string")
    store = pyarrow.fs.PyFileSystem(DeadlyStore(str(tmp_path / "log"), "14.png", always=True))
    return df.repartition(4, "id"), {"id_column": "id", "filesystem": store, "num_workers": 1}


def test_an_image_that_kills_every_worker_is_given_up(deadly: tuple[Any, dict[str, Any]], tmp_path: Path) -> None:
    df, options = deadly
    rows = {row["id"]: row for row in map_in_arrow(df, on_error="none", error_column="error", **options).collect()}
    assert sorted(rows) == list(range(COUNT))
    assert "Row id=14: Cannot read it: its process died 2 times" in rows[14]["error"]
    assert rows.pop(14)["mask"] is None
    assert_masks(rows.values())
    assert sum("14.png" in names for names in readers(tmp_path / "log").values()) == 3


def test_a_job_that_an_image_ends_names_it(deadly: tuple[Any, dict[str, Any]]) -> None:
    df, options = deadly
    with pytest.raises(pyspark.errors.PythonException, match="ImageError: Row id=14: Cannot read it"):
        map_in_arrow(df, **options).collect()


def test_without_the_drivers_port_the_rows_come_all_the_same(
    spark: Any, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    df = spark.createDataFrame([(i, shade(i)) for i in range(3)], "id int, image binary")
    monkeypatch.setattr("transformers_foreground.data.spark.record_at", lambda *_: Recorder("127.0.0.1", 9, ""))
    assert_masks(map_in_arrow(df).collect())
    monkeypatch.setattr("transformers_foreground.data.spark.record_at", lambda *_: None)
    assert_masks(map_in_arrow(df).collect())


def test_timestamps_of_binary_files(spark: Any, tiny: Path, tmp_path: Path) -> None:
    from pyspark.sql import functions

    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(shade(i))
    df = spark.read.format("binaryFile").load(str(tmp_path))
    nested = df.withColumn("taken", functions.struct(functions.array("modificationTime").alias("times")))
    nested = nested.withColumn("id", functions.regexp_extract("path", r"(\d+)\.png", 1).cast("int"))
    result = map_in_arrow(nested, image_column="content")
    assert result.schema.names == [*nested.schema.names, "mask"]
    rows = result.collect()
    assert_masks(rows)
    kept = {row["path"]: (row["modificationTime"], row["taken"]) for row in rows}
    assert kept == {row["path"]: (row["modificationTime"], row["taken"]) for row in nested.collect()}
    assert len(kept) == 3


def test_sparks_own_images(spark: Any, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "a 7.png").write_bytes(shade(7))
    df = spark.read.format("image").load(str(tmp_path))
    with pytest.raises(UnsupportedOptionError, match=r"image_column='image\.origin'"):
        map_in_arrow(df)
    rows = map_in_arrow(df, image_column="image.origin").collect()
    assert_masks([{"id": 7, "mask": row["mask"]} for row in rows])
    with pytest.raises(UnsupportedOptionError, match=r"'image\.photo': no 'photo' in struct<origin"):
        map_in_arrow(df, image_column="image.photo")


def test_arrays_of_structs(spark: Any, tiny: Path) -> None:
    from pyspark.sql.types import ArrayType, BinaryType

    page = [([{"photo": bytearray(shade(1))}, {"photo": bytearray(shade(2))}],), ([],)]
    df = spark.createDataFrame(page, "pages array<struct<photo binary>>")
    result = map_in_arrow(df, image_column="pages.photo")
    assert result.schema["mask"].dataType == ArrayType(BinaryType())
    assert sorted(len(row["mask"]) for row in result.collect()) == [0, 2]
