"""The `foreground` command: one file for each subcommand."""

from __future__ import annotations

import sys

from transformers_foreground.cli.app import app
from transformers_foreground.errors import ForegroundError


def main() -> None:
    """Run the command. Errors that we know become one line and exit code 1."""
    try:
        app()
    except ForegroundError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


__all__ = ["app", "main"]
