"""Measure models on data sets: `python scripts/evaluate.py configs/evaluation/shared.yaml --data ../shared/data`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from transformers_foreground.errors import ForegroundError
from transformers_foreground.evaluation import evaluate


def main() -> int:
    """Run with the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", help="a YAML file, such as configs/evaluation/*.yaml")
    parser.add_argument("--output", type=Path, help="folder for rows and summary (default: build/evaluation/RECIPE)")
    parser.add_argument("--data", help="what paths in the recipe are relative to")
    parser.add_argument("--limit", type=int, help="only so many pictures of each data set")
    parser.add_argument("--part", type=int, nargs=2, metavar=("I", "N"), help="only the I-th of N parts")
    parser.add_argument("--restart", action="store_true", help="delete rows that are there, and start anew")
    parser.add_argument("--workers", type=int, default=2, help="threads that read and measure (default: 2)")
    parser.add_argument("--report", action="store_true", help="write report.html, with curves and pictures, too")
    options = parser.parse_args()
    try:
        summary = evaluate(
            options.recipe,
            output=options.output or Path("build/evaluation") / Path(options.recipe).stem,
            data=options.data,
            limit=options.limit,
            part=tuple(options.part) if options.part else None,
            restart=options.restart,
            workers=options.workers,
            report=options.report,
            on_row=lambda row: print(
                f"{row['model']} {row['dataset']} {row['key']} {row.get('error') or ''}", flush=True
            ),
        )
    except ForegroundError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(summary.to_markdown())
    return 1 if summary.errors else 0


if __name__ == "__main__":
    sys.exit(main())
