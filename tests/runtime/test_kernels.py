"""sharp's filters: against their formulas written out pixel by pixel, and against what sharp gave."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from transformers_foreground.runtime.kernels import bicubic, lanczos3, nearest
from transformers_foreground.runtime.resampling import affine_bilinear, resize

sizes = st.integers(1, 24)
images = hnp.arrays(np.uint8, st.tuples(st.integers(1, 16), st.integers(1, 16), st.sampled_from([1, 3])))
FILTERS = {0: nearest, 1: lanczos3, 3: bicubic}


def catmull_rom(fraction: int) -> list[int]:
    x = fraction / 64
    first, last = -0.5 * x * (1 - x) ** 2, -0.5 * x**2 * (1 - x)
    second, third = 1 - x - 2 * first + last, x - 2 * last + first
    return [int(round(weight, 12) * 4096) for weight in (first, second, third, last)]


@given(images, sizes, sizes)
def test_bicubic_pixel_by_pixel(image: np.ndarray, width: int, height: int) -> None:
    rows, columns, channels = image.shape
    got = bicubic(image, width, height)
    xs = np.add.accumulate(np.r_[2.0, np.full(width - 1, 1 / (width / columns * (height / rows)) * (height / rows))])
    ys = [2 + 1 / (width / columns * (height / rows)) * (width / columns) * y for y in range(height)]

    def at(y: int, x: int, c: int) -> int:
        return int(image[y, x, c]) if 0 <= y < rows and 0 <= x < columns else 0

    for y, x, c in np.ndindex(height, width, channels):
        (wx, wy), (fx, fy) = [[int(p) for p in (xs[x], ys[y])], [(int(p * 128) % 128 + 1) // 2 for p in (xs[x], ys[y])]]
        lines = [
            (sum(k * at(wy - 3 + j, wx - 3 + i, c) for i, k in enumerate(catmull_rom(fx))) + 2048) >> 12
            for j in range(4)
        ]
        value = (sum(k * line for k, line in zip(catmull_rom(fy), lines, strict=True)) + 2048) >> 12
        assert got[y, x, c] == min(max(value, 0), 255)


@given(images, sizes, sizes)
def test_nearest_takes_pixels_as_they_are(image: np.ndarray, width: int, height: int) -> None:
    got = nearest(image, width, height)
    for y, x in np.ndindex(height, width):
        column, row = x * image.shape[1] / width, y * image.shape[0] / height
        near = [math.floor(at + shift) for at in (row, column) for shift in (-1e-9, 1e-9)]  # on a whole one, either
        assert any(
            np.array_equal(got[y, x], image[min(max(r, 0), len(image) - 1), min(max(c, 0), image.shape[1] - 1)])
            for r in near[:2] for c in near[2:]
        )  # fmt: skip


@given(st.integers(0, 255), st.integers(1, 400), st.integers(1, 60), st.integers(1, 60), st.integers(1, 60))
def test_lanczos_keeps_a_flat_image_nearly_flat(level: int, rows: int, columns: int, width: int, height: int) -> None:
    """Weights are cut to 4096ths, and their sum falls short of one by as much as one for each of them."""
    got = lanczos3(np.full((rows, columns, 3), level, np.uint8), width, height)
    assert got.shape == (height, width, 3)
    assert np.abs(got.astype(int) - level).max() <= 4


@given(images, sizes, sizes, st.sampled_from(sorted(FILTERS)))
def test_channels_are_resized_alike(image: np.ndarray, width: int, height: int, code: int) -> None:
    before = image.copy()
    got = FILTERS[code](image, width, height)
    assert got.dtype == np.uint8
    assert got.shape == (height, width, image.shape[2])
    for c in range(image.shape[2]):
        assert np.array_equal(FILTERS[code](image[..., c], width, height), got[..., c])
    assert np.array_equal(image, before)


@given(images, sizes, sizes)
def test_which_filter_a_code_means(image: np.ndarray, width: int, height: int) -> None:
    for code in range(6):
        function = FILTERS.get(code, affine_bilinear)
        wanted = image if image.shape[:2] == (height, width) else function(image, width, height)
        assert np.array_equal(resize(image, width, height, filter=code), wanted)
        assert np.array_equal(
            resize(image, width, height, "canvas", filter=code), resize(image, width, height, "canvas")
        )


# Rows of what sharp 0.35.5 (libvips 8.18.7) made of an image of 5×4 pixels.
IMAGE = (np.arange(20).reshape(4, 5) * 37 % 256).astype(np.uint8)
SHARP: dict[tuple[int, int, int], list[list[int]]] = {
    (0, 3, 2): [[0, 37, 111], [114, 151, 225]],
    (0, 8, 6): [
        [0, 0, 37, 37, 74, 111, 111, 148],
        [0, 0, 37, 37, 74, 111, 111, 148],
        [185, 185, 222, 222, 3, 40, 40, 77],
        [114, 114, 151, 151, 188, 225, 225, 6],
        [114, 114, 151, 151, 188, 225, 225, 6],
        [43, 43, 80, 80, 117, 154, 154, 191],
    ],
    (0, 2, 7): [[0, 74], [0, 74], [185, 3], [185, 3], [114, 188], [114, 188], [43, 117]],
    (0, 1, 1): [[0]],
    (1, 3, 2): [[111, 80, 90], [108, 153, 128]],
    (1, 8, 6): [
        [0, 0, 14, 45, 78, 102, 125, 149],
        [22, 27, 53, 63, 63, 84, 110, 137],
        [164, 171, 210, 134, 1, 13, 51, 86],
        [164, 170, 203, 166, 96, 123, 113, 35],
        [99, 104, 127, 157, 190, 231, 188, 42],
        [49, 54, 78, 103, 128, 154, 168, 167],
    ],
    (1, 2, 7): [[11, 72], [27, 75], [118, 88], [176, 110], [171, 141], [129, 141], [68, 119]],
    (1, 1, 1): [[109]],
    (3, 3, 2): [[0, 62, 130], [114, 176, 164]],
    (3, 8, 6): [
        [0, 21, 46, 69, 93, 117, 152, 100],
        [137, 179, 143, 25, 19, 58, 105, 75],
        [181, 225, 186, 66, 66, 89, 58, 26],
        [114, 141, 160, 183, 223, 208, 52, 0],
        [64, 89, 115, 147, 179, 192, 169, 94],
        [25, 41, 58, 74, 90, 110, 151, 101],
    ],
    (3, 2, 7): [[0, 93], [115, 31], [188, 23], [141, 175], [93, 222], [52, 153], [21, 75]],
    (3, 1, 1): [[0]],
}


@pytest.mark.parametrize(("code", "width", "height"), SHARP)
def test_what_sharp_gives(code: int, width: int, height: int) -> None:
    assert FILTERS[code](IMAGE, width, height).tolist() == SHARP[code, width, height]
