"""What `scripts/scaling.py` measures of `foreground map`: a job that is killed twice, resumed, and given a shard."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from tiny_models import write_repo

SIDE = 96  # pixels of the images' longer side
LATE = "late"  # the shard that is added: it sorts into the midst of the others
KILLS = 0.25, 0.6  # parts of the shards that are done when the job is killed
ACTORS = 2
LOCAL: tuple[str, ...] = ()
RAY = ("--ray", "local", "--actors", str(ACTORS))


def make(folder: Path, images: int, shards: int) -> Path:
    """Write JPEGs of ellipses into Parquet shards, unless they are there, and a model of a few operations."""
    done = folder / f"{images}-{shards}"
    if done.exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "in").mkdir(parents=True)
    write_repo(folder / "model")
    for shard in range(shards):
        _write_shard(
            folder / "in" / f"part-{shard:04}.parquet", range(images * shard // shards, images * (shard + 1) // shards)
        )
    _write_shard(folder / f"part-{shards // 2:04}-{LATE}.parquet", range(images, images + images // shards))
    done.touch()
    return folder


def _write_shard(path: Path, ids: Sequence[int]) -> None:
    pq.write_table(pa.table({"id": ids, "image": [_jpeg(i) for i in ids]}), path, compression="none")


def _jpeg(number: int) -> bytes:
    rng = np.random.default_rng(number)
    height, width = rng.integers(SIDE // 2, SIDE, 2)
    y, x = np.ogrid[:height, :width]
    inside = ((y / height - 0.5) / 0.4) ** 2 + ((x / width - 0.5) / 0.3) ** 2 < 1
    pixels = np.where(inside[..., None], rng.integers(150, 256, 3), rng.integers(0, 60, 3))
    pixels = np.clip(pixels + rng.normal(0, 6, pixels.shape), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def run(folder: Path, out: Path, options: Sequence[str], kill_at: int | None = None) -> dict[str, Any]:
    """Run the command: seconds, its exit code, peak memory in MB of it and of its actors, and what it said last.

    Args:
        folder: Where the shards and the model are.
        out: Where the results go.
        options: Further ones of the command.
        kill_at: Send SIGKILL when there are so many results.
    """
    command = [str(Path(sys.executable).with_name("foreground")), "map", str(folder / "in"), str(out)]
    command += ["--model", str(folder / "model"), "--device", "cpu", "--resume", *options]
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    started, peak, actors = time.time(), 0, dict[int, int]()
    with (folder / "said.txt").open("w+") as said:
        process = subprocess.Popen(command, stderr=said, stdout=said, env=environment)
        while process.poll() is None:
            peak = max(peak, _status(process.pid, "VmHWM"))
            actors |= {actor: _status(actor, "VmHWM") for actor in _actors(process.pid) if options}
            if kill_at is not None and len(results(out)) >= kill_at:
                process.send_signal(signal.SIGKILL)
                process.wait()
            time.sleep(0.1)
        seconds = time.time() - started
        said.seek(0)
        lines = said.read().splitlines()
    kept = next(
        (int(match[1]) for line in lines if (match := re.search(r"kept from an earlier run: (\d+) of", line))), 0
    )
    return {
        "seconds": seconds,
        "code": process.returncode,
        "results": len(results(out)),
        "rows": sum(pq.read_metadata(path).num_rows for path in results(out)),
        "kept": kept,
        "peak": peak / 1e3,
        "actors": [value / 1e3 for value in actors.values()],
        "said": lines[-1:],
    }


def results(out: Path) -> list[Path]:
    """Return the results that are there, by name."""
    return sorted(out.glob("[!.]*.parquet"))


def _status(process: int, key: str) -> int:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{key}:")), 0)


def _actors(process: int) -> Iterator[int]:
    """Yield the ids of Ray's actors among the descendants of a process."""
    for child in Path("/proc").glob("[0-9]*"):
        try:
            name = (child / "cmdline").read_text()
        except OSError:
            continue
        if name.startswith("ray::_Actor") and process in _ancestors(int(child.name)):
            yield int(child.name)


def _ancestors(process: int) -> Iterator[int]:
    while process > 1:
        process = _status(process, "PPid")
        yield process


def proof(folder: Path, options: Sequence[str]) -> dict[str, Any]:
    """Run a job to its end; then another that is killed twice, resumed, and given a shard; and compare."""
    late = next(folder.glob(f"*-{LATE}.parquet"))
    added, shards = folder / "in" / late.name, len(list((folder / "in").glob("*.parquet")))
    for name in ("whole", "killed"):
        shutil.rmtree(folder / name, ignore_errors=True)
    added.unlink(missing_ok=True)
    whole = run(folder, folder / "whole", options)
    runs = [run(folder, folder / "killed", options, round(shards * part)) for part in KILLS]
    shutil.copy(late, added)
    runs += [run(folder, folder / "killed", options) for _ in range(2)]  # the second has nothing to do
    late_run = run(folder, folder / "whole", options)
    added.unlink()
    table, wanted = (pa.concat_tables(map(pq.read_table, results(folder / name))) for name in ("killed", "whole"))
    ids = table["id"].to_pylist()
    return {
        "whole": whole,
        "runs": runs,
        "late": late_run,
        "rows": len(ids),
        "distinct": len(set(ids)),
        "masks": len(ids) - table["mask"].null_count,
        "equal": table.equals(wanted),
        "manifests equal": _manifest(folder / "killed") == _manifest(folder / "whole"),
        "bytes": sum(path.stat().st_size for path in results(folder / "whole")),
    }


def _manifest(out: Path) -> str:
    return (out / "_manifest.json").read_text()
