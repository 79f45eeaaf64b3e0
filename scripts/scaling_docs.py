"""Write docs/scaling.md from the results of `scripts/scaling.py`; every figure in it is computed here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import mean, median
from typing import Any

from report_parts import table

Data = Mapping[str, Any]
MEGAPIXELS = 2.0  # of the images that go through datasets.map and Ray
SIZE = "2 MP"  # that size's name in bench/photos.py
WORTH_IT = 1.1  # two processes are recommended if they do this many times the work of one
QUIET = 0.5  # most load average of an idle machine
MILLION, BILLION = 10**6, 10**9
SHARD, GROUP = 256, 16  # MB
CORES, NODES = 64, 16  # cores of a machine, and machines, in the projections


def write(data: Data) -> str:
    """Return the document."""
    lines = [
        "# What many images cost",
        "",
        "<!-- Written by `python scripts/scaling.py`: change that, not this. -->",
        "",
    ]
    lines += [*_head(data), *_cost(data), *_map(data)]
    if _has_ray(data):
        lines += _ray(data)
    lines += [*_projections(data), *_layout(data), *_job(data)]
    return "\n".join(lines).rstrip() + "\n"


def _results(data: Data, section: str) -> Data:
    found: Data = data["sections"][section]["results"]
    return found


def _has_ray(data: Data) -> bool:
    """Whether Ray Data was measured to the end; the page can do without it."""
    section = data["sections"].get("ray")
    return section is not None and len(section["results"]) == 2 * section["settings"]["rounds"]


def _head(data: Data) -> Iterator[str]:
    on, of = data["machine"], data["sections"]["cost"]["settings"]
    yield f"Measured on {on['date'][:10]} on {on['cpu']} ({on['cores']} cores,"
    yield f"{on['memory_gib']} GiB; {', '.join(on['flags'])}), Python {on['python']}, commit {on['commit']}, with"
    yield f"`{of['model']}` in {of['dtype']}. Images are rendered ones, as JPEGs; masks are PNGs of the same size."
    yield "Measure with your own model and machine by `python scripts/scaling.py --model ...`.\n"
    yield "What to do with it is in [A million images](million.md).\n"


def _shared(data: Data, section: str) -> Iterator[str]:
    """Mark durations that were measured while the machine did other work."""
    load = data["sections"][section]["load"]
    if load > QUIET:
        yield f"> Taken on a machine that did other work too (load {load:.0f} on {data['machine']['cores']} cores): the"
        yield "> durations are upper bounds, and ratios of them rough.\n"


def _cost(data: Data) -> Iterator[str]:
    rows = []
    for label, entry in _results(data, "cost").items():
        rows.append(
            (label, f"{mean(entry['cpu']):.2f}", f"{median(entry['wall']):.2f}", f"{mean(entry['in']) / 1e6:.2f}",
             f"{mean(entry['out']) / 1e3:.0f}", f"{entry['peak']:,.0f}")
        )  # fmt: skip
    opening = median(entry["open"] for entry in _results(data, "cost").values())
    yield "## One image on one core\n"
    yield from _shared(data, "cost")
    yield "From the bytes of a JPEG to the bytes of its mask's PNG, one session with one thread, pinned to one core."
    yield f"Finding and opening the model takes {opening:.1f} s, once for each process.\n"
    yield from table(("", "CPU, s", "wall, s", "JPEG, MB", "mask, kB", "peak memory, MB"), rows)


def _turns(data: Data, section: str, number: int) -> list[Data]:
    return [entry for key, entry in _results(data, section).items() if key.startswith(f"{number},")]


def _rates(data: Data, section: str, number: int) -> list[float]:
    """Return images a second of each turn, from the first image on."""
    waited = "start" if section == "map" else None  # Ray's seconds begin with the first image
    return [entry["count"] / (entry["seconds"] - entry.get(waited, 0)) for entry in _turns(data, section, number)]


def _peak(data: Data, section: str, number: int) -> float:
    return max(peak for entry in _turns(data, section, number) for peak in entry["peaks"])


def _ratio(data: Data, section: str) -> float:
    pairs = zip(_rates(data, section, 2), _rates(data, section, 1), strict=True)
    return median(two / one for two, one in pairs)


def _map(data: Data) -> Iterator[str]:
    count, rounds = (data["sections"]["map"]["settings"][key] for key in ("count", "rounds"))
    rows = [
        (f"`num_proc={n}`", f"{median(_rates(data, 'map', n)):.2f}", f"{_started(data, 'map', n):.1f}",
         f"{_peak(data, 'map', n):,.0f}")
        for n in (1, 2)
    ]  # fmt: skip
    yield "## `datasets.map` on one machine\n"
    yield from _shared(data, "map")
    yield f"{count} JPEGs of {SIZE} by `ForegroundMapper`, {rounds} turns each way, interleaved. One process has the"
    ratio = _ratio(data, "map")
    yield f"threads of all cores; two share them. From the first image on two do {ratio:.2f}× the work of one."
    yield "Before that each process starts, and its first batch opens the model, which counts in short runs."
    if data["sections"]["map"]["load"] > QUIET:
        yield "On a shared machine two processes also get more of it than one, so that the ratio says little.\n"
    elif ratio < WORTH_IT:
        yield "The graph keeps all cores busy already: leave `num_proc` out.\n"
    else:
        yield "So `num_proc` is worth its memory.\n"
    head = ("", "images a second", "first image after, s", "peak memory of a worker, MB")
    yield from table(head, rows)


def _started(data: Data, section: str, number: int) -> float:
    return median(entry["start"] for entry in _turns(data, section, number))


def _ray(data: Data) -> Iterator[str]:
    count, rounds = (data["sections"]["ray"]["settings"][key] for key in ("count", "rounds"))
    rows = [
        (n, f"{median(_rates(data, 'ray', n)):.2f}", f"{n / median(_rates(data, 'ray', n)):.2f}",
         f"{_peak(data, 'ray', n):,.0f}", f"{_started(data, 'ray', n):.0f}")
        for n in (1, 2)
    ]  # fmt: skip
    yield "## Ray Data\n"
    yield from _shared(data, "ray")
    yield f"{count} JPEGs of {SIZE} by `ray.map_batches`, actors of one core each, {rounds} turns each way,"
    yield f"interleaved. Two actors do {_ratio(data, 'ray'):.2f}× the work of one. The clock starts when the first"
    yield "image is read. An actor's memory includes what it shares with Ray's object store.\n"
    head = (
        "actors",
        "images a second",
        "core-seconds an image",
        "peak memory of an actor, MB",
        "first image after, s",
    )
    yield from table(head, rows)


def _busy(data: Data) -> float:
    """Core-seconds of an image with two Ray actors at work, over its CPU seconds on one core without Ray."""
    return 2 / median(_rates(data, "ray", 2)) / mean(_results(data, "cost")[SIZE]["cpu"])


def _projections(data: Data) -> Iterator[str]:
    quiet = _has_ray(data) and all(data["sections"][name]["load"] <= QUIET for name in ("cost", "ray"))
    factor, rows = _busy(data) if quiet else 1.0, []
    for label, entry in _results(data, "cost").items():
        for name, number in (("1 M", MILLION), ("1 B", BILLION)):
            hours = mean(entry["cpu"]) * factor * number / 3600
            read, written = (mean(entry[key]) * number / 1e12 for key in ("in", "out"))
            there = hours / (CORES * NODES)
            rows.append((f"{name} of {label}", f"{hours:,.0f}", f"{there:,.1f}", f"{read:,.2f}", f"{written:,.3f}"))
    peak = _peak(data, "ray", 2) if _has_ray(data) else _results(data, "cost")[SIZE]["peak"]
    yield "## A million, a billion\n"
    if quiet:
        yield f"CPU seconds of one image, times {factor:.2f}: what an image of {SIZE} took above with two actors on two"
        yield "cores, against a core alone."
    else:
        yield "CPU seconds of one image, without what cores at work cost each other: the machine was shared."
    yield "The cost grows with the number of images, and only with that, since no image needs another.\n"
    yield from table(("", "CPU-hours", f"hours on {NODES} × {CORES} cores", "read, TB", "written, TB"), rows)
    one, two = (_peak(data, "map", n) / 1e3 for n in (1, 2))
    yield f"**Memory** does not grow with the number of images: {peak / 1e3:.1f} GB for each actor (`memory=`"
    yield f"reserves it), {peak * CORES / 1e3:,.0f} GB for {CORES} of them, besides Ray's object store. Fewer actors"
    yield f"with more cores each need less: with `datasets.map`, one process of all cores took {one:.1f} GB, two took"
    yield f"{two:.1f} GB each. These are projections from two cores: measure one whole machine before you rent many.\n"


def _layout(data: Data) -> Iterator[str]:
    costs = _results(data, "cost")
    rows = []
    for label, entry in costs.items():
        size, minutes = mean(entry["in"]) / 1e6, mean(entry["cpu"]) / 60
        rows.append(
            (label, f"{SHARD / size:,.0f}", f"{SHARD / size * minutes:,.0f}", f"{max(1, GROUP / size):,.0f}",
             f"{MILLION * size / SHARD:,.0f}")
        )  # fmt: skip
    yield "## How many images a shard holds\n"
    share = mean(costs[SIZE]["out"]) / mean(costs[SIZE]["in"])
    yield f"A shard of {SHARD} MB of such JPEGs, and row groups of {GROUP} MB. At {SIZE} the masks have {share:.1%} of"
    yield f"the images' bytes. The model's file, which every machine needs, has {costs[SIZE]['file']:,.0f} MB.\n"
    head = ("images of", "in a shard", "minutes of a core", "in a row group", "shards for 1 M")
    yield from table(head, rows)


def _job(data: Data) -> Iterator[str]:
    settings = data["sections"]["job"]["settings"]
    yield "## A job that is killed twice\n"
    yield from _shared(data, "job")
    yield f"`foreground map` on {settings['images']:,} JPEGs of 48 to 96 pixels in {settings['shards']} Parquet shards,"
    yield "by a graph of a few operations: this is what the job costs besides the model. It was killed (`kill -9`)"
    yield "twice and started again with `--resume`; before the third start a shard was added in the midst of the"
    yield "others; the fourth start had nothing to do. On Ray it is a local cluster with two actors, and"
    yield "the command is what was killed.\n"
    for key, where in (("local", "In one process"), ("ray", "On Ray, two actors")):
        yield from _one_job(_results(data, "job")[key], where)


def _one_job(entry: Data, where: str) -> Iterator[str]:
    rows = []
    names = ("killed", "killed again", "a shard was added", "nothing to do")
    for name, run in (("not killed", entry["whole"]), *zip(names, entry["runs"], strict=True)):
        actors = f"{max(run['actors']):,.0f}" if run["actors"] else "–"
        rows.append(
            (
                name,
                run["kept"],
                run["results"],
                f"{run['rows']:,}",
                f"{run['seconds']:.0f}",
                f"{run['peak']:,.0f}",
                actors,
            )
        )
    rate = entry["whole"]["rows"] / entry["whole"]["seconds"]
    same = "the same as" if entry["equal"] and entry["manifests equal"] else "NOT the same as"
    yield f"**{where}**: {entry['rows']:,} rows in the end, {entry['distinct']:,} different ids, {entry['masks']:,}"
    yield f"masks; rows and manifest are {same} those of a run that nobody killed, which did {rate:,.0f} images a"
    yield "second.\n"
    head = ("run", "shards kept", "results at its end", "rows", "seconds", "peak memory, MB", "of an actor, MB")
    yield from table(head, rows)
