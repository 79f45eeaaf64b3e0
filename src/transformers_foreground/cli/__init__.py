"""The `foreground` command: one file for each subcommand."""

from __future__ import annotations

import io
import sys

from transformers_foreground.cli.app import app


def main() -> None:
    """Run the command."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # into a file, Windows writes in an old encoding that lacks letters
        sys.stdout.reconfigure(errors="backslashreplace")
    app()


__all__ = ["app", "main"]
