"""`device="openvino"`: the package openvino, beside ONNX Runtime."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from conftest import SHARED, real_model
from PIL import Image
from tiny_models import brightness_model, write_repo

from transformers_foreground import Segmenter, env, pipeline
from transformers_foreground.errors import DeviceFallbackWarning, InvalidModelError, UnsupportedDeviceError
from transformers_foreground.runtime import opening
from transformers_foreground.runtime.openvino import has_bf16, refers_to_other_files

pytest.importorskip("openvino", reason="openvino is not installed: pip install -e '.[openvino]'")


def provider(segmenter: Any) -> str:
    return str(segmenter.model.graph.session.get_providers()[0])


def test_the_provider_is_openvino_and_the_mask_is_the_same(tiny: Path, half_bright: Image.Image) -> None:
    masks = []
    for device in ("cpu", "openvino"):
        with pipeline("image-segmentation", "briaai/RMBG-1.4", device=device, strict=True) as segmenter:
            assert provider(segmenter) == ("OpenVINO:CPU" if device == "openvino" else "CPUExecutionProvider")
            masks.append(np.asarray(segmenter(half_bright)[0]["mask"]).astype(int))
    assert np.abs(masks[0] - masks[1]).max() <= 2


def test_fp32_that_is_asked_for_is_fp32(tiny: Path, half_bright: Image.Image) -> None:
    planes = [
        Segmenter(tiny, device=device, dtype="fp32", strict=True)(half_bright).plane for device in ("cpu", "openvino")
    ]
    assert np.abs(planes[0] - planes[1]).max() <= 1e-5


def test_auto_takes_it_where_the_cpu_has_bfloat16(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for bf16, expected in ((True, "OpenVINO:CPU"), (False, "CPUExecutionProvider")):
        monkeypatch.setattr(opening, "has_bf16", lambda bf16=bf16: bf16)
        assert provider(pipeline("image-segmentation", "briaai/RMBG-1.4", device="auto")) == expected
    assert provider(pipeline("image-segmentation", "briaai/RMBG-1.4")) == "CPUExecutionProvider"
    assert isinstance(has_bf16(), bool)


def test_a_graph_that_does_not_compile_is_told_of_and_runs_on_the_cpu(tiny: Path, half_bright: Image.Image) -> None:
    options = {"INFERENCE_PRECISION_HINT": "no such type"}
    with pytest.warns(DeviceFallbackWarning, match=r"OpenVINO cannot run model\.onnx here .* Using the CPU"):
        segmenter = pipeline("image-segmentation", "briaai/RMBG-1.4", device="openvino", provider_options=options)
    assert provider(segmenter) == "CPUExecutionProvider"
    assert np.asarray(segmenter(half_bright)[0]["mask"])[16, 4] >= 254
    with pytest.raises(UnsupportedDeviceError, match="leave out strict"):
        pipeline("image-segmentation", "briaai/RMBG-1.4", device="openvino", provider_options=options, strict=True)


def test_an_openvino_that_is_too_old(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openvino.Core", None)
    with pytest.warns(DeviceFallbackWarning, match="OpenVINO cannot run"):
        assert provider(pipeline("image-segmentation", "briaai/RMBG-1.4", device="openvino")) == "CPUExecutionProvider"


def test_a_cache_that_cannot_be_written(tiny: Path, tmp_path: Path, half_bright: Image.Image) -> None:
    (tmp_path / "file").touch()
    env.cache_dir = tmp_path / "file"
    with pipeline("image-segmentation", "briaai/RMBG-1.4", device="openvino", strict=True) as segmenter:
        assert np.asarray(segmenter(half_bright)[0]["mask"])[16, 4] >= 253


def test_graphs_of_any_size_and_batches(tmp_path: Path, half_bright: Image.Image) -> None:
    folder = write_repo(tmp_path / "m", dtypes={"": brightness_model(size=None, batch=None)})
    with pipeline("image-segmentation", folder, device="openvino", strict=True) as segmenter:
        for result in segmenter([half_bright] * 4, batch_size=3):
            assert np.asarray(result[0]["mask"])[16, 4] >= 253


def test_threads_and_processes_have_sessions_of_their_own(tiny: Path, half_bright: Image.Image) -> None:
    from concurrent.futures import ThreadPoolExecutor

    segmenter = Segmenter(tiny, device="openvino", strict=True)
    expected = segmenter(half_bright).mask.tobytes()
    with ThreadPoolExecutor(4) as pool:
        assert {mask.mask.tobytes() for mask in pool.map(segmenter, [half_bright] * 40)} == {expected}


def test_weights_in_other_files_are_refused_as_onnx_runtime_refuses_them(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"\0\0\x80\x3f" * 4)
    path = tiny / "onnx" / "model.onnx"
    assert not refers_to_other_files(path)
    model = onnx.load(path)
    tensor = model.graph.initializer.add()
    tensor.name, tensor.data_type, tensor.data_location = "weights", onnx.TensorProto.FLOAT, onnx.TensorProto.EXTERNAL
    tensor.dims.extend([1])
    tensor.external_data.add(key="location", value="../../../../secret")
    model.graph.node[-1].output[0] = "before"
    model.graph.node.add(op_type="Mul", input=["before", "weights"], output=[model.graph.output[0].name])
    path.write_bytes(model.SerializeToString())
    assert refers_to_other_files(path)
    with pytest.raises(InvalidModelError, match="keeps its weights"):
        pipeline("image-segmentation", "briaai/RMBG-1.4", device="openvino")


def test_it_reports_nothing(tiny: Path, tmp_path: Path) -> None:
    """Its import would send an event, and write an identity below the home folder."""
    home = tmp_path / "home"
    home.mkdir()
    code = """
import sys
sys.addaudithook(lambda event, args: event.startswith("socket.") and print(event, args))
import numpy
from transformers_foreground import pipeline
pipeline("image-segmentation", sys.argv[1], device="openvino", strict=True)(numpy.zeros((9, 9, 3), "uint8"))
print("done")
"""
    own = {"HOME": str(home), "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tiny)], env={**os.environ, **own}, capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "done\n", done.stderr
    assert not list(home.rglob("*"))


@pytest.mark.model
def test_real_weights_lose_next_to_nothing_in_bf16(tmp_path: Path) -> None:
    folder = real_model("imgly/isnet-general-use")
    env.cache_dir = tmp_path / "cache"
    y, x = np.mgrid[:300, :400]
    disc = np.clip((90 - np.hypot(x - 210, y - 160)) / 2, 0, 1)[..., None]
    image = Image.fromarray((disc * [230, 90, 40] + (1 - disc) * [60, 80, 70]).astype(np.uint8))
    planes = {}
    for name, options in {"cpu": {}, "openvino": {}, "f32": {"device": "openvino", "dtype": "fp32"}}.items():
        with Segmenter(folder, **{"device": name, "strict": True, **options}) as segmenter:
            planes[name] = segmenter(image).plane
    assert np.abs(planes["cpu"] - planes["f32"]).max() <= 1e-5
    a, b = planes["cpu"] > 0.5, planes["openvino"] > 0.5
    assert np.abs(planes["cpu"] - planes["openvino"]).mean() <= 0.002
    assert (a & b).sum() / (a | b).sum() >= 0.995
    assert list((tmp_path / "cache" / "compiled" / "openvino").iterdir()), "the compiled model was not kept"


@pytest.mark.model
def test_auto_is_as_safe_as_docs_benchmarks_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound of "safe": mean |Δα| at most 0.001 and worst IoU at least 0.98 against fp32 on ONNX Runtime."""
    folder, photos = real_model("imgly/isnet-general-use"), SHARED / "data"
    if not photos.is_dir():
        pytest.skip(f"no photos: {photos} is absent (FOREGROUND_SHARED names the folder that has data/)")
    monkeypatch.setattr(opening, "has_bf16", lambda: True)  # else auto is ONNX Runtime here
    some = [path for name in ("composites", "pascal-s-240") for path in sorted((photos / name / "im").iterdir())[::40]]
    differences, ious = [], []
    with Segmenter(folder, strict=True) as exact, Segmenter(folder, device="auto", strict=True) as auto:
        assert auto.graph.session.get_providers() == ["OpenVINO:CPU"]
        for path in some:
            a, b = exact(path).plane, auto(path).plane
            differences.append(np.abs(a - b).mean())
            ious.append(((a > 0.5) & (b > 0.5)).sum() / ((a > 0.5) | (b > 0.5)).sum())
    assert np.mean(differences) <= 0.001
    assert min(ious) >= 0.98


def test_the_command_takes_the_fastest_safe_engine_and_says_which(
    tiny: Path, half_bright: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    from transformers_foreground.cli import app

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(opening, "has_bf16", lambda: True)
    env.default_device = "auto"
    half_bright.save("photo.png")
    told = [
        json.loads(CliRunner().invoke(app, ["photo.png", "--json", "--force", *given]).stdout)["engine"]
        for given in ([], ["--device", "cpu"])
    ]
    assert told == ["OpenVINO:CPU", "CPUExecutionProvider"]
    assert "OpenVINO:CPU" in CliRunner().invoke(app, ["info"]).stdout
