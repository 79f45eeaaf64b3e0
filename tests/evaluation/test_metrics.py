"""The measures against values worked by hand, and their properties."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

pytest.importorskip("py_sod_metrics")
from transformers_foreground.evaluation import matting
from transformers_foreground.evaluation.aggregates import aggregates
from transformers_foreground.evaluation.boundary import boundary_accuracy, boundary_iou, inner_boundary
from transformers_foreground.evaluation.metrics import measure
from transformers_foreground.evaluation.statistics import difference, holm, interval

# pysodmetrics, of a truth whose centroid is on the last row or column
pytestmark = pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value")

NAN = float("nan")
shapes = st.tuples(st.integers(3, 12), st.integers(3, 12))
masks = shapes.flatmap(lambda shape: st.tuples(arrays(np.bool_, shape), arrays(np.bool_, shape)))
levels = st.integers(0, 255)
mattes = shapes.flatmap(lambda s: st.tuples(arrays(np.uint8, s, elements=levels), arrays(np.uint8, s, elements=levels)))
few = settings(max_examples=40, deadline=None)


def _alpha(*rows: list[float]) -> Any:
    return np.asarray(rows, np.float64)


def _figures(group: str, *rows: Any) -> dict[str, float]:
    """Return a data set's figures from its images' rows."""
    columns = {name: np.asarray([row[name] for row in rows], np.float64) for name in rows[0]}
    bands = list(dict.fromkeys(name.partition("@")[2] for name in columns if "@" in name))
    return {aggregate.name: aggregate.of(columns) for aggregate in aggregates([group], bands)}


def _error(name: str, prediction: Any, truth: Any, where: Any = None) -> float:
    return matting.total(name, matting.error_maps(prediction, truth)[name], where)


def _square(left: int, size: int = 10) -> Any:
    mask = np.zeros((size, size), np.bool_)
    mask[3:7, left : left + 4] = True
    return mask


# --- binary -----------------------------------------------------------------------------------------------------------


def test_binary_by_hand() -> None:
    row = measure("binary", _alpha([1, 0.6], [0.4, 0]), np.array([[True, True], [False, False]]))
    assert row["mae"] == pytest.approx((0.4 + 0.4) / 4)
    assert row["iou"] == 1  # cut at > 0.5
    assert row["ber"] == 0
    # Twice the mean is 1: one true pixel found, one missed: P = 1, R = 1/2.
    assert row["f_adaptive"] == pytest.approx(1.3 * 0.5 / (0.3 + 0.5))
    total = _figures("binary", row)
    assert total["f_max"] == total["f_pr_max"] == 1
    # Thresholds 255..154: P 1, R 1/2; 153..103: P 1, R 1; 102..1: P 2/3, R 1; 0: P 1/2, R 1.
    curve = [0.8125] * 102 + [1.0] * 51 + [1.3 * (2 / 3) / (0.3 * 2 / 3 + 1)] * 102 + [0.65 / 1.15]
    assert total["f_mean"] == pytest.approx(sum(curve) / 256)


def test_the_two_conventions_of_f() -> None:
    truth = np.array([[True, False]])
    planes = _alpha([200 / 255, 100 / 255]), _alpha([100 / 255, 50 / 255])
    total = _figures("binary", *(measure("binary", plane, truth) for plane in planes))
    # Best between 50 and 100: P 1/2, R 1 and P 1, R 1.
    assert total["f_max"] == pytest.approx((0.65 / 1.15 + 1) / 2)
    assert total["f_pr_max"] == pytest.approx(1.3 * 0.75 / (0.3 * 0.75 + 1))


def test_s_and_weighted_f_by_hand() -> None:
    # Both halves: 2 · 0.5 / (0.25 + 1) = 0.8. The centroid cuts it into single pixels, whose SSIM is 1.
    flat = measure("binary", np.full((2, 2), 0.5), np.array([[True, True], [False, False]]))
    assert flat["s"] == pytest.approx(0.5 * 0.8 + 0.5 * 1)
    # One false pixel of 0.5, a pixel away from the truth: its weight is 2 − 0.5^(1/5).
    row = measure("binary", _alpha([1, 0.5]), np.array([[True, False]]))
    precision = 1 / (1 + 0.5 * (2 - 0.5**0.2))
    assert row["f_weighted"] == pytest.approx(2 * precision / (1 + precision))


def test_e_of_a_perfect_mask() -> None:
    truth = _square(3)
    row = measure("binary", truth.astype(np.float64), truth)
    assert row["e_adaptive"] == pytest.approx(100 / 99)


def test_an_empty_truth() -> None:
    truth = np.zeros((2, 2), np.bool_)
    row = measure("binary", _alpha([0.25, 0], [0, 0.75]), truth)
    assert row["s"] == pytest.approx(1 - 0.25)
    assert row["mae"] == pytest.approx(0.25)
    assert row["e_adaptive"] == pytest.approx(3 / 3)  # three of four are background, over N − 1
    assert (row["f_weighted"], row["f_adaptive"], row["iou"]) == (0, 0, 0)
    assert measure("binary", np.zeros((2, 2)), truth)["ber"] == 0.5
    assert measure("boundary", np.zeros((2, 2)), truth) == pytest.approx({"biou": 1, "mba": NAN}, nan_ok=True)


def test_pixels_that_do_not_count() -> None:
    prediction, truth = _alpha([1, 0.9, 0.2, 0]), np.array([[True, False, False, False]])
    counted = np.array([[True, False, True, True]])
    row = measure("binary", prediction, truth, counted)
    assert row["mae"] == pytest.approx(0.2 / 3)
    assert row["iou"] == 1
    assert math.isnan(row["s"])
    assert math.isnan(row["f_weighted"])
    assert math.isnan(measure("boundary", prediction, truth, counted)["biou"])
    assert math.isnan(measure("correction", prediction, truth, counted)["hce"])
    assert measure("alpha", prediction, truth / 1.0, counted)["mad"] == pytest.approx(0.2 / 3)
    with pytest.raises(ValueError, match="No pixel counts"):
        measure("binary", prediction, truth, ~np.ones_like(truth))


def test_predictions_are_not_stretched() -> None:
    row = measure("binary", _alpha([0.6, 0.4]), np.array([[True, False]]))
    assert row["mae"] == pytest.approx(0.4)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="shape"):
        measure("binary", np.zeros((2, 2)), np.zeros((2, 3), np.bool_))


def test_hce_by_hand() -> None:
    prediction, truth = np.zeros((60, 60)), np.zeros((60, 60), np.bool_)
    prediction[5:25, 5:25] = prediction[35:55, 35:55] = 1
    assert measure("correction", prediction, truth)["hce"] == 2  # a click for each of two whole regions
    assert measure("correction", prediction, prediction > 0)["hce"] == 0


# --- boundary ---------------------------------------------------------------------------------------------------------


def test_boundary_iou_by_hand() -> None:
    # Rings of 12 pixels, one column apart: three pixels above and three below are in both.
    assert np.count_nonzero(inner_boundary(_square(3))) == 12
    assert boundary_iou(_square(4), _square(3)) == pytest.approx(6 / 18)
    assert np.count_nonzero(inner_boundary(np.ones((10, 10), np.bool_))) == 36  # the border is an edge
    assert boundary_iou(_square(3), np.zeros((10, 10), np.bool_)) == 0


def test_boundary_iou_takes_two_per_cent_of_the_diagonal() -> None:
    mask = np.ones((300, 400), np.bool_)  # diagonal 500
    assert np.count_nonzero(~inner_boundary(mask)) == 280 * 380


@pytest.mark.parametrize(
    ("size", "right"),
    [
        (10, 1 / 2),  # always one pixel to either side, and one column of two wrong
        (600, (1 / 2 + 1 / 2 + 3 / 4 + 3 / 4 + 5 / 6) / 5),  # radii 1, 1, 2, 2, 3
    ],
)
def test_boundary_accuracy_by_hand(size: int, right: float) -> None:
    columns = np.broadcast_to(np.arange(size), (size, size))
    assert boundary_accuracy(columns <= size // 2, columns < size // 2) == pytest.approx(right)


@few
@given(masks)
def test_boundary_properties(pair: Any) -> None:
    first, second = pair
    assert boundary_iou(first, first) == 1
    assert boundary_iou(first, second) == boundary_iou(second, first)
    assert 0 <= boundary_iou(first, second) <= 1
    accuracy = boundary_accuracy(first, second)
    assert math.isnan(accuracy) == (second.all() or not second.any())
    assert math.isnan(accuracy) or 0 <= accuracy <= 1
    assert boundary_accuracy(second, second) == 1 or math.isnan(accuracy)


# --- mattes -----------------------------------------------------------------------------------------------------------


def test_sums_and_means_by_hand() -> None:
    prediction, truth = _alpha([0, 0.5], [1, 0.25]), _alpha([0, 1], [1, 0])
    band = np.array([[False, True], [False, False]])
    assert _error("sad", prediction, truth) == pytest.approx(0.75 / 1000)
    assert _error("mad", prediction, truth) == pytest.approx(0.75 / 4)
    assert _error("mse", prediction, truth) == pytest.approx((0.25 + 0.0625) / 4)
    assert _error("sad", prediction, truth, band) == pytest.approx(0.5 / 1000)
    assert _error("mse", prediction, truth, band) == pytest.approx(0.25)
    assert math.isnan(_error("mse", prediction, truth, ~np.ones_like(band)))
    assert _error("sad", prediction, truth, ~np.ones_like(band)) == 0


def test_gradient_error_of_a_step_by_hand() -> None:
    prediction, truth = np.zeros((17, 18)), np.zeros((17, 18))
    truth[:, 9:] = 1
    # σ = 1.4 gives nine taps. Along y the step is constant: Σg / ‖g‖. Along x, at a distance, the taps that see it.
    gauss = {k: math.exp(-k * k / (2 * 1.4**2)) for k in range(-4, 5)}
    slope = {k: k * gauss[k] for k in gauss}
    across = sum(gauss.values()) / math.sqrt(sum(g * g for g in gauss.values()))
    norm = math.sqrt(sum(s * s for s in slope.values()))
    seen = [sum(slope[k] for k in gauss if column + k >= 9) / norm for column in range(18)]
    assert across * seen[8] == pytest.approx(2.228 * 1.865 / 1.559, rel=0.01)
    expected = 17 * sum((across * s) ** 2 for s in seen) / 1000
    assert _error("grad", prediction, truth) == pytest.approx(expected)
    assert _error("grad", prediction.T, truth.T) == pytest.approx(expected)


def test_connectivity_error_by_hand() -> None:
    # The source is pixels 0 and 1. Pixel 0 stays in it up to 0.6: the truth's 1 is 0.4 beyond, its φ 0.6 and not 1.
    # Pixel 3 is on its own: φ is 1 − 0.5 and 1 − 1.
    prediction, truth = _alpha([0.6, 1, 0, 0.5]), _alpha([1, 1, 0, 1])
    assert _error("conn", prediction, truth) == pytest.approx((0.4 + 0.5) / 1000)
    assert _error("conn", prediction, truth, np.array([[1, 1, 1, 0]]) > 0) == pytest.approx(0.4 / 1000)
    assert _error("conn", _alpha([0.9, 1]), _alpha([1, 1])) == 0  # 0.1 is below θ
    assert _error("conn", _alpha([153 / 255]), _alpha([1])) == pytest.approx(0.4 / 1000)  # 0.6 reached


def test_the_band_without_a_trimap() -> None:
    hard = np.zeros((1, 9), np.uint8)
    hard[0, 4:] = 255
    assert np.flatnonzero(matting.soft_band(hard, 1)).tolist() == [2, 3, 4, 5]
    soft = hard.copy()
    soft[0, 4] = 128
    assert np.flatnonzero(matting.soft_band(soft, 0)).tolist() == [3, 4, 5]
    assert not matting.soft_band(np.zeros((3, 3), np.uint8), 5).any()


@few
@given(mattes)
def test_matting_properties(pair: Any) -> None:
    first, second = pair[0] / 255.0, pair[1] / 255.0
    band = pair[0] > pair[1]
    for name in ("sad", "mad", "mse", "grad", "conn"):
        assert _error(name, first, first) == 0
        assert _error(name, first, second) == pytest.approx(_error(name, second, first))
        assert _error(name, first, second) >= 0
    for name in ("sad", "grad", "conn"):
        assert _error(name, first, second, band) <= _error(name, first, second) + 1e-12
        parts = _error(name, first, second, band) + _error(name, first, second, ~band)
        assert parts == pytest.approx(_error(name, first, second))
    closer = second + (first - second) / 2
    assert _error("sad", closer, second) <= _error("sad", first, second)
    assert _error("mse", closer, second) <= _error("mse", first, second)


def test_alpha_measures_with_bands() -> None:
    prediction, truth = _alpha([0, 0.5, 1, 0.25]), _alpha([0, 1, 1, 0])
    band = np.array([[False, True, True, False]])
    row = measure("alpha", prediction, truth, bands={"unknown": band})
    assert row["sad@unknown"] == _error("sad", prediction, truth, band)
    assert row["grad@unknown"] == _error("grad", prediction, truth, band)
    assert row["conn@unknown"] == _error("conn", prediction, truth, band)
    assert _figures("alpha", row)["mse@unknown"] == pytest.approx(0.25 / 2)


# --- statistics -------------------------------------------------------------------------------------------------------


def _first(means: Any) -> Any:
    return means[..., 0]


def test_intervals() -> None:
    values = np.random.default_rng(1).normal(0.7, 0.1, (400, 1))
    low, high = interval(values, _first)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * 0.1 / math.sqrt(400), rel=0.15)
    assert interval(values, _first) == (low, high)
    assert interval(np.ones((5, 1)), _first) == (1, 1)
    assert all(map(math.isnan, interval(values[:1], _first)))


def test_real_and_unreal_differences() -> None:
    rng = np.random.default_rng(2)
    first = rng.normal(0.7, 0.2, (60, 1))
    better = first + 0.02 + rng.normal(0, 0.01, first.shape)  # small beside the spread, but on every image
    real = difference(better, first, _first)
    assert real.p < 0.001
    assert 0 < real.low < real.value < real.high
    same = difference(first, rng.permutation(first), _first)
    assert same.p > 0.05
    assert same.low < 0 < same.high
    assert difference(first, first, _first).p == 1
    assert difference(first[:1], better[:1], _first).p == 1


def test_p_is_uniform_where_there_is_no_difference() -> None:
    rng = np.random.default_rng(3)
    ps = [
        difference(*rng.normal(size=(2, 12, 3)), lambda means: means.max(axis=-1), resamples=40).p for _ in range(200)
    ]
    assert sum(p <= 0.05 for p in ps) <= 20
    assert 0.4 < float(np.mean(ps)) < 0.6


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.02, 0.03, 0.04 by 4, 3, 2, 1; none may fall below the one before.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []
