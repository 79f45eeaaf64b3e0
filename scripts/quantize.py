"""Quantise a model and write docs/quantization.md: `python scripts/quantize.py MODEL --images FOLDER --curve`."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path

from transformers_foreground.errors import ForegroundError
from transformers_foreground.quantization.evaluation import Bounds
from transformers_foreground.quantization.plan import Method
from transformers_foreground.quantization.report import report
from transformers_foreground.quantization.run import quantize


def main() -> int:
    """Run with the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="folder, or id of a model in models/")
    parser.add_argument("--images", action="append", required=True, help="to calibrate on; may be given again")
    parser.add_argument("--count", type=int, default=32, help="how many (default: 32)")
    parser.add_argument("--method", choices=["auto", "percentile", "mse", "max"], default="auto")
    parser.add_argument("--percentile", type=float, default=99.95)
    parser.add_argument("--keep-float", default="auto", help="auto, how many parts stay fp32, or their names")
    parser.add_argument("--evaluate", action="append", default=[], help="to judge by; may be given again")
    parser.add_argument("--evaluate-count", type=int, help="most pictures of each")
    parser.add_argument("--curve", action="store_true", help="also measure other methods and q8")
    parser.add_argument("--output", help="file to write")
    parser.add_argument("--report", type=Path, help="write a page here, such as docs/quantization.md")
    options = parser.parse_args()
    started = time.monotonic()
    try:
        outcome = quantize(
            options.model,
            options.images,
            count=options.count,
            method=None if options.method == "auto" else Method(clip=options.method, percent=options.percentile),
            keep_float=options.keep_float,
            evaluate=options.evaluate,
            evaluate_count=options.evaluate_count,
            curve=options.curve,
            output=options.output,
            say=lambda line: print(line, flush=True),
        )
    except ForegroundError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    command = shlex.join(["python", "scripts/quantize.py", *sys.argv[1:]])
    page = report(options.model, outcome, command, (time.monotonic() - started) / 60, Bounds())
    print(page)
    if options.report:
        options.report.parent.mkdir(parents=True, exist_ok=True)
        options.report.write_text(page, encoding="utf-8")
    return 0 if outcome.safe else 2


if __name__ == "__main__":
    sys.exit(main())
