"""The models and dtypes that visitors may choose from, and how the page describes them."""

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
from transformers_foreground.hub.repository import Repo, meant

AUTO = "auto"
_TITLES: Final = {
    AUTO: "Automatic",
    "fp32": "Full precision",
    "fp16": "Half precision",
    CHECKED: "8 bits; doubtful images run again in full precision",
}


@dataclass(frozen=True)
class Choice:
    """A model that visitors may choose.

    Attributes:
        id: Its id, or its folder.
        dtypes: The dtypes to choose from. The one that the server was started with is first, else `"auto"`.
        card: What this package knows of it; `None` for an unknown model.
    """

    id: str
    dtypes: tuple[str, ...]
    card: KnownModel | None

    @property
    def title(self) -> str:
        """Its title on the page: the beginning of its description, and its id."""
        return f"{self.card.description.partition(';')[0]} – {self.id}" if self.card else self.id


def offered(default: str, dtype: str, *, local_files_only: bool) -> tuple[Choice, ...]:
    """Return the models to choose from: the server's own, then those on this machine, then known ones on the Hub.

    Visitors can choose no others, so that nobody can make the server download whatever they like.

    Args:
        default: Id or folder of the server's own model.
        dtype: The dtype that it was started with.
        local_files_only: Leave out models that are not on this machine.
    """
    ids = dict.fromkeys([default, *_in_folders(), *(card.id for card in known_models())])
    found = [_choice(model_id, dtype if model_id == default else AUTO, local_files_only) for model_id in ids]
    usable = [c for c in found[1:] if dtypes_here(c.id) or (c.card and c.card.hub and not local_files_only)]
    return (found[0], *sorted(usable, key=lambda choice: not dtypes_here(choice.id)))


def _choice(model_id: str, dtype: str, local_files_only: bool) -> Choice:
    card = known_model(model_id)
    there = card.files if card and not local_files_only else ()
    known = {*dtypes_here(model_id), *there}
    return Choice(model_id, tuple(dict.fromkeys([dtype, AUTO, *(name for name in SUFFIXES if name in known)])), card)


def _in_folders() -> list[str]:
    """List the ids of all models in `env.local_model_path` and `env.user_model_path`, known or not."""
    tops = (Path(env.local_model_path), Path(env.user_model_path)) if env.allow_local_models else ()
    found = [path.parent.relative_to(top) for top in tops for path in sorted(top.glob("*/*/config.json"))]
    return [folder.as_posix() for folder in found]


def dtypes_here(model_id: str) -> list[str]:
    """Return the dtypes of a model whose files are on this machine."""
    try:
        repo = Repo(model_id, local_files_only=True)
    except ForegroundError:  # neither an id nor a folder: loading it will say so
        return []
    names = {dtype: file_name(dtype) for dtype in SUFFIXES}
    return [dtype for dtype, name in names.items() if repo.find(f"onnx/{name}") or repo.find(name)]


def choice_of(choices: Sequence[Choice], model: str, dtype: str) -> Choice:
    """Find a model by its id.

    Raises:
        UnsupportedOptionError: The model is not on offer, or not in this dtype.
    """
    choice = next((choice for choice in choices if choice.id == model), None)
    if choice is None:
        raise UnsupportedOptionError(
            f"Model {model!r} is not on offer. {meant(model)}Use {', '.join(c.id for c in choices)}."
        )
    if dtype not in choice.dtypes:
        raise UnsupportedOptionError(f"{model} is not on offer as {dtype!r}. Use {', '.join(choice.dtypes)}.")
    return choice


def dtype_titles(choice: Choice) -> list[tuple[str, str]]:
    """Return a model's dtypes as the page offers them: pairs of title and name."""
    return [(_dtype_title(dtype), dtype) for dtype in choice.dtypes]


def _dtype_title(dtype: str) -> str:
    bits = re.search(r"\d+", dtype)
    title = _TITLES.get(dtype) or (f"{bits[0]} bit{'s' if bits[0] != '1' else ''}" if bits else dtype)
    return title if dtype == AUTO else f"{title} ({dtype})"


def describe(choice: Choice, dtype: str) -> str:
    """Describe a model in HTML: what it is, its licence, and what choosing it will download."""
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
