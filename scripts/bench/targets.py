"""What issue 4 asks for, against what was measured."""

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


def others(data: Data) -> list[str]:
    """Names of the peers proper."""
    return [name for name, peer in data["peers"].items() if not peer["ours"] and not peer["floor"]]


def goals(data: Data) -> Iterator[Goal]:
    """Compute every target that was measured."""
    fp32 = "ours fp32"
    low = [name for name, peer in data["peers"].items() if peer["ours"] and peer["low"]]
    yield from _warm(data, fp32, 1.0)
    for name in low:
        yield from _warm(data, name, 2.0)
    yield from _overhead(data)
    yield from _folder(data, fp32, 1.5)
    for name in low:
        yield from _folder(data, name, 3.0)
    yield from _throughput(data)
    yield from _memory(data, [fp32, *low])
    yield from _flat(data)


def _warm(data: Data, name: str, aim: float) -> Iterator[Goal]:
    for label, seconds in results(data, "warm").get("all", {}).get("seconds", {}).items():
        ratios = {p: paired(seconds[p], seconds[name]) for p in others(data) if seconds.get(p) and seconds.get(name)}
        if ratios:
            best = min(ratios, key=ratios.__getitem__)
            what = f"one picture of {label}, warm, {name}: speed against the best peer"
            yield Goal(what, f"≥ {aim:.1f}×", f"{ratios[best]:.2f}× ({best})", ratios[best] >= aim)


def _overhead(data: Data) -> Iterator[Goal]:
    found = results(data, "overhead").get("ours fp32")
    if not found:
        return
    seconds = found["seconds"]
    for key, what in (("array to mask", "decoded picture to mask"), ("JPEG to mask", "JPEG to mask")):
        over = paired(seconds[key], seconds["bare"]) - 1
        yield Goal(f"12 MP, {what}, fp32: time beyond the bare session's", "≤ 5 %", f"{over:+.1%}", over <= 0.05)
    created = paired(found["creation"]["ours"], found["creation"]["bare"])
    yield Goal("opening a session, against bare `InferenceSession`", "≤ 1.2×", f"{created:.2f}×", created <= 1.2)


def per_picture(entry: Mapping[str, Any]) -> float:
    """Seconds for each picture of a folder."""
    return float(entry["seconds"] / entry["count"])


def relative(entry: Mapping[str, Any]) -> float:
    """Seconds for each picture, in bare session runs at that time."""
    return per_picture(entry) / median(entry["bare"])


def _folder(data: Data, name: str, aim: float) -> Iterator[Goal]:
    found = results(data, "folder")
    there = {p: relative(found[p]) for p in others(data) if p in found}
    if name in found and there:
        best = min(there, key=there.__getitem__)
        ratio, count = there[best] / relative(found[name]), found[name]["count"]
        what = f"a folder of {count} pictures of 12 MP, {name}: throughput against the best peer"
        yield Goal(what, f"≥ {aim:.1f}×", f"{ratio:.2f}× ({best})", ratio >= aim)


def _throughput(data: Data) -> Iterator[Goal]:
    found = results(data, "folder").get("ours fp32")
    if found:
        share = 1 / relative(found)
        what = "the same folder, ours fp32: throughput against back-to-back `session.run`"
        yield Goal(what, "≥ 97 %", f"{share:.1%}", share >= 0.97)


def _memory(data: Data, names: list[str]) -> Iterator[Goal]:
    for title, peaks in (
        ("single pictures up to 12 MP", results(data, "warm").get("all", {}).get("peak", {}).get("12 MP", {})),
        ("a folder of 12 MP", {name: entry["peak"] for name, entry in results(data, "folder").items()}),
    ):
        there = {name: peaks[name] for name in others(data) if name in peaks}
        for name in names:
            if there and name in peaks:
                least = min(there, key=there.__getitem__)
                got = f"{peaks[name]:,.0f} MB, {least} {there[least]:,.0f} MB"
                what = f"peak memory, {title}, {name}"
                yield Goal(what, "≤ the smallest peer's", got, peaks[name] <= there[least])


def settled(rss: list[list[float]]) -> tuple[float, float]:
    """Memory once warm (the most within the first tenth of the pictures), and the most after it."""
    cut = max(1, len(rss) // 10)
    return max(value for _, value in rss[:cut]), max(value for _, value in rss[cut:] or rss)


def _flat(data: Data) -> Iterator[Goal]:
    for name, entry in results(data, "memory").items():
        early, late = settled(entry["rss"])
        growth = late / early - 1
        what = f"memory over {entry['rss'][-1][0]} pictures ({name}): the most after the first tenth, against within it"
        yield Goal(what, "flat (≤ +3 %)", f"{growth:+.1%}", growth <= 0.03)
