"""Which models and dtypes visitors may choose, and what they should know of each before it is downloaded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

from transformers_foreground.env import env
from transformers_foreground.errors import ForegroundError, UnsupportedOptionError
from transformers_foreground.hub.dtypes import CHECKED, SUFFIXES, file_name
from transformers_foreground.hub.known_models import KnownModel, known_model, known_models
from transformers_foreground.hub.repository import Repo

AUTO = "auto"
_TITLES: Final = {
    AUTO: "Automatic",
    "fp32": "Full precision",
    "fp16": "Half precision",
    CHECKED: "8 bits, doubtful images again in full precision",
}


@dataclass(frozen=True)
class Choice:
    """A model that visitors may choose.

    Attributes:
        id: Its id, or its folder.
        dtypes: What it can be loaded in, `"auto"` first.
        card: What is known of it.
    """

    id: str
    dtypes: tuple[str, ...]
    card: KnownModel | None

    @property
    def title(self) -> str:
        """What it is called on the page: the beginning of its description, and its id."""
        return f"{self.card.description.partition(';')[0]} – {self.id}" if self.card else self.id


def offered(default: str, dtype: str, *, local_files_only: bool) -> tuple[Choice, ...]:
    """Return the models to choose from: the default first, then those on this machine, then those that the Hub has.

    Visitors choose from these alone, so that nobody makes the server download whatever they like.

    Args:
        default: The server's own model: an id or a folder.
        dtype: The dtype that it was started with, which is offered whatever is known.
        local_files_only: Leave out what is not on this machine.
    """
    ids = dict.fromkeys([default, *_in_local_folder(), *(card.id for card in known_models())])
    found = [_choice(model_id, dtype if model_id == default else AUTO, local_files_only) for model_id in ids]
    usable = [c for c in found[1:] if dtypes_here(c.id) or (c.card and c.card.hub and not local_files_only)]
    return (found[0], *sorted(usable, key=lambda choice: not dtypes_here(choice.id)))


def _choice(model_id: str, dtype: str, local_files_only: bool) -> Choice:
    card = known_model(model_id)
    there = card.files if card and not local_files_only else ()
    known = {*dtypes_here(model_id), *there}
    return Choice(model_id, tuple(dict.fromkeys([dtype, AUTO, *(name for name in SUFFIXES if name in known)])), card)


def _in_local_folder() -> list[str]:
    """List the ids of the models below `env.local_model_path`, whether a card knows them or not."""
    top = Path(env.local_model_path)
    if not env.allow_local_models or not top.is_dir():
        return []
    folders = sorted(path.parent for path in top.glob("*/*/config.json"))
    return [folder.relative_to(top).as_posix() for folder in folders]


def dtypes_here(model_id: str) -> list[str]:
    """Return the dtypes of a model that are on this machine."""
    try:
        repo = Repo(model_id, local_files_only=True)
    except ForegroundError:  # neither an id nor a folder: loading it says so
        return []
    names = {dtype: file_name(dtype) for dtype in SUFFIXES}
    return [dtype for dtype, name in names.items() if repo.find(f"onnx/{name}") or repo.find(name)]


def choice_of(choices: Sequence[Choice], model: str, dtype: str) -> Choice:
    """Find a model among those on offer.

    Raises:
        UnsupportedOptionError: The model is not on offer, or not in this dtype.
    """
    choice = next((choice for choice in choices if choice.id == model), None)
    if choice is None:
        raise UnsupportedOptionError(f"Model {model!r} is not on offer. Use {', '.join(c.id for c in choices)}.")
    if dtype not in choice.dtypes:
        raise UnsupportedOptionError(f"{model} is not on offer as {dtype!r}. Use {', '.join(choice.dtypes)}.")
    return choice


def dtype_titles(choice: Choice) -> list[tuple[str, str]]:
    """Return what a model's dtypes are called on the page, each with its name."""
    return [(_dtype_title(dtype), dtype) for dtype in choice.dtypes]


def _dtype_title(dtype: str) -> str:
    bits = re.search(r"\d+", dtype)
    title = _TITLES.get(dtype) or (f"{bits[0]} bit{'s' if bits[0] != '1' else ''}" if bits else dtype)
    return title if dtype == AUTO else f"{title} ({dtype})"


def describe(choice: Choice, dtype: str) -> str:
    """Tell of a model in HTML: what it is, its licence, and what choosing it will download."""
    card = choice.card
    lines = []
    if card:
        licence = card.licence
        notice = "" if licence.notice.rstrip(".") == licence.name else f" {escape(licence.notice)}"
        lines = [escape(card.description), f"Licence: {_link(licence.url, licence.name)}.{notice}"]
    elif not Path(choice.id).is_dir():
        lines = [f"Licence: unknown; see {_link(f'https://huggingface.co/{quote(choice.id)}', choice.id)}."]
    lines.append(_where(choice, dtype))
    return f'<div class="model-facts">{"".join(f"<p>{line}</p>" for line in lines)}</div>'


def _where(choice: Choice, dtype: str) -> str:
    here = dtypes_here(choice.id)
    if here and dtype in (*here, AUTO):
        return f"On this machine: {', '.join(here)}."
    file = choice.card.files.get("fp32" if dtype == AUTO else dtype) if choice.card else None
    size = f" ({file.bytes / 1e6:.1f} MB)" if file and file.bytes else ""
    if choice.card and not choice.card.hub:
        return f"Not on this machine yet: <code>foreground models fetch {escape(choice.id)}</code>{size}."
    host = urlsplit(env.remote_host).netloc or env.remote_host
    return f"<strong>Not on this machine yet</strong>: your first image downloads it from {escape(host)}{size}."


def _link(url: str, text: str) -> str:
    return f'<a href="{escape(url)}" target="_blank" rel="noopener noreferrer">{escape(text)}</a>'
