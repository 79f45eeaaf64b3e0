"""What README says is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_links(link: str) -> None:
    assert (ROOT / link).exists()


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_python_is_python(code: str) -> None:
    compile(code, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("command", sorted(set(re.findall(r"^    foreground ([a-z]+) ", README, re.MULTILINE))))
def test_commands(command: str) -> None:
    from transformers_foreground.cli.app import app

    names = {info.name for info in app.registered_commands} | {group.name for group in app.registered_groups}
    assert command in names or (ROOT / command).exists() or command == "photo"
