"""Read recipe files: YAML of limited size and depth, and values whose errors name file, place and key."""

from __future__ import annotations

import difflib
import math
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from transformers_foreground.errors import UnsupportedOptionError

MAX_TEXT: Final = 100  # characters of a name, which becomes the name of a folder
_MAX_BYTES: Final = 1_000_000
_MAX_NODES: Final = 50_000  # keys and values, an alias counted as often as it is used
_MAX_DEPTH: Final = 20


def read_yaml(path: Path) -> Mapping[str, Any]:
    """Read a YAML file that holds a mapping.

    Aliases are counted before they are followed, so that a small file cannot expand into a huge one.

    Raises:
        UnsupportedOptionError: It cannot be read, is too large, or holds no mapping.
    """
    import yaml

    if not path.is_file():
        beside = [found.name for kind in ("*.yaml", "*.yml") for found in sorted(path.parent.glob(kind))]
        meant = nearest(path.name, beside) or (f" In {path.parent} are: {', '.join(beside[:5])}." if beside else "")
        raise UnsupportedOptionError(f"There is no recipe {path}.{meant} docs/evaluation.md says how to write one.")
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES + 1)
        if len(text) > _MAX_BYTES:
            raise UnsupportedOptionError(f"{path} has more than {_MAX_BYTES} bytes: too many for a recipe.")
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
        node = loader.get_single_node()
        raw = None
        if node is not None:
            _check_node(node, path)
            raw = loader.construct_document(node)
    except UnsupportedOptionError:
        raise
    except Exception as error:  # PyYAML lets ValueError, RecursionError and others through
        raise UnsupportedOptionError(f"The recipe {path} cannot be read: {error or type(error).__name__}") from error
    if not isinstance(raw, Mapping):
        raise UnsupportedOptionError(f"The recipe {path} must be a mapping with the keys models and datasets.")
    return raw


def _check_node(root: Any, path: Path) -> None:
    import yaml

    count, stack = 0, [(root, 0)]
    while stack:
        node, depth = stack.pop()
        count += 1
        if count > _MAX_NODES or depth > _MAX_DEPTH:
            raise UnsupportedOptionError(
                f"{path}, line {node.start_mark.line + 1}: more than {_MAX_NODES} values (with "
                f"aliases expanded) or more than {_MAX_DEPTH} levels: too many for a recipe."
            )
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode) and key.value in seen:
                    raise UnsupportedOptionError(
                        f"{path}, line {key.start_mark.line + 1}: the key {reprlib.repr(key.value)} occurs twice."
                    )
                seen.add(str(key.value))
            stack += [(child, depth + 1) for pair in node.value for child in pair]
        elif isinstance(node, yaml.SequenceNode):
            stack += [(child, depth + 1) for child in node.value]


def nearest(word: object, known: Iterable[str]) -> str:
    """Return " Did you mean …?" with the most similar known word, or an empty string."""
    by_lower = {name.lower(): name for name in known}
    found = difflib.get_close_matches(str(word)[:MAX_TEXT].lower(), by_lower, 1)
    return f" Did you mean {by_lower[found[0]]!r}?" if found else ""


@dataclass(frozen=True)
class Section:
    """A mapping of a recipe. Every error names the file, the place in it and the key.

    Attributes:
        raw: The mapping as it was read.
        where: The file and the place in it, for messages.
    """

    raw: Mapping[str, Any]
    where: str

    @classmethod
    def of(cls, raw: Any, where: str, known: Sequence[str]) -> Section:
        """Check that this is a mapping with known keys only."""
        if not isinstance(raw, Mapping):
            raise UnsupportedOptionError(
                f"{where}: {reprlib.repr(raw)} must be a mapping with keys of {', '.join(known)}."
            )
        for key in raw:
            if key not in known:
                raise UnsupportedOptionError(
                    f"{where}: unknown key {reprlib.repr(key)}.{nearest(key, known)} Known: {', '.join(known)}."
                )
        return cls(raw, where)

    def wrong(self, key: str, problem: str) -> UnsupportedOptionError:
        """Return the error for a value."""
        return UnsupportedOptionError(f"{self.where}, {key}: {reprlib.repr(self.raw.get(key))} is {problem}.")

    def list(self, key: str) -> Sequence[Any]:
        """Return a list; empty if the key is absent or null."""
        value = self.raw.get(key)
        if value is None:
            return ()
        if not isinstance(value, (list, tuple)):
            raise self.wrong(key, "not a list")
        return value

    def mapping(self, key: str) -> Mapping[str, Any]:
        """Return a mapping; empty if the key is absent or null."""
        value = self.raw.get(key)
        if value is None:
            return {}
        if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
            raise self.wrong(key, "not a mapping with text keys")
        return value

    def text(self, key: str, longest: int = 4096) -> str | None:
        """Return a text, or `None` if the key is absent or null; a number becomes text."""
        value = self.raw.get(key)
        return None if value is None else self._text(key, value, longest)

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts."""
        return tuple(self._text(f"{key}[{i}]", value) for i, value in enumerate(self.list(key)))

    def _text(self, key: str, value: Any, longest: int = 4096) -> str:
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise UnsupportedOptionError(f"{self.where}, {key}: {reprlib.repr(value)} is not text; put it in quotes.")
        text = " ".join(str(value).split()) if isinstance(value, str) else str(value)
        if not text or len(text) > longest or not text.isprintable():
            raise UnsupportedOptionError(
                f"{self.where}, {key}: {reprlib.repr(value)} must be 1 to {longest} printable characters."
            )
        return text

    def one_of(self, key: str, known: Sequence[str]) -> str:
        """Return a text that must be one of `known`."""
        value = self.raw[key]
        if value not in known:
            raise self.wrong(key, f"unknown.{nearest(value, known)} Known: {', '.join(known)}")
        return str(value)

    def flag(self, key: str) -> bool:
        """Return true or false."""
        if not isinstance(self.raw[key], bool):
            raise self.wrong(key, "neither true nor false")
        return bool(self.raw[key])

    def integer(self, key: str, default: int | None, low: int, high: int) -> Any:
        """Return a whole number within bounds; the default if the key is absent or null."""
        value = self.raw.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.wrong(key, f"not a whole number from {low} to {high}")
        return value


def is_number(value: Any, low: float, high: float) -> bool:
    """Whether this is a finite number within bounds."""
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and math.isfinite(value)
        and low <= value <= high
    )
