"""Write docs/reliability.md from the results."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

IMAGES = ("images", "files")
ENDS = ("kills", "evaluation", "full", "read_only")
LONG = ("many", "opened", "threads", "forks", "spawned")
HUB = ("downloads", "killed_download", "two_downloads", "pinned", "full_cache")
NOT_HERE = "not measured: no such disk can be made here"


def page(found: Mapping[str, Any], about: str) -> str:
    """Return the page; sections without results are left out."""
    lines = [
        "# Reliability",
        "",
        f"Written by `scripts/reliability/run.py` ({about}); every figure is computed from what it saw. A run",
        "that breaks a promise (a crash, a hang, half a file, a result of a wrong size, an error that names no file, a",
        "wrong file in the cache) ends without this page. Seconds are by the clock of a machine that others used, too.",
        "",
        *_table("Images", ("what", "how much", "what came of it"), _images(found), _when(found, *IMAGES)),
        *_table("Runs that end early", ("what", "how much", "what came of it"), _ends(found), _when(found, *ENDS)),
        *_table(
            "Signals",
            ("ended by SIGINT, SIGTERM, SIGHUP and SIGKILL", "how often", "what came of it"),
            _signals(found.get("signals") or {}),
            _when(found, "signals"),
        ),
        *_table("Long and many", ("what", "how much", "what came of it"), _long(found), _when(found, *LONG)),
        *_table("The page", ("what", "how much", "what came of it"), _page(found), _when(found, "page", "strangers")),
        *_table("Downloads", ("what goes wrong", "seconds", "what comes of it"), _downloads(found), _when(found, *HUB)),
    ]
    if found.get("downloads"):
        lines += [
            "Each against a local server that speaks the Hub's protocol, with a file of 24 MB, the Hub client's own",
            "retries and a time-out of 2 seconds. After each case the trouble is mended: the model then loads, byte",
            "for byte, and once more without any server.",
            "",
        ]
    return "\n".join(lines)


def _when(found: Mapping[str, Any], *sections: str) -> str:
    """Say on which day sections were measured."""
    days: dict[str, list[str]] = {}
    for section in sections:
        if day := found.get("days", {}).get(section):
            days.setdefault(day, []).append(section)
    if len(days) < 2:
        return "".join(f"Measured on {day}." for day in days)
    return "Measured " + "; ".join(f"on {day}: {', '.join(names)}" for day, names in sorted(days.items())) + "."


def _table(title: str, head: tuple[str, ...], rows: list[tuple[str, ...]], when: str) -> list[str]:
    """Return a heading and a table; nothing if there are no rows."""
    if not rows:
        return []
    cells = [head, ("---",) * len(head), *rows]
    return [f"## {title}", "", *([when, ""] if when else []), *(f"| {' | '.join(row)} |" for row in cells), ""]


def _images(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    rows = []
    names = {"corpus": "broken and hostile images, made one by one", "mutations": "random damage to sound images"}
    for key, name in names.items():
        if one := (found.get("images") or {}).get(key):
            came = f"{one['mask']} masks, {one['error']} errors that name the file"
            rows.append((name, f"{one['count']}", f"{came}; {one['seconds']:.0f} s, at most {one['peak']:,.0f} MB"))
    if gone := found.get("files"):
        came = f"{gone['mask']} masks, {gone['error']} errors"
        rows.append(("a pipe, links to nowhere and to itself, files that vanish meanwhile", f"{gone['count']}", came))
    return rows


def _ends(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    rows = []
    if kill := found.get("kills"):
        much = f"{kill['times']} times, {kill['count']} images"
        came = f"{kill['killed']} were killed, after {kill['least']} to {kill['most']} results; no half result; the "
        came += f"rerun equal byte for byte each time; {kill['temporary']} temporary files left after it"
        rows.append(("kill -9 of a folder's run at a random moment, then `--resume`", much, came))
    if kill := found.get("evaluation"):
        much = f"{kill['times']} times, {kill['count']} images"
        came = f"{kill['killed']} were killed, with {kill['least']} to {kill['most']} rows written; the rerun's rows "
        rows.append(("kill -9 of an evaluation, then the same again", much, came + "equal each time, none twice"))
    for key, name in {"full": "the disk fills up", "read_only": "the disk is read-only, `--force`"}.items():
        if key in found:
            one = found[key]
            came = f"{one['done']} whole results, {one['failed']} errors" if one else NOT_HERE
            rows.append((name, "60 images", came if not one or key == "full" else f"{came}; what was there is kept"))
    return rows


def _long(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    rows = []
    if one := found.get("many"):
        change = one["later"] / one["first"] - 1
        came = f"at most {one['first']:.0f} MB in the first 50, {one['later']:.0f} MB later ({change:+.1%}); "
        came += (
            f"{one['before']:.0f} MB before, {one['loaded']:.0f} at the end, {one['disposed']:.0f} after `dispose()`"
        )
        rows.append(("one pipeline, images of mixed sizes", f"{one['count']}", came))
    if one := found.get("opened"):
        came = f"{one['first']:.0f} MB after the fifth time, {one['last']:.0f} MB after the last"
        rows.append(("a pipeline opened, used and disposed of", f"{one['count']} times", came))
    names = {
        "threads": "16 threads on one pipeline",
        "forks": "fork while three threads use the pipeline; the child uses it too",
        "spawned": "the pipeline pickled, for two processes made by spawn",
    }
    for key, name in names.items():
        if one := found.get(key):
            hung = f"; {one['hung']} hung" if "hung" in one else ""
            rows.append((name, f"{one['count']}", f"{one['same']} the same bytes as alone{hung}"))
    return rows


def _signals(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    rows = []
    for name, one in found.items():
        came = (
            f"{one['ended']} were ended, with {one['least']} to {one['most']} of {one['count']} results there; nothing "
        )
        came += "half, no process left; after the next run the results of an undisturbed one, and no temporary files"
        rows.append((f"`{name}`, with a tiny model", f"{one['times']} times", came))
    return rows


def _page(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    rows = []
    if one := found.get("page"):
        rows.append(_visitors(one))
    if one := found.get("strangers"):
        answers = ", ".join(f"{count} × {status}" for status, count in sorted(one["answers"].items()))
        came = f"answers: {answers}; {one['honest']} honest requests, all done: beyond their own work at most "
        came += f"{one['most']:.1f} s (median {one['median']:.1f}), counted as CPU seconds of the server by cores "
        came += f"({one['longest']:.0f} s by the clock of a machine that others used); at most {one['peak']:,.0f} MB"
        least, most = one["megabytes"]
        much = f"{one['files']} of {one['kinds']} kinds, {least} to {most} MB; {one['visitors']} visitors"
        rows.append(("files made to cost, six at a time, beside honest visitors", much, came))
    return rows


def _visitors(one: Mapping[str, Any]) -> tuple[str, ...]:
    came = f"{one['done']} cut-outs, {one['refused']} bad images named, {one['busy']} told that it is busy, "
    came += f"{one['left']} left half-way, {one['errors']} other errors"
    seconds = f"the page itself came in {one['page_median']:.2f} s (median), {one['page_worst']:.1f} s (worst)"
    memory = f"at most {one['peak_first']:.0f} MB in the first minute, {one['peak_end']:.0f} MB in all"
    disk = f"{one['megabytes']:.0f} MB in {one['files']} temporary files at the end, {len(one['left_behind'])} after it"
    much = f"{one['users']} for {one['seconds'] / 60:.0f} minutes"
    return "visitors at the same time", much, "; ".join((came, seconds, memory, disk))


def _downloads(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    rows = []
    for case in found.get("downloads") or ():
        came = _told(case["error"]) or ("loads; went on where it was" if case["resumed"] else "loads")
        rows.append((case["case"], f"{case['seconds']:.1f}", came))
    if one := found.get("killed_download"):
        came = f"the next load asks for `{one['asked']}`; {one['left']} unfinished files left"
        rows.append((f"kill -9 with {one['there'] / 1e6:.0f} MB here", "", came))
    if one := found.get("two_downloads"):
        rows.append(("two processes at once", "", f"both load; {one['bodies']} download"))
    if one := found.get("pinned"):
        rows.append(
            ("a pinned commit, offline, after the branch went on", "", "the pinned bytes" if one["same"] else "?")
        )
    if "full_cache" in found:
        rows.append(
            ("the cache's disk is full", "", _told(found["full_cache"]["error"]) if found["full_cache"] else NOT_HERE)
        )
    return rows


def _told(error: str) -> str:
    """Return an error message without what differs from run to run."""
    error = re.sub(r"http://127\.0\.0\.1:\d+", "the Hub", error)
    error = re.sub(r"\b([0-9a-f]{6})[0-9a-f]{34,58}\b", r"\1…", error)
    return re.sub(r"/\S*/(?=small-cache|cache-|models/)", "…/", error).replace("|", "\\|")
