"""One image's failure, whatever it is, is that image's error, and the others are done."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from test_cli import here, photo, run

from transformers_foreground import segmenter
from transformers_foreground.cli import running
from transformers_foreground.cli.style import Style
from transformers_foreground.runtime import model

__all__ = ["here", "photo"]  # fixtures


@pytest.mark.parametrize(
    ("place", "stage"),
    [
        (segmenter, "decode"),
        (segmenter, "preprocess"),
        (model, "forward"),
        (segmenter, "postprocess"),
        (Style, "render"),
        (Style, "encode"),
        (running, "write_whole"),
    ],
)
@pytest.mark.parametrize("count", [1, 3])
def test_an_unexpected_exception(
    count: int, place: Any, stage: str, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{i}.png" for i in range(count)]
    for name in names:
        shutil.copy(photo, name)
    real, calls = getattr(place, stage), []

    def once(*args: Any, **options: Any) -> Any:
        calls.append(args)
        if len(calls) == (2 if stage == "render" else 1):  # the first of a style's is its check
            raise ZeroDivisionError("oh\x1b[31m no")
        return real(*args, **options)

    monkeypatch.setattr(place, stage, once)
    result = run(*names, "--json", "--log", "run.jsonl")
    assert result.exit_code == 1
    assert len(list(Path().glob("*.cutout.png"))) == count - 1
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [record["input"] for record in records] == names
    (failed,) = (record for record in records if "error" in record)
    assert re.search(
        rf"{failed['input']}: .*ZeroDivisionError at test_unexpected\.py:\d+: oh.*Please report", failed["error"]
    )
    assert "ZeroDivisionError" in Path("run.jsonl").read_text()
    assert "failed: " in result.stderr
    assert "\x1b" not in result.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is full")
def test_a_log_that_cannot_be_written_ends_nothing(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(photo, "other.png")
    monkeypatch.setattr("transformers_foreground.cli.reporting.begin_log", lambda _: None)
    result = run("photo.png", "nope.png", "other.png", "--log", "/dev/full")
    assert result.exit_code == 1
    assert len(list(Path().glob("*.cutout.png"))) == 2
    assert result.stderr.count("The log /dev/full cannot be written: No space left on device.") == 1
    assert run("photo.png", "-f", "--log", "/dev/full").exit_code == 1


def test_what_a_format_cannot_hold(photo: Path) -> None:
    Image.new("RGB", (16_400, 2), "white").save("wide.png")
    result = run("wide.png", "photo.png", "--format", "webp", "--log", "run.jsonl")
    assert result.exit_code == 1
    assert [path.name for path in Path().glob("*.webp")] == ["photo.cutout.webp"]
    assert "failed: wide.png" in result.stderr
    records = [json.loads(line) for line in Path("run.jsonl").read_text().splitlines()]
    assert ["wide.png" in record["error"] for record in records if "error" in record] == [True]


@pytest.mark.parametrize("name", ["a\x1b]0;owned\x07.png", "b\x9b31m.png", "c\u202egnp.png", "d\nfailed: x.png"])
def test_names_are_no_orders_to_the_terminal(name: str, photo: Path) -> None:
    shutil.copy(photo, name)
    missing = f"no-{name}"
    for arguments in ([name], [name], [missing], [name, "--resume"], [name, "--json", "-f"], [name, "-o", f"{name}.x"]):
        result = run(*arguments)
        said = result.stdout + result.stderr
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", said), ascii(said)
        assert not re.search(r"^failed: x", said, re.MULTILINE)
