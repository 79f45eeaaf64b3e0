"""The files in examples/docker: what they copy is there, and what they start is an option of the command."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml
from typer.testing import CliRunner

from transformers_foreground.cli import app as command

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples/docker"


def test_what_is_copied_is_there() -> None:
    copied = re.findall(r"^COPY (.+) \S+$", (FOLDER / "Dockerfile").read_text(), re.M)
    assert copied
    for source in " ".join(copied).split():
        assert (ROOT / source).exists(), source


def test_what_is_started_is_an_option() -> None:
    match = re.search(r"^ENTRYPOINT (.+)$", (FOLDER / "Dockerfile").read_text(), re.M)
    assert match
    (service,) = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"].values()
    words = [*json.loads(match[1])[1:], *service["command"]]
    help = CliRunner(env={"COLUMNS": "200"}).invoke(command, ["serve", "--help"]).stdout
    for word in words:
        assert not word.startswith("--") or word in help, word
    assert (ROOT / service["build"]["dockerfile"]).exists()
    assert "USER foreground" in (FOLDER / "Dockerfile").read_text()
