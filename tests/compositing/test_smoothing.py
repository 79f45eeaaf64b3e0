"""Masks averaged over time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from transformers_foreground.compositing.smoothing import WEIGHT, smooth
from transformers_foreground.errors import UnsupportedOptionError


def flicker(masks: Any) -> float:
    return float(np.abs(np.diff(np.stack(list(masks)).astype(float), axis=0)).mean())


def test_calms_a_flickering_mask() -> None:
    noise = np.random.default_rng(0).normal(0, 12, (200, 8, 8))
    masks = np.clip(128 + noise, 0, 255).astype(np.uint8)
    smoothed = list(smooth(masks))
    assert len(smoothed) == 200
    assert flicker(smoothed) < 0.6 * flicker(masks)
    assert np.std(smoothed[20:]) == pytest.approx(np.std(masks) * np.sqrt(WEIGHT / (2 - WEIGHT)), rel=0.05)
    assert [mask.tobytes() for mask in smooth(masks, 1)] == [mask.tobytes() for mask in masks]


def test_follows_what_moves() -> None:
    step = [np.full((4, 4), value, np.uint8) for value in [100] * 3 + [140] * 12]
    assert [int(mask[0, 0]) for mask in smooth(step)][:6] == [100, 100, 100, 120, 130, 135]
    assert list(smooth(step))[-1][0, 0] == 140
    moving = [np.eye(8, k=i, dtype=np.uint8) * 255 for i in range(5)]
    assert [mask.tobytes() for mask in smooth(moving)] == [mask.tobytes() for mask in moving]
    assert list(smooth([])) == []


def test_reads_no_further_than_it_is_asked() -> None:
    read = []

    def endless() -> Iterator[np.ndarray]:
        while True:
            read.append(1)
            yield np.zeros((4, 4), np.uint8)

    masks = smooth(endless())
    for _ in range(5):
        next(masks)
    assert len(read) == 5


@pytest.mark.parametrize("weight", [0, -1, 1.5, True, "much", float("nan")])
def test_a_weight_that_is_none(weight: Any) -> None:
    with pytest.raises(UnsupportedOptionError, match="above 0 and up to 1"):
        next(smooth([np.zeros((4, 4), np.uint8)], weight))
