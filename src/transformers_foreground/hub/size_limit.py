"""Refuse to download weights that are larger than `env.max_model_bytes`."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from transformers_foreground.env import env
from transformers_foreground.errors import ModelTooLargeError
from transformers_foreground.hub.repository import Repo

SizesOf = Callable[[], Mapping[str, int | None]]
"""Gives the dtypes that a model has and the size in bytes of each, `None` where the server does not say."""


def total(sizes: Iterable[int | None]) -> int | None:
    """Add up sizes; `None` where one is not known."""
    known = list(sizes)
    return None if None in known else sum(size or 0 for size in known)


def check_size(repo: Repo, dtype: str, size: int, sizes_of: SizesOf, *, whole: bool = True) -> None:
    """Refuse to download weights, or to go on with them, where they are too large.

    Args:
        repo: Where they are.
        dtype: Their dtype.
        size: Bytes of the files that are not here: the graph and its external data.
        sizes_of: Asked for the dtypes to choose from instead.
        whole: Whether `size` is final. If not, so many bytes have come of a file whose size the server did not say.

    Raises:
        ModelTooLargeError: They are larger than `env.max_model_bytes`.
    """
    limit = env.max_model_bytes
    if limit is None or size <= limit:
        return
    how_large = readable(size) if whole else f"more than {readable(limit)}"
    fact = f"{repo.model_id} ({dtype}) is {how_large}{_room(repo)}"
    smaller = [
        f"{other} ({readable(other_size)})" if other_size else other
        for other, other_size in sizes_of().items()
        if other != dtype and (other_size is None or other_size < size or not whole)
    ]
    raise ModelTooLargeError(
        f"{fact}. env.max_model_bytes allows {readable(limit)}: to download it, set that to a larger number or to None "
        "(the command: --yes)" + (f", or choose a smaller dtype: {', '.join(smaller)}." if smaller else "."),
        fact,
        size if whole else None,
    )


def readable(size: int) -> str:
    """Write a number of bytes in GB, or small ones in MB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def _room(repo: Repo) -> str:
    """Say how much room the cache's disk has, if it has one."""
    if repo.cache is None:
        return ""
    cache = Path(repo.cache).absolute()
    try:
        free = shutil.disk_usage(next(folder for folder in (cache, *cache.parents) if folder.is_dir())).free
    except (OSError, StopIteration):
        return ""
    return f"; {readable(free)} are free in {cache}"
