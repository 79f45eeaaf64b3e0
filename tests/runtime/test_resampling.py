"""The resamplings against slow, obvious references, and against what Transformers.js really gave (the oracle)."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from transformers_foreground.errors import UnsupportedOptionError
from transformers_foreground.runtime import resampling

Array = NDArray[Any]

EXACT = [resampling.affine_bilinear, resampling.canvas_bilinear]
ALL = [*EXACT, resampling.antialias, resampling.half_pixel_bilinear]
# (input width, input height), (output width, output height)
PATHOLOGICAL = [
    ((1, 1), (7, 5)),
    ((2, 3), (1024, 1)),
    ((2, 3), (1, 1024)),
    ((1, 9), (1, 4)),
    ((1, 4), (3, 9)),
    ((9, 1), (4, 1)),
    ((3, 2), (3000, 2)),
    ((2, 3), (2, 3000)),
    ((3000, 2), (3, 2)),
    ((2, 3000), (2, 3)),
    ((2000, 1), (1, 1)),
    ((5, 5), (5, 10)),
    ((5, 5), (10, 5)),
    ((4, 4), (8, 8)),  # 4096 divides X·Y everywhere
    ((3, 3), (12, 192)),
    ((2, 1), (256, 128)),  # and here for some columns of some rows
    ((8, 8), (4, 4)),
]


def random_image(seed: int, width: int, height: int, channels: int | None = None) -> Array:
    shape = (height, width) if channels is None else (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def per_channel(plane: Callable[[Array, int, int], Array], image: Array, width: int, height: int) -> Array:
    if image.ndim == 2:
        return plane(image, width, height)
    return np.stack([plane(image[..., c], width, height) for c in range(image.shape[2])], axis=2)


def libvips_plane(plane: Array, width: int, height: int) -> Array:
    rows, columns = plane.shape
    if (rows, columns) == (height, width):
        return plane

    def at(y: int, x: int) -> int:  # the image begins at (1, 1), in black
        return int(plane[y - 1, x - 1]) if 1 <= y <= rows and 1 <= x <= columns else 0

    a, d = width / columns, height / rows
    inverse_determinant = 1.0 / (a * d)
    step_x, step_y = inverse_determinant * d, inverse_determinant * a
    out = np.zeros((height, width), np.uint8)
    for j in range(height):
        y = step_y * j + 1.0
        x = 1.0
        for i in range(width):
            ix, iy = math.floor(x), math.floor(y)
            fx, fy = int((x - ix) * 4096), int((y - iy) * 4096)
            c4 = (fy * fx) >> 12
            c2 = ((4096 - fy) * fx) >> 12
            c3 = fy - c4
            c1 = 4096 - fy - c2
            total = c1 * at(iy, ix) + c2 * at(iy, ix + 1) + c3 * at(iy + 1, ix) + c4 * at(iy + 1, ix + 1)
            out[j, i] = (total + 2048) >> 12
            x += step_x
    return out


def canvas_plane(plane: Array, width: int, height: int) -> Array:
    rows, columns = plane.shape
    if (rows, columns) == (height, width):
        return plane

    def at(y: int, x: int) -> int:
        return int(plane[min(max(y, 0), rows - 1), min(max(x, 0), columns - 1)])

    out = np.zeros((height, width), np.uint8)
    for j in range(height):
        iy, fy = divmod(math.floor(((j + 0.5) * (rows / height) - 0.5) * 16), 16)
        for i in range(width):
            ix, fx = divmod(math.floor(((i + 0.5) * (columns / width) - 0.5) * 16), 16)
            top = (16 - fx) * at(iy, ix) + fx * at(iy, ix + 1)
            bottom = (16 - fx) * at(iy + 1, ix) + fx * at(iy + 1, ix + 1)
            out[j, i] = ((16 - fy) * top + fy * bottom) // 256
    return out


def half_pixel_plane(plane: Array, width: int, height: int) -> Array:
    rows, columns = plane.shape
    out = np.zeros((height, width), np.float64)
    for j in range(height):
        y = min(max((j + 0.5) * rows / height - 0.5, 0.0), rows - 1)
        for i in range(width):
            x = min(max((i + 0.5) * columns / width - 0.5, 0.0), columns - 1)
            ix, iy = math.floor(x), math.floor(y)
            right, below = min(ix + 1, columns - 1), min(iy + 1, rows - 1)
            top = float(plane[iy, ix]) * (1 - (x - ix)) + float(plane[iy, right]) * (x - ix)
            bottom = float(plane[below, ix]) * (1 - (x - ix)) + float(plane[below, right]) * (x - ix)
            out[j, i] = top * (1 - (y - iy)) + bottom * (y - iy)
    return out


def libvips_vectorised(image: Array, width: int, height: int) -> Array:
    """The same as `libvips_plane`, for images too large for loops."""
    rows, columns = image.shape
    a, d = width / columns, height / rows
    x = np.full(width, 1.0 / (a * d) * d)
    x[0] = 1.0
    x = np.cumsum(x)
    y = 1.0 / (a * d) * a * np.arange(height) + 1.0
    ix, iy = x.astype(int), y.astype(int)[:, None]
    fx, fy = ((x - ix) * 4096).astype(int), ((y[:, None] - iy) * 4096).astype(int)
    padded = np.pad(image.astype(int), 1)
    c4 = (fy * fx) >> 12
    c2 = ((4096 - fy) * fx) >> 12
    total = (4096 - fy - c2) * padded[iy, ix] + c2 * padded[iy, ix + 1]
    total += (fy - c4) * padded[iy + 1, ix] + c4 * padded[iy + 1, ix + 1]
    return ((total + 2048) >> 12).astype(np.uint8)


sizes = st.integers(1, 40)
cases = given(
    seed=st.integers(0, 2**32 - 1),
    size=st.tuples(sizes, sizes),
    new=st.tuples(sizes, sizes),
    channels=st.sampled_from([None, 1, 3, 4]),
)
few = settings(max_examples=40, deadline=None)


@few
@cases
def test_affine_equals_libvips(seed: int, size: tuple[int, int], new: tuple[int, int], channels: int | None) -> None:
    image = random_image(seed, *size, channels)
    expected = per_channel(libvips_plane, image, *new)
    np.testing.assert_array_equal(resampling.affine_bilinear(image, *new), expected)


@few
@cases
def test_canvas_equals_reference(seed: int, size: tuple[int, int], new: tuple[int, int], channels: int | None) -> None:
    image = random_image(seed, *size, channels)
    expected = per_channel(canvas_plane, image, *new)
    np.testing.assert_array_equal(resampling.canvas_bilinear(image, *new), expected)


@few
@cases
def test_half_pixel_equals_reference(
    seed: int, size: tuple[int, int], new: tuple[int, int], channels: int | None
) -> None:
    image = random_image(seed, *size, channels)
    expected = per_channel(half_pixel_plane, image, *new)
    for given_image in (image, image.astype(np.float32)):
        got = resampling.half_pixel_bilinear(given_image, *new)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize(("size", "new"), PATHOLOGICAL)
def test_pathological_sizes(size: tuple[int, int], new: tuple[int, int]) -> None:
    image = random_image(1, *size)
    np.testing.assert_array_equal(resampling.affine_bilinear(image, *new), libvips_plane(image, *new))
    np.testing.assert_array_equal(resampling.canvas_bilinear(image, *new), canvas_plane(image, *new))
    expected = half_pixel_plane(image, *new)
    np.testing.assert_allclose(resampling.half_pixel_bilinear(image, *new), expected, atol=2e-3, rtol=0)
    assert resampling.antialias(image, *new).shape == (new[1], new[0])


@pytest.mark.parametrize(
    ("size", "new"),
    [
        ((77, 123), (1024, 1024)),
        ((1024, 1024), (401, 301)),
        ((333, 517), (1332, 1034)),  # 4 and 2: a correction in three columns of four
        ((256, 128), (768, 2048)),
        ((100, 40), (12800, 80)),  # X·Y divisible by 4096 for some columns only; rows longer than a block
        ((900, 700), (907, 691)),
    ],
)
@pytest.mark.parametrize("extreme", [False, True])
def test_affine_is_exact_on_larger_images(size: tuple[int, int], new: tuple[int, int], extreme: bool) -> None:
    image = random_image(2, *size)
    if extreme:  # the largest steps
        image = (image > 127).astype(np.uint8) * np.uint8(255)
    np.testing.assert_array_equal(resampling.affine_bilinear(image, *new), libvips_vectorised(image, *new))


@pytest.mark.parametrize("function", ALL)
def test_strided_and_read_only_input(function: Callable[..., Array]) -> None:
    base = random_image(3, 30, 20, 4)
    untouched = base.copy()
    base.flags.writeable = False
    for view in (base[..., :3], base[::-1, ::2], base[..., 1], base.transpose(1, 0, 2), base[:, 5:6]):
        for new in ((41, 13), (7, 31)):
            np.testing.assert_array_equal(function(view, *new), function(view.copy(order="C"), *new))
    np.testing.assert_array_equal(base, untouched)


@pytest.mark.parametrize("name", resampling.RESAMPLINGS)
@pytest.mark.parametrize("channels", [None, 1, 2, 3, 4, 5])
def test_shape_and_dtype(name: str, channels: int | None) -> None:
    got = resampling.resize(random_image(4, 9, 6, channels), 11, 5, name)
    assert got.shape == ((5, 11) if channels is None else (5, 11, channels))
    assert got.dtype == (np.float32 if name == "bria" else np.uint8)


@pytest.mark.parametrize("name", resampling.RESAMPLINGS)
def test_same_size(name: str) -> None:
    image = random_image(5, 9, 6, 3)
    got = resampling.resize(image, 9, 6, name)
    if name == "bria":
        np.testing.assert_array_equal(got, image.astype(np.float32))
        assert not np.shares_memory(got, image)
    else:
        assert got is image


@pytest.mark.parametrize("name", resampling.RESAMPLINGS)
@pytest.mark.parametrize("value", [0, 1, 127, 255])
@pytest.mark.parametrize("new", [(7, 5), (16, 12), (100, 91), (200, 9)])
def test_constant_stays_constant(name: str, value: int, new: tuple[int, int]) -> None:
    image = np.full((12, 16, 3), value, np.uint8)
    got = resampling.resize(image, *new, name)
    if name == "transformers.js":  # fades to black at the far ends
        got = got[: new[1] - math.ceil(new[1] / 12), : new[0] - math.ceil(new[0] / 16)]
    assert (got == value).all()


def test_affine_fades_to_black_at_the_far_ends() -> None:
    got = resampling.affine_bilinear(np.full((4, 4), 200, np.uint8), 16, 16)
    np.testing.assert_array_equal(got[0, -5:], [200, 200, 150, 100, 50])
    np.testing.assert_array_equal(got[-5:, 0], [200, 200, 150, 100, 50])


def test_dispatch() -> None:
    image = random_image(6, 20, 30, 3)
    resize = resampling.resize
    np.testing.assert_array_equal(resize(image, 33, 7), resampling.affine_bilinear(image, 33, 7))
    np.testing.assert_array_equal(resize(image, 33, 7, "canvas"), resampling.canvas_bilinear(image, 33, 7))
    np.testing.assert_array_equal(resize(image, 33, 7, "antialias"), resampling.antialias(image, 33, 7))
    np.testing.assert_array_equal(resize(image, 33, 7, "bria"), resampling.half_pixel_bilinear(image, 33, 7))


@pytest.mark.parametrize("code", range(6))
def test_filter_is_pillows(code: int) -> None:
    image = random_image(7, 20, 30, 3)
    expected = np.asarray(Image.fromarray(image).resize((9, 41), Image.Resampling(code)))
    np.testing.assert_array_equal(resampling.resize(image, 9, 41, "antialias", filter=code), expected)


def test_antialias_does_not_premultiply() -> None:
    image = random_image(8, 20, 30, 4)
    image[..., 3] = 0
    planes = [resampling.antialias(image[..., c], 9, 41) for c in range(4)]
    np.testing.assert_array_equal(resampling.antialias(image, 9, 41), np.stack(planes, axis=2))
    assert resampling.antialias(image, 9, 41)[..., :3].any()


def test_unknown_resampling() -> None:
    with pytest.raises(UnsupportedOptionError) as caught:
        resampling.resize(random_image(9, 4, 4), 2, 2, "foo")
    for name in ("foo", "transformers.js", "canvas", "antialias", "bria"):
        assert name in str(caught.value)


def test_unknown_filter() -> None:
    for name in ("transformers.js", "canvas", "antialias"):
        with pytest.raises(UnsupportedOptionError, match="6"):
            resampling.resize(random_image(9, 4, 4), 2, 2, name, filter=6)


@pytest.mark.parametrize("function", ALL)
def test_impossible_input(function: Callable[..., Array]) -> None:
    image = random_image(9, 4, 4)
    for width, height in ((0, 3), (3, 0), (-2, 3)):
        with pytest.raises(UnsupportedOptionError, match=f"{width}x{height}"):
            function(image, width, height)
    for bad in (image.astype(np.float64), image[0], image[None, None], image[:0], image[:, :0]):
        with pytest.raises(UnsupportedOptionError, match="shape"):
            function(bad, 3, 3)


def test_half_pixel_equals_torch() -> None:
    torch = pytest.importorskip("torch")
    for size, new in (((50, 40), (64, 33)), ((5, 7), (301, 203)), ((640, 427), (128, 128)), ((1, 1), (3, 2))):
        image = random_image(10, *size, 3)
        planes = torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None]
        expected = torch.nn.functional.interpolate(planes, new[::-1], mode="bilinear", align_corners=False)
        got = resampling.half_pixel_bilinear(image, *new)
        np.testing.assert_allclose(got, expected[0].permute(1, 2, 0).numpy(), atol=1e-3, rtol=0)


# What Transformers.js gave


def oracle(*parts: str) -> Path:
    shared = os.environ.get("FOREGROUND_SHARED")
    root = Path(shared) if shared else Path(__file__).resolve().parents[3] / "shared"
    path = root.joinpath("oracle", *parts)
    if not path.exists():
        pytest.skip(f"no oracle: {path} is absent (FOREGROUND_SHARED names the folder that has oracle/)")
    return path


@pytest.mark.parametrize(
    "name",
    [
        "01_landscape_480x360.jpg",
        "02_portrait_987x1481.jpg",
        "04_exact_1024.jpg",
        "05_12mp_4000x3000.jpg",
        "07_odd_333x1017.jpg",
        "30_landscape_640x427.jpg",
    ],
)
def test_affine_gives_the_model_input_of_node(name: str) -> None:
    recorded = json.loads(oracle("node", "manifest.fp32.json").read_text())["images"][name]
    pixels = np.asarray(Image.open(oracle("images", name)))
    assert hashlib.sha256(pixels.tobytes()).hexdigest() == recorded["decoded"]["sha256"]
    scaled = (np.arange(256) * 0.00392156862745098).astype(np.float32)
    table = (scaled.astype(np.float64) - 0.5).astype(np.float32)
    small = resampling.affine_bilinear(pixels, 1024, 1024)
    values = np.ascontiguousarray(table[small.transpose(2, 0, 1)])[None]
    assert list(values.shape) == recorded["pixel_values"]["dims"]
    assert hashlib.sha256(values.tobytes()).hexdigest() == recorded["pixel_values"]["sha256"]


def test_canvas_gives_the_mask_of_chromium() -> None:
    """The browser's 1024x1024 mask was not recorded, but its 4000x3000 one determines it: solve, and resize again."""
    mask = np.asarray(Image.open(oracle("browser", "fp32", "05_12mp_4000x3000.jpg.mask.png")))
    # A window around the subject's outline, and the input pixels it looks at
    top, bottom, first, last = 1500, 2000, 800, 1300
    window = mask[top:bottom, first:last].astype(np.float64)

    def weights(before: int, after: int, start: int, stop: int) -> tuple[NDArray[np.float64], int]:
        sixteenths = np.floor(((np.arange(start, stop) + 0.5) * (before / after) - 0.5) * 16).astype(int)
        whole, fraction = np.divmod(sixteenths, 16)
        origin = whole[0]
        matrix = np.zeros((stop - start, whole[-1] - origin + 2))
        matrix[np.arange(stop - start), whole - origin] = 1 - fraction / 16
        matrix[np.arange(stop - start), whole - origin + 1] += fraction / 16
        return matrix, origin

    down, y0 = weights(1024, 3000, top, bottom)
    along, x0 = weights(1024, 4000, first, last)
    small = np.zeros((down.shape[1], along.shape[1]))
    for _ in range(5):  # each round knows better how much was truncated
        whole = down @ small @ along.T
        target = window + (whole - np.floor(whole + 1e-9))
        half = np.linalg.lstsq(down, target, rcond=None)[0]
        small = np.clip(np.rint(np.linalg.lstsq(along, half.T, rcond=None)[0].T), 0, 255)
    full = np.zeros((1024, 1024), np.uint8)
    full[y0 : y0 + small.shape[0], x0 : x0 + small.shape[1]] = small
    got = resampling.canvas_bilinear(full, 4000, 3000)[top:bottom, first:last]
    assert (got != window).mean() < 0.01, (got != window).mean()
