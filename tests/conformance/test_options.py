"""Each call of the table in docs/conformance.md, made here, against what Transformers.js made of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from option_table import RECORDED, SAME, TABLE, Bench, Row, recorded, verdict_of
from oracle import ORACLE, ROOT, quirks
from PIL import Image
from rawimage_table import LINES, Line, names

ROWS = [row for rows in TABLE.values() for row in rows]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.python)
def test_a_call(bench: Bench, row: Row) -> None:
    theirs, ours = recorded()[row.js], bench.run(row.python)
    assert verdict_of(theirs, ours) == row.verdict, (theirs, ours)
    if ours.failed:
        assert re.search(row.ours, ours.text)
    else:
        assert ours.text == (theirs.text if row.verdict == SAME else row.ours)


def test_only_these_calls_are_recorded() -> None:
    assert set(recorded()) == {row.js for row in ROWS}


@pytest.mark.skipif(not quirks(), reason=f"no oracle at {ORACLE} (see FOREGROUND_SHARED)")
def test_every_refusal_in_the_oracle_has_a_row() -> None:
    def shape_of(text: str) -> str:
        return re.sub(r'".*"', '"…"', text)

    ours = {shape_of(outcome.text) for outcome in recorded().values() if outcome.failed}
    theirs = {
        shape_of(said["error"])
        for call, said in quirks().items()
        if call.startswith(("seg ", "bgr ", "read ")) and "error" in said
    }
    assert theirs - ours == {"Error: Unsupported input type: undefined"}


def test_the_docs_hold_every_row() -> None:
    docs = (ROOT / "docs" / "conformance.md").read_text(encoding="utf-8")
    assert [row.python for row in ROWS if row.python not in docs] == []
    assert [line.python for line in LINES if line.python not in docs] == []


def test_the_record_says_of_which_version() -> None:
    assert json.loads(RECORDED.read_text(encoding="utf-8"))["versions"]["@huggingface/transformers"] == "4.3.2"


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.js)
def test_a_line_for_a_method(line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Image.Image, "show", lambda self: None)
    known = names(tmp_path)
    result = eval(line.python, known)
    if result is None:  # in place, or into a file
        result = known[line.python.split(".")[0]]
    if not line.record or not quirks():
        return
    expected: Any = quirks()[line.record]["ok"]
    for i in line.pick:
        expected = expected[i]
    array = np.asarray(result)
    if isinstance(expected, str):
        assert expected.startswith("RawImage({1}x{0}x{2},".format(*array.shape, 1))
    elif line.record == "toTensor HWC":
        assert list(array.shape) == expected
    else:
        assert array.ravel().tolist() == expected
