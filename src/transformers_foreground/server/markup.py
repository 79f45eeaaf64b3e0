"""The parts of the page that are HTML. All text in them that is not ours is escaped."""

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
    """Write the page's head: its title, what becomes of images, and the limits."""
    return (
        f"<h1>{TITLE}</h1><p>Images stay on the machine that serves this page, which deletes them, and what it made "
        f"of them, after {KEEP_SECONDS // 60} minutes, or sooner where room is short. "
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
    """Write a line on how things stand, how far they are, and what has failed."""
    at_rest = done or text in ("", STOPPED)
    kind = "error" if error else "done" if done and not failed else "idle" if at_rest else "busy"
    text = text or "Results will be here: drop, paste or choose images, then press the button."
    bar = ""
    if kind == "busy":
        value = "" if share is None else f' value="{share:.3f}"'
        bar = f'<progress max="1"{value} aria-label="Progress"></progress>'
    problems = "".join(f"<li><strong>{escape(f.name)}</strong>: {escape(f.why)}</li>" for f in failed)
    problems = f"<ul>{problems}</ul>" if problems else ""
    return f'<div class="status {kind}"><p>{escape(text)}</p>{bar}{problems}</div>'


def is_under_way(written: str | None) -> bool:
    """Whether a line that `status` wrote says that something is being done."""
    return 'class="status busy"' in (written or "")


def summary(made: Sequence[Result], failed: Sequence[Failure]) -> str:
    """Say what came of a request."""
    doubtful = sum(result.is_doubtful for result in made)
    marked = f" {MARK} marks what to look at first: {doubtful} of them." if doubtful and len(made) > 1 else ""
    marked = " The model is unsure of this one: look closely." if doubtful and len(made) == 1 else marked
    if not failed:
        return ("Done." if len(made) == 1 else f"Done: {len(made)} images.") + marked
    return f"{len(made)} of {len(made) + len(failed)} images are done.{marked} These are not:"


def caption(result: Result) -> str:
    """Write what stands below a thumbnail."""
    return f"{MARK} {result.name}" if result.is_doubtful else result.name


def link(address: str, text: str, name: str) -> str:
    """Write a link that downloads a file, and looks like a button.

    Args:
        address: Below the server's.
        text: What it says.
        name: The element's id.
    """
    return f'<a class="download" id="{name}" href="{escape(address)}" download>{escape(text)}</a>'


def notice(text: str) -> str:
    """Write why there is no link."""
    return f'<p class="notice" role="status">{escape(text)}</p>'
