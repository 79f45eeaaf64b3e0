"""Targets for speed and memory, against what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

QUIET = 0.5
Data = Mapping[str, Any]


@dataclass(frozen=True)
class Goal:
    """One row of the table of targets."""

    what: str
    aim: str
    got: str
    met: bool | None

    @property
    def verdict(self) -> str:
        """`met` or `missed`; nothing where it is not known."""
        return "not measured" if self.met is None else "met" if self.met else "missed"


def results(data: Data, section: str) -> Data:
    """Return a section's results; none where it was not measured."""
    found: Data = data["sections"].get(section, {}).get("results", {})
    return found


def paired(above: list[float], below: list[float]) -> float:
    """Median of the ratios within each round."""
    return median(a / b for a, b in zip(above, below, strict=False))


def others(data: Data, low: bool | None = None) -> list[str]:
    """Names of the peers proper: all, or those in reduced or in full precision."""
    return [
        name
        for name, peer in data["peers"].items()
        if not peer["ours"] and not peer["floor"] and low in (None, peer["low"])
    ]


def goals(data: Data) -> Iterator[Goal]:
    """Compute every target that was measured."""
    fp32 = "ours fp32"
    low = [name for name, peer in data["peers"].items() if peer["ours"] and peer["low"]]
    exact, reduced = others(data, low=False), others(data, low=True)
    yield from _warm(data, fp32, (1.0, 1.0, 1.6), exact)
    for name in low:
        for rivals in (exact, reduced):
            yield from _warm(data, name, (2.0, 2.3, 2.8), rivals)
    yield from _overhead(data)
    yield from _folder(data, fp32, 1.5, exact)
    for name in low:
        for rivals in (exact, reduced):
            yield from _folder(data, name, 3.0, rivals)
    yield from _throughput(data)
    yield from _cold(data, low, others(data))
    yield from _memory(data, fp32, 1.0, 1200)
    for name in low:
        yield from _memory(data, name, 0.75, 900)
    yield from _flat(data)


def _warm(data: Data, name: str, aims: tuple[float, ...], rivals: list[str]) -> Iterator[Goal]:
    for aim, (label, seconds) in zip(
        aims, results(data, "warm").get("all", {}).get("seconds", {}).items(), strict=False
    ):
        ratios = {p: paired(seconds[p], seconds[name]) for p in rivals if seconds.get(p) and seconds.get(name)}
        if ratios:
            best = min(ratios, key=ratios.__getitem__)
            what = f"one image of {label}, warm, {name}: speed against {best}"
            yield Goal(what, f"≥ {aim:.1f}×", f"{ratios[best]:.2f}×", ratios[best] >= aim)


def _overhead(data: Data) -> Iterator[Goal]:
    found = results(data, "overhead").get("ours fp32")
    if not found:
        return
    seconds = found["seconds"]
    for key, what in (("array to mask", "decoded image to mask"), ("JPEG to mask", "JPEG to mask")):
        over = paired(seconds[key], seconds["bare"]) - 1
        yield Goal(f"12 MP, {what}, fp32: time beyond the bare session's", "≤ 5 %", f"{over:+.1%}", over <= 0.05)
    created = paired(found["creation"]["ours"], found["creation"]["bare"])
    yield Goal("opening a session, against bare `InferenceSession`", "≤ 1.2×", f"{created:.2f}×", created <= 1.2)


def per_image(entry: Mapping[str, Any]) -> float:
    """Seconds for each image of a folder."""
    return float(entry["seconds"] / entry["count"])


def relative(entry: Mapping[str, Any]) -> float:
    """Seconds for each image, in bare session runs at that time."""
    return per_image(entry) / median(entry["bare"])


def _folder(data: Data, name: str, aim: float, rivals: list[str]) -> Iterator[Goal]:
    found = results(data, "folder")
    there = {p: relative(found[p]) for p in rivals if p in found}
    if name in found and there:
        best = min(there, key=there.__getitem__)
        ratio, count = there[best] / relative(found[name]), found[name]["count"]
        what = f"a folder of {count} images of 12 MP, {name}: throughput against {best}"
        yield Goal(what, f"≥ {aim:.1f}×", f"{ratio:.2f}×", ratio >= aim)


def cold_seconds(data: Data) -> dict[str, list[float]]:
    """Seconds of each cold start, by peer; of those that did start."""
    found = results(data, "cold").get("all", {})
    return {name: [run["seconds"] for run in runs] for name, runs in found.items() if isinstance(runs, list) and runs}


def _cold(data: Data, names: list[str], rivals: list[str]) -> Iterator[Goal]:
    starts = cold_seconds(data)
    there = {p: median(starts[p]) for p in rivals if p in starts}
    for name in names:
        if name in starts and there:
            best = min(there, key=there.__getitem__)
            ratio = paired(starts[best], starts[name])
            yield Goal(f"a cold start, 2 MP, {name}: speed against {best}", "≥ 2.0×", f"{ratio:.2f}×", ratio >= 2)


def _throughput(data: Data) -> Iterator[Goal]:
    found = results(data, "folder").get("ours fp32")
    if found:
        share = 1 / relative(found)
        what = "the same folder, ours fp32: throughput against back-to-back `session.run`"
        yield Goal(what, "≥ 97 %", f"{share:.1%}", share >= 0.97)


def _memory(data: Data, name: str, share: float, most: float) -> Iterator[Goal]:
    """Peak memory against the smallest peer's, and in a folder also against `most` MB."""
    folder = "a folder of 12 MP"
    for title, peaks in (
        ("single images up to 12 MP", results(data, "warm").get("all", {}).get("peak", {}).get("12 MP", {})),
        (folder, {peer: entry["peak"] for peer, entry in results(data, "folder").items()}),
    ):
        if name not in peaks:
            continue
        what, own = f"peak memory, {title}, {name}", peaks[name]
        there = {peer: peaks[peer] for peer in others(data) if peer in peaks}
        if there:
            least = min(there, key=there.__getitem__)
            aim = "≤ the smallest peer's" if share == 1 else f"≤ {share} of the smallest peer's"
            got = f"{own:,.0f} MB, {least} {there[least]:,.0f} MB"
            yield Goal(what, aim, got, own <= share * there[least])
        if title == folder:
            yield Goal(what, f"≤ {most:,} MB", f"{own:,.0f} MB", own <= most)


def settled(rss: list[list[float]]) -> tuple[float, float]:
    """Memory once warm (the most within the first tenth of the images), and the most after it."""
    cut = max(1, len(rss) // 10)
    return max(value for _, value in rss[:cut]), max(value for _, value in rss[cut:] or rss)


def _flat(data: Data) -> Iterator[Goal]:
    for name, entry in results(data, "memory").items():
        early, late = settled(entry["rss"])
        growth = late / early - 1
        what = f"memory over {entry['rss'][-1][0]} images ({name}): the most after the first tenth, against within it"
        yield Goal(what, "flat (≤ +3 %)", f"{growth:+.1%}", growth <= 0.03)
