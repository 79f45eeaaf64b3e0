"""The pages by task run as they are written, and so does the notebook."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from PIL import Image, ImageDraw
from tiny_models import write_repo
from typer.testing import CliRunner

from transformers_foreground import env
from transformers_foreground.cli.app import app


def photo(number: int) -> Image.Image:
    """A bright vase before a black wall."""
    image = Image.new("RGB", (96, 64), (0, 0, 0))
    ImageDraw.Draw(image).ellipse((20 + number, 8, 60 + number, 56), fill=(250, 250, 240))
    return image


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with photos, an animation, and tiny models under the ids that the pages name."""
    monkeypatch.chdir(tmp_path)
    for name in ("xuebinqin/u2netp", "imgly/isnet-general-use"):
        write_repo(tmp_path / "models" / name)
    env.local_model_path = "models"
    (tmp_path / "photos").mkdir()
    for i in range(3):
        photo(i).save(tmp_path / f"photos/{i}.jpg")
    frames = [photo(2 * i) for i in range(4)]
    frames[0].save(tmp_path / "spin.gif", save_all=True, append_images=frames[1:], duration=80, loop=0)
    return tmp_path


def run_page(name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run a page's code, from the top down; return what its Python has named."""
    names: dict[str, Any] = {}
    for language, code in re.findall(r"```(\w+)\n(.*?)```", (ROOT / "docs" / name).read_text("utf-8"), re.DOTALL):
        if language == "python":
            exec(compile(code, name, "exec"), names)
        elif language == "yaml" and (file := re.match(r"# (\S+\.yaml)\n", code)):
            Path(file[1]).write_text(code, encoding="utf-8")
        for line in code.splitlines() if language == "bash" else []:
            words = shlex.split(line, comments=True)
            if words[:1] == ["export"]:
                variable, _, value = words[1].partition("=")
                assert variable == "FOREGROUND_MODEL"
                monkeypatch.setattr(env, "default_model", value)
            elif words[:1] == ["foreground"]:
                done = CliRunner().invoke(app, words[1:])
                assert done.exit_code == 0, f"{line}: {done.output}"
    return names


def test_product_photos(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_page("product-photos.md", monkeypatch)
    with Image.open("shop/0.cutout.jpg") as opened:
        assert opened.width == opened.height < 80
    with Image.open("web/0.cutout.webp") as opened:
        assert opened.mode == "RGBA"
    with Image.open("clean/0.cutout.png") as opened:
        assert set(opened.getchannel("A").tobytes()) == {0, 255}
    for name in ("spin.cutout.webp", "spin-white.gif", "spin.webp"):
        with Image.open(name) as opened:
            assert (name, opened.n_frames) == (name, 4)
    assert len(list(shop.glob("*.white.jpg"))) == 3


def test_dataset_column(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", shop / "cache")
    names = run_page("dataset-column.md", monkeypatch)
    assert len(names["good"]) == 3
    assert names["sure"]["doubt"] == sorted(names["sure"]["doubt"])
    with Image.open("mask.png") as opened:
        assert (opened.mode, opened.size) == ("L", (96, 64))
    assert datasets.load_from_disk("with-masks")[0]["mask"].size == (96, 64)


def test_evaluation(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("py_sod_metrics")
    pytest.importorskip("jinja2")
    for folder in ("im", "gt"):
        (shop / "photos" / folder).mkdir()
    for i in range(3):
        photo(i).save(f"photos/im/{i}.png")
        photo(i).convert("L").point(lambda level: 255 * (level > 128)).save(f"photos/gt/{i}.png")
    run_page("evaluate.md", monkeypatch)
    summary = json.loads((shop / "results/summary.json").read_text("utf-8"))
    assert {score["model"] for score in summary["scores"]} == {"small", "IS-Net"}
    assert (shop / "results/report.html").exists()


@pytest.mark.model
def test_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    env.local_model_path = str(ROOT / "models")
    monkeypatch.setattr(env, "user_model_path", ROOT / "models")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    photo(0).resize((480, 320)).save("photo.jpg")
    notebook = json.loads((ROOT / "docs/quickstart.ipynb").read_text("utf-8"))
    names: dict[str, Any] = {}
    for cell in notebook["cells"]:
        assert not cell.get("outputs"), "clear the outputs: they are large, and of another machine"
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    with Image.open("cutout.png") as opened:
        assert (opened.mode, opened.size) == ("RGBA", (480, 320))
    assert names["rows"][0]["mask"].size == (480, 320)
