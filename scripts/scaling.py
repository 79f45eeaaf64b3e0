"""Measure the cost of very many images, and write docs/scaling.md: `python scripts/scaling.py`.

Needs the extra [ray], and Linux. Each measurement has a process of its own; runs that are compared take turns
(A B A B). Results go to build/scaling/results.json, and a run that was stopped continues from there.
`--again cost map ray` measures these parts again, when the machine is idle, say; `--docs-only` measures nothing.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.fs
from fsspec.implementations.local import LocalFileSystem

sys.path.insert(0, str(Path(__file__).resolve().parent / "bench"))
import machine
import photos
import scaling_docs
import scaling_jobs
from state import State

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "build" / "scaling"
PHOTOS = ROOT / "build" / "bench" / "photos"  # benchmark.py has some of them too
SECTIONS = ("cost", "map", "ray", "job")
BATCH = 8
ROWS_A_BLOCK = 2  # few, so that all actors end at about the same time


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default=str(ROOT / "models/imgly/isnet-general-use"), help="folder or id")
    parser.add_argument("--dtype", default="fp32", help="default: %(default)s")
    parser.add_argument("--count", type=int, default=500, help="images for datasets.map (default: %(default)s)")
    parser.add_argument("--ray-count", type=int, help="images for Ray (default: as --count, at most 200)")
    parser.add_argument("--job-count", type=int, default=10_000, help="images for the job (default: %(default)s)")
    parser.add_argument("--job-shards", type=int, default=20, help="its shards (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=2, help="turns that they are divided into (default: %(default)s)")
    parser.add_argument("--fresh", action="store_true", help="measure everything anew")
    parser.add_argument("--again", nargs="+", choices=SECTIONS, default=[], help="measure these parts anew")
    parser.add_argument("--docs-only", action="store_true", help="write the page from what was measured before")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs/scaling.md", help="default: %(default)s")
    parser.add_argument("--results", type=Path, default=WORK / "results.json", help="default: %(default)s")
    options = parser.parse_args()
    options.ray_count = options.ray_count or min(options.count, 200)
    return options


def apart(work: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a new process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def status(key: str) -> int:
    """Return an entry of /proc/self/status in kB. Actors call it, and they cannot import the modules in bench/."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def cost(model: str, dtype: str, paths: Sequence[Path], rounds: int) -> dict[str, Any]:
    """Measure one core: CPU and wall seconds an image, from the bytes of a JPEG to those of a mask's PNG."""
    import pyarrow as pa

    from transformers_foreground.data.arrow import ArrowMapper

    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    start = time.perf_counter()
    mapper = ArrowMapper(model, dtype=dtype)
    mapper.model.open()
    result: dict[str, Any] = {"open": time.perf_counter() - start, "cpu": [], "wall": [], "in": [], "out": []}
    tables = [pa.table({"image": [path.read_bytes()]}) for path in paths]
    mapper(tables[0])  # the first run is slower
    for table in tables * rounds:
        cpu, wall = time.process_time(), time.perf_counter()
        mask = mapper(table).column("mask")[0].as_py()
        result["cpu"].append(time.process_time() - cpu)
        result["wall"].append(time.perf_counter() - wall)
        result["in"].append(len(table.column("image")[0].as_py()))
        result["out"].append(len(mask))
    return {**result, "peak": status("VmHWM") / 1e3, "file": os.path.getsize(mapper.model.files.onnx) / 1e6}


def mapped(model: str, dtype: str, paths: Sequence[Path], processes: int, log: Path) -> dict[str, Any]:
    """Run `datasets.map`: seconds in all, seconds until the first batch, and each worker's peak memory in MB."""
    import datasets

    from transformers_foreground import ForegroundMapper

    datasets.disable_progress_bars()
    mapper = ForegroundMapper(model, dtype=dtype)

    def traced(rows: Any) -> Any:
        began = time.time()
        columns = mapper(rows)
        with log.open("a") as file:
            file.write(f"{began} {os.getpid()} {status('VmHWM')}\n")
        return columns

    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    rows = datasets.Dataset.from_dict({"image": list(map(str, paths))}).cast_column("image", datasets.Image())
    features, name = mapper.features(rows.features), f"{time.time()}"
    start = time.time()
    rows.map(
        traced, batched=True, batch_size=BATCH, num_proc=processes, features=features, new_fingerprint=name,
        cache_file_name=str(log.with_suffix(".arrow")), load_from_cache_file=False,
    )  # fmt: skip
    seconds = time.time() - start
    notes = [line.split() for line in log.read_text().splitlines()]
    first = min(float(began) for began, _, _ in notes) - start
    peaks = {process: int(peak) / 1e3 for _, process, peak in notes}
    return {"count": len(paths), "seconds": seconds, "start": first, "peaks": list(peaks.values())}


class Noting(pyarrow.fs.FSSpecHandler):
    """Local files; each time one is opened, time, process and its peak memory in kB are logged."""

    def __init__(self, log: Path) -> None:
        super().__init__(LocalFileSystem())
        self.log = log

    def open_input_file(self, path: str) -> Any:
        with self.log.open("a") as file:
            file.write(f"{time.time()} {os.getpid()} {status('VmHWM')}\n")
        return super().open_input_file(path)


def actors(model: str, dtype: str, paths: Sequence[Path], number: int, log: Path) -> dict[str, Any]:
    """Run Ray Data: seconds from the first image read on, seconds until then, and each actor's peak memory in MB."""
    import ray

    from transformers_foreground.data.ray import map_batches

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cores = max(number, os.cpu_count() or 1)
    ray.init(  # one more core than there is, for the small tasks that split blocks: two actors would leave none
        num_cpus=cores + 1,
        include_dashboard=False,
        object_store_memory=2**29,
        log_to_driver=False,
        logging_level="ERROR",
    )
    ray.cloudpickle.register_pickle_by_value(sys.modules[Noting.__module__])  # actors do not have this file
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel("ERROR")
    log.unlink(missing_ok=True)
    blocks = max(1, len(paths) // ROWS_A_BLOCK)
    ds = ray.data.from_items([{"image": str(path)} for path in paths], override_num_blocks=blocks)
    start, store = time.time(), pyarrow.fs.PyFileSystem(Noting(log))
    out = map_batches(ds, model, dtype=dtype, concurrency=number, batch_size=ROWS_A_BLOCK, filesystem=store)
    rows = sum(batch.num_rows for batch in out.iter_batches(batch_size=None, batch_format="pyarrow"))
    end = time.time()
    ray.shutdown()
    assert rows == len(paths), f"{rows} rows of {len(paths)}"
    notes = [line.split() for line in log.read_text().splitlines()]
    first = min(float(when) for when, _, _ in notes)
    peaks = {process: int(peak) / 1e3 for _, process, peak in notes}
    assert len(peaks) == number, f"{len(peaks)} actors worked, not {number}"
    return {"count": rows, "seconds": end - first, "start": first - start, "peaks": list(peaks.values())}


def measure(options: argparse.Namespace) -> None:
    """Make the images, and measure what was not measured yet."""
    state = State(options.results, options.fresh, float("inf"))
    sizes = photos.sizes(PHOTOS, 3)
    many = photos.many(PHOTOS, options.count, scaling_docs.MEGAPIXELS, 3)
    job = scaling_jobs.make(WORK / "job", options.job_count, options.job_shards)
    settings = {"model": Path(options.model).name, "dtype": options.dtype}
    machine.settle()
    state.data["machine"] = machine.describe(1, sys.argv)

    def section(name: str, **more: int) -> None:
        if name in options.again or name not in state.data["sections"]:
            machine.settle()  # what was measured before is in the load average
        state.section(name, {**settings, **more} if name != "job" else more, again=name in options.again)

    section("job", images=options.job_count, shards=options.job_shards)
    for key, more in (("local", scaling_jobs.LOCAL), ("ray", scaling_jobs.RAY)):
        state.measure("job", key, lambda more=more: scaling_jobs.proof(job, more))
    section("cost")
    for label, paths in sizes.items():
        state.measure(
            "cost", label, lambda paths=paths: apart(cost, options.model, options.dtype, paths, options.rounds)
        )
    for name, work, count in (("map", mapped, options.count), ("ray", actors, options.ray_count)):
        section(name, count=count, rounds=options.rounds)
        share = max(1, count // options.rounds)
        for turn in range(options.rounds):
            for n in (1, 2):
                paths, log = many[turn * share : (turn + 1) * share], WORK / f"{name}.log"
                arguments = (work, options.model, options.dtype, paths, n, log)
                state.measure(name, f"{n}, turn {turn}", lambda arguments=arguments: apart(*arguments))
    state.save()


def main() -> int:
    """Measure, then write the page."""
    options = parse()
    if not options.docs_only:
        measure(options)
    state = State(options.results, False, 0)
    if state.data["errors"]:
        print(f"Not written, since something failed: {state.data['errors']}", file=sys.stderr)
        return 1
    options.docs.write_text(scaling_docs.write(state.data))
    print(f"wrote {os.path.relpath(options.docs)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
