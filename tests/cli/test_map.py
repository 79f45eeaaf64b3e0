"""`foreground map`: exit codes, what it prints, and that it goes on after a kill."""

from __future__ import annotations

import io
import json
import signal
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from test_cli import here, run, start
from tiny_data import shade

from transformers_foreground.cli.map import Progress

__all__ = ["here"]  # a fixture


@pytest.fixture
def shards(here: Path) -> Path:
    (here / "in").mkdir()
    for name, ids in (("a", [0, 1, 2]), ("b", [3, 4])):
        pq.write_table(pa.table({"id": ids, "photo": [shade(i) for i in ids]}), here / "in" / f"{name}.parquet")
    return here / "in"


def test_masks_and_cutouts(shards: Path) -> None:
    result = run("map", "in", "out", "--image-column", "photo", "--mask-column", "m", "--cutout-column", "c")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "2 shards, 5 rows, 0 errors, 0 doubtful → out" in result.stderr
    (row, *_) = pq.read_table("out/b.parquet").to_pylist()
    assert (row["id"], row["error"]) == (3, None)
    assert [Image.open(io.BytesIO(row[column])).mode for column in "mc"] == ["L", "RGBA"]


def test_json_is_the_manifest(shards: Path) -> None:
    result = run("map", "in", "out", "--image-column", "photo", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == Path("out/_manifest.json").read_text()
    assert json.loads(result.stdout)["totals"]["rows"] == 5


def test_images_without_a_mask_are_said_and_exit_1(shards: Path) -> None:
    pq.write_table(pa.table({"photo": [shade(1), b"bad", None]}), "in/b.parquet")
    (shards / "c.parquet").write_bytes(b"bad")
    result = run("map", "in", "out", "--image-column", "photo", "--quiet")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "b: 2 images have no mask" in result.stderr
    assert "c.parquet" in result.stderr
    assert run("map", "in", "raised", "--image-column", "photo", "--on-error", "raise").exit_code == 1
    skipped = run("map", "in", "skipped", "--image-column", "photo", "--on-error", "skip").stderr
    assert "b: 2 images have no mask; their rows are left out" in skipped


def test_results_that_cannot_be_written(shards: Path) -> None:
    Path("out").write_text("a file")
    result = run("map", "in", "out/masks", "--image-column", "photo")
    assert (result.exit_code, type(result.exception)) == (1, SystemExit)
    assert "error: out/masks cannot be written" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing", "out"], "no Parquet files"),
        (["in", "in/out"], "must lie apart"),
        (["in", "out"], "no column"),
        (["in", "out", "--on-error", "ignore"], "'raise', 'none', 'skip'"),
        (["in", "out", "--mask-column", ""], "mask_column='' is no name"),
        (["in", "out", "--actors", "2"], "give --ray"),
        (["foo://bucket", "out"], "Protocol not known: foo"),
    ],
)
def test_usage(shards: Path, arguments: list[str], said: str) -> None:
    result = run("map", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_killed_and_resumed(here: Path) -> None:
    (here / "in").mkdir()
    photo = io.BytesIO()
    Image.new("RGB", (1200, 900)).save(photo, "PNG")
    for number in range(40):
        pq.write_table(pa.table({"id": [number] * 8, "image": [photo.getvalue()] * 8}), f"in/{number:02}.parquet")
    process = start("map", "in", "out", "--resume")
    until = time.monotonic() + 60
    while len(list(Path("out").glob("[0-9]*.parquet"))) < 2:
        assert time.monotonic() < until
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    before = {path.name: path.stat().st_mtime_ns for path in Path("out").glob("*.parquet")}
    assert len(before) < 40
    result = run("map", "in", "out", "--resume")
    assert result.exit_code == 0
    assert f"Shards kept from an earlier run: {len(before)} of 40" in result.stderr
    assert all((Path("out") / name).stat().st_mtime_ns == mtime for name, mtime in before.items())
    ids = [i for file in sorted(Path("out").glob("*.parquet")) for i in pq.read_table(file)["id"].to_pylist()]
    assert ids == [number for number in range(40) for _ in range(8)]


def test_time_left() -> None:
    progress = Progress(hidden=True, before=lambda: None)
    progress.start(10, 4)
    assert progress.line() == "4 of 10 shards"
    progress.rows(30)
    progress._done, progress._started = 2, time.monotonic() - 60
    assert progress.line() == "6 of 10 shards, 0.5 images/s, 0:02:00 left"
