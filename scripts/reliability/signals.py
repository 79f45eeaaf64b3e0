"""Signals: each command is ended by each of them at random moments, and then run again.

`python scripts/reliability/signals.py` prints for each command and signal what came of it. After a signal nothing is
half there and no process is left; after the next run the results are those of an undisturbed one, and neither beside
them nor in the temporary folder is anything left.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from commands import COMMAND, ROOT, environment
from signal_cases import FETCHED, Case, Work, cases

sys.path.append(str(ROOT / "tests"))
from hub_server import HubServer
from tiny_models import write_repo

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)
PATIENCE = 120.0  # seconds that a command may take to end


class Run:
    """A command under way, in a session of its own, with a temporary folder of its own.

    Args:
        case: The command.
        work: What it works on.
        here: Its folder.
    """

    def __init__(self, case: Case, work: Work, here: Path) -> None:
        self.case, self.work, self.here = case, work, here
        (here / "tmp").mkdir(parents=True, exist_ok=True)
        own = {"TMPDIR": here / "tmp", "HF_ENDPOINT": work.hub.url, "HF_HUB_OFFLINE": "0", "HF_HUB_CACHE": here / "hub"}
        kept = {name: value for name, value in environment().items() if "proxy" not in name.lower()}
        with (here / "said").open("wb") as said:
            self.process = subprocess.Popen(
                [*COMMAND, *map(str, case.arguments(work, here))],
                cwd=here,
                env={**kept, **{name: str(value) for name, value in own.items()}},
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        """What it wrote."""
        return (self.here / "said").read_text(errors="replace")

    def is_done(self) -> bool:
        """Whether it has done its work."""
        if self.process.poll() is not None:
            return True
        return self.case.goes_on is not None and self.case.goes_on(self.work, self.here)

    def finish(self) -> float:
        """Wait until it has done its work, and end it if it goes on; returns the seconds that the work took."""
        started = time.monotonic()
        while not self.is_done():
            assert time.monotonic() - started < 10 * PATIENCE, self.said
            time.sleep(0.05)
        seconds = time.monotonic() - started
        if self.case.goes_on is None:
            assert self.process.returncode == 0, self.said
        else:
            assert self.process.poll() is None, self.said
            self.end(signal.SIGINT)
        return seconds

    def end(self, number: signal.Signals) -> int:
        """Send the process a signal, and see that it and all that it started are gone then; returns its exit code."""
        self.process.send_signal(number)
        try:
            code = self.process.wait(PATIENCE)
            until = time.monotonic() + PATIENCE
            while _lives(self.process.pid):
                assert time.monotonic() < until, f"processes are left after {number.name}"
                time.sleep(0.05)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        return code


def _lives(session: int) -> bool:
    """Whether any process of a session is left."""
    try:
        os.killpg(session, 0)
    except ProcessLookupError:
        return False
    return True


def ended(
    case: Case, work: Work, here: Path, number: signal.Signals, moment: float, wanted: dict[str, Any]
) -> tuple[bool, int]:
    """End a command in the middle, run it again, and check what is there each time.

    Args:
        case: The command.
        work: What it works on.
        here: A new folder.
        number: The signal.
        moment: Seconds after which it is sent.
        wanted: What an undisturbed run gives.

    Returns:
        Whether the command was under way still, and how many results were there.

    Raises:
        AssertionError: A promise is broken.
    """
    run = Run(case, work, here)
    asking = threading.Thread(target=run.is_done) if "serve" in str(run.process.args) else None
    time.sleep(moment)
    if asking is not None:
        asking.start()
        time.sleep(0.1)
    under_way = run.process.poll() is None
    code = run.end(number)
    if asking is not None:
        asking.join()
    # Python loses what a handler of signals raises in the garbage collector: such a run goes on for a while.
    assert "Traceback" not in run.said or "Exception ignored in" in run.said, run.said
    assert under_way or code == 0, run.said
    there = case.results(here / "out")
    assert all(wanted.get(name) == value for name, value in there.items()), "something half, or something else"
    Run(case, work, here).finish()
    assert case.results(here / "out") == wanted, "the next run does not give what an undisturbed one gives"
    left = [str(path.relative_to(here)) for path in (here / "tmp").rglob("*")]
    left += [str(path.relative_to(here)) for path in (here / "out").rglob("*.part")]
    assert not left, left
    return under_way, len(there)


def matrix(folder: Path, count: int, times: int, seed: int) -> dict[str, dict[str, Any]]:
    """End each command, with a tiny model, by each signal at random moments.

    Args:
        folder: Where to work.
        count: How many photographs.
        times: How often for each command and signal.
        seed: Of the moments.

    Returns:
        For each command `times`, how often it was `ended` in the middle, and what was there: `least` and `most`
        results of `count`.
    """
    found: dict[str, dict[str, Any]] = {}
    chance = random.Random(seed)
    files: dict[str, bytes | Path] = {"config.json": b'{"model_type": "u2net"}'}
    files["onnx/model.onnx"] = random.Random(0).randbytes(24_000_000)
    with HubServer() as hub:
        hub.add_repo(FETCHED, files)
        work = Work(folder, str(write_repo(folder / "model")), count, hub)
        for name, case in cases().items():
            undisturbed = folder / "undisturbed"
            seconds = Run(case, work, undisturbed).finish()
            wanted = case.results(undisturbed / "out")
            assert wanted, name
            shutil.rmtree(undisturbed)
            outcomes = []
            for number in SIGNALS * times:
                here = folder / "ended"
                moment = chance.uniform(0.2, 1.0) * seconds
                outcome = ended(case, work, here, number, moment, wanted)
                print(name, number.name, f"{moment:.1f} s", *outcome, file=sys.stderr, flush=True)
                outcomes.append(outcome)
                shutil.rmtree(here)
            there = [count for _, count in outcomes]
            found[name] = {
                "times": len(outcomes),
                "ended": sum(under_way for under_way, _ in outcomes),
                "count": len(wanted),
                "least": min(there),
                "most": max(there),
            }
    return found


def main() -> None:
    """Measure, and print it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=16)
    parser.add_argument("--times", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="signals-") as folder:
        print(json.dumps(matrix(Path(folder), options.count, options.times, options.seed), indent=1))


if __name__ == "__main__":
    main()
