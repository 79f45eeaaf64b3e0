"""Risk-coverage curves, their area, and the rank correlation of doubt and IoU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformers_foreground.evaluation.selective import risk_coverage, selection

stats = pytest.importorskip("scipy.stats")


def _rows(doubts: list[float], ious: list[float], empty: list[Any] | None = None) -> dict[str, Any]:
    return {
        "doubt": np.array(doubts, np.float64),
        "iou": np.array(ious, np.float64),
        "empty_truth": np.array(empty or [False] * len(ious), object),
    }


def test_the_curve_by_hand() -> None:
    curve = risk_coverage(np.array([0.3, 0.1, 0.2]), np.array([0.9, 0.0, 0.3]))
    assert curve.tolist() == pytest.approx([0, 0.15, 0.4])
    ties = risk_coverage(np.array([0.1, 0.1, 0.2]), np.array([0.2, 0.4, 0.9]))
    assert ties.tolist() == pytest.approx([0.3, 0.3, 0.5])


def test_a_perfect_and_a_worthless_doubt() -> None:
    ious = np.linspace(0.2, 1, 30)
    perfect = selection(_rows(list(1 - ious), list(ious)), resamples=200, seed=0)
    assert perfect is not None
    assert perfect.spearman == pytest.approx(-1)
    assert perfect.aurc == pytest.approx(perfect.aurc_best)
    assert perfect.aurc < perfect.aurc_random == pytest.approx(0.4)
    same = selection(_rows([0.5] * 30, list(ious)), resamples=200, seed=0)
    assert same is not None
    assert (same.spearman, same.low) == (None, None)
    assert same.aurc == pytest.approx(same.aurc_random)


def test_images_without_values_or_with_an_empty_truth_are_left_out() -> None:
    nan = float("nan")
    rows = _rows([0.1, 0.9, nan, 0.2, 0.3], [0.9, 0.0, 0.5, nan, 0.8], [False, True, False, False, False])
    found = selection(rows, resamples=50, seed=0)
    assert found is not None
    assert found.images == 2
    assert found.aurc_random == pytest.approx(0.15)
    assert selection(_rows([0.1], [0.5]), resamples=50, seed=0) is None
    assert selection({"iou": rows["iou"]}, resamples=50, seed=0) is None


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 20)), min_size=2, max_size=30))
def test_against_scipy_and_the_bounds(pairs: list[tuple[int, int]]) -> None:
    doubts, ious = ([pair[i] / 20 for pair in pairs] for i in (0, 1))
    found = selection(_rows(doubts, ious), resamples=5, seed=0)
    assert found is not None
    assert found.aurc_best - 1e-9 <= found.aurc <= 1
    assert found.aurc_best <= found.aurc_random + 1e-9
    if len(set(doubts)) > 1 and len(set(ious)) > 1:
        assert found.spearman == pytest.approx(stats.spearmanr(doubts, ious).statistic, abs=1e-9)
