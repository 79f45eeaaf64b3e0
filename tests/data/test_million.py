"""The snippets of docs/million.md: each of them runs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from clusters import ray_cluster, spark_session
from tiny_data import shade
from typer.testing import CliRunner

from transformers_foreground.cli.app import app

PAGE = (Path(__file__).parents[2] / "docs/million.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [line for code in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) for line in code.splitlines()]
COUNT = 6
WANTED = [str(i) for i in range(COUNT)]


@pytest.fixture(autouse=True)
def photos(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write photos into a folder, and work beside it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for i in range(COUNT):
        (tmp_path / f"photos/{i}.jpg").write_bytes(shade(40 * i))
    return tmp_path


def run(word: str, folder: Path = Path()) -> dict[str, Any]:
    """Run the only snippet of Python with a word in it, on a folder, and return its names."""
    (code,) = (code for code in PYTHON if word in code)
    for name in ("in", "masks"):  # other processes start elsewhere
        code = code.replace(f'parquet("{name}"', f'parquet("{folder / name}"')
    names: dict[str, Any] = {}
    exec(compile(code, f"docs/million.md: {word}", "exec"), names)
    return names


def ids(folder: str) -> list[str]:
    """Return the ids of all results."""
    return sorted(row["id"] for path in Path(folder).glob("*.parquet") for row in pq.read_table(path).to_pylist())


def test_files(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed: pip install pandas")
    pytest.importorskip("polars", reason="polars is not installed: pip install polars")
    run("write_table")
    assert ids("in") == WANTED
    for line in COMMANDS:
        words = line.split("#")[0].replace("s3://photos/", "").split()
        if words[:2] == ["foreground", "map"]:
            assert CliRunner().invoke(app, [*words[1:], "--device", "cpu"]).exit_code == 0
            assert ids("masks") == WANTED
    assert run("map_shards")["report"].totals["rows"] == COUNT
    assert run("manifest")["results"] == ["masks/part-0000.parquet"]
    read = run("polars")
    assert read["mask"].mode == "L"
    assert pandas.read_parquet("masks")["mask"].tolist() == read["table"]["mask"].to_list()
    assert len(read["doubtful"]) == COUNT - 1  # all but the black one are gray
    run("core_hours")
    assert "306 core-hours: 0.3 hours, 12 for the cores" in capsys.readouterr().out


def test_datasets(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", photos / "cache")
    assert len(run("load_dataset")["good"]) == COUNT


def test_duckdb(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("duckdb", reason="duckdb is not installed: pip install duckdb")
    (photos / "photos/broken.jpg").write_bytes(b"no image")
    run("write_table")
    run("map_shards")
    run("duckdb")
    assert "Row id=broken" in capsys.readouterr().out


def test_ray(photos: Path) -> None:
    pytest.importorskip("ray.data", reason="ray is not installed: pip install -e '.[ray]'")
    run("write_table")
    with ray_cluster():
        run("map_batches", photos)
    assert ids("masks") == WANTED


def test_spark(photos: Path) -> None:
    pytest.importorskip("pyspark", reason="pyspark is not installed: pip install -e '.[spark]'")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java")
    run("write_table")
    with spark_session():
        run("map_in_arrow", photos)
    assert ids("masks") == WANTED
