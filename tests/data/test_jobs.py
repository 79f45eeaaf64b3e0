"""`map_shards`: jobs that are killed, started again, and given more: none lost, none doubled."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from clusters import ray_cluster
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem
from PIL import Image
from tiny_data import shade
from tiny_models import brightness_model, write_repo

from transformers_foreground.data import ray_shards, shard_results, store_errors
from transformers_foreground.data.arrow import ArrowMapper
from transformers_foreground.data.jobs import JobReport, map_shards
from transformers_foreground.data.shards import Shard, find_shards, open_shard, part_of
from transformers_foreground.env import env
from transformers_foreground.errors import (
    ForegroundError,
    ImageError,
    InvalidModelError,
    MissingExtraError,
    UnsupportedOptionError,
)

pytestmark = pytest.mark.usefixtures("tiny")


def write_shard(folder: Path, name: str, ids: list[int], **images: Any) -> None:
    """Write a Parquet shard of shades; `bad` replaces the first image."""
    column = [shade(i) for i in ids]
    if "bad" in images:
        column[0] = images["bad"]
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"id": ids, "image": column}), folder / f"{name}.parquet")


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Three shards of five rows."""
    for number, name in enumerate("bdf"):
        write_shard(tmp_path / "in", name, list(range(5 * number, 5 * number + 5)))
    return tmp_path / "in"


def rows(folder: Path) -> list[dict[str, Any]]:
    """Read all results, and see that no row is there twice."""
    table = pa.concat_tables(pq.read_table(file) for file in sorted(folder.rglob("*.parquet")))
    found: list[dict[str, Any]] = table.to_pylist()
    assert len({row["id"] for row in found}) == len(found)
    return found


def width(mask: bytes) -> int:
    with Image.open(io.BytesIO(mask)) as image:
        assert (image.format, image.mode) == ("PNG", "L")
        return image.width


def statuses(report: JobReport) -> dict[str, str]:
    return {shard.name: shard.status for shard in report.shards}


def test_one_result_a_shard(shards: Path, tmp_path: Path) -> None:
    report = map_shards(shards, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "_manifest.json",
        "b.parquet",
        "d.parquet",
        "f.parquet",
    ]
    assert report.totals == {"shards": 3, "failed": 0, "rows": 15, "errors": 0, "doubtful": 0}
    assert json.loads((tmp_path / "out/_manifest.json").read_text()) == json.loads(report.to_json())
    found = rows(tmp_path / "out")
    assert list(found[0]) == ["id", "mask", "doubt", "error"]
    assert [(row["id"], width(row["mask"])) for row in found] == [(i, 20 + i) for i in range(15)]


def test_a_shard_that_is_added_is_done_and_no_other(shards: Path, tmp_path: Path) -> None:
    map_shards(shards, tmp_path / "out")
    for name, ids in (("a", [20, 21]), ("c/e", [22])):
        (shards / name).parent.mkdir(exist_ok=True)
        write_shard((shards / name).parent, Path(name).name, ids)
    report = map_shards(shards, tmp_path / "out", resume=True)
    assert statuses(report) == {"a": "done", "b": "kept", "c/e": "done", "d": "kept", "f": "kept"}
    assert sorted(row["id"] for row in rows(tmp_path / "out")) == [*range(15), 20, 21, 22]
    assert report.totals["rows"] == 18


def test_what_changed_is_done_again(shards: Path, tmp_path: Path) -> None:
    map_shards(shards, tmp_path / "out")
    write_shard(shards, "d", [30, 31, 32])
    assert statuses(map_shards(shards, tmp_path / "out", resume=True)) == {"b": "kept", "d": "done", "f": "kept"}
    assert sorted(row["id"] for row in rows(tmp_path / "out")) == [*range(5), *range(10, 15), 30, 31, 32]
    options: list[dict[str, Any]] = [{"cutout_column": "cutout"}, {"resampling": "antialias"}]
    options += [{"provider_options": {"precision": "low"}}, {"on_error": "skip"}]
    for changed in options:
        assert set(statuses(map_shards(shards, tmp_path / "out", resume=True, **changed)).values()) == {"done"}
    same = {"on_error": "skip", "batch_size": 2, "session_options": {"intra_op_num_threads": 2}}
    assert set(statuses(map_shards(shards, tmp_path / "out", resume=True, **same)).values()) == {"kept"}
    assert set(statuses(map_shards(shards, tmp_path / "out", **same)).values()) == {"done"}


def test_another_model_under_the_same_name_does_all_again(shards: Path, tmp_path: Path, tiny: Path) -> None:
    map_shards(shards, tmp_path / "out")
    write_repo(tiny, dtypes={"": brightness_model(size=32)}, size=32)
    assert set(statuses(map_shards(shards, tmp_path / "out", resume=True)).values()) == {"done"}


_KILLED = """
import os, signal, sys
from pathlib import Path
from transformers_foreground import env
from transformers_foreground.data.jobs import map_shards
env.local_model_path = sys.argv[3]
left = int(sys.argv[4])
def on_rows(count):
    global left
    left -= count
    if left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
map_shards(sys.argv[1], sys.argv[2], resume=True, batch_size=2, device="cpu", on_rows=on_rows)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_killed_twice(shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for done in (["b"], ["b", "d"]):  # each is killed when some rows of the next shard are done
        arguments = [str(shards), str(out), str(env.local_model_path), "7"]
        killed = subprocess.run([sys.executable, "-c", _KILLED, *arguments], check=False, timeout=120)
        assert killed.returncode == -signal.SIGKILL
        assert sorted(path.stem for path in out.glob("*.parquet")) == done
        assert list(out.glob(".*.part"))
    assert statuses(map_shards(shards, out, resume=True)) == {"b": "kept", "d": "kept", "f": "done"}
    assert not list(out.glob(".*"))
    whole = map_shards(shards, tmp_path / "whole")
    assert rows(out) == rows(tmp_path / "whole")
    assert (out / "_manifest.json").read_text() == whole.to_json()


_DEADLY = """
import os, signal, sys
from transformers_foreground import env
from transformers_foreground.data.arrow import ArrowMapper
from transformers_foreground.data.jobs import map_shards
env.local_model_path = sys.argv[3]
call = ArrowMapper.__call__
def deadly(mapper, table, failure=None):
    if failure is None and 7 in table["id"].to_pylist():
        os.kill(os.getpid(), signal.SIGKILL)
    return call(mapper, table, failure)
ArrowMapper.__call__ = deadly
map_shards(sys.argv[1], sys.argv[2], resume=True, device="cpu", id_column="id")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_an_image_that_kills_the_job_costs_three_runs(shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-c", _DEADLY, str(shards), str(out), str(env.local_model_path)]
    ends = [subprocess.run(command, check=False, timeout=120).returncode for _ in range(4)]
    assert ends == [-signal.SIGKILL] * 3 + [0]
    assert [(row["id"], row["mask"]) for row in rows(out) if row["error"]] == [(7, None)]
    assert "Row id=7: Cannot read it: its process died 2 times" in next(e for row in rows(out) if (e := row["error"]))
    assert json.loads((out / "_manifest.json").read_text())["totals"]["rows"] == 15
    assert not list(out.glob(".*"))


def test_images_that_cannot_be_read(shards: Path, tmp_path: Path) -> None:
    write_shard(shards, "d", [5, 6], bad=b"no image")
    report = map_shards(shards, tmp_path / "out")
    assert [(shard.rows, shard.errors) for shard in report.shards] == [(5, 0), (2, 1), (5, 0)]
    named = map_shards(shards, tmp_path / "named", id_column="id")
    assert named.totals == report.totals
    assert "5" in next(row["error"] for row in rows(tmp_path / "named") if row["error"])
    bad = next(row for row in rows(tmp_path / "out") if row["id"] == 5)
    assert (bad["mask"], bad["doubt"]) == (None, None)
    assert bad["error"]
    skipped = map_shards(shards, tmp_path / "skipped", on_error="skip")
    assert [(shard.rows, shard.errors) for shard in skipped.shards] == [(5, 0), (1, 1), (5, 0)]
    with pytest.raises(ImageError, match=r"^d: "):
        map_shards(shards, tmp_path / "raised", on_error="raise")
    assert [path.name for path in (tmp_path / "raised").iterdir()] == ["b.parquet"]


def test_a_shard_that_cannot_be_read(shards: Path, tmp_path: Path) -> None:
    (shards / "c.parquet").write_bytes(b"PAR1 and nothing else")
    report = map_shards(shards, tmp_path / "out", resume=True)
    assert statuses(report) == {"b": "done", "c": "failed", "d": "done", "f": "done"}
    assert "c.parquet" in (report.shards[1].error or "")
    assert (report.totals["shards"], report.totals["failed"], report.totals["rows"]) == (3, 1, 15)
    with pytest.raises(ImageError, match=r"c\.parquet"):
        map_shards(shards, tmp_path / "raised", on_error="raise")


def test_a_later_shard_without_the_column_fails_alone(shards: Path, tmp_path: Path) -> None:
    pq.write_table(pa.table({"photo": [shade(1)]}), shards / "e.parquet")
    report = map_shards(shards, tmp_path / "out")
    assert statuses(report) == {"b": "done", "d": "done", "e": "failed", "f": "done"}
    assert report.shards[2].error == "e: There is no column 'image'. Set image_column to one of: photo."
    for only in ({"on_error": "raise"}, {"image_column": "photo"}):
        with pytest.raises(UnsupportedOptionError, match="There is no column"):
            map_shards(shards, tmp_path / "other", **only)


def test_dictionaries_inside_of_other_types(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    labels = pa.array([f"label {i}" for i in range(20)]).dictionary_encode()
    tags = pa.StructArray.from_arrays([labels, pa.ListArray.from_arrays(range(21), labels)], ["one", "more"])
    table = pa.table({"id": range(20), "image": [shade(i) for i in range(20)], "label": labels, "tags": tags})
    pq.write_table(table, tmp_path / "in/x.parquet", row_group_size=7)
    assert map_shards(tmp_path / "in", tmp_path / "out").totals["rows"] == 20
    assert (
        pq.read_table(tmp_path / "out/x.parquet").select(["id", "label", "tags"]).to_pylist()
        == table.select(["id", "label", "tags"]).to_pylist()
    )


def test_an_old_result_of_a_shard_that_fails_is_stale(shards: Path, tmp_path: Path) -> None:
    map_shards(shards, tmp_path / "out")
    (shards / "d.parquet").write_bytes(b"PAR1 and nothing else")
    report = map_shards(shards, tmp_path / "out", resume=True)
    assert (statuses(report)["d"], report.stale) == ("failed", ("d.parquet",))


def test_doubtful_masks_are_counted(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shard(shards, "d", [100, 120, 255])  # gray gives soft masks, white none
    report = map_shards(shards, tmp_path / "out")
    assert [shard.doubtful for shard in report.shards] == [0, 2, 0]
    with monkeypatch.context() as patch:
        patch.setattr("transformers_foreground.data.extraction.doubt", lambda plane: 1 / 3)
        assert map_shards(shards, tmp_path / "out").totals["doubtful"] == 13  # as the page and contact sheets mark it
    lists = pa.table({"id": [0, 1], "image": [[shade(100), shade(255), shade(120)], []]})
    pq.write_table(lists, shards / "d.parquet")
    report = map_shards(shards, tmp_path / "lists")
    assert [(shard.rows, shard.doubtful) for shard in report.shards] == [(5, 0), (2, 2), (5, 0)]


def test_only_names_stay_of_images(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    structs = [{"bytes": shade(i), "path": f"{i}.png"} for i in range(3)]
    pq.write_table(pa.table({"image": structs, "id": [0, 1, 2]}), tmp_path / "in/x.parquet")
    map_shards(tmp_path / "in", tmp_path / "out")
    assert [row["image"] for row in rows(tmp_path / "out")] == ["0.png", "1.png", "2.png"]
    map_shards(tmp_path / "in", tmp_path / "out", keep_images=True)
    assert [row["image"] for row in rows(tmp_path / "out")] == structs


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.list_(pa.string()), pa.dictionary(pa.int32(), pa.string())]
)
def test_paths_and_uris_stay(tmp_path: Path, kind: pa.DataType) -> None:
    (tmp_path / "x.png").write_bytes(shade(1))
    path: Any = str(tmp_path / "x.png") if not pa.types.is_list(kind) else [str(tmp_path / "x.png")]
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table({"id": [0], "image": pa.array([path], kind)}), tmp_path / "in/x.parquet")
    map_shards(tmp_path / "in", tmp_path / "out")
    assert [(row["image"], row["error"]) for row in rows(tmp_path / "out")] == [(path, None)]


def test_a_mask_may_take_the_place_of_its_image(shards: Path, tmp_path: Path) -> None:
    map_shards(shards, tmp_path / "out", mask_column="image")
    assert [width(row["image"]) for row in rows(tmp_path / "out")] == [20 + i for i in range(15)]


def tar_of(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def test_webdataset(tmp_path: Path) -> None:
    members = {"x/0.txt": b"words", "x/0.png": shade(3), "x/0.other.png": shade(4), "x/1.txt": b"", "2.PNG": shade(5)}
    tar_of(tmp_path / "in/00.tar", members)
    tar_of(tmp_path / "in/01.tar.gz", {"3.png": shade(6)})
    report = map_shards(tmp_path / "in", tmp_path / "out")
    found = pq.read_table(tmp_path / "out/00.parquet").to_pylist()
    assert [(row["__key__"], row["image"]) for row in found] == [("x/0", "x/0.png"), ("x/1", None), ("2", "2.PNG")]
    assert [row["mask"] and width(row["mask"]) for row in found] == [23, None, 25]
    assert "x/1" in found[1]["error"]
    assert [(shard.rows, shard.errors) for shard in report.shards] == [(3, 1), (1, 0)]
    map_shards(tmp_path / "in/00.tar", tmp_path / "other", image_column="other.png")
    assert width(pq.read_table(tmp_path / "other/00.parquet")["mask"][0].as_py()) == 24


def test_a_tar_file_that_was_cut_short(tmp_path: Path) -> None:
    tar_of(tmp_path / "in/0.tar", {f"{i}.png": shade(i) for i in range(5)})
    whole = (tmp_path / "in/0.tar").read_bytes()
    (tmp_path / "in/0.tar").write_bytes(whole[:2148])
    report = map_shards(tmp_path / "in", tmp_path / "out")
    assert statuses(report) == {"0": "failed"}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["_manifest.json"]


def test_a_folder_of_images(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    for i in range(12):
        (folder / f"sub/{i}.png" if i % 2 else folder / f"{i} #%.png").write_bytes(shade(i))
    (folder / "notes.txt").write_text("no image")
    map_shards(folder, tmp_path / "out", image_shards=4)
    found = pa.concat_tables(pq.read_table(file) for file in sorted((tmp_path / "out").glob("*.parquet"))).to_pylist()
    names = {row["image"]: width(row["mask"]) for row in found}
    assert names == {f"sub/{i}.png" if i % 2 else f"{i} #%.png": 20 + i for i in range(12)}
    assert len(found) == 12
    (folder / "a0.png").write_bytes(shade(99))
    report = map_shards(folder, tmp_path / "out", image_shards=4, resume=True)
    assert [name for name, status in statuses(report).items() if status == "done"] == [
        f"images-{part_of('a0.png', 4)}-of-4"
    ]
    assert report.totals["rows"] == 13


def test_a_name_that_is_no_utf_8_is_an_error_of_its_row() -> None:
    shard = Shard("x", "images", "/", "", ("a.png", "caf\udce9.png"))
    with open_shard(None, shard, "image", 8) as (_, tables):
        assert [row["image"] for table in tables for row in table.to_pylist()] == ["a.png", "caf\\udce9.png"]


def test_a_link_stands_for_its_file(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    (tmp_path / "links/b.parquet").symlink_to(shards / "b.parquet")
    map_shards(tmp_path / "links", tmp_path / "out")
    os.utime(shards / "b.parquet", (0, 0))
    assert statuses(map_shards(tmp_path / "links", tmp_path / "out", resume=True)) == {"b": "done"}
    (shards / "b.parquet").unlink()
    assert statuses(map_shards(tmp_path / "links", tmp_path / "out", resume=True)) == {"b": "failed"}


def test_a_folder_that_cannot_be_listed_loses_no_row(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shard(shards / "sub", "x", [20])
    scandir = os.scandir

    def scan(path: Any = ".") -> Any:
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan)
    with pytest.raises(ImageError, match=r"Cannot read .*Permission denied: .*sub"):
        map_shards(shards, tmp_path / "out")


def test_results_without_a_shard_are_named(shards: Path, tmp_path: Path) -> None:
    map_shards(shards, tmp_path / "out")
    (shards / "d.parquet").unlink()
    report = map_shards(shards, tmp_path / "out", resume=True)
    assert (report.stale, report.totals["rows"]) == (("d.parquet",), 10)


def test_a_store(shards: Path) -> None:
    store = fsspec.filesystem("memory")
    store.rm("/job", recursive=True) if store.exists("/job") else None
    store.put(str(shards), "/job/in", recursive=True)
    assert map_shards("memory://job/in", "memory://job/out").totals["rows"] == 15
    store.pipe("/job/out/.b.parquet.0123abcd.part", b"what a killed process left")
    with store.open("/job/in/b.parquet", "wb") as file:
        pq.write_table(pa.table({"id": [1], "image": [shade(1)]}), file)
    report = map_shards("memory://job/in", "memory://job/out", resume=True)
    assert statuses(report) == {"b": "done", "d": "kept", "f": "kept"}
    assert sorted(store.find("/job/out")) == [
        f"/job/out/{name}" for name in ("_manifest.json", "b.parquet", "d.parquet", "f.parquet")
    ]
    store.pipe("/job/odd/a [1]*?.parquet", store.cat("/job/in/d.parquet"))
    assert map_shards("memory://job/odd", "memory://job/of-odd").totals["rows"] == 5
    assert "/job/of-odd/a [1]*?.parquet" in store.find("/job/of-odd")
    store.pipe("/job/images/a.png", shade(7))
    assert map_shards("memory://job/images", "memory://job/of-images").totals["rows"] == 1
    store.rm("/job", recursive=True)


def test_a_store_is_listed_as_often_for_many_shards_as_for_few(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[str] = []

    def counting(listing: Any) -> Any:
        def counted(store: Any, path: str, *args: Any, **kwargs: Any) -> Any:
            listed.append(path)
            return listing(store, path, *args, **kwargs)

        return counted

    for name in ("ls", "find"):
        monkeypatch.setattr(MemoryFileSystem, name, counting(getattr(MemoryFileSystem, name)))
    counts = []
    for number in range(2):
        listed.clear()
        map_shards(shards, f"memory://many/{number}")
        counts.append(len(listed))
        for name in "xyz":
            write_shard(shards, name, [20])
    assert counts[0] == counts[1] > 0
    fsspec.filesystem("memory").rm("/many", recursive=True)


@pytest.mark.parametrize("kind", ["parquet", "tar"])
def test_a_store_that_fails_for_the_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    if kind == "tar":
        tar_of(tmp_path / "in/0.tar", {f"{i}.png": shade(i) for i in range(5)})
    else:
        write_shard(tmp_path / "in", "0", list(range(5)))
    store = fsspec.filesystem("memory")
    store.put(str(tmp_path / "in"), "/flaky", recursive=True)
    reads: list[int] = []

    def read(file: Any, size: int = -1) -> bytes:
        reads.append(size)
        if len(reads) % 3:
            raise OSError("AWS Error SLOW_DOWN during GetObject operation")
        return io.BytesIO.read(file, size)

    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setattr(MemoryFile, "read", read)
    assert map_shards("memory://flaky", tmp_path / "out").totals["rows"] == 5
    assert len(reads) > 3
    monkeypatch.setattr(store_errors, "PAUSES", (0.0,))
    failed = map_shards("memory://flaky", tmp_path / "out").shards[0]
    assert failed.status == "failed"
    assert "the store failed" in (failed.error or "")
    store.rm("/flaky", recursive=True)


def test_row_groups_are_large_and_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shard(tmp_path / "in", "x", list(range(40)))
    map_shards(tmp_path / "in", tmp_path / "out", batch_size=4)
    assert pq.read_metadata(tmp_path / "out/x.parquet").num_row_groups == 1
    monkeypatch.setattr(shard_results, "ROW_GROUP_ROWS", 15)
    map_shards(tmp_path / "in", tmp_path / "out", batch_size=4)
    metadata = pq.read_metadata(tmp_path / "out/x.parquet")
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [16, 16, 8]


def test_an_empty_shard(tmp_path: Path) -> None:
    write_shard(tmp_path / "in", "x", [0])
    pq.write_table(pq.read_table(tmp_path / "in/x.parquet").slice(0, 0), tmp_path / "in/y.parquet")
    map_shards(tmp_path / "in", tmp_path / "out")
    assert pq.read_schema(tmp_path / "out/y.parquet").equals(pq.read_schema(tmp_path / "out/x.parquet"))


@pytest.mark.parametrize("output", ["in", "in/out", ".", "in/../in/out"])
def test_results_lie_apart(shards: Path, tmp_path: Path, output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnsupportedOptionError, match="must lie apart"):
        map_shards(shards, tmp_path / output)
    (tmp_path / "link").symlink_to(tmp_path / output)
    with pytest.raises(UnsupportedOptionError, match="must lie apart"):
        map_shards(shards, tmp_path / "link")
    (tmp_path / "out").mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path / "out")
    assert map_shards("../in", ".").totals["rows"] == 15


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("lay", ["copy", "link"])
def test_files_that_no_job_wrote_are_kept(shards: Path, tmp_path: Path, lay: str, resume: bool) -> None:
    (tmp_path / "out").mkdir()
    write_shard(tmp_path / "out", "d", [1, 2, 3])
    if lay == "link":  # an input that lies among the results
        (shards / "d.parquet").unlink()
        (shards / "d.parquet").symlink_to(tmp_path / "out/d.parquet")
    before = (tmp_path / "out/d.parquet").read_bytes()
    with pytest.raises(UnsupportedOptionError, match=r"out/d\.parquet exists, and is no result of such a job"):
        map_shards(shards, tmp_path / "out", resume=resume)
    assert (tmp_path / "out/d.parquet").read_bytes() == before
    assert os.listdir(tmp_path / "out") == ["d.parquet"]


def test_inputs_that_are_refused(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedOptionError, match="no Parquet files, tar files or images"):
        map_shards(tmp_path / "nothing", tmp_path / "out")
    with pytest.raises(UnsupportedOptionError, match="'photo'"):
        map_shards(shards, tmp_path / "out", image_column="photo")
    tar_of(shards / "x.tar", {})
    with pytest.raises(UnsupportedOptionError, match="both Parquet and tar"):
        find_shards(str(shards), 1)
    with pytest.raises(UnsupportedOptionError, match="at least 1"):
        map_shards(shards, tmp_path / "out", image_shards=0)
    with pytest.raises(UnsupportedOptionError, match="Two new columns are called 'error'"):
        map_shards(shards / "b.parquet", tmp_path / "out", mask_column="error")
    with pytest.raises(UnsupportedOptionError, match="keep_images cannot keep"):
        map_shards(shards / "b.parquet", tmp_path / "out", mask_column="image", keep_images=True)
    for source, output in (("foo://bucket", tmp_path / "out"), (shards / "b.parquet", "foo://bucket")):
        with pytest.raises(UnsupportedOptionError, match="Cannot open foo://bucket: Protocol not known"):
            map_shards(source, output)


def test_ray_is_optional(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match="ray"):
        map_shards(shards, tmp_path / "out", ray="local")


def test_a_cluster_that_is_not_there_is_an_error_at_once() -> None:
    pytest.importorskip("ray", reason="ray is not installed: pip install -e '.[ray]'")
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    started = time.monotonic()
    with pytest.raises(ForegroundError, match=f"No Ray cluster at {address}: .*refused.*ray start --head"):
        ray_shards.connect(address)
    assert time.monotonic() - started < 30


class TestRay:
    @pytest.fixture(scope="class", autouse=True)
    def cluster(self) -> Iterator[None]:
        pytest.importorskip("ray", reason="ray is not installed: pip install -e '.[ray]'")
        with ray_cluster():
            yield

    def test_results_are_those_of_one_process(self, shards: Path, tmp_path: Path) -> None:
        write_shard(shards, "d", [5, 6], bad=b"no image")
        here = map_shards(shards, tmp_path / "here")
        there = map_shards(shards, tmp_path / "there", ray="local", actors=2)
        assert there == here
        assert rows(tmp_path / "there") == rows(tmp_path / "here")
        write_shard(shards, "a", [20])
        again = map_shards(shards, tmp_path / "there", ray="local", resume=True)
        assert statuses(again) == {"a": "done", "b": "kept", "d": "kept", "f": "kept"}
        with pytest.raises(ImageError, match=r"^d: "):
            map_shards(shards, tmp_path / "raised", ray="local", on_error="raise")

    def test_the_deaths_of_a_run_in_one_process_are_forgotten_when_the_job_is_done(
        self, shards: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "out").mkdir()
        deaths = tmp_path / "out/.deaths.json"
        deaths.write_text('{"b": 1}')
        with pytest.raises(UnsupportedOptionError, match="no column"):
            map_shards(shards, tmp_path / "out", ray="local", resume=True, image_column="photo")
        assert deaths.exists()
        map_shards(shards, tmp_path / "out", ray="local", resume=True)
        assert not deaths.exists()

    def test_images_of_a_folder(self, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        for i in range(4):
            (tmp_path / f"in/{i}.png").write_bytes(shade(i))
        assert map_shards(tmp_path / "in", tmp_path / "out", ray="local", image_shards=2).totals["rows"] == 4

    def test_a_model_that_does_not_open_is_the_error(self, shards: Path, tmp_path: Path, tiny: Path) -> None:
        (tiny / "onnx/model.onnx").write_bytes(b"no graph")
        with pytest.raises(InvalidModelError, match=r"^b: .*model\.onnx"):
            map_shards(shards, tmp_path / "out", ray="local", actors=1)

    def test_an_image_that_kills_its_process_is_given_up(
        self, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ArrowMapper, "__reduce__", lambda mapper: (deadly(mapper, 7), ()), raising=False)
        report = map_shards(shards, tmp_path / "out", ray="local", actors=1, id_column="id")
        monkeypatch.undo()
        assert [(shard.rows, shard.errors) for shard in report.shards] == [(5, 0), (5, 1), (5, 0)]
        given_up = next(row for row in rows(tmp_path / "out") if row["error"])
        assert "Row id=7: Cannot read it: its process died 2 times" in given_up["error"]
        assert (given_up["id"], given_up["mask"]) == (7, None)

    def test_a_shard_that_kills_its_process_fails_alone(
        self, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ray_shards, "_RETRIES", 1)
        monkeypatch.setattr(ArrowMapper, "__reduce__", lambda mapper: (deadly(mapper, 7), ()), raising=False)
        report = map_shards(shards, tmp_path / "out", ray="local", actors=1)
        assert statuses(report) == {"b": "done", "d": "failed", "f": "done"}
        assert "died 2 times" in (report.shards[1].error or "")


def deadly(mapper: ArrowMapper, row: int) -> Any:
    """Return a maker of a mapper that kills its process at a row, unless it is told that the row has failed."""
    from ray import cloudpickle

    state = cloudpickle.dumps(mapper.__dict__)

    def make() -> Any:
        import os
        import pickle
        import signal

        from transformers_foreground.data.arrow import ArrowMapper

        class Deadly(ArrowMapper):
            def __call__(self, table: Any, failure: Any = None) -> Any:
                if failure is None and row in table["id"].to_pylist():
                    os.kill(os.getpid(), signal.SIGKILL)
                return super().__call__(table, failure)

        made = Deadly.__new__(Deadly)
        made.__dict__ |= pickle.loads(state)
        return made

    return make


def test_masks_are_the_mappers(shards: Path, tmp_path: Path) -> None:
    from transformers_foreground import ForegroundMapper

    map_shards(shards, tmp_path / "out", batch_size=3)
    mapper = ForegroundMapper()
    for row in rows(tmp_path / "out"):
        with Image.open(io.BytesIO(row["mask"])) as mask:
            wanted = mapper({"image": shade(row["id"])})["mask"]
            np.testing.assert_array_equal(np.asarray(mask), np.asarray(wanted))
