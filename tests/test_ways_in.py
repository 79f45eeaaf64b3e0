"""The three ways in: our factory, transformers' and Optimum's; and what was there before stays as it was."""

from __future__ import annotations

import builtins
import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hub_server import HubServer
from PIL import Image
from tiny_models import brightness_model, files_of, write_repo

from transformers_foreground import (
    ForegroundConfig,
    ForegroundImageProcessor,
    ForegroundPipeline,
    ORTModelForForegroundExtraction,
    RemovalPipeline,
    Segmenter,
    pipeline,
    register,
)
from transformers_foreground.adapters.pipelines import BackgroundRemovalPipeline, ForegroundExtractionPipeline


@pytest.fixture(autouse=True)
def no_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may ask on stdin."""

    def refuse(*_: object) -> str:
        raise AssertionError("asked on stdin")

    monkeypatch.setattr(builtins, "input", refuse)


def _through_ours(folder: Path, task: str) -> Any:
    return pipeline(task, folder)


def _through_transformers(folder: Path, task: str) -> Any:
    import transformers

    register()
    return transformers.pipeline(task, str(folder))


def _through_optimum_onnxruntime(folder: Path, task: str) -> Any:
    from optimum.onnxruntime import pipeline as ort_pipeline

    register()
    return ort_pipeline(task, str(folder))


def _through_optimum_pipelines(folder: Path, task: str) -> Any:
    from optimum.pipelines import pipeline as optimum_pipeline

    register()
    return optimum_pipeline(task, str(folder), accelerator="ort")


def _optimum_works() -> bool:
    try:
        import optimum.onnxruntime  # noqa: F401
    except (ImportError, RuntimeError):  # optimum-onnx 0.1.0 beside transformers 5
        return False
    return True


needs_optimum = pytest.mark.skipif(not _optimum_works(), reason="only transformers 4 has Optimum beside it")
OPTIMUM_WAYS = [
    pytest.param(way, marks=needs_optimum) for way in (_through_optimum_onnxruntime, _through_optimum_pipelines)
]
WAYS = [_through_ours, _through_transformers, *OPTIMUM_WAYS]


@pytest.mark.parametrize("way", WAYS)
def test_image_segmentation_gives_the_mask(way: Any, tiny: Path, half_bright: Image.Image) -> None:
    segmenter = way(tiny, "image-segmentation")
    if way is _through_ours:
        assert type(segmenter) is ForegroundPipeline
        assert isinstance(segmenter.model, Segmenter)
    else:
        assert type(segmenter) is ForegroundExtractionPipeline
        assert isinstance(segmenter.model, ORTModelForForegroundExtraction)
    assert segmenter.task == "image-segmentation"
    assert segmenter.image_processor(half_bright)["pixel_values"].shape == (1, 3, 16, 16)
    (result,) = segmenter(half_bright, subtask="foreground-extraction")
    assert list(result) == ["label", "score", "mask"]
    assert result["label"] is None
    assert result["score"] is None
    mask = np.asarray(result["mask"])
    assert result["mask"].mode == "L"
    assert mask.shape == (32, 48)
    assert mask[8:24, 4:20].min() >= 254
    assert mask[8:24, 30:44].max() == 0


@pytest.mark.parametrize("way", WAYS)
def test_background_removal_gives_rgba(way: Any, tiny: Path, half_bright: Image.Image) -> None:
    remover = way(tiny, "background-removal")
    assert type(remover) is (RemovalPipeline if way is _through_ours else BackgroundRemovalPipeline)
    result = remover(half_bright)
    assert result.mode == "RGBA"
    assert result.size == half_bright.size
    assert np.array_equal(np.asarray(result)[..., :3], np.asarray(half_bright))


@pytest.mark.parametrize("way", WAYS)
def test_all_ways_are_silent(way: Any, tiny: Path, caplog: pytest.LogCaptureFixture) -> None:
    import logging

    for name in ("transformers", "optimum"):
        logging.getLogger(name).propagate = True
    with caplog.at_level(logging.WARNING):
        way(tiny, "image-segmentation")
    # transformers 4 advises to use a fast image processor, which is not ours to silence.
    known = ("Device set to use", "Using a slow image processor")
    noise = [r.getMessage() for r in caplog.records if not r.getMessage().startswith(known)]
    assert noise == []


def test_register_twice_is_the_same_as_once(tiny: Path) -> None:
    from transformers.pipelines import PIPELINE_REGISTRY

    register()
    before = dict(PIPELINE_REGISTRY.supported_tasks["image-segmentation"])
    register()
    assert PIPELINE_REGISTRY.supported_tasks["image-segmentation"] == before


@pytest.mark.parametrize(
    ("way", "model_type"),
    [
        *product(
            [_through_ours, _through_transformers], ["segformer", "swin", "custom", "isnet", "foreground-extraction"]
        ),
        (_through_ours, None),  # transformers reads the type before it asks anybody: see the next test
    ],
)
def test_the_graph_decides_and_not_the_model_type(
    way: Any, model_type: str | None, tmp_path: Path, half_bright: Image.Image
) -> None:
    """People write these for Transformers.js, beside the architecture that transformers does not know."""
    config = {"architectures": ["BriaRMBG"], **({"model_type": model_type} if model_type else {})}
    segmenter = way(write_repo(tmp_path / "any" / "model", config=config), "image-segmentation")
    assert np.asarray(segmenter(half_bright)[0]["mask"])[16, 4] >= 254


def test_a_config_without_model_type_is_named_to_transformers(tmp_path: Path, half_bright: Image.Image) -> None:
    import transformers

    register()
    folder = write_repo(tmp_path / "any" / "model", config={"architectures": ["Other"]})
    segmenter = transformers.pipeline("image-segmentation", str(folder), config=ForegroundConfig())
    assert np.asarray(segmenter(half_bright)[0]["mask"])[16, 4] >= 254


# --- what was there before -------------------------------------------------------------------------------------------


def _tiny_torch_model(kind: str, folder: Path) -> Path:
    """Write a tiny random model of transformers', with its processor."""
    import torch
    import transformers as t

    torch.manual_seed(0)
    labels = {"id2label": {0: "a", 1: "b", 2: "c"}, "label2id": {"a": 0, "b": 1, "c": 2}}
    resnet = t.ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8, 8, 8],
        depths=[1, 1, 1, 1],
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    processor: Any
    if kind == "segformer":
        config: Any = t.SegformerConfig(
            hidden_sizes=[8, 8, 8, 8],
            depths=[1, 1, 1, 1],
            num_attention_heads=[1, 1, 1, 1],
            decoder_hidden_size=8,
            **labels,
        )
        model: Any = t.SegformerForSemanticSegmentation(config)
        processor = t.SegformerImageProcessor(size={"height": 64, "width": 64})
    elif kind == "detr":
        config = t.DetrConfig(
            use_timm_backbone=False, backbone_config=resnet, use_pretrained_backbone=False, backbone=None,
            d_model=512, encoder_layers=1, decoder_layers=1, encoder_attention_heads=8, decoder_attention_heads=8,
            encoder_ffn_dim=16, decoder_ffn_dim=16, num_queries=5, **labels,
        )  # fmt: skip
        model = t.DetrForSegmentation(config)
        model.detr.class_labels_classifier.bias.data[-1] = -10  # not "no object", so that there is something to compare
        processor = t.DetrImageProcessor(size={"height": 64, "width": 64})
    else:
        config = t.MaskFormerConfig(
            backbone_config=resnet,
            decoder_config=t.DetrConfig(
                d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
                encoder_ffn_dim=16, decoder_ffn_dim=16, num_queries=5,
            ),
            fpn_feature_size=32, mask_feature_size=32, use_pretrained_backbone=False, **labels,
        )  # fmt: skip
        model = t.MaskFormerForInstanceSegmentation(config)
        processor = t.MaskFormerImageProcessor(size={"height": 64, "width": 64})
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


_THRESHOLDS = ("threshold", "mask_threshold", "overlap_mask_area_threshold")
_RUN = """
import hashlib, json, sys
if sys.argv[3] == "registered":
    import transformers_foreground; transformers_foreground.register()
import transformers
from PIL import Image
pipe = transformers.pipeline("image-segmentation", sys.argv[1])
options = json.loads(sys.argv[4])
image = Image.linear_gradient("L").resize((80, 60)).convert("RGB")
out = pipe(image, **options)
many = pipe([image, image.rotate(90)], **options)
def plain(results):
    return [[r["label"], None if r["score"] is None else round(float(r["score"]), 6),
             hashlib.sha256(r["mask"].tobytes()).hexdigest(), r["mask"].size] for r in results]
print("RESULT" + json.dumps([plain(out), [plain(m) for m in many]]))
"""


@pytest.mark.parametrize(
    ("kind", "subtask"),
    [("detr", "panoptic"), ("maskformer", "instance"), ("segformer", "semantic"), ("segformer", None)],
)
def test_other_models_give_what_they_gave_before(kind: str, subtask: str | None, tmp_path: Path) -> None:
    folder = _tiny_torch_model(kind, tmp_path / kind)
    options = json.dumps({**dict.fromkeys(_THRESHOLDS, 0.0), **({"subtask": subtask} if subtask else {})})
    outputs = []
    for state in ("plain", "registered"):
        done = subprocess.run(
            [sys.executable, "-c", _RUN, str(folder), "-", state, options],
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stderr
        outputs.append(next(line for line in done.stdout.splitlines() if line.startswith("RESULT")))
    assert outputs[0] == outputs[1]
    assert "[[], " not in outputs[0], "the model found nothing: this test compares nothing"


def test_other_model_refuses_our_subtask(tmp_path: Path) -> None:
    import transformers

    from transformers_foreground.errors import UnsupportedTaskError

    register()
    segmenter = transformers.pipeline("image-segmentation", str(_tiny_torch_model("segformer", tmp_path / "s")))
    with pytest.raises(UnsupportedTaskError, match="does not give one foreground plane"):
        segmenter(Image.new("RGB", (64, 64)), subtask="foreground-extraction")


@pytest.fixture
def segformer_onnx(tmp_path: Path) -> Path:
    from optimum.onnxruntime import ORTModelForSemanticSegmentation

    source = _tiny_torch_model("segformer", tmp_path / "torch")
    folder = tmp_path / "segformer-onnx"
    ORTModelForSemanticSegmentation.from_pretrained(source, export=True).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_bytes((source / "preprocessor_config.json").read_bytes())
    return folder


@needs_optimum
@pytest.mark.parametrize("way", [_through_ours, _through_optimum_onnxruntime])
def test_a_segformer_export_stays_semantic(way: Any, segformer_onnx: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from optimum.onnxruntime import ORTModelForSemanticSegmentation

    segmenter = way(segformer_onnx, "image-segmentation")
    assert type(segmenter.model) is ORTModelForSemanticSegmentation
    results = segmenter(Image.linear_gradient("L").convert("RGB"), subtask="semantic")
    assert results
    assert {r["label"] for r in results} <= {"a", "b", "c"}
    assert results[0]["mask"].size == (256, 256)
    assert "is not supported for image-segmentation" not in capfd.readouterr().err


# --- round trips ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["model", "pipeline"])
def test_save_and_load_again(what: str, tiny: Path, tmp_path: Path, half_bright: Image.Image) -> None:
    segmenter = pipeline("image-segmentation", tiny)
    saved = tmp_path / "saved"
    (segmenter.model if what == "model" else segmenter).save_pretrained(saved)
    assert (saved / "onnx" / "model.onnx").is_file()
    assert not list(saved.rglob("*.py")), "code was saved beside the model"
    config = json.loads((saved / "config.json").read_text())
    assert config["model_type"] == "isnet"  # Transformers.js refuses RMBG-1.4's own
    assert "auto_map" not in config
    assert not config.get("custom_pipelines")
    for way in (_through_ours, _through_transformers):
        again = way(saved, "image-segmentation")
        assert again(half_bright)[0]["mask"].tobytes() == segmenter(half_bright)[0]["mask"].tobytes()


@pytest.mark.parametrize("nested", [False, True])
def test_processor_loads_from_both_layouts(nested: bool, tmp_path: Path) -> None:
    from tiny_models import RMBG_PREPROCESSOR
    from transformers import AutoImageProcessor

    from transformers_foreground import ForegroundImageProcessor

    register()
    settings = {**RMBG_PREPROCESSOR, "size": {"width": 8, "height": 8}}
    folder = write_repo(tmp_path / "m", size=8, preprocessor={"config": settings} if nested else settings)
    processor = AutoImageProcessor.from_pretrained(folder)
    assert type(processor) is ForegroundImageProcessor
    assert processor(Image.new("RGB", (30, 20), "white"))["pixel_values"].shape == (1, 3, 8, 8)
    assert processor(Image.new("RGB", (30, 20), "white"), return_tensors="pt")["pixel_values"].shape == (
        1,
        3,
        8,
        8,
    )


def test_reshaped_input_sizes_are_those_before_padding() -> None:
    from transformers_foreground import ForegroundImageProcessor

    processor = ForegroundImageProcessor(size={"longest_edge": 24}, do_pad=True, pad_size={"width": 40, "height": 32})
    features = processor([Image.new("RGB", (30, 20)), Image.new("RGB", (10, 20))])
    assert features["pixel_values"].shape == (2, 3, 32, 40)
    assert features["original_sizes"] == [(20, 30), (20, 10)]
    assert features["reshaped_input_sizes"] == [(16, 24), (24, 12)]


# --- by id, from a Hub ------------------------------------------------------------------------------------------

_BY_ID = """
import sys, numpy as np
import transformers_foreground
transformers_foreground.register()
way = sys.argv[1]
if way == "transformers":
    import transformers
    segmenter = transformers.pipeline("image-segmentation", "briaai/RMBG-1.4")
elif way == "optimum.onnxruntime":
    from optimum.onnxruntime import pipeline
    segmenter = pipeline("image-segmentation", "briaai/RMBG-1.4")
elif way == "optimum":
    from optimum.pipelines import pipeline
    segmenter = pipeline("image-segmentation", "briaai/RMBG-1.4", accelerator="ort")
else:
    segmenter = transformers_foreground.pipeline("image-segmentation", "briaai/RMBG-1.4")
mask = segmenter(np.full((20, 30, 3), 255, np.uint8))[0]["mask"]
print("RESULT", mask.size, mask.getpixel((10, 10)), type(segmenter).__name__)
"""


def test_by_id_online_then_offline(tmp_path: Path) -> None:
    with HubServer() as hub:
        hub.add_repo(
            "briaai/RMBG-1.4",
            {**files_of(write_repo(tmp_path / "src")), "MyConfig.py": b"raise SystemExit(9)"},
        )
        environment = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub.url}
        optimum = ("optimum.onnxruntime", "optimum") if _optimum_works() else ()
        for way in ("ours", "transformers", *optimum):
            for offline in ("", "1"):
                done = subprocess.run(
                    [sys.executable, "-c", _BY_ID, way],
                    env={**environment, "HF_HUB_OFFLINE": offline or "0"},
                    cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
                )  # fmt: skip
                name = "ForegroundPipeline" if way == "ours" else "ForegroundExtractionPipeline"
                assert f"RESULT (30, 20) 255 {name}" in done.stdout, (
                    way,
                    offline,
                    done.stderr,
                )
        assert not [path for _, path, _ in hub.requests if path.endswith(".py")], "remote code was fetched"


def test_several_dtypes_through_transformers(tmp_path: Path) -> None:
    import transformers

    from transformers_foreground.errors import ModelFileNotFoundError

    register()
    dtypes = {"": brightness_model(), "_quantized": brightness_model(output_name="quantised")}
    folder = str(write_repo(tmp_path / "m", dtypes=dtypes))
    assert transformers.pipeline("image-segmentation", folder, dtype="q8").model.graph.output_name == "quantised"
    with pytest.raises(ModelFileNotFoundError, match="It has: fp32, q8"):
        transformers.pipeline("image-segmentation", folder, dtype="fp16")


# --- what transformers' users do --------------------------------------------------------------------------------------


def test_each_pipeline_has_its_own_image_processor(tmp_path: Path) -> None:
    import transformers

    register()
    folder = write_repo(tmp_path / "free", dtypes={"": brightness_model(size=None, batch=None)})
    image = Image.effect_noise((64, 64), 90).convert("RGB")

    def processor(side: int) -> ForegroundImageProcessor:
        size = {"width": side, "height": side}
        return ForegroundImageProcessor(size=size, image_mean=[0.5] * 3, image_std=[1, 1, 1])

    def mask(pipe: Any) -> bytes:
        return bytes(pipe(image)[0]["mask"].tobytes())

    shared = ORTModelForForegroundExtraction.from_pretrained(folder)
    pipes = [
        transformers.pipeline("image-segmentation", shared, image_processor=processor(side)) for side in (16, 32, 48)
    ]
    small, middle, large = map(mask, pipes)
    assert len({small, middle, large}) == 3
    pipes[0].image_processor = processor(32)
    pipes[1].image_processor.size = {"width": 48, "height": 48}
    assert [mask(pipe) for pipe in pipes] == [middle, large, large]
    assert pipes[1].image_processor.to_dict()["size"] == {"width": 48, "height": 48}


@pytest.mark.parametrize(
    "options",
    [
        {"device_map": "auto"},
        {"model_kwargs": {"low_cpu_mem_usage": True, "use_safetensors": True}},
        {"model_kwargs": {"attn_implementation": "sdpa", "quantization_config": None}},
    ],
)
def test_what_means_nothing_here_is_left_out(options: dict[str, Any], tiny: Path, half_bright: Image.Image) -> None:
    import transformers

    register()
    segmenter = transformers.pipeline("image-segmentation", str(tiny), **options)
    assert isinstance(segmenter, ForegroundExtractionPipeline)
    assert segmenter(half_bright)[0]["mask"].size == half_bright.size


def test_the_model_takes_bfloat16(tiny: Path) -> None:
    torch = pytest.importorskip("torch")
    model = ORTModelForForegroundExtraction.from_pretrained(tiny)
    values = torch.zeros(1, 3, 16, 16, dtype=torch.bfloat16)
    assert model(values).alpha.flatten()[0] == pytest.approx(0.5)


def test_transformers_pipelines_can_be_saved_onto_themselves(tmp_path: Path, half_bright: Image.Image) -> None:
    folder = write_repo(tmp_path / "own")
    before = _through_transformers(folder, "image-segmentation")
    expected = before(half_bright)[0]["mask"].tobytes()
    before.save_pretrained(folder)
    assert _through_transformers(folder, "image-segmentation")(half_bright)[0]["mask"].tobytes() == expected
