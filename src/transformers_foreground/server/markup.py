"""The parts of the page that are HTML. All text from visitors is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from transformers_foreground.server.disk import KEEP_SECONDS
from transformers_foreground.server.progress import Failure, Settings
from transformers_foreground.server.results import Result

TITLE: Final = "Remove the background"
STOPPED: Final = "Stopped."
MARK: Final = "⚠"


def header(settings: Settings) -> str:
    """Write the page's head: its title, what happens to images, and the limits."""
    return (
        f"<h1>{TITLE}</h1><p>Images stay on the machine that serves this page. It deletes them and their cut-outs "
        f"after {KEEP_SECONDS // 60} minutes, or sooner if it runs out of space. "
        f"Up to {settings.max_bytes / 1e6:g} MB and {settings.max_pixels / 1e6:g} "
        f'megapixels each.</p><p id="refused" role="alert" data-max-bytes="{settings.max_bytes}"></p>'
    )


def status(
    text: str = "",
    share: float | None = None,
    failed: Sequence[Failure] = (),
    *,
    done: bool = False,
    error: bool = False,
) -> str:
    """Write the status line: a text, a progress bar while a request runs, and the images that failed."""
    at_rest = done or text in ("", STOPPED)
    kind = "error" if error else "done" if done and not failed else "idle" if at_rest else "busy"
    text = text or "Drop, paste or choose images, then press the button. Results appear here."
    bar = ""
    if kind == "busy":
        value = "" if share is None else f' value="{share:.3f}"'
        bar = f'<progress max="1"{value} aria-label="Progress"></progress>'
    problems = "".join(f"<li><strong>{escape(f.name)}</strong>: {escape(f.why)}</li>" for f in failed)
    problems = f"<ul>{problems}</ul>" if problems else ""
    return f'<div class="status {kind}"><p>{escape(text)}</p>{bar}{problems}</div>'


def is_under_way(written: str | None) -> bool:
    """Whether a status line says that a request is running."""
    return 'class="status busy"' in (written or "")


def summary(made: Sequence[Result], failed: Sequence[Failure]) -> str:
    """Say how a request ended."""
    doubtful = sum(result.is_doubtful for result in made)
    marked = ""
    if doubtful and len(made) == 1:
        marked = " The model is unsure about this one: check it."
    elif doubtful:
        marked = f" The model is unsure about {doubtful}, marked {MARK}: check {'it' if doubtful == 1 else 'them'}."
    if not failed:
        return ("Done." if len(made) == 1 else f"Done: {len(made)} images.") + marked
    return f"{len(made)} of {len(made) + len(failed)} images are done.{marked} These failed:"


def caption(result: Result) -> str:
    """Write the text below a thumbnail."""
    return f"{MARK} {result.name}" if result.is_doubtful else result.name


def link(address: str, text: str, name: str) -> str:
    """Write a link that downloads a file and looks like a button; `name` is the element's id."""
    return f'<a class="download" id="{name}" href="{escape(address)}" download>{escape(text)}</a>'


def notice(text: str) -> str:
    """Write a message in place of a link."""
    return f'<p class="notice" role="status">{escape(text)}</p>'
