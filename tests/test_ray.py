"""`ray.map_batches` on a local cluster of several actors."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import deadly_store
import numpy as np
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pytest
from deadly_store import DeadlyStore, readers
from PIL import Image
from s3_server import S3Server
from tiny_data import shade

from transformers_foreground import ForegroundMapper
from transformers_foreground.ray import map_batches

pytest.importorskip("ray.data", reason="needs the extra [ray]")
ray = pytest.importorskip("ray")
COUNT = 48


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """Start a cluster that believes in four cores, so that several actors fit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(num_cpus=4, include_dashboard=False, object_store_memory=100 * 2**20, log_to_driver=False)
        ray.data.DataContext.get_current().enable_progress_bars = False
        ray.cloudpickle.register_pickle_by_value(deadly_store)  # workers do not have this file
        yield
        ray.shutdown()


def pixels(mask: bytes) -> Any:
    image = Image.open(io.BytesIO(mask))
    assert (image.format, image.mode) == ("PNG", "L")
    return np.asarray(image)


def rows_of(ds: Any) -> dict[int, dict[str, Any]]:
    """Return the rows by their id, having seen that each is there once."""
    rows = ds.take_all()
    assert len({row["id"] for row in rows}) == len(rows)
    return {row["id"]: row for row in rows}


def assert_masks(rows: dict[int, dict[str, Any]]) -> None:
    """Compare with the masks that `ForegroundMapper` computes of the shades that the ids are."""
    mapper = ForegroundMapper()
    for i, row in rows.items():
        np.testing.assert_array_equal(pixels(row["mask"]), np.asarray(mapper({"image": shade(i), "id": i})["mask"]))


def test_parquet(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    for start in range(0, COUNT, 12):
        ids = list(range(start, start + 12))
        columns = {"id": ids, "image": [shade(i) for i in ids], "note": [None if i == 5 else 2**60 + i for i in ids]}
        pq.write_table(pa.table(columns), tmp_path / "rows" / f"{start}.parquet")
    ds = ray.data.read_parquet(str(tmp_path / "rows"), override_num_blocks=4)
    rows = rows_of(map_batches(ds, error_column="error", alpha_column="alpha", concurrency=(1, 2), batch_size=5))
    assert sorted(rows) == list(range(COUNT))
    assert_masks(rows)
    assert {row["error"] for row in rows.values()} == {None}
    assert [row["note"] for _, row in sorted(rows.items())] == [None if i == 5 else 2**60 + i for i in range(COUNT)]
    assert np.shape(list(rows[7]["alpha"])) == (16, 16)


def test_arrays(tiny: Path, tmp_path: Path) -> None:
    for i in range(4):
        (tmp_path / f"{i}.png").write_bytes(shade(i))
    ds = ray.data.read_images(str(tmp_path), include_paths=True)
    rows = map_batches(ds, concurrency=1).take_all()
    assert_masks({int(Path(row["path"]).stem): row for row in rows})
    assert len(rows) == 4


def test_s3_and_what_cannot_be_read(tiny: Path) -> None:
    with S3Server({f"photos/{i}.png": shade(i) if i % 3 else b"damaged" for i in range(9)}) as server:
        ds = ray.data.from_items([{"id": i, "image": f"s3://photos/{i}.png"} for i in range(9)], override_num_blocks=3)
        options = {"concurrency": 1, "batch_size": 2, "filesystem": server.filesystem()}
        skipped = rows_of(map_batches(ds, on_error="skip", **options))
        assert sorted(skipped) == [1, 2, 4, 5, 7, 8]
        assert_masks(skipped)
        kept = rows_of(map_batches(ds, on_error="none", error_column="error", **options))
        assert [i for i, row in kept.items() if row["mask"] is None] == [0, 3, 6]
        assert "Cannot read s3://photos/3.png" in kept[3]["error"]
        with pytest.raises(ray.exceptions.RayTaskError, match=r"ImageError: .* Cannot read s3://photos/\d\.png"):
            map_batches(ds, **options).take_all()


def test_an_actor_is_killed_half_way(tiny: Path, tmp_path: Path) -> None:
    for i in range(COUNT):
        (tmp_path / f"{i}.png").write_bytes(shade(i))
    ds = ray.data.from_items(
        [{"id": i, "image": str(tmp_path / f"{i}.png")} for i in range(COUNT)], override_num_blocks=6
    )
    store = pyarrow.fs.PyFileSystem(DeadlyStore(str(tmp_path / "log"), "30.png"))
    rows = rows_of(map_batches(ds, concurrency=3, batch_size=4, filesystem=store))
    assert sorted(rows) == list(range(COUNT))
    assert_masks(rows)
    read = readers(tmp_path / "log")
    assert len(read) >= 3
    assert sum("30.png" in names for names in read.values()) == 2  # of the dead one, and of another
