"""Static quantisation, on a small network of the shape of U²-Net's blocks."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from typer.testing import CliRunner

from transformers_foreground.errors import (
    ForegroundError,
    ImageError,
    InvalidModelError,
    MissingExtraError,
    UnsupportedOptionError,
)
from transformers_foreground.quantization import plan
from transformers_foreground.quantization.calibration import ChannelHistogram, collect, open_session, slices
from transformers_foreground.quantization.clipping import least_squares, percentile
from transformers_foreground.quantization.comparison import level_value
from transformers_foreground.quantization.equalization import Channels, rescale
from transformers_foreground.quantization.figures import (
    Bounds,
    ImageFigures,
    failures,
    intersection_over_union,
    mean_absolute_error,
    shown,
    summarise,
)
from transformers_foreground.quantization.plan import Method
from transformers_foreground.quantization.quantize import divide, quantize
from transformers_foreground.quantization.quantizer import KEY
from transformers_foreground.quantization.report import report, table
from transformers_foreground.quantization.samples import fingerprint, samples
from transformers_foreground.quantization.sensitivity import parts, rank
from transformers_foreground.quantization.simplify import simplify
from transformers_foreground.quantization.weight_rounding import balanced, steps
from transformers_foreground.segmenter import Segmenter

SIDE = 32


def small_network(*, wide: float = 40.0, name: str = "block1", opset: int = 15) -> onnx.ModelProto:
    """Make Conv, ReLU, MaxPool, Resize (sizes computed from shapes), Concat, Add and a side output.

    One channel is `wide` times as large as the others, and read with weights as much smaller.
    """
    random = np.random.default_rng(7)
    nodes: list[Any] = []
    tensors: list[Any] = []

    def constant(label: str, value: Any, kind: Any = np.float32) -> str:
        tensors.append(numpy_helper.from_array(np.asarray(value, kind), label))
        return label

    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], name=f"/{name}/{output}/{kind}", **attributes))
        return output

    def conv(source: str, into: int, out: int, label: str, scale: Any = 1.0) -> str:
        weights = random.normal(0, np.sqrt(2 / (9 * into)), (out, into, 3, 3)) * scale
        inputs = [source, constant(f"{label}.w", weights), constant(f"{label}.b", random.normal(0, 0.1, out))]
        return node("Conv", inputs, label, pads=[1, 1, 1, 1], kernel_shape=[3, 3])

    factor = np.ones(8)
    factor[3] = wide
    first = node("Relu", [conv("input", 3, 8, "c1", factor[:, None, None, None])], "r1")
    pooled = node("MaxPool", [first], "p1", kernel_shape=[2, 2], strides=[2, 2])
    second = node("Relu", [conv(pooled, 8, 8, "c2", 1 / factor[None, :, None, None])], "r2")
    shape = node("Shape", [first], "shape")
    start, end, axis = (constant(label, [value], np.int64) for label, value in (("start", 2), ("end", 4), ("axis", 0)))
    sides = node("Slice", [shape, start, end, axis], "sides")
    sizes = node("Concat", [constant("one", [1, 8], np.int64), sides], "sizes", axis=0)
    region = [constant("region", []), constant("scales", [])] if opset < 13 else ["", ""]
    large = node("Resize", [second, *region, sizes], "u1", mode="linear", coordinate_transformation_mode="half_pixel")
    both = node("Concat", [large, first], "both", axis=1)
    reading = np.concatenate([np.ones(8), 1 / factor])[None, :, None, None]
    third = node("Relu", [conv(both, 16, 8, "c3", reading)], "r3")
    total = node("Add", [third, large], "sum")
    logits = node("Cast", [conv(total, 8, 1, "c4", 2.0)], "cast", to=TensorProto.FLOAT)
    node("Sigmoid", [logits], "output")
    node("Sigmoid", [conv(second, 8, 1, "c5")], "side")
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [
            helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 1, SIDE, SIDE]),
            helper.make_tensor_value_info("side", TensorProto.FLOAT, [1, 1, SIDE // 2, SIDE // 2]),
        ],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def images(count: int) -> list[np.ndarray]:
    """Make inputs that are smooth, as photographs are."""
    random = np.random.default_rng(3)
    small = random.random((count, 3, 4, 4)).repeat(8, axis=2).repeat(8, axis=3)
    return [(p[None] - 0.5).astype(np.float32) for p in small]


def run(model: onnx.ModelProto, values: np.ndarray) -> np.ndarray:
    return np.asarray(open_session(model.SerializeToString()).run(None, {"input": values})[0])


@pytest.fixture(scope="module")
def simple() -> onnx.ModelProto:
    return simplify(small_network())


@pytest.fixture(scope="module")
def histograms(simple: onnx.ModelProto) -> dict[str, ChannelHistogram]:
    return dict(collect(simple, plan.watched(simple), images(8)))


def difference(simple: onnx.ModelProto, histograms: dict[str, ChannelHistogram], method: Method) -> float:
    quantised = plan.apply(simple, histograms, method, (-0.5, 0.5))
    return float(np.mean([np.abs(run(quantised, p) - run(simple, p)).mean() for p in images(12)[8:]]))


# Simplifying


def test_simplify_drops_side_outputs_shapes_and_casts_and_changes_nothing(simple: onnx.ModelProto) -> None:
    kinds = {node.op_type for node in simple.graph.node}
    assert kinds == {"Conv", "Relu", "MaxPool", "Resize", "Concat", "Add", "Sigmoid"}
    assert [value.name for value in simple.graph.output] == ["output"]
    assert not any(tensor.name.startswith("c5") for tensor in simple.graph.initializer)
    for values in images(3):
        np.testing.assert_array_equal(run(simple, values), run(small_network(), values))


def test_simplify_fixes_the_size_and_sorts_nodes() -> None:
    model = small_network()
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "h"
    model.graph.input[0].type.tensor_type.shape.dim[3].dim_param = "w"
    shuffled = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(shuffled)
    result = simplify(model, SIDE, SIDE)
    assert [d.dim_value for d in result.graph.input[0].type.tensor_type.shape.dim] == [1, 3, SIDE, SIDE]
    assert "Shape" not in {node.op_type for node in result.graph.node}
    np.testing.assert_array_equal(run(result, images(1)[0]), run(small_network(), images(1)[0]))


def test_models_of_an_older_opset_can_be_quantised(histograms: dict[str, ChannelHistogram]) -> None:
    old = small_network(opset=11)
    result = simplify(old)
    for values in images(3):
        np.testing.assert_array_equal(run(result, values), run(old, values))
    quantised = plan.apply(result, histograms, Method(percent=100), (-0.5, 0.5))
    assert float(np.abs(run(quantised, images(1)[0]) - run(old, images(1)[0])).mean()) < 0.01


def test_simplify_refuses_what_takes_no_image() -> None:
    model = small_network()
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))
    with pytest.raises(InvalidModelError, match="one image"):
        simplify(model)


# Statistics


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        hnp.arrays(np.float32, (2, 30), elements=st.floats(-1e4, 1e4, width=32, allow_subnormal=False)),
        min_size=1,
        max_size=4,
    )
)
def test_histograms_do_not_depend_on_order_and_lose_nothing(batches: list[np.ndarray]) -> None:
    forward, backward = ChannelHistogram(2, 64), ChannelHistogram(2, 64)
    for batch in batches:
        forward.update(batch)
    for batch in batches[::-1]:
        backward.update(batch)
    np.testing.assert_array_equal(forward.counts, backward.counts)
    np.testing.assert_array_equal(forward.upper, backward.upper)
    everything = np.concatenate(batches, axis=1)
    assert (forward.counts.sum(axis=1) == everything.shape[1]).all()
    np.testing.assert_allclose(forward.largest, np.abs(everything).max(axis=1))
    assert (forward.upper >= forward.largest).all()


@settings(max_examples=30, deadline=None)
@given(st.floats(50, 100), st.integers(0, 2**32 - 1))
def test_percentiles_agree_with_numpys_within_a_bin(percent: float, seed: int) -> None:
    values = np.abs(np.random.default_rng(seed).normal(size=(1, 4000))).astype(np.float32)
    histogram = ChannelHistogram(1)
    histogram.update(values)
    ours = percentile(histogram, percent)[0]
    exact = np.quantile(values.astype(np.float64), percent / 100, method="inverted_cdf")  # else q becomes float32
    assert exact - 1e-6 <= ours <= exact + histogram.upper[0] / histogram.counts.shape[1] + 1e-6


def test_least_squares_clips_one_far_value_and_keeps_an_even_spread() -> None:
    even = np.linspace(0, 1, 1_000_000, dtype=np.float32)[None]
    far = even.copy()
    far[0, -1] = 20
    histograms = []
    for values in (even, far):
        histograms.append(ChannelHistogram(1))
        histograms[-1].update(values)
    assert least_squares(histograms[0])[0] == pytest.approx(1, abs=0.02)
    assert least_squares(histograms[1])[0] < 10


def test_statistics_are_the_same_in_slices(simple: onnx.ModelProto, histograms: dict[str, ChannelHistogram]) -> None:
    names = plan.watched(simple)
    assert len(slices(simple, names, 4 * 8 * SIDE * SIDE)) >= 3
    sliced = collect(simple, names, images(8), slice_bytes=4 * 8 * SIDE * SIDE)
    for name in names:
        np.testing.assert_array_equal(sliced[name].counts, histograms[name].counts)


# Quantising


def test_equalisation_is_exact_and_ties_what_is_added(simple: onnx.ModelProto) -> None:
    channels = Channels(simple)
    np.testing.assert_array_equal(channels.ids["r3"], channels.ids["u1"])
    np.testing.assert_array_equal(channels.ids["both"], [*channels.ids["u1"], *channels.ids["r1"]])
    scale = np.exp(np.random.default_rng(0).normal(size=channels.count))
    scaled = rescale(simple, channels, scale)
    for values in images(2):
        np.testing.assert_allclose(run(scaled, values), run(simple, values), atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.sampled_from([1, 3, 5]))
def test_balanced_rounding_keeps_each_kernels_sum(seed: int, channels: int, kernel: int) -> None:
    weights = np.random.default_rng(seed).normal(size=(4, channels, kernel, kernel))
    step = steps(weights)[:, None]
    rounded = balanced(weights)
    levels = rounded / step[..., None, None]
    np.testing.assert_allclose(levels, np.round(levels), atol=1e-9)
    np.testing.assert_allclose(steps(rounded), steps(weights))
    nearest = np.round(weights / step[..., None, None]) * step[..., None, None]
    before = np.abs((nearest - weights).sum(axis=(2, 3)))
    after = np.abs((rounded - weights).sum(axis=(2, 3)))
    assert (after <= np.maximum(before, step / 2) + 1e-9).all()
    assert (np.abs(rounded - weights) <= step[..., None, None] + 1e-9).all()


def test_a_quantised_network_is_close_and_equalisation_is_why(
    simple: onnx.ModelProto, histograms: dict[str, ChannelHistogram]
) -> None:
    ours = difference(simple, histograms, Method(percent=100))
    naive = difference(simple, histograms, Method("max", equalise=0, balance=False, float_ends=False))
    assert ours < 0.01
    assert ours < naive / 2


def test_ranges_are_shared_where_values_are_only_copied(
    simple: onnx.ModelProto, histograms: dict[str, ChannelHistogram]
) -> None:
    quantised = plan.apply(simple, histograms, Method(), (-0.5, 0.5))
    scales = {tensor.name: numpy_helper.to_array(tensor) for tensor in quantised.graph.initializer}
    assert scales["both_scale"] == scales["r1_scale"]
    assert plan.ends(simple) == ["/block1/c1/Conv", "/block1/output/Sigmoid", "/block1/c4/Conv"]
    assert "c1.w_quantized" not in {tensor.name for tensor in quantised.graph.initializer}


def test_parts_are_modules_or_single_convolutions(simple: onnx.ModelProto) -> None:
    assert [part.name for part in parts(simple)] == [f"/block1/c{i}/Conv" for i in (1, 2, 3, 4)]
    assert sum(part.cost for part in parts(simple)) == pytest.approx(1)
    chosen = rank(parts(simple), lambda nodes: 0.1 if "/block1/c2/Conv" in nodes else 0.6, 0.5)
    assert [(part.name, round(gain, 3)) for part, gain in chosen] == [("/block1/c2/Conv", 0.4)]


# Judging


def test_differences_from_the_truth() -> None:
    assert mean_absolute_error(np.array([[0.0, 1.0, 1.0]]), np.array([[0, 128, 255]]) / 255) == 0
    assert mean_absolute_error(np.array([[0.0, 1.0]]), np.array([[0, 128]]) / 255) == pytest.approx(0.249, abs=1e-3)
    a, b = np.array([[1.0, 1.0, 0.0]], np.float32), np.array([[1.0, 0.0, 0.0]], np.float32)
    assert intersection_over_union(a, b) == 0.5
    assert intersection_over_union(a * 0, b * 0) == 1


def test_bounds_name_what_is_not_kept() -> None:
    good = [ImageFigures(f"set/{i}", 0.001, 0.99, (0.9, 0.899), (0.02, 0.021)) for i in range(12)]
    figures = summarise([*good, ImageFigures("set/empty", 0.001, None)])
    assert (figures.images, figures.nearly_empty) == (13, 1)
    assert failures(figures, [figures], Bounds()) == []
    assert "only 3 images" in failures(summarise(good[:3]), [], Bounds())[0]
    bad = summarise([*good, ImageFigures("set/bad", 0.5, 0.96, (0.9, 0.7))])
    assert [reason.split()[0] for reason in failures(bad, [bad], Bounds())] == ["mean", "worst", "S-measure"]
    empty = summarise([ImageFigures(f"set/{i}", 0.001, None) for i in range(13)])
    assert (empty.mean_iou, empty.worst_iou, empty.to_dict()["worst_iou"]) == (None, None, None)
    assert shown(empty.worst_iou) == "–"
    assert failures(empty, [empty], Bounds()) == ["only 0 images, 12 needed"]
    nothing_known = summarise([ImageFigures("set/x", float("nan"), float("nan"))] * 12)
    assert len(failures(nothing_known, [], Bounds())) == 2


# The whole way


def photos(folder: Path, count: int, seed: int = 0, masks: bool = False) -> Path:
    random = np.random.default_rng(seed)
    (folder / "im").mkdir(parents=True)
    (folder / "gt").mkdir()
    for i in range(count):
        pixels = (random.random((6, 8, 3)) * 255).astype(np.uint8).repeat(8, axis=0).repeat(8, axis=1)
        Image.fromarray(pixels).save(folder / "im" / f"{i}.png")
        if masks:
            Image.fromarray(((pixels[..., 0] > 128) * 255).astype(np.uint8)).save(folder / "gt" / f"{i}.png")
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "models" / "own" / "small"
    (folder / "onnx").mkdir(parents=True)
    onnx.save(small_network(), folder / "onnx" / "model.onnx")
    (folder / "config.json").write_text("{}")
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"size": {"width": SIDE, "height": SIDE}, "image_mean": [0.5] * 3, "image_std": [1, 1, 1]})
    )
    return folder


def test_quantising_a_model_writes_judges_and_repeats(model: Path, tmp_path: Path) -> None:
    images = photos(tmp_path / "photos", 14)
    held = photos(tmp_path / "held", 13, seed=1, masks=True)
    lines: list[str] = []
    stages: list[list[Any]] = []

    def track(stage: str, total: int) -> Any:
        stages.append([stage, total, 0])
        count = stages[-1]
        return lambda: count.__setitem__(2, count[2] + 1)

    bounds = Bounds(worst_iou=0.8, s_measure_drop=0.05)
    outcome = quantize(model, images, count=8, evaluate=[held], bounds=bounds, say=lines.append, track=track)
    assert {stage for stage, *_ in stages} == {"calibrating", "fp32", "int8"}
    assert all(total == done for _, total, done in stages)
    target = model / "onnx" / "model_int8.onnx"
    assert outcome.path == target
    first = target.read_bytes()
    session = onnxruntime.InferenceSession(target, providers=["CPUExecutionProvider"])
    record = json.loads(session.get_modelmeta().custom_metadata_map[KEY])
    assert record["calibration"]["images"] == 8
    assert record["calibration"]["sha256"] == fingerprint(divide([images], 8)[0])
    assert record["held_out"]["sets"]["held"]["images"] == 13
    assert record["source"]["bytes"] == (model / "onnx" / "model.onnx").stat().st_size
    assert outcome.safe == record["safe"] == (record["unkept"] == [])
    assert outcome.safe, record["unkept"]
    page = report("own/small", outcome, "command", 0.1, bounds)
    assert table(outcome) in page
    assert "| held | 13 |" in page
    quantize(model, images, count=8, evaluate=[held], bounds=bounds)
    assert target.read_bytes() == first
    assert len(list(target.parent.iterdir())) == 2


@pytest.mark.parametrize("taken", ["the model", "a link to it", "another model", "an image"])
def test_other_files_are_not_overwritten(model: Path, taken: str, tmp_path: Path) -> None:
    images = photos(tmp_path / "photos", 14)
    held = photos(tmp_path / "held", 13, seed=1)
    output: Path | None = {
        "the model": model / "onnx/model.onnx",
        "a link to it": tmp_path / "link.onnx",
        "another model": None,
        "an image": images / "im/0.png",
    }[taken]
    (tmp_path / "link.onnx").symlink_to(model / "onnx/model.onnx")
    target = output or model / "onnx/model_int8.onnx"
    if output is None:  # of the repository's owner
        shutil.copy(model / "onnx/model.onnx", target)
    before = target.read_bytes()
    with pytest.raises(UnsupportedOptionError, match=f"{target.name} exists, and was not made by quantizing"):
        quantize(model, images, count=8, evaluate=[held], output=output)
    assert target.read_bytes() == before


def test_a_place_that_cannot_be_written_is_refused_before_any_work(model: Path, tmp_path: Path) -> None:
    images, held = photos(tmp_path / "photos", 14), photos(tmp_path / "held", 13, seed=1)
    (tmp_path / "file").write_bytes(b"")
    stages: list[str] = []
    with pytest.raises(UnsupportedOptionError, match=r"file/x\.onnx cannot be written: .*file is not a folder\. Give"):
        quantize(
            model,
            images,
            count=8,
            evaluate=[held],
            output=tmp_path / "file/x.onnx",
            track=lambda stage, _: lambda: stages.append(stage),
        )
    assert stages == []


def test_images_are_never_used_twice(tmp_path: Path) -> None:
    images = photos(tmp_path / "photos", 20)
    for i in range(5):  # the same image under another name
        (images / "im" / f"copy{i}.png").write_bytes((images / "im" / f"{i}.png").read_bytes())
    groups = divide([images], 8)
    hashes = [sample.sha256 for group in groups for sample in group]
    assert len(hashes) == len(set(hashes)) == 20
    assert [len(group) for group in groups] == [8, 4, 8]
    assert samples(images, without=set(hashes)) == []


def test_refusals_come_before_any_work(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("transformers_foreground.quantization.quantizer.Quantizer.__init__", never)
    few, some = photos(tmp_path / "few", 6, seed=2), photos(tmp_path / "some", 18)
    wrong: list[tuple[Any, dict[str, Any], str]] = [
        (few, {}, "6 different images are too few"),
        (some, {"count": 8}, "6 images are left to judge the result by, and 12 are needed.* Give 6 more"),
        (some, {"count": 8, "evaluate": [few]}, "6 images are left"),
        (tmp_path / "nowhere", {}, "is not a folder"),
        (tmp_path / "sone", {}, "Did you mean .*some"),
        (few / "im" / "0.png", {}, "is not a folder"),
        ("photos", {}, "is not a folder"),
        (some, {"output": tmp_path}, "is a folder"),
    ]
    for images, options, message in wrong:
        with pytest.raises(UnsupportedOptionError, match=message):
            quantize(model, images, **options)
    with pytest.raises(UnsupportedOptionError, match=r"nobody/nothing is not a folder here.*--output"):
        quantize("nobody/nothing", some)
    assert not (model / "onnx" / "model_int8.onnx").exists()


def test_a_name_is_asked_of_the_hub_once_and_without_a_word_of_its_own(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def no(_: Any, name: str, timeout: float) -> None:
        asked.append(name)
        raise OSError("404: there is no such\n dataset")

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", no)
    with pytest.raises(UnsupportedOptionError, match=r"neither a folder here nor .*: 404: there is no such dataset"):
        quantize(model, "owner/nothing:train")
    assert asked == ["owner/nothing"]
    assert "".join(capfd.readouterr()) == ""


@pytest.mark.parametrize("form", ["0 and 1", "palette", "alpha"])
def test_true_masks_are_read_in_all_their_forms(tmp_path: Path, form: str) -> None:
    folder = photos(tmp_path / "held", 1, masks=True)
    path = folder / "gt" / "0.png"
    gray = np.asarray(Image.open(path))
    image = Image.fromarray(gray // 255)
    if form == "palette":
        image.putpalette([0, 0, 0, 128, 0, 0])
    elif form == "alpha":
        image = Image.fromarray(np.dstack([gray * 0, gray * 0, gray * 0, gray]))
    image.save(path)
    (sample,) = samples(folder)
    truth = sample.ground_truth(*gray.shape)
    assert truth is not None
    np.testing.assert_array_equal(truth.mask, gray == 255)
    np.testing.assert_array_equal(truth.alpha, gray / 255)


def test_a_true_mask_of_another_size_is_refused_before_any_work(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("transformers_foreground.quantization.quantizer.Quantizer.__init__", never)
    images, held = photos(tmp_path / "photos", 14), photos(tmp_path / "held", 13, seed=1, masks=True)
    Image.new("L", (9, 9)).save(held / "gt" / "7.png")
    with pytest.raises(ImageError, match=r"7\.png: the truth has 9×9 pixels, the image 64×48"):
        quantize(model, images, count=8, evaluate=[held])


def test_masks_need_the_extra_before_any_work(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "py_sod_metrics", None)
    images, held = photos(tmp_path / "photos", 14), photos(tmp_path / "held", 13, seed=1, masks=True)
    with pytest.raises(MissingExtraError, match=r"\[eval\]"):
        quantize(model, images, count=8, evaluate=[held])


def test_a_model_that_is_nowhere(tmp_path: Path) -> None:
    images = photos(tmp_path / "photos", 24)
    with pytest.raises(ForegroundError, match="nobody/nothing"):
        quantize("nobody/nothing", images, count=8, output=tmp_path / "model_int8.onnx")


def test_the_noise_of_the_last_row_is_half_a_level(model: Path) -> None:
    with Segmenter(model) as segmenter:
        one, two = (level_value(level, segmenter) for level in (1, 2))
    assert two - one == pytest.approx(1 / 255)  # the model's config asks for no more than rescaling


def test_the_command(model: Path, tmp_path: Path) -> None:
    from transformers_foreground.cli.quantize import quantize as command

    app = typer.Typer()
    app.command()(command)
    images = photos(tmp_path / "photos", 24)
    page = tmp_path / "page.md"
    arguments = [str(model), "--images", str(images), "--count", "8", "--keep-float", "1", "--report", str(page)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "max, not equalised, every operator" in page.read_text()
    assert "fp32 itself, each level of the input off" in page.read_text()
    assert "| fp32 |" in result.output
    assert (model / "onnx" / "model_int8.onnx").is_file()
    notes = tmp_path / "notes.md"
    notes.write_text("somebody's")
    for wrong in (
        ["--report", str(notes)],
        ["--report", str(tmp_path)],
        ["--report", str(tmp_path / "x"), "-o", str(tmp_path / "x")],
    ):
        result = CliRunner().invoke(app, [str(model), "--images", str(images), "--count", "8", *wrong])
        assert result.exit_code == 2, result.output
        assert "Choose another name" in result.output
    assert notes.read_text() == "somebody's"
    for wrong in (["--method", "magic"], ["--keep-float", "some"], ["--count", "20"], ["--images", "nopedir"]):
        result = CliRunner().invoke(app, [str(model), "--images", str(images), "--count", "8", *wrong])
        assert result.exit_code == 2, result.output
