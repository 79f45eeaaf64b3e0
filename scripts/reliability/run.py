"""Test bad input, faults and load, and write docs/reliability.md: `python scripts/reliability/run.py`.

Linux only. Each section uses the command, the pipeline or the page as a user does, in processes of its own; one that
breaks a promise ends the run. Results are kept in build/reliability.json, so that `--only` can measure a section again.
The page needs the extra `demo`, evaluations need `eval`, and the two do not fit into one environment: run the script in
each.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import sys
import tempfile
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import batches
import damage
import document
import downloads
import signals
from commands import ROOT, apart

Section = Callable[[], Any]


def sections(work: Path, options: argparse.Namespace) -> dict[str, Section]:
    """Return what is measured, by name; a section that cannot be measured here gives `None`."""
    model, kills, seed = options.model, options.kills, options.seed

    def page() -> dict[str, Any] | None:
        if importlib.util.find_spec("gradio") is None:
            return None
        found: dict[str, Any] = apart("page_load", "load", model, options.users, options.seconds)
        return found

    return {
        "images": lambda: damage.images(work, model, options.mutations, seed),
        "files": lambda: damage.files(work, model),
        "kills": lambda: batches.kills(work, model, 60, kills, seed),
        "full": lambda: batches.full_disk(work, model),
        "read_only": lambda: batches.read_only(work, model),
        "evaluation": lambda: batches.evaluation_kills(work, model, 60, kills, seed),
        "downloads": downloads.faults,
        "killed_download": downloads.killed,
        "two_downloads": downloads.two_at_once,
        "pinned": downloads.pinned,
        "full_cache": lambda: downloads.full(work),
        "many": lambda: apart("endurance", "many", model, options.images),
        "opened": lambda: apart("endurance", "opened_again", model, 30),
        "threads": lambda: apart("endurance", "threads", model, 48),
        "forks": lambda: apart("endurance", "forks", model, 40),
        "spawned": lambda: apart("endurance", "spawned", model, 8),
        "strangers": lambda: apart("strangers", "beside", model),
        "signals": lambda: signals.matrix(work / "signals", 16, max(1, kills // 10), seed),
        "page": page,
    }


def main() -> int:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default=str(ROOT / "models/xuebinqin/u2netp"))
    parser.add_argument("--mutations", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=300, help="how long they use the page")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", action="append", help="a section; may be given more than once")
    parser.add_argument("--results", type=Path, default=ROOT / "build/reliability.json")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs/reliability.md")
    options = parser.parse_args()
    found: dict[str, Any] = json.loads(options.results.read_text()) if options.results.is_file() else {}
    with tempfile.TemporaryDirectory(prefix="reliability-") as folder:
        chosen = sections(Path(folder), options)
        if unknown := set(options.only or ()) - set(chosen):
            parser.error(f"no section {', '.join(sorted(unknown))}; there are: {', '.join(chosen)}")
        for name, section in chosen.items():
            if options.only and name not in options.only:
                continue
            result = section()
            print(name, result, flush=True)
            if result is None and found.get(name):
                continue  # measured before, in another environment
            found[name] = result
            found.setdefault("days", {})[name] = str(date.today())
            options.results.parent.mkdir(parents=True, exist_ok=True)
            options.results.write_text(json.dumps(found, indent=1))
    about = f"{Path(options.model).name}, Python {platform.python_version()}, {platform.system()}"
    options.docs.write_text(document.page(found, about), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
