"""Load the model that a command names."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any, Final

import typer

from transformers_foreground.cli.consent import with_consent
from transformers_foreground.cli.console import complain, download_bar, said_if_slow, say
from transformers_foreground.errors import DownloadError, GatedModelError, ModelFileNotFoundError, ModelNotFoundError

LINE: Final = "transformers_foreground.line"
"""The key in typer's context of the command line's words after `foreground`."""
_LONGEST: Final = 2000  # characters of a command line to show: `*.jpg` may have become thousands of names


def check_model(model: str) -> None:
    """Refuse what cannot be a model, such as a folder that does not exist, before anything is loaded.

    Raises:
        ModelNotFoundError: It cannot be one.
    """
    from transformers_foreground.hub.repository import Repo

    Repo(model)


def load_model(model: str, line: Sequence[str], hidden: bool, yes: bool, options: dict[str, Any]) -> Any:
    """Load the model. If it cannot be found or downloaded, print a command with one that can.

    Args:
        model: Its id or folder.
        line: The command line's words after `foreground`.
        hidden: Show no bar.
        yes: Download it even if it is large.
        options: Those of `Segmenter`.

    Raises:
        typer.Exit: It cannot be found or downloaded.
        ForegroundError: Anything else is wrong.
    """
    from transformers_foreground.segmenter import Segmenter

    def with_bar() -> Any:
        with download_bar(hidden) as progress_callback:
            segmenter = Segmenter(model, progress_callback=progress_callback, **options)
        with said_if_slow(f"Opening {model}; the first time takes longer", hidden):
            return segmenter.open()

    try:
        return with_consent(with_bar, yes)
    except (ModelFileNotFoundError, GatedModelError):
        raise
    except (ModelNotFoundError, DownloadError) as error:
        complain(f"error: {error}")
        if hint := _instead(line, options["dtype"]):
            say(hint)
        raise typer.Exit(1) from error


def _instead(line: Sequence[str], dtype: str) -> str:
    from transformers_foreground.cli.models import dtypes_here, models_in_folders
    from transformers_foreground.hub.known_models import known_models

    here = [card.id for card in known_models() if (dtypes := dtypes_here(card)) and dtype in ("auto", *dtypes)]
    here += [name for name, dtypes in models_in_folders().items() if dtype in ("auto", *dtypes)]
    if here:
        return "\n".join(
            ["Run it with one that is on this machine:", *(f"  {with_model(line, name)}" for name in here)]
        )
    fetchable = [card.id for card in known_models() if card.fetchable and dtype in ("auto", *card.files)]
    return f"Then name it: {with_model(line, fetchable[-1])}" if fetchable else ""


def with_model(line: Sequence[str], model: str) -> str:
    """Return the command line with another model, to paste into a shell.

    Args:
        line: The words after `foreground`.
        model: Replaces the value of `--model`, or is added.
    """
    words = list(line)
    end = words.index("--") if "--" in words else len(words)
    named = False
    for i, word in enumerate(words[:end]):
        if word.startswith("--model="):
            words[i], named = f"--model={model}", True
        elif i > 0 and words[i - 1] in ("-m", "--model"):
            words[i], named = model, True
    if not named:  # or named in another form, such as -fm MODEL: the last of two counts
        words[end:end] = ["--model", model]
    shown = shlex.join(["foreground", *words])
    return shown if len(shown) <= _LONGEST else f"the same with --model {shlex.quote(model)}"
