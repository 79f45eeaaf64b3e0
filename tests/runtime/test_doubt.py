"""Doubt: the share of soft pixels as a number from 0 to 1."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformers_foreground.runtime.doubt import doubt, is_high


def _plane(soft_background: int, soft_foreground: int, foreground: int, background: int) -> np.ndarray:
    values = [0.2] * soft_background + [0.7] * soft_foreground + [1.0] * foreground + [0.0] * background
    return np.array(values, np.float32)


@pytest.mark.parametrize(
    ("counts", "share"), [((0, 0, 4, 4), 0), ((1, 1, 3, 9), 2 / 4), ((4, 0, 4, 0), 1), ((0, 5, 0, 0), 1)]
)
def test_the_share_by_hand(counts: tuple[int, int, int, int], share: float) -> None:
    assert doubt(_plane(*counts)) == pytest.approx(share / (1 + share))


def test_extremes() -> None:
    assert doubt(np.zeros((3, 4), np.float32)) == 0  # sure that there is nothing
    assert doubt(np.ones((3, 4), np.float32)) == 0
    assert doubt(np.full((3, 4), 0.4, np.float32)) == 1  # nothing but soft background
    assert doubt(np.array([0.1, 0.9, 0.5, 1.0], np.float64)) == pytest.approx(1 / 3)  # 0.1 and 0.9 are not soft


COUNT = st.integers(0, 50)


@given(COUNT, COUNT, COUNT, COUNT, st.integers(1, 9))
def test_more_soft_pixels_are_more_doubt(soft: int, sure: int, more: int, background: int, times: int) -> None:
    before, after = _plane(soft, 0, sure, background), _plane(soft + more, 0, sure, background)
    assert 0 <= doubt(before) <= doubt(after) <= 1
    assert doubt(np.tile(before, (times, 1))) == pytest.approx(doubt(before))  # of any size


def test_a_third_is_high_rounded_or_not() -> None:
    assert [is_high(value) for value in (0.0, 0.333, 0.3333, 1 / 3, 0.5)] == [False, False, True, True, True]
