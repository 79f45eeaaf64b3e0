"""Preprocess, forward's sigmoid, and postprocess: properties of the arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from transformers_foreground.runtime.postprocessing import min_max, postprocess
from transformers_foreground.runtime.preprocessing import preprocess, to_rgb
from transformers_foreground.runtime.processing import Processing
from transformers_foreground.runtime.resampling import RESAMPLINGS

images = hnp.arrays(np.uint8, st.tuples(st.integers(1, 24), st.integers(1, 24), st.just(3)))
planes = hnp.arrays(np.float32, st.tuples(st.integers(1, 16), st.integers(1, 16)), elements=st.floats(0, 1, width=32))
triples = st.tuples(*[st.floats(0.125, 2, width=32)] * 3)


@given(images, triples, triples)
def test_values_are_those_of_two_rounded_steps(
    rgb: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    processing = Processing(do_resize=False, image_mean=mean, image_std=std)
    got = preprocess(rgb, processing)
    for c in range(3):
        for y, x in np.ndindex(rgb.shape[:2]):
            scaled = float(np.float32(processing.rescale_factor * int(rgb[y, x, c])))
            assert got[c, y, x] == np.float32((scaled - mean[c]) / std[c])


@given(images, st.integers(1, 20), st.integers(1, 20), st.sampled_from(RESAMPLINGS))
def test_the_size_asked_for_is_the_size_given(rgb: np.ndarray, width: int, height: int, resampling: str) -> None:
    processing = Processing(size={"width": width, "height": height}, resampling=resampling)
    values = preprocess(rgb, processing)
    assert values.shape == (3, height, width)
    assert values.dtype == np.float32
    assert np.abs(values).max() <= 1.0001


@given(images)
def test_dividing_by_the_largest_value(rgb: np.ndarray) -> None:
    values = preprocess(rgb, Processing(do_resize=False, do_normalize=False, rescale_to_max=True))
    assert values.max() == pytest.approx(1 if rgb.any() else 0)


@given(planes, st.integers(1, 30), st.integers(1, 30), st.sampled_from(RESAMPLINGS), st.booleans())
def test_a_mask_has_the_images_size(alpha: np.ndarray, width: int, height: int, resampling: str, stretch: bool) -> None:
    mask = postprocess(alpha, height, width, Processing(resampling=resampling, min_max=stretch))
    assert mask.shape == (height, width)
    assert mask.dtype == np.uint8


@given(planes)
def test_without_resizing_a_mask_is_truncated(alpha: np.ndarray) -> None:
    mask = postprocess(alpha, *alpha.shape, Processing())
    assert np.array_equal(mask, (alpha * np.float32(255)).astype(np.int64))


@given(planes)
def test_stretching(alpha: np.ndarray) -> None:
    stretched = min_max(alpha)
    if np.ptp(alpha) == 0:
        assert np.array_equal(stretched, alpha)
    else:
        assert stretched.min() == 0
        assert stretched.max() == pytest.approx(1)


@pytest.mark.parametrize(("channels", "expected"), [(1, [9, 9, 9]), (3, [9, 8, 7]), (4, [9, 8, 7])])
def test_what_a_model_sees(channels: int, expected: list[int]) -> None:
    pixels = np.array([9, 8, 7, 0], np.uint8)[:channels].reshape(1, 1, channels)
    assert to_rgb(pixels, "transformers.js").tolist() == [[expected]]
    assert to_rgb(pixels, "canvas").tolist() == [[expected if channels < 4 else [0, 0, 0]]]


@given(hnp.arrays(np.uint8, (3, 5, 4)))
def test_a_canvas_keeps_opaque_colours(pixels: np.ndarray) -> None:
    pixels[..., 3] = 255
    assert np.array_equal(to_rgb(pixels, "canvas"), pixels[..., :3])
