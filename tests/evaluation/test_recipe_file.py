"""Recipes that are wrong: each is answered within a second, with the file, the key and the key that was meant."""

from __future__ import annotations

import inspect
import time
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from transformers_foreground.errors import UnsupportedOptionError
from transformers_foreground.evaluation.recipes import OPTIONS, read_recipe
from transformers_foreground.evaluation.statistics import smallest_p

GOOD = "models: [a/b]\ndatasets: [{name: d, dataset: x}]\n"
MANY = ", ".join(map(str, range(1000)))
BOMB = "".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]\n" for i in range(1, 12))
MERGES = "".join(f"m{i}: &m{i}\n  <<: [{', '.join([f'*m{i - 1}'] * 9)}]\n" for i in range(1, 12))


def dataset(text: str) -> str:
    return f"models: [a/b]\ndatasets:\n  - {{ name: d, {text} }}\n"


def model(text: str) -> str:
    return f"models:\n  - {{ id: a/b, {text} }}\ndatasets: [{{ name: d, dataset: x }}]\n"


WRONG = {
    "": "must be a mapping",
    "a: [": "cannot be read",
    "- 1": "must be a mapping",
    "just text": "must be a mapping",
    "!!python/object:os.system x": "cannot be read",
    "? [1]\n: 2": "cannot be read",
    "1: 2": "unknown key 1",
    "when: 2020-13-45": "cannot be read",
    "n: !!int ''": "cannot be read",
    "a: 1\na: 2": "twice",
    "[" * 3000: "cannot be read|deep",
    "\x00": "cannot be read",
    "l0: &l0 x\n" + BOMB: "too many for a recipe",
    "m0: &m0 {a: b}\n" + MERGES: "too many for a recipe",
    "l0: &l0 x\n" + BOMB + "models: [{label: *l11}]\ndatasets: []": "too many for a recipe",
    "models: &m [*m]\n": "too many for a recipe|cannot be read",
    GOOD + "modles: []": "unknown key 'modles'. Did you mean 'models'?",
    GOOD + "name: [1]": "name: .* not text",
    GOOD + "name: 2020-01-01": "in quotes",
    GOOD + "name: yes": "in quotes",
    GOOD + 'name: "\\e[2J"': "printable",
    GOOD + f"name: {'x' * 101}": "1 to 100",
    GOOD + "seed: abc": "seed: 'abc' is not a whole number",
    GOOD + "seed: -1": "seed: -1",
    GOOD + "seed: " + "9" * 5000: "cannot be read|seed",
    GOOD + "resamples: 1e9": "resamples",
    GOOD + "resamples: 1000000000": "resamples",
    GOOD + "shard_size: 1.5": "shard_size",
    GOOD + "compare: [a]": r"compare\[0\]",
    GOOD + "compare: [[b, b, b]]": "two models",
    GOOD + "compare: [[b, B2]]": "no model 'B2'. Did you mean 'b'|no model 'B2'",
    GOOD + "compare: 3": "compare: 3 is not a list",
    GOOD + "options: [fp32]": "options",
    GOOD + "options: {dtyp: fp16}": "options: unknown key 'dtyp'. Did you mean 'dtype'?",
    "models: a/b\ndatasets: [{name: d, dataset: x}]": "models: 'a/b' is not a list",
    "models: [3]\ndatasets: [{name: d, dataset: x}]": r"models\[0\]: 3 must be a mapping",
    "models: [null]\ndatasets: [{name: d, dataset: x}]": r"models\[0\]",
    "models: [[a]]\ndatasets: [{name: d, dataset: x}]": r"models\[0\]",
    "models: [{id: [a]}]\ndatasets: [{name: d, dataset: x}]": "id: .* not text",
    "models: [a/b]": "datasets",
    "models: [a/b]\ndatasets: {name: d}": "not a list",
    "models: [a/b]\ndatasets: [d]": r"datasets\[0\]",
    model("dtyp: fp16"): "unknown key 'dtyp'. Did you mean 'dtype'?",
    model("dtype: fp61"): "dtype: 'fp61' is unknown. Did you mean 'fp16'?",
    model("dtype: 16"): "dtype: 16 is unknown",
    model("dtype: {a: fp32}"): "dtype",
    model("dtype: []"): "dtype",
    model("dtype: [[fp32]]"): "dtype",
    model("resampling: antialiased"): "Did you mean 'antialias'?",
    model("device: [[cpu]]"): "device",
    model("strict: 1"): "strict: 1 is neither true nor false",
    model("session_options: fast"): "session_options",
    model("label: {}"): "label",
    model(f"device: [{MANY}], revision: [{MANY}]"): "device|more than 200 models",
    model(f"device: [{MANY[:88]}], revision: [{MANY[:88]}]"): "device × revision make more than 200 models",
    dataset("dataset: x, limit: 0"): "limit: 0",
    dataset("dataset: x, limit: true"): "limit: True",
    dataset("dataset: x, ignore: 300"): "ignore: 300",
    dataset("dataset: x, ignore: black"): "ignore: 'black'",
    dataset("dataset: x, measures: 3"): "measures",
    dataset("dataset: x, measures: []"): "measures",
    dataset("dataset: x, measures: [binari]"): "Did you mean 'binary'?",
    dataset("dataset: x, binarise: 128"): "write it like",
    dataset("dataset: x, binarise: '> 900'"): "write it like",
    dataset("dataset: x, binarise: [1]"): "binarise",
    dataset("dataset: x, only: p1"): "only: 'p1' is not a list",
    dataset("dataset: x, only: [[p1]]"): r"only\[0\]",
    dataset("dataset: x, bands: [1]"): "bands",
    dataset("dataset: x, bands: {b: {grow: .nan}}"): "grow: pixels",
    dataset("dataset: x, bands: {1: b}"): "bands",
    dataset("images: '', truth: t"): "images",
    dataset("images: i"): "give images and truth",
    dataset("image: i, truth: t"): "unknown key 'image'. Did you mean 'images'?",
}  # fmt: skip


@pytest.mark.parametrize("text", WRONG, ids=range(len(WRONG)))
def test_each_mistake_is_named_at_once(tmp_path: Path, text: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    started = time.process_time()
    with pytest.raises(UnsupportedOptionError, match=WRONG[text]) as caught:
        read_recipe(path)
    assert time.process_time() - started < 1
    assert "wrong.yaml" in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "large.yaml").write_bytes(b"#" * 1_000_001)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\xff")
    for name, message in (("none", "There is no recipe"), ("large", "more than 1000000 bytes"), ("binary", "cannot")):
        with pytest.raises(UnsupportedOptionError, match=message):
            read_recipe(tmp_path / f"{name}.yaml")
    with pytest.raises(UnsupportedOptionError, match="There is no recipe"):
        read_recipe(tmp_path)


def test_anchors_merges_and_numbers_are_welcome(tmp_path: Path) -> None:
    path = tmp_path / "good.yaml"
    path.write_text(
        "models: [{id: a/b, label: 1}]\n"
        "datasets:\n  - &d { name: one, dataset: x, only: [1, 2] }\n  - { <<: *d, name: two, limit: 3 }\n"
    )
    recipe = read_recipe(path)
    assert (recipe.name, recipe.models[0].label) == ("good", "1")
    assert [(spec.name, spec.only, spec.limit) for spec in recipe.datasets] == [
        ("one", ("1", "2"), None),
        ("two", ("1", "2"), 3),
    ]


def test_the_recipe_in_the_documents() -> None:
    page = (ROOT / "docs" / "evaluation.md").read_text()
    recipe = read_recipe(yaml.safe_load(page.partition("```yaml")[2].partition("```")[0]))
    assert [model.label for model in recipe.models] == ["small", "IS-Net fp32", "IS-Net q8"]
    assert [spec.threshold() for spec in recipe.datasets] == [128, 0]
    assert smallest_p(6, 2000) < 0.05 <= smallest_p(5, 2000)  # as the page says
    assert 4 * smallest_p(8, 2000) < 0.05 <= 4 * smallest_p(7, 2000)


def test_a_python_mapping_is_checked_as_a_file_is() -> None:
    with pytest.raises(UnsupportedOptionError, match=r"The recipe, models\[0\]: unknown key 'dtyp'"):
        read_recipe({"models": [{"id": "a", "dtyp": "fp16"}], "datasets": [{"name": "d", "dataset": "x"}]})


def test_options_are_those_that_a_model_has() -> None:
    from transformers_foreground.hub.model_files import load_files
    from transformers_foreground.runtime.model import Model

    known = {*inspect.signature(load_files).parameters, *inspect.signature(Model).parameters}
    assert set(OPTIONS) <= known
