"""The report's sections, each from one section of the data; empty if that was not measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from targets import paired, per_image, relative, results, settled

Data = Mapping[str, Any]
NONE = "–"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Lay out a Markdown table; columns but the first are right-aligned."""
    lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]
    return [*lines, *(f"| {' | '.join(str(cell) for cell in row)} |" for row in rows), ""]


def warm(data: Data) -> list[str]:
    """One image at a time."""
    found = results(data, "warm").get("all")
    if not found:
        return []
    labels = list(found["seconds"])
    lines = [
        "## One image, warm",
        "",
        "Seconds from a JPEG to a PNG on disk: median (least), and against ours fp32.",
        "",
    ]
    rows = []
    for name in data["peers"]:
        cells = []
        for label in labels:
            mine, own = found["seconds"][label].get(name), found["seconds"][label].get("ours fp32")
            ratio = f", {paired(mine, own):.2f}×" if mine and own else ""
            cells.append(f"{median(mine):.2f} ({min(mine):.2f}){ratio}" if mine else NONE)
        rows.append((name, *cells))
    lines += table(("", *labels), rows)
    lines += ["Peak memory, MB, after each size; and seconds until the process has loaded its model.", ""]
    rows = [
        (
            name,
            *(f"{found['peak'][label][name]:,.0f}" if name in found["peak"][label] else NONE for label in labels),
            f"{found['load'][name]:.1f}" if name in found["load"] else NONE,
        )
        for name in data["peers"]
    ]
    lines += table(("", *labels, "load, s"), rows)
    return lines + _errors(found["errors"])


def folder(data: Data) -> list[str]:
    """Many large images."""
    found = results(data, "folder")
    if not found:
        return []
    count = next(iter(found.values()))["count"]
    rows = [
        (
            name,
            f"{per_image(entry):.2f}",
            f"{60 / per_image(entry):.0f}",
            f"{median(entry['bare']):.2f}",
            f"{1 / relative(entry):.0%}",
            f"{entry['peak']:,.0f}",
            f"{entry['halves'][1] - entry['halves'][0]:+,.0f}",
            f"{entry['written'] / entry['count']:.1f}",
        )
        for name, entry in sorted(found.items(), key=lambda item: relative(item[1]))
    ]
    head = ("", "s each", "per minute", "bare session, s", "against it", "peak MB", "2nd half's peak", "MB each")
    text = f"{count} JPEGs of 12 megapixels to PNGs, by each peer's natural way: ours streams, as `foreground FOLDER`; "
    text += (
        "`rembg p` and the JavaScript packages do one after another. “Bare session” is back-to-back fp32 `session.run` "
    )
    text += "just before and after; “against it” is the throughput as a share of that."
    return ["## A folder", "", text, "", *table(head, rows), *bound(data, found)]


def bound(data: Data, found: Data) -> list[str]:
    """What a folder in fp32 can reach at best, from the profile of a single image."""
    profile = results(data, "overhead").get("ours fp32")
    if not profile or "ours fp32" not in found:
        return []
    forward = median(stages["forward"] for stages in profile["stages"])
    beside = median(sum(stages.values()) - stages["forward"] for stages in profile["stages"])
    cores = data["machine"]["threads"]
    best = forward / (forward + beside / cores)
    return [
        f"The forward keeps all {cores} cores busy. What is done besides ({beside:.2f} s of one core for each image, "
        "most of it PNG's encoding; see [the stages](#where-the-time-goes)) takes its time from them: "
        f"{best:.0%} is the most that overlap can give in fp32 here. What is lost beyond that was not traced.",
        "",
    ]


def cold(data: Data) -> list[str]:
    """From nothing to one PNG."""
    found = results(data, "cold").get("all")
    if not found:
        return []
    good = {name: runs for name, runs in found.items() if isinstance(runs, list) and runs}
    rows = [
        (
            name,
            f"{median(run['seconds'] for run in runs):.2f}",
            f"{min(run['seconds'] for run in runs):.2f}",
            f"{median(run['peak'] for run in runs):,.0f}",
        )
        for name, runs in good.items()
    ]
    text = "From starting the process (`foreground`, `rembg i`, a small script on Node) to its end, with the PNG of a "
    text += "2-megapixel JPEG on disk. Files are in the page cache, and whatever a peer compiles once is compiled."
    errors = {name: runs["error"] for name, runs in found.items() if isinstance(runs, dict)}
    return ["## Cold start", "", text, "", *table(("", "median, s", "least, s", "peak MB"), rows), *_errors(errors)]


def overhead(data: Data) -> list[str]:
    """Where an image's time goes."""
    lines = ["## Where the time goes", ""]
    for name, entry in results(data, "overhead").items():
        seconds, stages = entry["seconds"], entry["stages"]
        bare = median(seconds["bare"])
        rows = [
            (key, f"{median(runs):.3f}", f"{median(runs) - bare:+.3f}", f"{paired(runs, seconds['bare']) - 1:+.1%}")
            for key, runs in seconds.items()
        ]
        lines += [f"**{name}**, one 12-megapixel JPEG, one process, bare session and this package in turn.", ""]
        lines += table(("", "median, s", "beyond bare, s", "beyond bare"), rows)
        total = median(seconds["JPEG to PNG"])
        order = ["decode", "preprocess", "forward"]
        order += [key for key in stages[0] if key not in order]
        rows = []
        for key in order:
            spent = median(stage[key] for stage in stages)
            if spent:
                rows.append((f"`{key}`" if key != "other" else key, f"{spent * 1e3:.0f}", f"{spent / total:.1%}"))
        lines += ["JPEG to PNG, stage by stage:", "", *table(("", "ms", "share"), rows)]
    return lines if len(lines) > 2 else []


def growth(data: Data) -> list[str]:
    """How cost grows: with pixels, with images, with workers."""
    lines: list[str] = []
    seconds = results(data, "warm").get("all", {}).get("seconds", {})
    if seconds and all("bare session" in entry for entry in seconds.values()):
        rows = [
            (name, *(f"{median(entry[name]) - median(entry['bare session']):+.2f}" for entry in seconds.values()))
            for name, peer in data["peers"].items()
            if not peer["floor"] and all(entry.get(name) for entry in seconds.values())
        ]
        lines += ["**With pixels**: seconds beyond the bare fp32 session, warm.", "", *table(("", *seconds), rows)]
    for name, entry in results(data, "memory").items():
        marks, rss = (5, 10, 50, 100, 250, 500, 1000, 5000), entry["rss"]
        shown = [point for point in rss if point[0] in marks or point is rss[-1]]
        early, late = settled(rss)
        lines += [
            f"**With images**: resident memory of the stream, {name}, small images of changing size "
            f"(most in the first tenth: {early:,.0f} MB; later: {late:,.0f} MB).",
            "",
            *table(("images", *(f"{count}" for count, _ in shown)), [("MB", *(f"{mb:,.0f}" for _, mb in shown))]),
        ]
    found = results(data, "workers")
    if found:
        first = next(iter(found.values()))
        rows = [(count, f"{per_image(entry):.2f}", f"{entry['peak']:,.0f}") for count, entry in found.items()]
        lines += [f"**With workers**: {first['count']} images of 12 MP, {first['model']}; 0 is without threads.", ""]
        lines += table(("workers", "s each", "peak MB"), rows)
    return ["## How cost grows", "", *lines] if lines else []


def agreement(data: Data) -> list[str]:
    """Whether the peers' masks are alike."""
    found = results(data, "warm").get("agreement")
    if not found:
        return []
    rows = [(name, f"{entry['difference']:.4f}", f"{entry['worst_iou']:.3f}") for name, entry in found.items()]
    text = "Alpha against ours in fp32, on the 2-megapixel images: a check that all run the same network, fed as it "
    text += "should be. What is left comes from resampling, from rembg's stretching, and from precision."
    return ["## The same masks", "", text, "", *table(("", "mean abs. difference", "worst IoU"), rows)]


def _errors(errors: Mapping[str, str]) -> list[str]:
    return [part for name, error in errors.items() for part in (f"{name} failed: {error}", "")]
