"""`ray.map_batches` on a local cluster of several actors."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pytest
from clusters import ray_cluster
from deadly_store import DeadlyStore, readers
from PIL import Image
from s3_server import S3Server
from tiny_data import shade

from transformers_foreground import ForegroundMapper
from transformers_foreground.data.ray import map_batches
from transformers_foreground.runtime.doubt import doubt

pytest.importorskip("ray.data", reason="ray is not installed: pip install -e '.[ray]'")
ray = pytest.importorskip("ray")
COUNT = 48


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    with ray_cluster():
        yield


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


@pytest.mark.parametrize(("concurrency", "warned"), [(4, True), ((4, 8), True), (3, False), ((1, 4), False)])
def test_actors_that_leave_no_core_are_warned_of(
    concurrency: Any, warned: bool, tiny: Path, caplog: pytest.LogCaptureFixture
) -> None:
    map_batches(ray.data.from_items([{"image": b""}]), concurrency=concurrency)
    assert ("The actors reserve 4 cores, and the cluster has 4: none is left" in caplog.text) is warned


def test_parquet(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    for start in range(0, COUNT, 12):
        ids = list(range(start, start + 12))
        columns = {"id": ids, "image": [shade(i) for i in ids], "note": [None if i == 5 else 2**60 + i for i in ids]}
        pq.write_table(pa.table(columns), tmp_path / "rows" / f"{start}.parquet")
    ds = ray.data.read_parquet(str(tmp_path / "rows"), override_num_blocks=4)
    rows = rows_of(
        map_batches(ds, error_column="error", alpha_column="alpha", doubt_column="doubt", concurrency=(1, 2))
    )
    assert sorted(rows) == list(range(COUNT))
    assert_masks(rows)
    assert {row["error"] for row in rows.values()} == {None}
    assert [row["note"] for _, row in sorted(rows.items())] == [None if i == 5 else 2**60 + i for i in range(COUNT)]
    assert np.shape(list(rows[7]["alpha"])) == (16, 16)
    assert {row["doubt"] for row in rows.values()} == {doubt(np.stack(row["alpha"])) for row in rows.values()}


def test_small_files_are_shared_among_actors(tiny: Path, tmp_path: Path) -> None:
    """Ray reads small files into one block, which by itself would be one actor's work."""
    (tmp_path / "rows").mkdir()
    for i in range(4):
        (tmp_path / f"{i}.png").write_bytes(shade(i))
        rows = {"id": list(range(1000 * i, 1000 * i + 1000)), "image": [str(tmp_path / f"{i}.png")] * 1000}
        pq.write_table(pa.table(rows), tmp_path / "rows" / f"{i}.parquet")
    store = pyarrow.fs.PyFileSystem(DeadlyStore(str(tmp_path / "log"), "none"))
    ds = map_batches(ray.data.read_parquet(str(tmp_path / "rows")), concurrency=2, filesystem=store)
    ds.select_columns(["id", "mask"]).write_parquet(str(tmp_path / "masks"), min_rows_per_file=1000, row_group_size=500)
    per_actor = Counter(line.split()[0] for line in (tmp_path / "log").read_text().splitlines())
    assert sum(per_actor.values()) == 4000
    assert len(per_actor) == 2
    assert min(per_actor.values()) >= 1000
    results = [pq.read_metadata(path) for path in (tmp_path / "masks").glob("*.parquet")]
    assert sum(result.num_rows for result in results) == 4000
    groups = [result.row_group(i).num_rows for result in results for i in range(result.num_row_groups)]
    assert len(groups) <= 4000 / 500 + len(results)


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
        assert sorted(i for i, row in kept.items() if row["mask"] is None) == [0, 3, 6]  # blocks come in any order
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


def test_an_image_that_kills_every_actor_is_given_up(tiny: Path, tmp_path: Path) -> None:
    for i in range(12):
        (tmp_path / f"{i}.png").write_bytes(shade(i))
    items = [{"id": i, "image": str(tmp_path / f"{i}.png")} for i in range(12)]
    store = pyarrow.fs.PyFileSystem(DeadlyStore(str(tmp_path / "log"), "7.png", always=True))
    options: dict[str, Any] = {
        "concurrency": 1,
        "batch_size": 4,
        "num_workers": 1,
        "id_column": "id",
        "filesystem": store,
    }
    rows = rows_of(map_batches(ray.data.from_items(items), on_error="none", error_column="error", **options))
    assert sorted(rows) == list(range(12))
    assert "Row id=7: Cannot read it: its process died 2 times" in rows[7].pop("error")
    assert rows.pop(7)["mask"] is None
    assert_masks(rows)
    assert sum("7.png" in names for names in readers(tmp_path / "log").values()) == 3


class Recorder:
    """A dataset that only notes what Ray is asked for."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}

    def repartition(self, **options: Any) -> Recorder:
        self.asked |= options
        return self

    def map_batches(self, _: Any, **options: Any) -> Recorder:
        self.asked |= options
        return self


def test_blocks_are_split_and_rays_own_options_are_handed_on(tiny: Path) -> None:
    own: dict[str, Any] = {
        "runtime_env": {"env_vars": {"OWN": "1"}}, "resources": {"scanner": 1}, "accelerator_type": "T4",
        "max_restarts": 2, "max_task_retries": 1,
    }  # fmt: skip
    recorder = Recorder()
    map_batches(recorder, rows_per_block=8, **own)  # type: ignore[arg-type]
    assert recorder.asked.items() >= own.items()
    assert recorder.asked["target_num_rows_per_block"] == 8
    recorder = Recorder()
    map_batches(recorder, rows_per_block=None)  # type: ignore[arg-type]
    assert not recorder.asked.keys() & {"target_num_rows_per_block", "resources", "accelerator_type", "runtime_env"}
    assert recorder.asked["max_restarts"] > 0  # no actor for ever
