"""`dtype="int8-checked"`: int8, and fp32 for what it doubts."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image
from test_cli import run
from tiny_models import brightness_model, write_repo

from transformers_foreground import Segmenter, pipeline
from transformers_foreground.errors import InvalidModelError, ModelFileNotFoundError, UnsupportedDtypeError
from transformers_foreground.hub.dtypes import resolve_dtype
from transformers_foreground.runtime import model as models
from transformers_foreground.runtime.checked import MOST_DOUBT
from transformers_foreground.runtime.doubt import doubt

HARD = np.repeat(np.array([[0] * 8 + [255] * 8], np.uint8), 16, axis=0)
SOFT = np.full((16, 16), 128, np.uint8)
INT8, FP32 = 0.95, 1.0  # what the files make of white
GRAY = np.float32(128 / 255)


def image(gray: np.ndarray) -> Image.Image:
    return Image.fromarray(gray).convert("RGB")


def files(batch: int | None = 1, size: int | None = 16) -> dict[str, onnx.ModelProto]:
    """Return the two files: the int8 one gives 0.95 of the brightness, so that its planes can be told apart."""
    low = brightness_model(batch=batch, size=size)
    for name, value in (("scale", INT8), ("shift", INT8 / 2)):
        (tensor,) = (t for t in low.graph.initializer if t.name == name)
        tensor.CopyFrom(numpy_helper.from_array(np.float32(value), name))
    return {"": brightness_model(batch=batch), "_int8": low}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_repo(tmp_path / "m", dtypes=files())


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are opened, in order."""
    names: list[str] = []
    real = models.open_graph

    def open_graph(path: Path, *arguments: Any) -> Any:
        names.append(path.name)
        return real(path, *arguments)

    monkeypatch.setattr(models, "open_graph", open_graph)
    return names


def test_a_sure_plane_is_int8s_and_a_doubtful_one_fp32s(folder: Path, opened: list[str]) -> None:
    with Segmenter(folder, dtype="int8-checked") as segmenter:
        assert segmenter(image(HARD)).plane.max() == pytest.approx(INT8, abs=1e-3)
        assert opened == ["model_int8.onnx"]  # a folder of sure masks never opens the large file
        for _ in range(2):
            soft = segmenter(image(SOFT)).plane
            assert doubt(soft) > MOST_DOUBT
            assert np.allclose(soft, GRAY, atol=1e-3)
        assert opened == ["model_int8.onnx", "model.onnx"]
    plain = Segmenter(folder, dtype="int8")(image(SOFT)).plane
    assert np.allclose(plain, INT8 * GRAY, atol=1e-3)


@pytest.mark.parametrize("batch", [None, 1, 2])
def test_batches_are_told_apart_image_by_image(tmp_path: Path, batch: int | None) -> None:
    segmenter = Segmenter(write_repo(tmp_path / "m", dtypes=files(batch)), dtype="int8-checked")
    grays = [HARD, SOFT, SOFT, HARD] if batch else [SOFT, HARD, SOFT]
    ran = segmenter.run([segmenter.prepare(image(gray)) for gray in grays])
    expected = [FP32 * GRAY if gray is SOFT else INT8 for gray in grays]
    assert [float(r.plane.max()) for r in ran] == pytest.approx(expected, abs=1e-3)


def test_streams_pickles_and_pipelines_check_too(folder: Path, tmp_path: Path) -> None:
    segmenter = Segmenter(folder, dtype="int8-checked")
    before = pickle.dumps(segmenter)
    planes = [result.plane.max() for result in segmenter.stream([image(SOFT), image(HARD)])]
    assert planes == pytest.approx([GRAY, INT8], abs=1e-3)
    again = pickle.loads(pickle.dumps(segmenter))
    assert pickle.dumps(segmenter) == before  # sessions do not travel
    assert again(image(SOFT)).plane.max() == pytest.approx(GRAY, abs=1e-3)
    (digest,), (fp32,) = Segmenter(folder, dtype="int8").sha256, Segmenter(folder).sha256
    assert segmenter.sha256 == (digest, fp32)
    with pipeline("image-segmentation", folder, dtype="int8-checked") as segment:
        assert np.asarray(segment(image(SOFT))[0]["mask"]).max() == 128
    segmenter.save_pretrained(tmp_path / "saved")
    assert Segmenter(tmp_path / "saved", dtype="int8-checked").sha256 == segmenter.sha256


def test_another_device_opens_both_anew(folder: Path, opened: list[str]) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed: pip install -e '.[openvino]'")
    segmenter = Segmenter(folder, dtype="int8-checked")
    segmenter(image(SOFT))
    segmenter.to("openvino")
    assert segmenter(image(SOFT)).plane.max() == pytest.approx(GRAY, abs=4e-3)
    assert opened == ["model_int8.onnx", "model.onnx"] * 2
    assert segmenter.full_graph.session.get_providers() == segmenter.graph.session.get_providers() == ["OpenVINO:CPU"]


@pytest.mark.parametrize("there", ["", "_int8", "_fp16"])
def test_a_model_that_lacks_one_of_the_two_files(tmp_path: Path, there: str) -> None:
    folder = write_repo(tmp_path / "m", dtypes={there: brightness_model()})
    with pytest.raises(ModelFileNotFoundError, match=r"needs onnx/model_int8\.onnx and onnx/model\.onnx") as caught:
        Segmenter(folder, dtype="int8-checked")
    assert "foreground quantize" in str(caught.value)


def test_two_files_of_different_models(tmp_path: Path) -> None:
    folder = write_repo(tmp_path / "m", dtypes={**files(size=None), "": brightness_model(size=32)})
    segmenter = Segmenter(folder, dtype="int8-checked")
    assert segmenter(image(HARD)).plane.shape == (16, 16)
    with pytest.raises(InvalidModelError, match="takes 32×32 pixels only"):
        segmenter(image(SOFT))


def test_the_name_is_known_and_no_models_own_choice() -> None:
    assert resolve_dtype("int8-checked", "cpu") == "int8-checked"
    assert resolve_dtype(None, "cpu", {"transformers.js_config": {"dtype": "int8-checked"}}) == "fp32"
    with pytest.raises(UnsupportedDtypeError, match="int8-checked"):
        resolve_dtype("int8_checked", "cpu")


def test_the_command(folder: Path, tmp_path: Path) -> None:
    image(SOFT).save(tmp_path / "soft.png")
    out = tmp_path / "out.png"
    options = ["--model", str(folder), "--dtype", "int8-checked", "--device", "cpu", "--mask-only"]
    done = run(str(tmp_path / "soft.png"), "-o", str(out), *options)
    assert done.exit_code == 0, done.output
    assert np.asarray(Image.open(out)).max() == 128
