"""Sizes, crops and padding: known values, and properties for any image."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from transformers_foreground.errors import ImageError
from transformers_foreground.runtime.geometry import cropped_centre, cropped_margin, target_size, thumbnail_size
from transformers_foreground.runtime.preprocessing import preprocess
from transformers_foreground.runtime.processing import Processing

sides = st.integers(1, 5000)
edges = st.integers(1, 2000)
images = hnp.arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20), st.just(3)))


@pytest.mark.parametrize(
    ("keys", "image", "expected"),
    [
        ({"size": {"width": 320, "height": 200}}, (1000, 10), (200, 320)),
        ({"size": {"width": 130, "height": 70}, "size_divisibility": 32}, (9, 9), (70, 130)),
        ({"size": {"shortest_edge": 512}, "size_divisibility": 32}, (1080, 1920), (512, 896)),
        ({"size": {"shortest_edge": 512}, "size_divisibility": 32}, (1481, 987), (768, 512)),
        ({"size": {"shortest_edge": 512}}, (500, 333), (768, 512)),
        ({"size": {"shortest_edge": 512, "longest_edge": 800}}, (500, 2000), (200, 800)),
        ({"size": {"shortest_edge": 128, "longest_edge": 150}}, (128, 128), (150, 150)),
        ({"size": {"longest_edge": 100}}, (200, 50), (100, 25)),
        ({"size": {"longest_edge": 100}}, (1, 5000), (1, 100)),
        ({"size": {"shortest_edge": 16}, "size_divisibility": 32}, (16, 16), (32, 32)),
        ({"size_divisibility": 32}, (141, 211), (128, 192)),
        ({"size_divisibility": 32}, (1, 1), (32, 32)),
        ({"size": {"width": 128, "height": 128}, "ensure_multiple_of": 32}, (141, 211), (128, 192)),
        ({"size": {"width": 128, "height": 128}, "ensure_multiple_of": 32}, (110, 150), (96, 128)),
        ({"size": {"width": 16, "height": 16}, "ensure_multiple_of": 64}, (16, 16), (64, 64)),
        ({"size": {"width": 128, "height": 100}, "do_thumbnail": True}, (141, 211), (100, 149)),
        ({"do_resize": False, "size": {"width": 3, "height": 4}, "size_divisibility": 2}, (7, 9), (7, 9)),
        ({"size": None}, (7, 9), (7, 9)),
    ],
)
def test_target_sizes(keys: dict[str, Any], image: tuple[int, int], expected: tuple[int, int]) -> None:
    assert target_size(*image, Processing(**keys)) == expected


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ((128, 191), (85, 128)),
        ((174, 128), (128, 94)),
        ((5, 9), (5, 9)),
        ((128, 128), (128, 128)),
        ((200, 200), (128, 128)),
        ((10_000, 1), (128, 1)),
    ],
)
def test_thumbnails(image: tuple[int, int], expected: tuple[int, int]) -> None:
    processing = Processing(size={"width": 128, "height": 128}, do_thumbnail=True)
    assert thumbnail_size(*image, processing) == expected
    assert thumbnail_size(*image, Processing(size={"width": 128, "height": 128})) == image


@given(sides, sides, edges)
def test_the_shortest_edge_is_met_and_the_ratio_kept(height: int, width: int, edge: int) -> None:
    new_height, new_width = target_size(height, width, Processing(size={"shortest_edge": edge}))
    assert min(new_height, new_width) == edge
    exact = Fraction(max(height, width), min(height, width)) * edge
    assert exact - Fraction(1, 50) - 1 <= max(new_height, new_width) <= exact + Fraction(1, 50)


@given(sides, sides, edges, edges | st.none())
def test_the_longest_edge_is_met(height: int, width: int, long: int, short: int | None) -> None:
    size = {"longest_edge": long} if short is None else {"shortest_edge": short, "longest_edge": long}
    new = target_size(height, width, Processing(size=size))
    assert max(new) == long
    assert min(new) >= 1


@given(sides, sides, edges, st.integers(1, 64))
def test_divisibility_rounds_down_but_not_to_nothing(height: int, width: int, edge: int, step: int) -> None:
    keys: dict[str, Any] = {"size": {"shortest_edge": edge}}
    plain = target_size(height, width, Processing(**keys))
    divided = target_size(height, width, Processing(**keys, size_divisibility=step))
    for before, after in zip(plain, divided, strict=True):
        assert after % step == 0
        assert after == step or before - step < after <= before


@given(sides, sides, st.integers(1, 500), st.integers(1, 500), st.integers(1, 64))
def test_multiples_are_the_nearest(height: int, width: int, high: int, wide: int, step: int) -> None:
    """Of the image scaled by that one of both factors which is nearer to 1."""
    size = {"height": high, "width": wide}
    new = target_size(height, width, Processing(size=size, ensure_multiple_of=step))
    factors = sorted([Fraction(high, height), Fraction(wide, width)], key=lambda factor: abs(1 - factor))
    assume(abs(1 - factors[0]) != abs(1 - factors[1]))
    for before, after in zip((height, width), new, strict=True):
        assert after % step == 0
        assert after == step or abs(after - before * factors[0]) <= Fraction(step, 2) + Fraction(1, 1000)


# --- crops ------------------------------------------------------------------------------------------------------------


@given(images, st.integers(1, 30), st.integers(1, 30))
def test_the_centre(image: np.ndarray, height: int, width: int) -> None:
    got = cropped_centre(image, height, width)
    assert got.shape == (height, width, 3)
    wide = np.pad(image, ((40, 40), (40, 40), (0, 0)))
    top, left = ((before + 80 - after) // 2 for before, after in zip(image.shape[:2], (height, width), strict=True))
    if (image.shape[0] - height) % 2 and height > image.shape[0]:
        top += 1  # the odd pixel goes below and to the right, whether it is added or left off
    if (image.shape[1] - width) % 2 and width > image.shape[1]:
        left += 1
    assert np.array_equal(got, wide[top : top + height, left : left + width])


def test_a_bright_margin_is_left_off() -> None:
    image = np.full((9, 12, 3), 250, np.uint8)
    image[2:5, 3:10] = 30
    assert cropped_margin(image).shape == (3, 7, 3)
    image[8, 11] = 202  # 78 % of the range above the darkest: just below the threshold
    assert cropped_margin(image).shape == (7, 9, 3)
    image[8, 11] = 203
    assert cropped_margin(image).shape == (3, 7, 3)


@given(images)
def test_the_margin_of_any_image(image: np.ndarray) -> None:
    gray = [[math.floor(0.2989 * r + 0.587 * g + 0.114 * b + 0.5) for r, g, b in row] for row in image.tolist()]
    low, high = min(map(min, gray)), max(map(max, gray))
    assume(low < high)
    levels = [((y, x), level) for y, row in enumerate(gray) for x, level in enumerate(row)]
    kept = [place for place, level in levels if (level - low) / (high - low) < 200 / 255]
    (top, bottom), (left, right) = ((min(places), max(places)) for places in zip(*kept, strict=True))
    assert np.array_equal(cropped_margin(image), image[top : bottom + 1, left : right + 1])


@given(st.integers(0, 255))
def test_an_image_of_one_level_has_no_margin(level: int) -> None:
    image = np.full((4, 5, 3), level, np.uint8)
    assert cropped_margin(image) is image


# --- padding and order, through preprocess ----------------------------------------------------------------------------

PLAIN: dict[str, Any] = {"do_resize": False, "image_mean": (0.25,) * 3}


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"pad_size": {"height": 30, "width": 25}, "size_divisibility": 7}, lambda h, w: (30, 25)),
        ({"pad_size": "square"}, lambda h, w: (max(h, w),) * 2),
        ({"size_divisibility": 7}, lambda h, w: (-(-h // 7) * 7, -(-w // 7) * 7)),
        ({"size": {"height": 24, "width": 33}}, lambda h, w: (24, 33)),
        ({}, lambda h, w: (h, w)),
    ],
)
@given(image=images)
def test_zeros_are_added_after_normalising(image: np.ndarray, keys: dict[str, Any], expected: Any) -> None:
    height, width = image.shape[:2]
    values = preprocess(image, Processing(**PLAIN, **keys, do_pad=True))
    assert values.shape == (3, *expected(height, width))
    assert np.array_equal(values[:, :height, :width], preprocess(image, Processing(**PLAIN)))
    assert not values[:, height:].any()
    assert not values[:, :, width:].any()


@given(images)
def test_channels_may_come_the_other_way_round(image: np.ndarray) -> None:
    """Each is normalised by its own mean all the same."""
    keys: dict[str, Any] = {"do_resize": False, "image_mean": (0.1, 0.2, 0.3), "image_std": (1, 2, 3)}
    flipped = preprocess(image, Processing(**keys, do_flip_channel_order=True))
    assert np.array_equal(flipped[::-1], preprocess(image, Processing(**keys)))


def test_everything_at_once_in_its_order() -> None:
    image = np.full((60, 100, 3), 255, np.uint8)
    image[10:50, 20:100] = (10, 20, 30)
    values = preprocess(
        image,
        Processing(do_crop_margin=True, size={"shortest_edge": 20}, do_center_crop=True,
                   crop_size={"height": 16, "width": 30}, do_normalize=False, do_pad=True, size_divisibility=8,
                   do_flip_channel_order=True, resample=0),
    )  # fmt: skip
    assert values.shape == (3, 16, 32)
    assert values[:, 0, 0].tolist() == [np.float32(level / 255) for level in (30, 20, 10)]
    assert values[:, :, 16:24].any()
    assert values[:, :, 24:30].any()
    assert not values[:, :, 30:].any()


@pytest.mark.parametrize(
    ("keys", "shape"),
    [
        ({"size": {"shortest_edge": 512}}, (1, 20_000)),
        ({"do_resize": False, "do_pad": True, "pad_size": "square"}, (1, 20_000)),
    ],
)
def test_an_image_so_long_that_the_input_would_be_huge_is_refused(keys: Any, shape: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match=r"20000×1 pixels would be given to the model as .*more than 67,108,864"):
        preprocess(np.zeros((*shape, 3), np.uint8), Processing(**keys))


def test_an_image_that_does_not_fit_its_padding_is_refused() -> None:
    with pytest.raises(ImageError, match=r"20×9 pixels when resized, and does not fit .* 16×16"):
        preprocess(np.zeros((9, 20, 3), np.uint8), Processing(
            do_resize=False, do_pad=True, pad_size={"width": 16, "height": 16}))  # fmt: skip
