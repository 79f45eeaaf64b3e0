"""Known models: what they answer for, the user's own, and slips in their files."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from tiny_models import write_repo

from transformers_foreground import env
from transformers_foreground.errors import InvalidModelError
from transformers_foreground.hub.known_models import DEFAULT_MODELS, known_model, known_models, known_preprocessor
from transformers_foreground.hub.repository import show_licence

YAML = """
id: me/mine
description: my model
licence: { name: MIT, url: "https://example.org", commercial: true, notice: Mine. }
families: [mine]
preprocessor: { size: { width: 16, height: 16 } }
files:
  fp32: { path: onnx/model.onnx, bytes: 10 }
"""


def write(text: str, name: str = "mine.yaml") -> Path:
    """Drop a file into a new folder of known models, since each folder is read once."""
    folder = Path(env.known_models_dir).with_name(f"known-{abs(hash(text))}")
    folder.mkdir(parents=True, exist_ok=True)
    env.known_models_dir = folder
    (folder / name).write_text(text)
    return folder / name


def test_each_shipped_file_is_sound() -> None:
    known = known_models()
    assert len({model.id.lower() for model in known}) == len(known) >= 20
    families = [family for model in known for family in model.families]
    assert len(set(families)) == len(families), "two models answer for one family"
    assert all(model.files and model.preprocessor.get("size") for model in known)
    assert set(DEFAULT_MODELS.values()) <= {model.id for model in known}


@pytest.mark.parametrize(
    ("model_id", "model_type", "mean"),
    [
        ("onnx-community/ISNet-ONNX", "isnet", [128, 128, 128]),
        ("onnx-community/ormbg-ONNX", "isnet", [0, 0, 0]),  # its own, whatever its family's is
        ("someone/isnet-of-mine", "isnet", [0.5, 0.5, 0.5]),
        ("someone/RMBG-2.0-ONNX", "birefnet", [0.485, 0.456, 0.406]),
        ("here/models/Xenova/modnet", None, [0.5, 0.5, 0.5]),
    ],
)
def test_a_family_answers_for_preprocessing(model_id: str, model_type: str | None, mean: list[float]) -> None:
    keys = known_preprocessor(model_id, model_type)
    assert keys is not None
    assert keys["image_mean"] == mean


@pytest.mark.parametrize("model_type", [None, "swin", "nothing", ["isnet"], {"a": 1}, 7])
def test_what_is_no_family(model_type: object) -> None:
    assert known_preprocessor("a/b", model_type) is None


@pytest.mark.parametrize("model_id", ["someone/RMBG-2.0-ONNX", "a/b", "isnet", ""])
def test_a_licence_is_never_taken_from_a_family(model_id: str, caplog: pytest.LogCaptureFixture) -> None:
    assert known_model(model_id) is None
    with caplog.at_level(logging.WARNING):
        show_licence(model_id)
    assert "Licence: unknown; see the repository" in caplog.text
    assert "MIT" not in caplog.text
    assert "commercial" not in caplog.text


def test_a_model_is_added_by_a_file(tmp_path: Path) -> None:
    write(YAML)
    mine = known_model("me/mine")
    assert mine is not None
    assert mine.files["fp32"].bytes == 10
    assert known_preprocessor("other/one", "mine") == {"size": {"width": 16, "height": 16}}
    assert known_model("briaai/RMBG-1.4") is not None


def test_a_users_file_takes_the_place_of_ours() -> None:
    write(YAML.replace("me/mine", "briaai/rmbg-1.4"))
    mine = known_model("briaai/RMBG-1.4")
    assert mine is not None
    assert mine.description == "my model"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", r"the file must be a mapping, not NoneType"),
        ("[1, 2]", r"the file must be a mapping, not list"),
        ("a: [", r"cannot be read as the description of a known model: while parsing"),
        ("[" * 20000, r"cannot be read as the description of a known model"),
        ("#" * 70000, r"is larger than 64 KB"),
        (YAML.replace("id: me/mine", ""), r"the key id is missing"),
        (YAML.replace("id: me/mine", "id: 7"), r"id must be a text, not 7"),
        (YAML.replace("id: me/mine", "id: ../../etc"), r"id must be a repository's"),
        (YAML.replace("commercial: true, ", ""), r"the key licence\.commercial is missing"),
        (YAML.replace("commercial: true", "commercial: maybe"), r"licence\.commercial must be true, false or null"),
        (YAML.replace("licence:", "license:"), r"licence must be a mapping, not NoneType"),
        (YAML.replace("families: [mine]", "family: mine"), r"the key family is unknown\. Known are: id, description"),
        (YAML.replace("[mine]", "mine"), r"families must be a list of texts"),
        (YAML.replace("fp32:", "fp23:"), r"unknown dtype 'fp23'"),
        (YAML.replace("bytes: 10", "bytes: ten"), r"files\.fp32\.bytes must be a number, not 'ten'"),
        (YAML.replace("bytes: 10", "bytes: true"), r"files\.fp32\.bytes must be a number, not True"),
        (YAML.replace("bytes: 10", "size: 10"), r"the key files\.fp32\.size is unknown"),
        (YAML.replace("path: onnx/model.onnx", "path: ../x.onnx"), r"files\.fp32\.path must stay inside"),
        (YAML.replace("bytes: 10", "derived_from: fp16"), r"derived_from names fp16, which is no file"),
        (YAML.replace("bytes: 10", "source: {registry: npm}"), r"the key files\.fp32\.source\.package is missing"),
        (
            YAML.replace("bytes: 10", "source: {registry: ftp, package: a, version: '1', member: b}"),
            r"source\.registry must be one of: npm, pypi",
        ),
    ],
)
def test_a_slip_is_told_with_file_and_key(text: str, says: str) -> None:
    path = write(text)
    with pytest.raises(InvalidModelError, match=says) as caught:
        known_models()
    assert str(path) in str(caught.value)


def test_a_folder_in_the_form_of_other_exports(tmp_path: Path) -> None:
    """Some repositories keep each precision in a folder of its own: fp16/model.onnx."""
    from transformers_foreground.hub.model_files import load_files

    folder = write_repo(tmp_path / "repo", subfolder="fp16")
    assert load_files(folder, subfolder="fp16").onnx == folder / "fp16" / "model.onnx"
    assert json.loads((folder / "config.json").read_text())
