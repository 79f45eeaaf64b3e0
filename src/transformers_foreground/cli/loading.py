"""Load the model that a command names."""

from __future__ import annotations

import shlex
from typing import Any

import typer

from transformers_foreground.cli.console import complain, download_bar, say
from transformers_foreground.cli.planning import Job
from transformers_foreground.errors import DownloadError, GatedModelError, ModelFileNotFoundError, ModelNotFoundError


def load_model(model: str, first: Job, hidden: bool, options: dict[str, Any]) -> Any:
    """Load the model. Where it is out of reach, say which one can be had instead, and how.

    Args:
        model: Its id or folder.
        first: A picture, for the example.
        hidden: Show no bar.
        options: Of `loading.load`.

    Raises:
        typer.Exit: It is out of reach.
        ForegroundError: Anything else is wrong.
    """
    from transformers_foreground.loading import load

    try:
        with download_bar(hidden) as progress_callback:
            return load(model, progress_callback=progress_callback, **options)
    except (ModelFileNotFoundError, GatedModelError):
        raise
    except (ModelNotFoundError, DownloadError) as error:
        complain(f"error: {error}")
        say(_instead(shlex.quote(first.source)))
        raise typer.Exit(1) from error


def _instead(picture: str) -> str:
    from transformers_foreground.cards import cards
    from transformers_foreground.cli.models import dtypes_here

    here = [card.id for card in cards() if dtypes_here(card)]
    if here:
        return "On this machine already:\n" + "\n".join(f"  foreground {picture} --model {name}" for name in here)
    fetchable = [card.id for card in cards() if card.fetchable]
    return f"Then name it: foreground {picture} --model {fetchable[-1]}"
