"""Write docs/benchmarks.md from results.json; every figure in it is computed here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import report_parts as parts
import targets
from overview import overview
from report_parts import table

Data = Mapping[str, Any]
FEW = 3  # rounds below which a median says little


def write(data: Data) -> str:
    """Return the document."""
    lines = [
        "# Benchmarks",
        "",
        *overview(data),
        "Written by `scripts/benchmark.py`; every figure is computed from what it measured. Ours runs on its command's "
        "defaults, decontamination included.",
        "",
        '"Safe" is a bound on what `device="auto"` may change: mean |Δα| ≤ 0.001 and worst IoU ≥ 0.98 against fp32 on '
        "ONNX Runtime, over 60 photos or more. [engines.md](engines.md) has what was measured.",
        "",
    ]
    lines += _machine(data) + _warnings(data) + _targets(data) + _peers(data)
    for section in (parts.warm, parts.folder, parts.cold, parts.overhead, parts.growth, parts.agreement):
        lines += section(data)
    return "\n".join([*lines, *_method(data)]).rstrip() + "\n"


def _machine(data: Data) -> list[str]:
    machine = data["machine"]
    flags = ", ".join(machine["flags"])
    return [
        f"{machine['date']}, on {machine['cpu']} ({machine['cores']} cores, {machine['memory_gib']} GiB; {flags}), "
        f"{machine['system']}, Python {machine['python']}, commit {machine['commit']}"
        f"{' with changes' if machine['changed'] else ''}. {machine['threads']} threads, pinned to as many cores, for "
        "every peer.",
        "",
    ]


def _warnings(data: Data) -> list[str]:
    lines = []
    loads = {name: entry["load"] for name, entry in data["sections"].items()}
    # The section before leaves a load of about its threads; more than that, or a load at the start, is others'.
    if data["sections"].get("warm", {}).get("settings", {}).get("rounds", FEW) < FEW:
        lines.append("**A quick run, to see that all works**: do not quote its figures.")
    if data["machine"]["load"] > targets.QUIET:
        lines.append(
            f"**The machine was not idle**: load average {data['machine']['load']:.1f} at the start. Ratios come from "
            "interleaved rounds and hold better than seconds do, but measure again before you quote either."
        )
    if any(load > data["machine"]["threads"] + 1.5 for load in loads.values()):
        shown = ", ".join(f"{name} {load:.1f}" for name, load in loads.items())
        lines.append(
            f"**Something else was running during some sections** (load average at the start of each: {shown})."
        )
    for name, why in data["missing"].items():
        lines.append(f"Not measured here: {name} ({why}).")
    for name, error in data["errors"].items():
        lines.append(f"Failed: {name} ({error}).")
    if data["skipped"]:
        lines.append(f"No time was left for: {', '.join(data['skipped'])}. The same command goes on from here.")
    return [part for line in lines for part in (f"> {line}", "")]


def _targets(data: Data) -> list[str]:
    rows = [(goal.what, goal.aim, goal.got, goal.verdict) for goal in targets.goals(data)]
    lines = ["## Targets", "", *table(("", "target", "measured", ""), rows)]
    if any(row[3] == "missed" for row in rows):
        lines += [
            "Where a target is missed, [where the time goes](#where-the-time-goes) has the profile that says why.",
            "",
        ]
    return lines


def _peers(data: Data) -> list[str]:
    about = parts.results(data, "warm").get("all", {}).get("about", {})
    rows = []
    for name, peer in data["peers"].items():
        versions = about.get(name, {}).get("versions", {})
        rows.append((name, peer["what"], ", ".join(f"{key} {value}" for key, value in versions.items())))
    lines = ["| | what it is | versions |", "|---|---|---|"]
    return ["## Peers", "", *lines, *(f"| {' | '.join(row)} |" for row in rows), ""]


def _method(data: Data) -> list[str]:
    took = sum(entry["seconds"] for entry in data["sections"].values()) / 60
    rounds = data["sections"].get("warm", {}).get("settings", {}).get("rounds")
    return [
        "## Method",
        "",
        "No photographs are used: `scripts/render_photos.py` renders scenes, which are brought to each size with "
        "Lanczos, cropped, mirrored and given sensor noise, from seeds; JPEG, quality 92. Each peer is a long-lived "
        "process that gets, over a pipe, the file to cut out and the PNG to write; times are taken outside of it, from "
        f"file to PNG on disk. Rounds are interleaved (A B C A B C; {rounds} rounds, after one that is not counted); "
        "tables have medians, ratios are the medians of the rounds' own ratios. Memory is the kernel's VmHWM of the "
        "process. In a folder run the bare session runs just before and just after each peer, as the measure of the "
        "machine's speed.",
        "",
        "To do it again (peers are installed by pip and npm into build/bench/; a run that stopped goes on):",
        "",
        f"    {data['machine']['command']}",
        "",
        f"Measuring took {took:.0f} minutes. The raw data is build/bench/results.json.",
    ]
