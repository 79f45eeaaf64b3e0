"""docs/scaling.md from what `scripts/scaling.py` measured: every figure is computed here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import mean, median
from typing import Any

from report import table

Data = Mapping[str, Any]
MEGAPIXELS = 2.0  # of the pictures that go through datasets.map and Ray
SIZE = "2 MP"  # that size's name in bench/photos.py
QUIET, FEW = 0.5, 100
MILLION, BILLION = 10**6, 10**9
SHARD, GROUP, BLOCK = 256, 16, 128  # MB; the last is Ray Data's `target_max_block_size`
CORES, NODES = 64, 16  # the machines that projections are told for

LAYOUT = """\
**Store bytes, not paths.** A Parquet file of {SHARD} MB, read from front to back, costs a store one request for every
few MB; a picture that is a file of its own costs one or two, and the wait for them. Paths (`s3://bucket/key`) work,
and are right where pictures cannot be copied.

| pictures of | in a shard of {SHARD} MB | in a row group of {GROUP} MB | shards for 1 M | shards for 1 B |
|---|---:|---:|---:|---:|
{rows}

- **Small row groups**: a reader holds one whole. `pyarrow.parquet.write_table(..., row_group_size=...)` with the third
  column; the default of 1,048,576 rows would put a whole shard into one. No compression for the pictures' column
  (`compression="none"`): JPEG does not get smaller.
- **An `id` column**, unique and short. Masks are joined to pictures by it, never by their order.
- **Masks beside the pictures, not in them**: write `id`, `mask` and `error` alone (`select_columns`), and leave the
  pictures as they are. At {SIZE} the masks are {share:.1%} of the pictures' bytes.
- **Shards no smaller than the work**: an actor's task is a block, at most {BLOCK} MB by
  `ray.data.DataContext.get_current().target_max_block_size`, here {block} pictures of {SIZE}, or {minutes:.0f} minutes
  of one core: this is what is done again when an actor dies. Have at least a few blocks for each actor.
- **The model on every machine**: {file:,.0f} MB, in the image that the machines start from, or in a folder at the
  same path. Machines without it download it, at the same commit, and check its SHA-256.

### So that a job can stop and go on

`on_error="none", error_column="error"` keeps every row, with the reason where there is no mask: one damaged picture
among a billion must not end the job, and what could not be read is found with a filter. Ray starts actors again, and
repeats what they had not finished; every row comes out once. Against the end of the job itself, go group by group,
each into a folder of its own that counts only when it is finished:

```python
import pyarrow.fs
import ray
from transformers_foreground.ray import map_batches

store, root = pyarrow.fs.FileSystem.from_uri("s3://photos/masks")
shards = sorted(f"s3://{{f.path}}" for f in store.get_file_info(pyarrow.fs.FileSelector("photos/in")))
for i in range(0, len(shards), 64):
    done, out = f"{{root}}/{{i:08}}.done", f"s3://photos/masks/{{i:08}}"
    if store.get_file_info(done).type != pyarrow.fs.FileType.NotFound:
        continue
    ds = map_batches(ray.data.read_parquet(shards[i : i + 64]), on_error="none", error_column="error")
    ds.select_columns(["id", "mask", "error"]).write_parquet(out, mode="overwrite")
    store.open_output_stream(done).close()
```
"""


def write(data: Data) -> str:
    """Return the document."""
    lines = ["# Past one machine", "", "<!-- Written by `python scripts/scaling.py`: change that, not this. -->", ""]
    for part in (_head, _cost, _map, _ray, _projections, _layout):
        lines += part(data)
    return "\n".join(lines).rstrip() + "\n"


def _results(data: Data, section: str) -> Data:
    found: Data = data["sections"][section]["results"]
    return found


def _head(data: Data) -> Iterator[str]:
    on, of = data["machine"], data["sections"]["cost"]["settings"]
    yield f"What many pictures cost, measured on {on['date'][:10]} on {on['cpu']} ({on['cores']} cores,"
    yield f"{on['memory_gib']} GiB; {', '.join(on['flags'])}), Python {on['python']}, commit {on['commit']}, with"
    yield f"`{of['model']}` in {of['dtype']}. Pictures are rendered ones, as JPEGs; masks are PNGs of the same size."
    yield "Measure with your own model and machine by `python scripts/scaling.py --model ...`.\n"
    if on["load"] > QUIET:
        yield f"> **The machine was not idle** (load {on['load']:.1f}): measure again before you quote this.\n"
    counts = [data["sections"][name]["settings"]["count"] for name in ("map", "ray")]
    if min(counts) < FEW:
        yield f"> **A short run** ({min(counts)} pictures), to see that all works: do not quote its figures.\n"


def _cost(data: Data) -> Iterator[str]:
    rows = []
    for label, entry in _results(data, "cost").items():
        rows.append(
            (label, f"{mean(entry['cpu']):.2f}", f"{median(entry['wall']):.2f}", f"{mean(entry['in']) / 1e6:.2f}",
             f"{mean(entry['out']) / 1e3:.0f}", f"{entry['peak']:,.0f}")
        )  # fmt: skip
    opening = median(entry["open"] for entry in _results(data, "cost").values())
    yield "## One picture on one core\n"
    yield "From the bytes of a JPEG to the bytes of its mask's PNG, one session with one thread, pinned to one core."
    yield f"Finding and opening the model takes {opening:.1f} s, once for each process.\n"
    yield from table(("", "CPU, s", "wall, s", "JPEG, MB", "mask, kB", "peak memory, MB"), rows)


def _turns(data: Data, section: str, number: int) -> list[Data]:
    return [entry for key, entry in _results(data, section).items() if key.startswith(f"{number},")]


def _rates(data: Data, section: str, number: int) -> list[float]:
    return [entry["count"] / entry["seconds"] for entry in _turns(data, section, number)]


def _peak(data: Data, section: str, number: int) -> float:
    return max(peak for entry in _turns(data, section, number) for peak in entry["peaks"])


def _ratio(data: Data, section: str) -> float:
    pairs = zip(_rates(data, section, 2), _rates(data, section, 1), strict=True)
    return median(two / one for two, one in pairs)


def _map(data: Data) -> Iterator[str]:
    count, rounds = (data["sections"]["map"]["settings"][key] for key in ("count", "rounds"))
    rows = [
        (f"`num_proc={n}`", f"{median(_rates(data, 'map', n)):.2f}", f"{_peak(data, 'map', n):,.0f}") for n in (1, 2)
    ]
    yield "## `datasets.map` on one machine\n"
    yield f"{count} JPEGs of {SIZE} by `ForegroundMapper`, {rounds} turns each way, interleaved. One process has the"
    yield "threads of all cores; two share them. The start of the processes counts. Two do"
    yield f"{_ratio(data, 'map'):.2f}× the work of one.\n"
    yield from table(("", "pictures a second", "peak memory of a worker, MB"), rows)


def _ray(data: Data) -> Iterator[str]:
    count, rounds = (data["sections"]["ray"]["settings"][key] for key in ("count", "rounds"))
    rows = [
        (n, f"{median(_rates(data, 'ray', n)):.2f}", f"{n / median(_rates(data, 'ray', n)):.2f}",
         f"{_peak(data, 'ray', n):,.0f}", f"{median(entry['start'] for entry in _turns(data, 'ray', n)):.0f}")
        for n in (1, 2)
    ]  # fmt: skip
    yield "## Ray Data\n"
    yield f"{count} JPEGs of {SIZE} by `ray.map_batches`, actors of one core each, {rounds} turns each way,"
    yield f"interleaved. Two actors do {_ratio(data, 'ray'):.2f}× the work of one. The clock starts when the first"
    yield "picture is read. An actor's memory includes what it shares with Ray's object store.\n"
    head = (
        "actors",
        "pictures a second",
        "core-seconds a picture",
        "peak memory of an actor, MB",
        "first picture after, s",
    )
    yield from table(head, rows)


def _busy(data: Data) -> float:
    """Core-seconds of a picture at work, Ray and neighbours and all, against its CPU seconds alone on a core."""
    return 2 / median(_rates(data, "ray", 2)) / mean(_results(data, "cost")[SIZE]["cpu"])


def _projections(data: Data) -> Iterator[str]:
    factor, rows = _busy(data), []
    for label, entry in _results(data, "cost").items():
        for name, number in (("1 M", MILLION), ("1 B", BILLION)):
            hours = mean(entry["cpu"]) * factor * number / 3600
            read, written = (mean(entry[key]) * number / 1e12 for key in ("in", "out"))
            there = hours / (CORES * NODES)
            rows.append((f"{name} of {label}", f"{hours:,.0f}", f"{there:,.1f}", f"{read:,.2f}", f"{written:,.3f}"))
    peak = _peak(data, "ray", 2)
    yield "## A million, a billion\n"
    yield f"Cost for one picture, times {factor:.2f}: what a picture of {SIZE} took above with two actors on two cores,"
    yield "against a core alone. It scales with the number of pictures, since no picture needs another.\n"
    yield from table(("", "CPU-hours", f"hours on {NODES} × {CORES} cores", "read, TB", "written, TB"), rows)
    one, two = (_peak(data, "map", n) / 1e3 for n in (1, 2))
    yield f"**Memory** does not grow with the number of pictures: {peak / 1e3:.1f} GB for each actor (`memory=`"
    yield f"reserves it), {peak * CORES / 1e3:,.0f} GB for {CORES} of them, besides Ray's object store. Fewer actors"
    yield f"with more cores each need less: with `datasets.map`, one process of all cores took {one:.1f} GB, two took"
    yield f"{two:.1f} GB each. These are projections from two cores: measure one whole machine before you rent many.\n"


def _layout(data: Data) -> Iterator[str]:
    costs = _results(data, "cost")
    rows = []
    for label, entry in costs.items():
        size = mean(entry["in"]) / 1e6
        shards = [f"{number * size / SHARD:,.0f}" for number in (MILLION, BILLION)]
        rows.append(f"| {label} | {SHARD / size:,.0f} | {max(1, GROUP / size):,.0f} | {' | '.join(shards)} |")
    size = mean(costs[SIZE]["in"]) / 1e6
    yield "## How to lay the data out\n"
    yield LAYOUT.format(
        SHARD=SHARD, GROUP=GROUP, BLOCK=BLOCK, SIZE=SIZE, rows="\n".join(rows),
        share=mean(costs[SIZE]["out"]) / mean(costs[SIZE]["in"]), block=f"{BLOCK / size:,.0f}",
        minutes=BLOCK / size * mean(costs[SIZE]["cpu"]) * _busy(data) / 60, file=costs[SIZE]["file"],
    )  # fmt: skip
