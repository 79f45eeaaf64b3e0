"""`preprocessor_config.json`: aliases and forms, and what is refused by name."""

from __future__ import annotations

import json
import time
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import RMBG_PREPROCESSOR

from transformers_foreground.errors import ForegroundError, UnsupportedOptionError
from transformers_foreground.runtime.preprocessor_config import read
from transformers_foreground.runtime.processing import Processing, choose, merged

MEAN = {"do_normalize": True, "image_mean": [0.5, 0.25, 0], "image_std": [1, 2, 3]}
SQUARE = {"width": 320, "height": 320}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"size": 320}, {"shortest_edge": 320, "longest_edge": 320}),
        ({"size": 320, "max_size": 500}, {"shortest_edge": 320, "longest_edge": 500}),
        ({"size": [640, 640]}, {"width": 640, "height": 640}),
        ({"size": {"width": "64", "height": 32.0}}, {"width": 64, "height": 32}),
        ({"size": {"shortest_edge": 5}}, {"shortest_edge": 5}),
        ({"size": {"longest_edge": 5, "shortest_edge": None}}, {"longest_edge": 5}),
        ({"size": {"width": 3, "height": 4, "shortest_edge": 5}}, {"shortest_edge": 5}),
        ({"image_size": SQUARE}, SQUARE),
        ({"image_size": 7, "size": SQUARE}, SQUARE),
        ({"config": {"size": {"width": 3, "height": 4}}}, {"width": 3, "height": 4}),
        ({"size": None}, None),
        ({}, None),
    ],
)
def test_sizes_as_files_write_them(raw: dict[str, Any], expected: Any) -> None:
    processing = Processing.from_dict(raw)
    assert processing.size == expected
    assert processing.do_resize is (expected is not None)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"size_divisor": 32}, {"size_divisibility": 32}),
        ({"size_divisibility": 0}, {"size_divisibility": None}),
        ({**MEAN}, {"do_normalize": True, "image_mean": (0.5, 0.25, 0), "image_std": (1, 2, 3)}),
        ({"do_normalize": True, "mean": 0.5, "std": 2}, {"image_mean": (0.5,) * 3, "image_std": (2,) * 3}),
        ({"image_mean": [0.5] * 3, "image_std": [1] * 3}, {"do_normalize": False}),
        ({"resample": "bicubic"}, {"resample": 3}),
        ({"resample": "1"}, {"resample": 1}),
        ({"resample": None}, {"resample": 2}),
        ({"keep_aspect_ratio": True, "ensure_multiple_of": 32}, {"ensure_multiple_of": 32}),
        ({"keep_aspect_ratio": True}, {"ensure_multiple_of": None}),
        ({"keep_aspect_ratio": False, "ensure_multiple_of": 32}, {"ensure_multiple_of": None}),
        ({"do_center_crop": True, "crop_size": 9}, {"crop_size": {"width": 9, "height": 9}}),
        ({"do_pad": 1, "pad_size": "square"}, {"do_pad": True, "pad_size": "square"}),
        ({"pad_size": {"width": 3, "height": 4}}, {"do_pad": False, "pad_size": {"width": 3, "height": 4}}),
        ({"do_convert_rgb": False, "rescale_offset": True, "do_grayscale": True, "more": [1]}, {"do_rescale": True}),
        ({"image_processor_type": "EfficientNetImageProcessor", **MEAN}, {"image_std": (1, 4, 9)}),
        (
            {"image_processor_type": "EfficientNetImageProcessorFast", "include_top": False, **MEAN},
            {"image_std": (1, 2, 3)},
        ),
        (
            {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 224}},
            {"size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": {"width": 224, "height": 224}},
        ),
        (
            {"image_processor_type": "ConvNextFeatureExtractor", "size": {"shortest_edge": 384}},
            {"size": {"width": 384, "height": 384}, "do_center_crop": False},
        ),
        ({"image_processor_type": "DonutImageProcessor", "size": SQUARE}, {"size": SQUARE}),
        ({"image_processor_type": "ANameOfTomorrow"}, {"do_resize": False}),
    ],
)
def test_aliases_and_forms(raw: dict[str, Any], expected: dict[str, Any]) -> None:
    processing = Processing.from_dict(raw)
    assert {name: getattr(processing, name) for name in expected} == expected


REFUSED: list[tuple[dict[str, Any], str]] = [
    *[({"size": size}, "size") for size in (
        {}, {"width": 3}, {"width": "64"}, {"height": 3}, "large", "128", [1, 2, 3], [128, 96], {"edge": 4}, True, 0,
        -5, 2.5, 1e9, {"width": 0, "height": 5}, {"width": 64, "height": "x"}, {"width": 16384, "height": 16384},
        {"longest_edge": 1e9}, {"shortest_edge": float("nan")}, {"shortest_edge": float("inf")},
        {"shortest_edge": [512]}, {"shortest_edge": True}, {"width": "9" * 5000, "height": 1},
    )],
    *[({**MEAN, key: value}, key) for key in ("image_mean", "image_std")
      for value in ([0.5], [0.5] * 4, "0.5", [0.5, "x", 1], {"r": 1}, [[1], [2], [3]], True, [0, 0, float("nan")])],
    ({"do_normalize": True, "image_mean": 0.5}, "image_std is missing"),
    ({"do_normalize": True}, "image_mean or image_std is missing"),
    ({**MEAN, "image_std": [1, 0, 1]}, "image_std has a 0"),
    *[({key: value}, key) for key in ("do_resize", "do_rescale", "do_normalize", "do_pad", "do_flip_channel_order")
      for value in ("yes", 2, [True], {})],
    *[({"resample": value}, "resample") for value in (6, -1, 2.5, "Bilinear", [2], True, 1e300)],
    *[({"rescale_factor": value}, "rescale_factor") for value in ("1/255", [1], True, float("nan"), 10**400)],
    *[({"size_divisibility": value}, "size_divisibility") for value in (-1, 2.5, "x", 10**9, [32])],
    *[({"crop_size": value}, "crop_size") for value in ({"width": 5}, "x", 0, [5, 5])],
    *[({"pad_size": value}, "pad_size") for value in ({"height": 5}, "round", 0, 20_000)],
    ({"do_center_crop": True}, "crop_size is missing"),
    ({"do_thumbnail": True, "size": 320}, "do_thumbnail needs"),
    ({"size": 320, "max_size": "x"}, "max_size"),
    ({"keep_aspect_ratio": True, "ensure_multiple_of": "x"}, "ensure_multiple_of"),
    ({"image_processor_type": ["x"]}, "image_processor_type"),
    ({"image_processor_type": "VitMatteImageProcessor"}, "VitMatteImageProcessor"),
    ({"image_processor_type": "SamImageProcessorFast"}, "SamImageProcessorFast"),
    ({"feature_extractor_type": "Qwen2VLImageProcessor"}, "Qwen2VLImageProcessor"),
    ({"image_processor_type": "DonutImageProcessor", "do_pad": True}, "DonutImageProcessor.*do_pad"),
    ({"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 9}, "crop_pct": 0}, "crop_pct"),
    ({"image_processor_type": "ConvNextImageProcessor", "size": 9, "do_center_crop": True, "crop_size": 9}, "ConvNeXt"),
    ({"resampling": "sharpest"}, "resampling 'sharpest'"),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "named"), REFUSED, ids=[json.dumps(raw)[:60] for raw, _ in REFUSED])
def test_what_is_refused_is_named(raw: dict[str, Any], named: str) -> None:
    started = time.process_time()
    with pytest.raises(UnsupportedOptionError, match=named) as caught:
        Processing.from_dict(raw)
    assert len(str(caught.value)) < 400
    assert time.process_time() - started < 1


@pytest.mark.parametrize("raw", [[], "text", 5, None, True])
def test_what_is_no_object(raw: Any) -> None:
    with pytest.raises(UnsupportedOptionError, match="is an object"):
        Processing.from_dict(raw)


scalars = (
    st.none() | st.booleans() | st.integers(-3, 600) | st.sampled_from([0.5, 1e9, float("nan"), "", "64", "square"])
)
values = scalars | st.lists(scalars, max_size=3) | st.fixed_dictionaries(
    {}, optional=dict.fromkeys(["width", "height", "shortest_edge", "longest_edge"], scalars)
)  # fmt: skip
NAMES = [*(field.name for field in fields(Processing)), "mean", "std", "size_divisor", "image_size", "max_size",
         "config", "keep_aspect_ratio", "image_processor_type", "feature_extractor_type", "crop_pct"]  # fmt: skip


@given(st.dictionaries(st.sampled_from(NAMES), values, max_size=6))
def test_any_json_is_read_or_refused(raw: dict[str, Any]) -> None:
    """And what is read is read again as the same."""
    try:
        processing = Processing.from_dict(raw)
    except ForegroundError:
        return
    assert Processing.from_dict(json.loads(json.dumps(processing.to_dict()))) == processing


def test_a_round_trip_through_json() -> None:
    processing = Processing.from_dict(RMBG_PREPROCESSOR)
    assert Processing.from_dict(processing.to_dict()) == processing
    assert processing.image_std == (1, 1, 1)
    assert read(RMBG_PREPROCESSOR)["resample"] == 2


# --- file, known model and graph --------------------------------------------------------------------------------------

U2NET = {"size": SQUARE, "rescale_to_max": True, "min_max": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}


def test_the_file_alone_counts() -> None:
    file = {**MEAN, "size": SQUARE}
    chosen = choose(file, U2NET, (320, 320), source="m")
    assert chosen == Processing.from_dict(file)
    assert not chosen.rescale_to_max
    assert choose({**file, "min_max": True}, U2NET, (320, 320), source="m").min_max


def test_without_a_file_what_is_known_counts() -> None:
    chosen = choose(None, U2NET, (None, None), source="m", resampling="canvas")
    assert chosen.rescale_to_max
    assert chosen.do_normalize
    assert chosen.resampling == "canvas"
    assert not choose(None, {"size": SQUARE}, (None, None), source="m").do_normalize


@pytest.mark.parametrize(
    ("file", "size", "expected"),
    [
        ({"do_resize": True}, (16, 32), {"height": 16, "width": 32}),
        ({"do_resize": False, "size": SQUARE}, (16, 32), {"height": 16, "width": 32}),
        ({}, (16, 32), {"height": 16, "width": 32}),
        ({}, (None, None), None),
        ({}, (16, None), None),
        ({"size": SQUARE}, (16, 32), SQUARE),
        ({"do_resize": False, "do_pad": True, "pad_size": 64}, (64, 64), None),
        ({"do_resize": False, "do_center_crop": True, "crop_size": 64}, (64, 64), None),
    ],
)
def test_a_graph_of_fixed_size_decides_where_nothing_else_does(file: Any, size: Any, expected: Any) -> None:
    assert choose(file, None, size, source="m").size == expected


@pytest.mark.parametrize(
    ("file", "known", "message"),
    [
        (None, None, "m is not a known model and has no preprocessor_config.json"),
        ({"do_resize": True}, None, "Nothing says what size m takes"),
        ({"size": "x"}, None, "preprocessor_config.json of m cannot be used: size is 'x'"),
        ([], None, "is an object"),
    ],
)
def test_what_cannot_be_decided(file: Any, known: Any, message: str) -> None:
    with pytest.raises(UnsupportedOptionError, match=message):
        choose(file, known, (None, None), source="m")


def test_an_image_processor_without_a_size_takes_the_models() -> None:
    known, own = Processing.of_known_model(U2NET), Processing.from_dict(MEAN)
    both = merged(known, own)
    assert both.size == SQUARE
    assert both.do_resize
    assert both.image_std == (1, 2, 3)
    assert merged(known, None) is known
