"""The wheel and the source archive: what is in them, that anyone gets the same bytes, and what they say they need."""

from __future__ import annotations

import ast
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, PathDistribution, requires
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

IN_GIT = [
    *(".gitignore", "pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "Makefile", "mkdocs.yml"),
    *("CONTRIBUTING.md", "SECURITY.md"),
    *("configs", "docs", "examples", "scripts", "src", "tests"),
]
JUNK = [
    "models/us/model/onnx/model.onnx",
    "src/transformers_foreground/left.onnx",
    "src/transformers_foreground/left.onnx_data",
    "src/transformers_foreground/__pycache__/env.cpython-311.pyc",
    "src/transformers_foreground/models/config.json",
    ".venv/lib/python3.11/site-packages/docs/page.html",
    "results/docs/mask.png",
    "dist/docs/old.whl",
    ".mypy_cache/src/x.json",
]
WHEEL_BYTES, SDIST_BYTES = 600_000, 2_500_000
DISTRIBUTIONS = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "google": "onnx",
    "markupsafe": "jinja2",
    "mkdocs": "mkdocs-material",
    "gradio_client": "gradio",
    "packaging": "hatchling",
    "py_sod_metrics": "pysodmetrics",
    "starlette": "fastapi",
    "yaml": "pyyaml",
}
"""Imported names to the packages that have them, or that always bring them, where they are not called the same."""
NOT_DECLARED = {"pip"}  # only looked for, since not every environment has it


@dataclass(frozen=True)
class Built:
    wheel: Path
    sdist: Path

    def wheel_names(self) -> set[str]:
        with zipfile.ZipFile(self.wheel) as archive:
            return set(archive.namelist())


def _copy_tree(target: Path) -> Path:
    target.mkdir(parents=True)
    skip = shutil.ignore_patterns("__pycache__", "node_modules", ".venv*")
    for name in IN_GIT:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=skip)
        else:
            shutil.copy2(source, target / name)
    return target


def _build(tree: Path, *, umask: int = 0o022, **environment: str) -> Built:
    """Build both archives by the backend, which needs no network; pip would install it anew, for seconds."""
    code = "import hatchling.build as b; print(b.build_wheel('out'), b.build_sdist('out'))"
    env = {**os.environ, **environment}
    env.pop("SOURCE_DATE_EPOCH", None)
    umasks = {"umask": umask} if os.name == "posix" else {}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tree, env=env, check=True, capture_output=True, text=True, timeout=120, **umasks)
    wheel, sdist = done.stdout.split()[-2:]
    return Built(tree / "out" / wheel, tree / "out" / sdist)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return _build(_copy_tree(tmp_path_factory.mktemp("clone") / "main"))


@pytest.fixture(scope="module")
def distribution(built: Built) -> PathDistribution:
    """What the wheel says of itself."""
    (info,) = (path for path in zipfile.Path(built.wheel).iterdir() if path.name.endswith(".dist-info"))
    return PathDistribution(info)


def _requirements(distribution: PathDistribution) -> dict[str, set[str]]:
    """Extras to the packages that they bring; `""` has those that come without any."""
    own = canonicalize_name(distribution.metadata["Name"])

    def brought(extra: str) -> set[str]:
        found = set()
        for requirement in map(Requirement, distribution.requires or ()):
            if requirement.marker is None or (extra and requirement.marker.evaluate({"extra": extra})):
                name = canonicalize_name(requirement.name)
                found |= set().union(*map(brought, requirement.extras)) if name == own else {name}
        return found

    return {extra: brought(extra) for extra in ("", *distribution.metadata.get_all("Provides-Extra"))}


# --- bytes ------------------------------------------------------------------------------------------------------------


def test_anyone_gets_the_same_bytes(built: Built, tmp_path: Path) -> None:
    """Another place, owner's rights, clock and zone; and a tree in which people have worked."""
    tree = _copy_tree(tmp_path / "a folder" / "elsewhere")
    for name in JUNK:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(b"junk")
    for i, path in enumerate(sorted(tree.rglob("*"), reverse=True)):
        path.chmod(0o700 if path.is_dir() else 0o600)
        os.utime(path, (1_000_000_000 + i, 1_000_000_000 + i))
    again = _build(tree, umask=0o077, TZ="Asia/Tokyo", LC_ALL="C", PYTHONHASHSEED="7")
    assert again.wheel_names() == built.wheel_names()
    assert again.wheel.read_bytes() == built.wheel.read_bytes()
    assert again.sdist.read_bytes() == built.sdist.read_bytes()


def test_the_source_archive_gives_the_same_wheel(built: Built, tmp_path: Path) -> None:
    with tarfile.open(built.sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (tree,) = tmp_path.iterdir()
    assert _build(tree).wheel.read_bytes() == built.wheel.read_bytes()


def test_the_wheel_has_the_package_and_nothing_else(built: Built) -> None:
    assert built.wheel.stat().st_size < WHEEL_BYTES
    source = ROOT / "src" / "transformers_foreground"
    parts = (path for path in source.rglob("*") if path.suffix in {".css", ".j2", ".js", ".py", ".typed"})
    package = {f"transformers_foreground/{path.relative_to(source).as_posix()}" for path in parts}
    cards = {f"transformers_foreground/{path.relative_to(ROOT).as_posix()}" for path in ROOT.glob("configs/**/*.yaml")}
    assert len(package) > 100
    assert len(cards) > 10
    names = built.wheel_names()
    top = built.wheel.name.removesuffix("-py3-none-any.whl")
    left = names - package - cards
    assert package | cards <= names
    assert not [name for name in left if not name.startswith(f"{top}.")]
    assert f"{top}.data/data/share/man/man1/foreground.1" in left
    assert f"{top}.dist-info/licenses/LICENSE" in left


def test_the_source_archive_has_what_is_in_git(built: Built) -> None:
    assert built.sdist.stat().st_size < SDIST_BYTES
    with tarfile.open(built.sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive}
    assert {name.partition("/")[0] for name in names} == {*IN_GIT, "PKG-INFO"}
    assert not [name for name in names if re.search(r"\.onnx|\.pyc$|__pycache__|/models/", name)]


# --- what it says -----------------------------------------------------------------------------------------------------


def test_metadata(distribution: PathDistribution) -> None:
    metadata = distribution.metadata
    assert metadata["Name"] == "transformers-foreground"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert "Typing :: Typed" in metadata.get_all("Classifier")
    assert set(metadata.get_all("Provides-Extra")) == {
        *("demo", "eval", "examples", "heif", "openvino", "optimum", "ray", "server", "spark"),
        *("all", "dev", "docs", "test"),
    }
    (command,) = distribution.entry_points
    assert (command.group, command.name) == ("console_scripts", "foreground")
    assert callable(command.load())


def test_pythons_are_the_same_everywhere(distribution: PathDistribution) -> None:
    prefix = "Programming Language :: Python :: 3."
    classified = [c.removeprefix(prefix) for c in distribution.metadata.get_all("Classifier") if c.startswith(prefix)]
    pythons = [f"3.{minor}" for minor in classified]
    assert distribution.metadata["Requires-Python"] == f">={pythons[0]}"
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    assert workflow["jobs"]["fast"]["strategy"]["matrix"]["python"] == [pythons[0], pythons[-1]]
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    assert f"Python {pythons[0]} to {pythons[-1]}," in page
    assert f'target-version = "py{pythons[0].replace(".", "")}"' in (ROOT / "pyproject.toml").read_text("utf-8")


def test_the_oldest_set_is_what_the_metadata_allows(distribution: PathDistribution) -> None:
    """Every lower bound is one that `make test-oldest` installs."""
    lines = (ROOT / "tests" / "constraints-oldest.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    bounds = {}
    for requirement in map(Requirement, distribution.requires or ()):
        lowest = [Version(clause.version) for clause in requirement.specifier if clause.operator == ">="]
        ours = requirement.marker is None or requirement.marker.evaluate({"extra": "optimum"})
        if ours and lowest:
            bounds[canonicalize_name(requirement.name)] = lowest[0]
    assert {canonicalize_name(name): Version(pin) for name, pin in pins.items()} == bounds


# --- what it needs ----------------------------------------------------------------------------------------------------


def _imported(tree: ast.Module) -> Iterator[tuple[str, bool]]:
    """Top-level names that a module imports, by statement or through `need`; and whether it does so at once."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in ("need", "importorskip"):
            names = [argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant)]
        yield from ((name.partition(".")[0], node in tree.body) for name in names)


def _third_party(folder: Path) -> Iterator[tuple[str, str, bool]]:
    own = {path.stem for name in ("tests", "scripts", "examples") for path in (ROOT / name).rglob("*.py")}
    for path in sorted(folder.rglob("*.py")):
        for name, at_once in _imported(ast.parse(path.read_text(encoding="utf-8"))):
            if name not in sys.stdlib_module_names | own | {"transformers_foreground"}:
                yield path.name, canonicalize_name(DISTRIBUTIONS.get(name, name)), at_once


def test_what_the_package_imports_is_declared(distribution: PathDistribution) -> None:
    declared = set().union(*_requirements(distribution).values()) | NOT_DECLARED
    found = list(_third_party(ROOT / "src"))
    assert {package for _, package, _ in found} >= {"numpy", "pillow", "pyyaml", "gradio", "opencv-python-headless"}
    for file, package, _ in found:
        assert package in declared, f"{file} imports {package}"


def test_all_that_is_declared_is_imported(distribution: PathDistribution) -> None:
    used = {package for _, package, _ in _third_party(ROOT / "src")}
    assert _requirements(distribution)[""] <= used


def test_the_tests_extra_brings_what_they_import(distribution: PathDistribution) -> None:
    extras = _requirements(distribution)
    brought, optional = extras[""] | extras["test"], set().union(*extras.values()) | NOT_DECLARED
    found = list(_third_party(ROOT / "tests"))
    assert {package for _, package, _ in found} >= {"pytest", "hypothesis", "ray"}
    for file, package, at_once in found:
        assert package in (brought if at_once else optional), f"{file} imports {package}"


def test_all_has_every_extra_for_users_but_optimum(distribution: PathDistribution) -> None:
    extras = _requirements(distribution)
    others = extras.keys() - {"", "all", "dev", "docs", "optimum", "test"}
    assert extras["all"] == set().union(*(extras[name] for name in others)) | extras[""]


def test_installing_the_package_alone_brings_neither_torch_nor_optimum(distribution: PathDistribution) -> None:
    """Nor do the packages that it brings, as far as they are installed here."""
    waiting, seen = list(_requirements(distribution)[""]), set[str]()
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in seen:
            continue
        seen.add(name)
        with contextlib.suppress(PackageNotFoundError):  # for another platform
            for requirement in map(Requirement, requires(name) or ()):
                if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                    waiting.append(requirement.name)
    assert {"numpy", "pyarrow", "certifi"} <= seen, "those of others, too"
    assert not seen & {"torch", "optimum", "optimum-onnx", "gradio", "ray"}


def test_every_extra_is_documented(distribution: PathDistribution) -> None:
    pages = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *ROOT.glob("docs/*.md")))
    for extra in set(_requirements(distribution)) - {"", "all", "dev", "docs", "test"}:
        assert f".[{extra}]'" in pages, extra
