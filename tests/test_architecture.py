"""Who may import whom: docs/architecture.md's arrows, read from the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = "transformers_foreground"
SOURCE = Path(__file__).resolve().parents[1] / "src" / PACKAGE

BASE = {"env", "errors", "extras", "atomic_write", "option_names", "temporary"}
ENGINE = BASE | {"images", "hub", "runtime", "segmenter"}
MAY_IMPORT = {
    "env": {"errors"},
    "errors": set(),
    "atomic_write": {"env", "errors"},
    "extras": {"errors"},
    "option_names": set(),
    "temporary": set(),
    "images": BASE,
    "hub": BASE,
    "runtime": BASE | {"images", "hub"},
    "segmenter": ENGINE - {"segmenter"},
    "compositing": BASE | {"images"},
    "animations": ENGINE | {"compositing"},
    "data": ENGINE | {"compositing"},
    "evaluation": ENGINE | {"compositing", "data"},
    "quantization": ENGINE | {"data", "evaluation"},
    "calls": ENGINE,
    "pipelines": ENGINE | {"calls", "adapters"},
    "adapters": ENGINE | {"calls"},
    "server": ENGINE | {"compositing", "data", "pipelines"},
    "cli": ENGINE | {"animations", "compositing", "data", "evaluation", "quantization", "server", "pipelines"},
}
"""Rooms (a folder, or a module at the top) to those that they may import, beside the package's own `__init__`."""
ONLY_ADAPTERS = {"torch", "transformers", "optimum"}


def modules() -> dict[str, Path]:
    """Every module's dotted name below the package, and its file."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports(path: Path, *, for_types: bool = True) -> frozenset[str]:
    """Everything that a file imports, wherever in it, as dotted names: modules, and what is taken from them."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if not for_types:
        tree = _WithoutTypes().visit(tree)
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports here are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


class _WithoutTypes(ast.NodeTransformer):
    def visit_If(self, node: ast.If) -> ast.AST | None:
        return None if ast.unparse(node.test) == "TYPE_CHECKING" else node


def own(path: Path, *, for_types: bool = True) -> Iterator[str]:
    """The package's own modules that a file imports."""
    known = modules()
    for name in imports(path, for_types=for_types):
        below = name.removeprefix(f"{PACKAGE}.")
        if below != name:
            yield below if below in known else below.rpartition(".")[0]


ROOMS = sorted({name.partition(".")[0] for name in modules()} - {""})


def test_the_map_is_whole() -> None:
    assert set(ROOMS) == set(MAY_IMPORT)


@pytest.mark.parametrize("room", ROOMS)
def test_arrows(room: str) -> None:
    wrong = {
        f"{name} imports {used}"
        for name, path in modules().items()
        if name.partition(".")[0] == room
        for used in own(path)
        if used and used.partition(".")[0] not in MAY_IMPORT.get(room, set()) | {room}
    }
    assert wrong == set()


@pytest.mark.parametrize("room", [room for room in ROOMS if room != "adapters"])
def test_only_adapters_import_torch_transformers_and_optimum(room: str) -> None:
    for name, path in modules().items():
        if name.partition(".")[0] == room:
            assert not {used.partition(".")[0] for used in imports(path)} & ONLY_ADAPTERS, name


def test_no_circles() -> None:
    """A module for types alone may know the one that uses it."""
    graph = {name: set(own(path, for_types=False)) - {"", name} for name, path in modules().items() if name}
    assert set(TopologicalSorter(graph).static_order()) == set(graph)  # or a CycleError that names the circle


def test_private_names_stay_in_their_room() -> None:
    for name, path in modules().items():
        for used in imports(path):
            room, _, rest = used.removeprefix(f"{PACKAGE}.").partition(".")
            foreign = used.startswith(f"{PACKAGE}.") and room != name.partition(".")[0]
            assert not (foreign and any(part.startswith("_") and part != "__version__" for part in rest.split("."))), (
                f"{name} imports {used}"
            )
