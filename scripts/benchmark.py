"""Compare this package with its peers in speed and memory: `python scripts/benchmark.py`. Needs IS-Net.

Peers are installed by pip and npm into build/bench/, and run the same ONNX file on the same images with the same
number of threads; rounds are interleaved (A B C A B C). Results go to build/bench/results.json, section by
section, and a run that was stopped continues from there. docs/benchmarks.md is written from that file; `--docs-only`
does only this.
"""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "bench"))
import machine
import overview
import photos
import report
import sections
from peers import MODEL, ROOT, WORK, Setup, all_peers, ours
from state import State
from workers import pin

SECTIONS = ("overhead", "warm", "cold", "folder", "memory", "workers")
DOCS = ROOT / "docs" / "benchmarks.md"
RESULTS = WORK / "results.json"
MANY_SMALL = 40  # different images for the run that watches memory


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, default=MODEL, help="IS-Net's folder (default: %(default)s)")
    parser.add_argument("--only", action="append", choices=SECTIONS, help="only this section; may be given again")
    parser.add_argument("--again", action="append", default=[], choices=SECTIONS, help="measure this section anew")
    parser.add_argument("--fresh", action="store_true", help="measure everything anew")
    parser.add_argument("--peer", action="append", metavar="NAME", help="only peers whose name contains this")
    parser.add_argument("--quick", action="store_true", help="one short round, to see that everything works")
    parser.add_argument("--budget", type=float, default=40, metavar="MINUTES", help="begin nothing new after this")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of the warm section (default: %(default)s)")
    parser.add_argument("--folder", type=int, default=50, help="12-megapixel images (default: %(default)s)")
    parser.add_argument("--images", type=int, default=500, help="images of the memory section (default: %(default)s)")
    parser.add_argument("--memory-model", type=Path, default=ROOT / "models/xuebinqin/u2netp", help="for --images")
    parser.add_argument("--threads", type=int, default=2, help="threads (and cores) for each peer")
    parser.add_argument("--docs-only", action="store_true", help="write docs/benchmarks.md from results.json")
    parser.add_argument("--docs", type=Path, default=DOCS, help="where to write it (default: %(default)s)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where to keep results (default: %(default)s)")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.folder, options.images = 1, 3, 20
    return options


class Run:
    """One run of the benchmark.

    Args:
        options: The command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.quick = options, options.quick
        self.setup = Setup(options.model.resolve(), options.threads)
        self.state = State(options.results, options.fresh, options.budget * 60)
        found, missing = all_peers(self.setup)
        wanted = [*options.peer, "bare", "ours fp32"] if options.peer else [""]
        self.peers = [peer for peer in found if any(word in peer.name for word in wanted)]
        self.floor = next(peer for peer in self.peers if peer.floor)
        self.ours = [peer for peer in self.peers if peer.ours]
        # The command's default, for sections that measure only this package.
        self.best = next((p for p in self.ours if p.name == "ours auto"), self.ours[0])
        self.scenes = 1 if self.quick else 3
        self.photos = WORK / "photos"
        self.state.data["missing"] = missing
        self.state.data["peers"] = {
            p.name: {"what": p.what, "ours": p.ours, "low": p.low, "floor": p.floor} for p in self.peers
        }

    def __call__(self) -> None:
        """Make the images, then measure the chosen sections."""
        self.sizes = photos.sizes(self.photos, self.scenes)
        self.large = photos.many(self.photos, self.options.folder, 12, self.scenes if self.quick else 6)
        machine.settle()
        self.state.data["machine"] = machine.describe(self.options.threads, sys.argv)
        for name in self.options.only or SECTIONS:
            print(f"== {name} ==", flush=True)
            getattr(self, name)()
        self.state.save()

    def begin(self, name: str, **settings: object) -> None:
        """Open a section; what it holds stays if it was measured with the same settings."""
        self.state.section(name, {**settings, "threads": self.options.threads}, name in self.options.again)

    def overhead(self) -> None:
        """One process: the bare session and this package in turn, on a 12-megapixel JPEG."""
        rounds, photo = 2 if self.quick else 7, self.sizes["12 MP"][0]
        self.begin("overhead", rounds=rounds)
        for peer in self.ours:
            arguments = (*peer.command[2:5], self.options.threads, photo, rounds)
            self.state.measure("overhead", peer.name, partial(sections.helper, "run_overhead.py", *arguments))

    def warm(self) -> None:
        """One image at a time, three sizes, all peers; and whether their masks agree."""
        self.begin("warm", rounds=self.options.rounds, peers=[p.name for p in self.peers])
        self.state.measure("warm", "all", partial(sections.warm, self.peers, self.sizes, self.options.rounds))
        self.state.measure("warm", "agreement", partial(sections.agreement, self.peers, self.sizes["2 MP"]))

    def cold(self) -> None:
        """Measure from the start of a process to its end."""
        rounds = 1 if self.quick else 3
        self.begin("cold", rounds=rounds, peers=[p.name for p in self.peers])
        self.state.measure("cold", "all", partial(sections.cold_starts, self.peers, self.sizes["2 MP"][0], rounds))

    def folder(self) -> None:
        """Many large images, each peer in its natural way."""
        self.begin("folder", count=len(self.large))
        for peer in sorted((p for p in self.peers if not p.floor), key=lambda p: not p.ours):
            self.state.measure("folder", peer.name, partial(sections.folder, peer, self.floor, self.large))

    def memory(self) -> None:
        """Resident memory over very many small images of changing size."""
        each, scenes = (2, 1) if self.quick else (MANY_SMALL // 4, self.scenes)
        by_size = [photos.many(self.photos, each, mp, scenes) for mp in (0.1, 0.2, 0.3, 0.5)]
        small = [path for group in zip(*by_size, strict=True) for path in group]
        isnet = max(10, self.options.images // 10)
        self.begin("memory", images=self.options.images, isnet=isnet, model=self.options.memory_model.name)
        light = ours(Setup(self.options.memory_model.resolve(), self.options.threads), "fp32", "cpu", "fp32")
        for name, peer, count in (
            (self.options.memory_model.name, light, self.options.images),
            (self.best.name, self.best, isnet),
        ):
            self.state.measure("memory", name, partial(sections.growth, peer, small, count))

    def workers(self) -> None:
        """How our stream grows with its threads."""
        count = min(3 if self.quick else 10, len(self.large))
        self.begin("workers", count=count, model=self.best.name)
        for n in (0, 1, 2, 4):
            work = partial(sections.stream_workers, self.best, self.large[:count], n)
            self.state.measure("workers", str(n), work)


def main() -> int:
    """Measure, then write the report."""
    options = parse()
    if not options.docs_only:
        if not (options.model / "onnx" / "model.onnx").exists():
            fetch = "foreground models fetch imgly/isnet-general-use --folder models"
            print(f"{options.model} has no onnx/model.onnx: run `{fetch}` first.", file=sys.stderr)
            return 2
        pin(options.threads)
        Run(options)()
    state = State(options.results, False, 0)
    options.docs.parent.mkdir(parents=True, exist_ok=True)
    options.docs.write_text(report.write(state.data))
    options.docs.with_name(overview.CHART).write_text(overview.chart(state.data))
    print(f"wrote {os.path.relpath(options.docs)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
