"""docs/reliability.md, from what was measured."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

NOT_HERE = "not measured: no such disk can be made here"


def page(found: Mapping[str, Any], about: str) -> str:
    """Return the page; sections that were not measured say so."""
    lines = [
        "# Reliability",
        "",
        f"Written by `scripts/reliability/run.py` ({about}); every figure is computed from what it saw. A run",
        "that breaks a promise (a crash, a hang, half a file, a result of a wrong size, an error that names no file, a",
        "wrong file in the cache) ends without this page.",
        "",
        *_table("Pictures", ("what", "how much", "what came of it"), _pictures(found)),
        *_table("Runs that end early", ("what", "how much", "what came of it"), _ends(found)),
        *_table("Long and many", ("what", "how much", "what came of it"), _long(found)),
        *_table("The page", ("what", "how much", "what came of it"), _visitors(found.get("page"))),
        *_table("Downloads", ("what goes wrong", "seconds", "what comes of it"), _downloads(found)),
    ]
    if found.get("downloads"):
        lines += [
            "Each against a local server that speaks the Hub's protocol, with a file of 24 MB, the Hub client's own",
            "retries and a time-out of 2 seconds. After each case the trouble is mended: the model then loads, byte",
            "for byte, and once more without any server.",
            "",
        ]
    return "\n".join(lines)


def _table(title: str, head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """Return a heading and a table; nothing where there are no rows."""
    if not rows:
        return []
    cells = [head, ("---",) * len(head), *rows]
    return [f"## {title}", "", *(f"| {' | '.join(row)} |" for row in cells), ""]


def _pictures(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    rows = []
    names = {"corpus": "broken and hostile pictures, made one by one", "mutations": "random damage to sound pictures"}
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
        much = f"{kill['times']} times, {kill['count']} pictures"
        came = f"{kill['killed']} were killed, after {kill['least']} to {kill['most']} results; no half result; the "
        came += f"rerun equal byte for byte each time; {kill['temporary']} temporary files left after it"
        rows.append(("kill -9 of a folder's run at a random moment, then `--resume`", much, came))
    if kill := found.get("evaluation"):
        much = f"{kill['times']} times, {kill['count']} pictures"
        came = f"{kill['killed']} were killed, with {kill['least']} to {kill['most']} rows written; the rerun's rows "
        rows.append(("kill -9 of an evaluation, then the same again", much, came + "equal each time, none twice"))
    for key, name in {"full": "the disk fills up", "read_only": "the disk is read-only, `--force`"}.items():
        if key in found:
            one = found[key]
            came = f"{one['done']} whole results, {one['failed']} errors" if one else NOT_HERE
            rows.append((name, "60 pictures", came if not one or key == "full" else f"{came}; what was there is kept"))
    return rows


def _long(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    rows = []
    if one := found.get("many"):
        change = one["later"] / one["first"] - 1
        came = f"at most {one['first']:.0f} MB in the first 50, {one['later']:.0f} MB later ({change:+.1%}); "
        came += (
            f"{one['before']:.0f} MB before, {one['loaded']:.0f} at the end, {one['disposed']:.0f} after `dispose()`"
        )
        rows.append(("one pipeline, pictures of mixed sizes", f"{one['count']}", came))
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


def _visitors(one: Mapping[str, Any] | None) -> list[tuple[str, ...]]:
    if not one:
        return []
    came = f"{one['done']} cut-outs, {one['refused']} bad pictures named, {one['busy']} told that it is busy, "
    came += f"{one['left']} left half-way, {one['errors']} other errors"
    seconds = f"the page itself came in {one['page_median']:.2f} s (median), {one['page_worst']:.1f} s (worst)"
    memory = f"at most {one['peak_first']:.0f} MB in the first minute, {one['peak_end']:.0f} MB in all"
    disk = f"{one['megabytes']:.0f} MB in {one['files']} temporary files at the end, {len(one['left_behind'])} after it"
    much = f"{one['users']} for {one['seconds'] / 60:.0f} minutes"
    return [("visitors at the same time", much, "; ".join((came, seconds, memory, disk)))]


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
    """Return an error without what changes from run to run."""
    error = re.sub(r"http://127\.0\.0\.1:\d+", "the Hub", error)
    error = re.sub(r"\b([0-9a-f]{6})[0-9a-f]{34,58}\b", r"\1…", error)
    return re.sub(r"/\S*/(?=small-cache|cache-|models/)", "…/", error).replace("|", "\\|")
