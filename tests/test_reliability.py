"""The sections of scripts/reliability on small input, and random damage by hypothesis."""

from __future__ import annotations

import importlib.util
import io
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny_models import write_repo

from transformers_foreground.errors import ImageError
from transformers_foreground.images import DecodedImage, decode

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts/reliability"
linux = pytest.mark.skipif(sys.platform != "linux", reason="scripts/reliability reads /proc and sets Linux's limits")


@pytest.fixture(scope="module")
def run() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reliability_run", SCRIPTS / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def model(tmp_path: Path) -> str:
    write_repo(tmp_path / "model")
    return str(tmp_path / "model")


@linux
def test_hostile_and_broken_pictures(run: ModuleType, tmp_path: Path, model: str) -> None:
    """Each gives a mask of its size or an error that names it, within 6 GB."""
    found = run.images(tmp_path, model, 150, seed=7)
    assert found["corpus"]["mask"] >= 30
    assert found["corpus"]["error"] >= 80
    assert found["corpus"]["peak"] < 3000
    assert found["mutations"]["count"] == 150


@linux
def test_what_is_no_file_or_goes_away(run: ModuleType, tmp_path: Path, model: str) -> None:
    found = run.files(tmp_path, model)
    assert found["mask"] >= 100
    assert found["error"] >= 3


@linux
def test_killed_and_resumed(run: ModuleType, tmp_path: Path, model: str) -> None:
    assert run.kills(tmp_path, model, count=20, times=2, seed=3)["times"] == 2
    full = run.full_disk(tmp_path, model)
    assert full is None or full["failed"] > 0


@linux
def test_threads(run: ModuleType, model: str) -> None:
    found = run.threads(model, 24)
    assert found["same"] == found["count"]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP"])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_damage(kind: str, data: Any) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (9, 13, 3), np.uint8)).save(buffer, kind)
    broken = bytearray(buffer.getvalue())
    for place, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(broken) - 1), st.integers(0, 255)), max_size=8)
    ):
        broken[place] = value
    broken = broken[: data.draw(st.integers(0, len(broken)))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of what it mends
        decoded = decoded_or_error(bytes(broken))
    if isinstance(decoded, ImageError):
        assert str(decoded).startswith("Cannot read <bytes>: ")
        return
    height, width, channels = decoded.pixels.shape
    assert 0 < height * width <= 1_000_000
    assert channels in (1, 3, 4)
    assert decoded.in_own_space().shape == (height, width, 3)


def decoded_or_error(data: bytes) -> DecodedImage | ImageError:
    try:
        return decode(data, max_pixels=1_000_000)
    except ImageError as error:
        return error
