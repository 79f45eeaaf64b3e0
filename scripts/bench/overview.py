"""The beginning of the report: one table and one chart."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from statistics import median

from report_parts import NONE, Data, table
from targets import cold_seconds, per_image, results

CHART = "benchmarks.svg"
ROW, LEFT, WIDTH = 30, 170, 640  # pixels: of a bar with its gap, of the names, of the whole
STYLE = """\
    text { font: 14px system-ui, sans-serif; fill: #24292f } .ours { fill: #1a7f37 } .other { fill: #8c959f }
    @media (prefers-color-scheme: dark) { text { fill: #e6edf3 } }"""


def overview(data: Data) -> list[str]:
    """Return a table with a line for each peer: one image, a folder, a cold start, memory."""
    warm, folder = results(data, "warm").get("all", {}), results(data, "folder")
    cold = cold_seconds(data)
    seconds = warm.get("seconds", {})

    def cell(values: Sequence[float]) -> str:
        return f"{median(values):.2f}" if values else NONE

    rows = []
    for name, peer in data["peers"].items():
        if peer["floor"]:
            continue
        entry = folder.get(name)
        rows.append(
            (
                f"**{name}**" if peer["ours"] else name,
                *(cell(by_peer.get(name, [])) for by_peer in seconds.values()),
                f"{60 / per_image(entry):.0f}" if entry else NONE,
                cell(cold.get(name, [])),
                f"{entry['peak']:,.0f}" if entry else NONE,
            )
        )
    head = ("", *(f"{label}, s" for label in seconds), "folder of 12 MP, images a minute", "from a cold start, s")
    lines = [
        "The same model (IS-Net, 1024²) on the same images and machine, each tool as it comes. **ours auto** is what "
        "the command does by default; **ours fp32** gives Transformers.js' masks byte for byte.",
        "",
        *table((*head, "most memory in the folder, MB"), rows),
    ]
    return [*lines, f"![Images a minute of a folder of 12-megapixel images]({CHART})", ""] if folder else lines


def chart(data: Data) -> str:
    """Draw images a minute in a folder as bars, in SVG; empty if that was not measured."""
    rates = {name: 60 / per_image(entry) for name, entry in results(data, "folder").items()}
    if not rates:
        return ""
    scale = (WIDTH - LEFT - 60) / max(rates.values())
    height = ROW * len(rates) + 40
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'role="img" aria-label="Images a minute, by tool">',
        f"  <style>\n{STYLE}\n  </style>",
        f'  <text x="{LEFT}" y="20">12-megapixel images a minute, a folder of them</text>',
    ]
    for i, (name, rate) in enumerate(sorted(rates.items(), key=lambda item: -item[1])):
        top, bar = 32 + ROW * i, rate * scale
        kind = "ours" if data["peers"][name]["ours"] else "other"
        lines += [
            f'  <text x="{LEFT - 8}" y="{top + 16}" text-anchor="end">{escape(name)}</text>',
            f'  <rect class="{kind}" x="{LEFT}" y="{top}" width="{bar:.0f}" height="22" rx="3"/>',
            f'  <text x="{LEFT + bar + 8:.0f}" y="{top + 16}">{rate:.0f}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])
