"""`spark.map_in_arrow` on a local Spark."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import deadly_store
import numpy as np
import pyarrow.fs
import pytest
from deadly_store import DeadlyStore, readers
from PIL import Image
from tiny_data import shade

from transformers_foreground import ForegroundMapper
from transformers_foreground.errors import UnsupportedOptionError
from transformers_foreground.spark import map_in_arrow

pyspark = pytest.importorskip("pyspark", reason="needs the extra [spark]")
if shutil.which("java") is None:
    pytest.skip("Spark needs Java", allow_module_level=True)
COUNT = 24


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    """Two Python workers at a time, and tasks that may fail twice."""
    from pyspark.sql import SparkSession

    pyspark.cloudpickle.register_pickle_by_value(deadly_store)  # workers do not have this file
    settings = {
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": "512m",
        "spark.sql.execution.arrow.maxRecordsPerBatch": "5",
    }
    builder = SparkSession.builder.master("local[2,3]")
    for key, value in settings.items():
        builder = builder.config(key, value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        session = builder.getOrCreate()
        session.sparkContext.setLogLevel("OFF")
        yield session
        session.stop()


def assert_masks(rows: Any) -> None:
    """Compare with the masks that `ForegroundMapper` computes of the shades that the ids are."""
    mapper = ForegroundMapper()
    for row in rows:
        mask = Image.open(io.BytesIO(row["mask"]))
        assert (mask.format, mask.mode) == ("PNG", "L")
        np.testing.assert_array_equal(mask, mapper({"image": shade(row["id"]), "id": 1})["mask"])


def test_bytes(spark: Any, tiny: Path) -> None:
    from pyspark.sql.types import ArrayType, BinaryType, FloatType, StringType

    pictures = [(i, b"damaged" if i == 9 else shade(i), None if i == 5 else 2**60 + i) for i in range(COUNT)]
    df = spark.createDataFrame(pictures, "id int, image binary, note long").repartition(4)
    result = map_in_arrow(
        df, on_error="none", error_column="error", alpha_column="alpha", cutout_column="image", batch_size=3
    )
    assert [field.dataType for field in result.schema][3:] == [
        BinaryType(), ArrayType(ArrayType(FloatType())), StringType(),
    ]  # fmt: skip
    rows = sorted(result.collect(), key=lambda row: row["id"])
    assert [(row["id"], row["note"]) for row in rows] == [(i, note) for i, _, note in pictures]
    assert [row["id"] for row in rows if row["error"] or row["mask"] is None] == [9]
    assert_masks(row for row in rows if row["id"] != 9)
    assert np.shape(rows[3]["alpha"]) == (16, 16)
    assert Image.open(io.BytesIO(rows[3]["image"])).mode == "RGBA"
    assert map_in_arrow(df, on_error="skip").count() == COUNT - 1
    with pytest.raises(pyspark.errors.PythonException, match=r"ImageError: Row \d of its batch"):
        map_in_arrow(df).collect()
    with pytest.raises(UnsupportedOptionError, match="photo"):
        map_in_arrow(df, image_column="photo")


def test_a_worker_is_killed_half_way(spark: Any, tiny: Path, tmp_path: Path) -> None:
    for i in range(COUNT):
        (tmp_path / f"{i}.png").write_bytes(shade(i))
    df = spark.createDataFrame([(i, str(tmp_path / f"{i}.png")) for i in range(COUNT)], "id int, image string")
    store = pyarrow.fs.PyFileSystem(DeadlyStore(str(tmp_path / "log"), "14.png"))
    rows = map_in_arrow(df.repartition(4, "id"), filesystem=store).collect()
    assert sorted(row["id"] for row in rows) == list(range(COUNT))
    assert_masks(rows)
    assert sum("14.png" in names for names in readers(tmp_path / "log").values()) == 2  # of the dead one, and another
