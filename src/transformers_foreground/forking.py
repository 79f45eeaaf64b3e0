"""Objects that a forked child must leave alone."""

from __future__ import annotations

import os
from typing import Any, Final
from weakref import WeakSet

_alive: Final[WeakSet[Any]] = WeakSet()
_inherited: Final[list[Any]] = []


def keep_in_children(thing: Any) -> None:
    """Never let a forked child destroy what was made before the fork; the parent still may.

    The destructor of an ONNX Runtime session waits for its threads, which a child does not have: it would hang. It
    runs wherever the garbage collector happens to, even for a session that the parent has long forgotten.

    Args:
        thing: What to keep; it must take weak references.
    """
    _alive.add(thing)


if hasattr(os, "register_at_fork"):  # Windows does not fork
    os.register_at_fork(after_in_child=lambda: _inherited.extend(_alive))
