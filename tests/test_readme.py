"""What README and the pages that it leads to say is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {
    path.relative_to(ROOT): path.read_text(encoding="utf-8") for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"))
}
LINKS = sorted(
    {(page, link) for page, text in PAGES.items() for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)}
)
CODE = [code for text in PAGES.values() for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL)]


@pytest.mark.parametrize(("page", "link"), LINKS, ids=str)
def test_links(page: Path, link: str) -> None:
    assert (ROOT / page.parent / link).exists()


@pytest.mark.parametrize("code", CODE)
def test_python_is_python(code: str) -> None:
    compile(code, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("command", sorted(set(re.findall(r"^    foreground ([a-z]+) ", README, re.MULTILINE))))
def test_commands(command: str) -> None:
    from transformers_foreground.cli.app import app

    names = {info.name for info in app.registered_commands} | {group.name for group in app.registered_groups}
    assert command in names or (ROOT / command).exists() or command == "photo"
