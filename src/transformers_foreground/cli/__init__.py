"""The `foreground` command: one file for each subcommand."""

from __future__ import annotations

from transformers_foreground.cli.app import app


def main() -> None:
    """Run the command."""
    app()


__all__ = ["app", "main"]
