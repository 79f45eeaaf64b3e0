"""A mask is an ordinary image over an array."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from transformers_foreground.images.alpha import MaskImage, put_alpha, to_mask
from transformers_foreground.images.encode import encode


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (30, 40), dtype=np.uint8)


@pytest.fixture
def rgb() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (30, 40, 3), dtype=np.uint8)


# --- MaskImage --------------------------------------------------------------------------------------------------------


def test_mask_shares_its_memory(pixels: np.ndarray) -> None:
    mask = to_mask(pixels)
    view = np.asarray(mask)
    assert np.shares_memory(view, pixels)
    assert not view.flags.writeable
    assert not pixels.flags.writeable
    assert (mask.mode, mask.size, mask.width, mask.height) == ("L", (40, 30), 40, 30)
    assert not np.shares_memory(np.array(mask), pixels)


def test_mask_of_a_slice_is_right(pixels: np.ndarray) -> None:
    assert np.array_equal(np.asarray(to_mask(pixels[::2, 3:9])), pixels[::2, 3:9])


def test_view_outlives_the_mask(pixels: np.ndarray) -> None:
    expected = pixels.copy()
    view = np.asarray(to_mask(pixels))
    del pixels
    assert np.array_equal(view, expected)


@pytest.mark.parametrize(
    "operation",
    [
        lambda m: m.copy(),
        copy.copy,
        copy.deepcopy,
        lambda m: pickle.loads(pickle.dumps(m)),
        lambda m: m.crop((2, 3, 20, 25)),
        lambda m: m.resize((17, 11)),
        lambda m: m.rotate(90, expand=True),
        lambda m: m.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        lambda m: m.convert("RGB"),
        lambda m: m.convert("1"),
        lambda m: m.point(lambda v: 255 - v),
        lambda m: m.getchannel(0),
        lambda m: m.split()[0],
        ImageOps.invert,
        ImageOps.autocontrast,
        lambda m: ImageOps.fit(m, (9, 9)),
        lambda m: Image.merge("RGB", (m, m, m)),
        lambda m: Image.composite(m, m.point(lambda _: 0), m),
        lambda m: Image.fromarray(np.asarray(m)),
    ],
)
def test_mask_gives_what_a_plain_image_gives(operation: Any, pixels: np.ndarray) -> None:
    plain, mask = Image.fromarray(pixels.copy()), to_mask(pixels)
    mask.info["dpi"] = plain.info["dpi"] = (72, 72)
    expected, got = operation(plain), operation(mask)
    assert type(got) is Image.Image
    assert got == expected
    assert np.array_equal(np.asarray(got), np.asarray(expected))


@pytest.mark.parametrize(
    "draw",
    [
        lambda m: m.putpixel((1, 2), 77),
        lambda m: m.paste(200, (0, 0, 10, 10)),
        lambda m: m.paste(Image.new("L", (5, 5), 9), (3, 3)),
        lambda m: m.putdata([5] * 1200),
        lambda m: m.putalpha(128),
        lambda m: m.thumbnail((10, 10)),
        lambda m: ImageDraw.Draw(m).rectangle((2, 2, 9, 9), fill=66),
    ],
)
def test_drawing_on_a_mask_leaves_the_array(draw: Any, pixels: np.ndarray) -> None:
    before = pixels.copy()
    plain, mask = Image.fromarray(pixels.copy()), to_mask(pixels)
    view = np.asarray(mask)
    draw(plain)
    draw(mask)
    assert np.array_equal(np.asarray(mask), np.asarray(plain))
    assert not np.array_equal(np.asarray(mask), before)
    assert mask.tobytes() == plain.tobytes()
    assert np.array_equal(pixels, before)
    assert np.array_equal(view, before)


def test_masks_are_equal_by_their_pixels(pixels: np.ndarray) -> None:
    mask, plain = to_mask(pixels.copy()), Image.fromarray(pixels)
    assert mask == to_mask(pixels.copy())
    assert mask == plain
    assert plain == mask
    assert mask != to_mask(255 - pixels)
    assert mask != Image.new("L", (3, 3))
    assert mask != "mask"


def test_mask_saves_as_any_format(pixels: np.ndarray, tmp_path: Path) -> None:
    for suffix in ("png", "tiff", "bmp"):
        to_mask(pixels).save(tmp_path / f"m.{suffix}")
        assert np.array_equal(np.asarray(Image.open(tmp_path / f"m.{suffix}")), pixels)


def test_closed_mask_has_no_pixels(pixels: np.ndarray) -> None:
    mask = to_mask(pixels)
    mask.close()
    with pytest.raises(ValueError, match="closed"):
        mask.tobytes()
    with pytest.raises(ValueError, match="closed"):
        np.asarray(mask)


def test_pickle_needs_pillow_alone(pixels: np.ndarray) -> None:
    assert b"transformers_foreground" not in pickle.dumps(to_mask(pixels))


def test_mask_works_as_a_mask(pixels: np.ndarray) -> None:
    mask = to_mask(pixels)
    assert isinstance(mask, MaskImage)
    image = Image.new("RGB", mask.size, "red")
    image.putalpha(mask)
    assert np.array_equal(np.asarray(image)[..., 3], pixels)


# --- alpha ------------------------------------------------------------------------------------------------------------


def test_put_alpha_keeps_hidden_colours(rgb: np.ndarray, pixels: np.ndarray) -> None:
    pixels[:10] = 0
    result = put_alpha(rgb, pixels)
    assert (result.mode, result.size) == ("RGBA", (40, 30))
    assert np.array_equal(np.asarray(result), np.dstack([rgb, pixels]))


def test_put_alpha_zeros_hidden_colours_and_no_others(rgb: np.ndarray, pixels: np.ndarray) -> None:
    pixels[:10], pixels[10:] = 0, np.maximum(pixels[10:], 1)
    before = rgb.copy()
    result = np.asarray(put_alpha(rgb, pixels, keep_hidden=False))
    assert not result[:10].any()
    assert np.array_equal(result[10:], np.dstack([rgb, pixels])[10:])
    assert np.array_equal(rgb, before)


def test_what_put_alpha_returns_can_be_drawn_on(rgb: np.ndarray, pixels: np.ndarray) -> None:
    image = put_alpha(rgb, pixels)
    image.putpixel((3, 2), (1, 2, 3, 4))
    assert image.getpixel((3, 2)) == (1, 2, 3, 4)
    rest = np.asarray(image).copy()
    rest[2, 3] = (*rgb[2, 3], pixels[2, 3])
    assert np.array_equal(rest, np.dstack([rgb, pixels]))


def test_encode_png_is_lossless(rgb: np.ndarray, pixels: np.ndarray, tmp_path: Path) -> None:
    for image in (put_alpha(rgb, pixels), to_mask(pixels)):
        (tmp_path / "x.png").write_bytes(encode(image))
        back = Image.open(tmp_path / "x.png")
        assert (back.format, back.mode) == ("PNG", image.mode)
        assert np.array_equal(np.asarray(back), np.asarray(image))
