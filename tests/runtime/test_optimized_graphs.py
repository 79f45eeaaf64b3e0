"""The optimised graph that is kept beside the models in the cache."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from PIL import Image

from transformers_foreground import env, pipeline
from transformers_foreground.runtime import optimized_graphs as graph_cache


@pytest.fixture(autouse=True)
def worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tiny graphs be kept."""
    monkeypatch.setattr(graph_cache, "_WORTH_IT", 0)


def kept() -> list[Path]:
    return sorted(Path(env.cache_dir or "", "compiled", "onnxruntime").glob("*"))


def mask(image: Image.Image, **options: Any) -> bytes:
    with pipeline("image-segmentation", "briaai/RMBG-1.4", **options) as segmenter:
        return np.asarray(segmenter(image)[0]["mask"]).tobytes()


def test_a_second_load_opens_what_the_first_one_kept(
    tiny: Path, half_bright: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    session = ort.InferenceSession

    def spy(path: Any, *args: Any, **kwargs: Any) -> Any:
        opened.append(Path(path))
        return session(path, *args, **kwargs)

    monkeypatch.setattr(ort, "InferenceSession", spy)
    first, second = mask(half_bright), mask(half_bright)
    assert first == second
    assert opened == [tiny / "onnx" / "model.onnx", *kept()]
    assert len(kept()) == 1


def test_another_file_is_kept_apart(tiny: Path, half_bright: Image.Image) -> None:
    mask(half_bright)
    os.utime(tiny / "onnx" / "model.onnx", (1, 1))
    mask(half_bright)
    assert len(kept()) == 2


def test_a_damaged_one_is_made_anew(tiny: Path, half_bright: Image.Image) -> None:
    expected = mask(half_bright)
    kept()[0].write_bytes(b"damaged")
    assert mask(half_bright) == expected
    assert kept()[0].stat().st_size > 100


@pytest.mark.parametrize(
    "options", [{"graph_optimization_level": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC}, ort.SessionOptions()]
)
def test_own_options_keep_nothing(tiny: Path, half_bright: Image.Image, options: Any) -> None:
    mask(half_bright, session_options=options)
    assert kept() == []


def test_a_cache_that_cannot_be_written_changes_nothing(tiny: Path, half_bright: Image.Image, tmp_path: Path) -> None:
    expected = mask(half_bright)
    (tmp_path / "file").write_text("")
    env.cache_dir = tmp_path / "file"
    assert mask(half_bright) == expected


def test_save_pretrained_saves_the_models_own_file(tiny: Path, half_bright: Image.Image, tmp_path: Path) -> None:
    mask(half_bright)
    with pipeline("image-segmentation", "briaai/RMBG-1.4") as segmenter:
        segmenter.model.save_pretrained(tmp_path / "saved")
        assert segmenter.model.files.onnx == tiny / "onnx" / "model.onnx"
    saved = (tmp_path / "saved" / "onnx" / "model.onnx").read_bytes()
    assert saved == (tiny / "onnx" / "model.onnx").read_bytes()
