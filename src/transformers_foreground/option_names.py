"""Names of options: one that does not exist is refused with those that do."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable
from typing import Any


def check_names(names: Iterable[str], *takers: Callable[..., Any]) -> None:
    """Refuse the name of an option that nobody takes.

    Args:
        names: Those that were given.
        takers: Functions and methods that take options by name.

    Raises:
        TypeError: One is unknown; the message has the nearest, and all.
    """
    parameters = [p for taker in takers for p in inspect.signature(taker).parameters.values()]
    known = list(dict.fromkeys(p.name for p in parameters if p.kind is p.KEYWORD_ONLY))
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            meant = f" Did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"Unknown option {name!r}.{meant} The options are: {', '.join(known)}.")
