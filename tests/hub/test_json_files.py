"""JSON files that are damaged, huge, deep or hold other things: an error that names them, at once."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from tiny_models import write_repo

from transformers_foreground.errors import InvalidModelError
from transformers_foreground.hub.model_files import load_files

DAMAGED: dict[str, tuple[str | bytes, str]] = {
    "no JSON": ("<html>", "is not valid JSON"),
    "empty": ("", "is not valid JSON"),
    "a list": ("[1]", "holds list, not an object"),
    "deep": ("[" * 200_000, "is nested too deeply"),
    "deep objects": ('{"a":' * 200_000 + "1" + "}" * 200_000, "is nested too deeply"),
    "not UTF-8": (b'{"a": "\xff"}', "is not valid JSON"),
    "NaN": ('{"a": NaN}', "NaN is no JSON"),
    "Infinity": ('{"a": [-Infinity]}', "-Infinity is no JSON"),
    "a number of many digits": ('{"a": ' + "9" * 100_000 + "}", "is not valid JSON"),
    "huge": ('{"a": "' + "x" * (17 << 20) + '"}', "is 18 MB large"),
}
MISTYPED: dict[str, tuple[dict[str, Any], str]] = {
    "a list as model_type": ({"model_type": ["isnet"]}, r"model_type must be a text, not \"\['isnet'\]\""),
    "a number as model_type": ({"model_type": 7}, "model_type must be a text"),
    "a list as transformers.js_config": ({"transformers.js_config": [1]}, r"transformers\.js_config must be an object"),
    "very many labels": ({"num_labels": 10**12}, "num_labels is 1000000000000; a model has at most"),
    "a fraction of labels": ({"num_labels": 1e12}, "num_labels must be a whole number"),
    "fewer labels than none": ({"num_labels": -1}, "num_labels is -1"),
}


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged(damage: str, name: str, tmp_path: Path) -> None:
    content, says = DAMAGED[damage]
    folder = write_repo(tmp_path / "repo")
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    start = time.process_time()
    with pytest.raises(InvalidModelError, match=says) as caught:
        load_files(folder)
    assert time.process_time() - start < 5
    assert str(folder / name) in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("mistake", MISTYPED)
def test_mistyped(mistake: str, tmp_path: Path) -> None:
    config, says = MISTYPED[mistake]
    folder = write_repo(tmp_path / "repo", config=config)
    with pytest.raises(InvalidModelError, match=says) as caught:
        load_files(folder)
    assert str(folder / "config.json") in str(caught.value)
    with pytest.raises(InvalidModelError, match="the config option: "):
        load_files(folder, config=config)


def test_a_byte_order_mark_is_no_damage(tmp_path: Path) -> None:
    folder = write_repo(tmp_path / "repo")
    (folder / "config.json").write_bytes(b"\xef\xbb\xbf" + json.dumps({"a": 1}).encode())
    assert load_files(folder).config == {"a": 1}


def test_a_folder_in_the_place_of_a_file(tmp_path: Path) -> None:
    folder = write_repo(tmp_path / "repo")
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()
    assert load_files(folder).config == {}  # as if there were none
