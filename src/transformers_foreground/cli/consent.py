"""Ask before a model larger than `env.max_model_bytes` is downloaded."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

import typer

from transformers_foreground.cli.console import say
from transformers_foreground.env import env
from transformers_foreground.errors import ModelTooLargeError

Loaded = TypeVar("Loaded")


def with_consent(load: Callable[[], Loaded], yes: bool) -> Loaded:
    """Load something; ask on a terminal before each download of a model that is too large to go unasked.

    Args:
        load: Loads it; called again after a yes.
        yes: Whether the answer was given in advance, as --yes.

    Raises:
        typer.Exit: The answer is no.
        ModelTooLargeError: There is no terminal to ask on.
    """
    if yes:
        env.max_model_bytes = None
    while True:
        try:
            return load()
        except ModelTooLargeError as error:
            if not (_is_terminal(sys.stdin) and _is_terminal(sys.stderr)):
                raise
            if not _confirmed(f"{error.fact}. Download it?"):
                say("Nothing was downloaded.")
                raise typer.Exit(1) from error
            env.max_model_bytes = error.size  # what was agreed to, and no more


def _confirmed(question: str) -> bool:
    """Ask on standard error: typer's own question leaves a blank on standard output, where an image may go."""
    typer.echo(f"{question} [y/N]: ", nl=False, err=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _is_terminal(stream: object) -> bool:
    return bool(getattr(stream, "isatty", bool)())  # a closed stream is None
