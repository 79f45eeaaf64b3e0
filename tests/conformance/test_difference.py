"""What the conformance tests call rounding, and what not."""

from __future__ import annotations

import numpy as np
import pytest
from oracle import Difference


def plane(value: int, changed: int = 0, by: int = 0) -> np.ndarray:
    """Return 100×100 pixels of a value, some of them changed."""
    pixels = np.full((100, 100), value, np.uint8)
    pixels.ravel()[:changed] += by
    return pixels


@pytest.mark.parametrize(
    ("changed", "by", "rounding"), [(0, 0, True), (10, 1, True), (11, 1, False), (1, 2, False), (10_000, 1, False)]
)
@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
def test_a_level_on_one_pixel_of_a_thousand_is_rounding(dtype: str, changed: int, by: int, rounding: bool) -> None:
    difference = Difference.between(plane(100), plane(100, changed, by))
    assert (difference.levels, difference.share) == (by, changed / 10_000)
    assert difference.is_rounding(dtype) is rounding


@pytest.mark.parametrize(("changed", "rounding"), [(100, True), (101, False)])
def test_q8_is_judged_by_its_area(changed: int, rounding: bool) -> None:
    difference = Difference.between(plane(100, changed, 0) + np.uint8(100), plane(200, changed, 156))
    assert difference.iou == 1 - changed / 10_000
    assert difference.is_rounding("q8") is rounding


def test_two_empty_masks_are_the_same_area() -> None:
    assert Difference.between(plane(3), plane(9)).iou == 1


def test_a_difference_has_no_sign() -> None:
    assert Difference.between(plane(0), plane(255)).levels == Difference.between(plane(255), plane(0)).levels == 255
