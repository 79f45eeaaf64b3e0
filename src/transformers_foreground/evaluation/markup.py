"""HTML and SVG elements whose text is always escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

_VOID = ("br", "img", "meta")


class Html(str):
    """Text that is markup already, and is not escaped again."""

    __slots__ = ()


def tag(name: str, /, *children: str | None, **attributes: object) -> Html:
    """Return an element.

    Args:
        name: Its name.
        children: What is in it: `Html` as it is, other text escaped, `None` left out.
        attributes: Underscores become hyphens, one at the end goes; `None` is left out.
    """
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Html(f"<{name}{told}>")
    return Html(f"<{name}{told}>{join(*children)}</{name}>")


def join(*children: str | None) -> Html:
    """Return children one after another: `Html` as it is, other text escaped, `None` left out."""
    return Html("".join(child if isinstance(child, Html) else escape(child) for child in children if child is not None))


def table(name: str, headings: Sequence[str], rows: Sequence[Html], *, kind: str, left: bool = False) -> Html:
    """Return a table in a box of its own, which scrolls (by keyboard, too) where it is too wide.

    Args:
        name: What the box is called for those who cannot see it.
        headings: The heads of its columns.
        rows: Elements "tr".
        kind: Its class.
        left: Whether all heads are set to the left.
    """
    cells = [tag("th", heading, scope="col", class_="left" if left else None) for heading in headings]
    inside = tag("table", tag("thead", tag("tr", *cells)), tag("tbody", *rows), class_=kind)
    return tag("div", inside, class_="box", role="region", aria_label=name, tabindex="0")


def counted(number: int, what: str) -> str:
    """Return a number with its noun, in the plural unless it is one."""
    return f"{number} {what}{'' if number == 1 else 's'}"
