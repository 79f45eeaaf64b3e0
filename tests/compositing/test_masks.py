"""What is done to masks: thresholds, parts, holes, rectangles, the image's own alpha; and masks of every kind."""

from __future__ import annotations

import base64
import io
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from transformers_foreground import cutout
from transformers_foreground.compositing.components import fill_holes, keep_parts
from transformers_foreground.compositing.mask_edits import MaskEdits
from transformers_foreground.compositing.measures import measures
from transformers_foreground.compositing.threshold import hard
from transformers_foreground.errors import ImageError, UnsupportedOptionError
from transformers_foreground.images.alpha import to_mask
from transformers_foreground.images.decode import decode
from transformers_foreground.images.png import chunk

GRAY = np.full((40, 60, 3), 90, np.uint8)


def alpha_of(mask: Any, image: Any = GRAY, **options: Any) -> np.ndarray[Any, Any]:
    return np.asarray(cutout(image, mask, **options))[..., 3]


@pytest.fixture
def mask() -> np.ndarray[Any, Any]:
    """A ring, 20 by 20, with a speck of 3 by 2 beside it."""
    mask = np.zeros((40, 60), np.uint8)
    mask[5:25, 5:25] = 255
    mask[12:18, 12:18] = 0
    mask[30:33, 50:52] = 200
    return mask


def test_threshold_makes_a_mask_hard(mask: Any) -> None:
    mask[0, :4] = 1, 127, 128, 254
    result = alpha_of(mask, threshold=0.5)
    assert set(np.unique(result)) == {0, 255}
    assert result[0, :4].tolist() == [0, 0, 255, 255]


def test_threshold_holds_after_shrinking(mask: Any) -> None:
    assert set(np.unique(alpha_of(mask, threshold=0.5, max_size=25))) == {0, 255}


@pytest.mark.parametrize(("keep", "stays"), [("largest", False), ("10%", False), ("1%", True), (0.01, True)])
def test_specks_go(mask: Any, keep: Any, stays: bool) -> None:
    result = alpha_of(mask, keep=keep)
    assert result[31, 51] == (200 if stays else 0)
    np.testing.assert_array_equal(result[:26], mask[:26])


def test_the_haze_around_a_speck_goes_with_it_and_the_objects_stays(mask: Any) -> None:
    mask[28:35, 48:54] = np.maximum(mask[28:35, 48:54], 5)
    mask[4, 5:25] = 5
    result = alpha_of(mask, keep="largest")
    assert not result[26:].any()
    assert (result[4, 5:25] == 5).all()


def test_holes_are_filled_with_their_soft_rims_and_bays_are_not(mask: Any) -> None:
    mask[11:19, 11] = 200  # the hole's rim
    mask[10:14, 20:25] = 0  # a bay
    result = alpha_of(mask, fill_holes=True)
    assert (result[11:19, 11:19] == 255).all()
    assert not result[10:14, 20:25].any()
    assert not result[0].any()


@pytest.mark.parametrize("roi", [(0, 0, 30, 40), "0,0,30,40", "0,0,50%,100%", (0, 0, 0.5, 1.0), (0, 0, 30, 900)])
def test_roi(mask: Any, roi: Any) -> None:
    result = alpha_of(mask, roi=roi)
    np.testing.assert_array_equal(result[:, :30], mask[:, :30])
    assert not result[:, 30:].any()


def test_square(mask: Any) -> None:
    result = cutout(GRAY, mask, roi=(5, 5, 20, 10), crop=True, square=True, pad=3)
    assert result.size == (26, 26)
    assert np.flatnonzero(np.asarray(result)[..., 3].any(axis=1)).tolist() == list(range(8, 18))
    assert cutout(GRAY, mask, square=True, background="white").size == (60, 60)


def test_room_that_makes_the_result_too_large() -> None:
    photo = np.zeros((2000, 3000, 3), np.uint8)
    for options, size in (({"pad": 10_000}, "23000x22000"), ({"pad": "500%"}, "33000x32000")):
        with pytest.raises(ImageError, match=f"would have {size} pixels"):
            cutout(photo, photo[..., 0], **options)
    with pytest.raises(ImageError, match="would have 15000x15000 pixels"):
        cutout(np.zeros((15000, 1, 3), np.uint8), np.zeros((15000, 1), np.uint8), square=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *(({"threshold": value}, "threshold=") for value in (0, 1, 128, "0.5", True)),
        *(({"keep": value}, "keep=") for value in ("most", "0%", "101%", "5", 0, 2.0, True)),
        *(({"roi": value}, "roi=") for value in ("1,2,3", "a,b,c,d", (0, 0, 0, 5), (-1, 0, 5, 5), "0,0,110%,5", ())),
    ],
)
def test_values_that_are_none(mask: Any, options: Any, message: str) -> None:
    with pytest.raises(UnsupportedOptionError, match=message):
        cutout(GRAY, mask, **options)


def test_roi_beside_the_image(mask: Any) -> None:
    with pytest.raises(ImageError, match=r"roi=70,0,5,5 lies outside its 60x40 pixels"):
        cutout(GRAY, mask, roi=(70, 0, 5, 5))


def test_what_was_erased_stays_erased(mask: Any) -> None:
    own = np.full((40, 60), 255, np.uint8)
    own[:, :15], own[:, 15:20] = 0, 128
    image = np.dstack([GRAY, own])
    result = alpha_of(mask, image)
    assert not result[:, :15].any()
    assert result[6, 17] == 128
    assert result[6, 22] == 255
    np.testing.assert_array_equal(alpha_of(mask, image, ignore_alpha=True), mask)


def test_alpha_of_image_and_mask_multiply_and_round() -> None:
    mask, own = np.mgrid[:256, :256].astype(np.uint8)
    image = np.dstack([np.zeros((256, 256, 3), np.uint8), own])
    expected = np.rint(mask.astype(float) * own / 255)  # never a half: 255 is odd
    np.testing.assert_array_equal(alpha_of(mask, image), expected)
    np.testing.assert_array_equal(MaskEdits().apply(mask, decode(image)), expected)


def test_haze_that_touches_the_object_by_a_corner_stays() -> None:
    mask = np.zeros((20, 20), np.uint8)
    mask[5:10, 5:10], mask[10, 10] = 255, 5
    np.testing.assert_array_equal(keep_parts(mask, "largest"), mask)


class TestMasksOfEveryKind:
    @pytest.fixture
    def wanted(self, mask: Any) -> np.ndarray[Any, Any]:
        return np.where(mask > 0, np.uint8(255), np.uint8(0))

    def test_zeros_and_ones(self, wanted: Any, tmp_path: Path) -> None:
        ones = wanted // 255
        Image.fromarray(ones).save(tmp_path / "8.png")
        Image.fromarray(ones.astype(np.uint16)).save(tmp_path / "16.png")
        Image.fromarray(wanted.astype(np.uint16)).save(tmp_path / "16_255.png")
        Image.fromarray(wanted.astype(np.uint16) * 257).save(tmp_path / "16_65535.png")
        palette = Image.fromarray(ones).convert("P")
        palette.putpalette([0, 0, 0, 128, 0, 0])
        palette.save(tmp_path / "palette.png")
        for form in (ones, ones.astype(bool), ones.astype(np.uint16), palette, *sorted(tmp_path.iterdir())):
            np.testing.assert_array_equal(alpha_of(form), wanted, str(form))

    @pytest.mark.parametrize("form", ["bytes", "bytearray", "file object", "file: URL", "data: URL", "dict"])
    def test_a_palette_in_all_forms(self, form: str, wanted: Any, tmp_path: Path) -> None:
        """Also with parts that Pillow refuses the file for, and lying on its side."""
        palette, path, exif = Image.fromarray(wanted // 255).convert("P"), tmp_path / "mask.png", Image.Exif()
        palette.putpalette([0, 0, 0, 128, 0, 0])
        exif[0x0112] = 3  # upside down
        palette.transpose(Image.Transpose.ROTATE_180).save(path, exif=exif)
        data = path.read_bytes()
        data = data[:33] + chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(70_000_000))) + data[33:]
        path.write_bytes(data)
        source: Any = {
            "bytes": data,
            "bytearray": bytearray(data),
            "file object": io.BytesIO(b"before" + data),
            "file: URL": path.as_uri(),
            "data: URL": f"data:image/png;base64,{base64.b64encode(data).decode()}",
            "dict": {"bytes": data, "path": None},
        }[form]
        if form == "file object":
            source.seek(6)
        np.testing.assert_array_equal(alpha_of(source), wanted)

    def test_labels_are_refused_with_the_line_to_add(self, wanted: Any, tmp_path: Path) -> None:
        labels = wanted // 255 * 3
        labels[0] = 255  # to be left out
        image = Image.fromarray(labels).convert("P")
        image.putpalette([value for i in range(256) for value in (i, 40, 0)])
        image.save(tmp_path / "labels.png")
        with pytest.raises(ImageError, match=r"labels.png holds labels \(3\).*== 3"):
            cutout(GRAY, tmp_path / "labels.png")
        np.testing.assert_array_equal(alpha_of(np.asarray(Image.open(tmp_path / "labels.png")) == 3)[1:], wanted[1:])

    def test_gray_labels_are_refused_and_a_faint_mask_is_not(self, wanted: Any, tmp_path: Path) -> None:
        Image.fromarray(wanted // 255 * 3).save(tmp_path / "gray.png")
        with pytest.raises(ImageError, match=r"gray.png holds labels \(3\).*== 3"):
            cutout(GRAY, tmp_path / "gray.png")
        faint = np.minimum(np.arange(wanted.size, dtype=np.uint8).reshape(wanted.shape), 5)
        np.testing.assert_array_equal(alpha_of(faint), faint)

    def test_a_pipelines_all_but_empty_mask_stays_one(self, wanted: Any) -> None:
        ones = wanted // 255
        np.testing.assert_array_equal(alpha_of([{"mask": to_mask(ones.copy())}]), ones)

    @pytest.mark.parametrize("kind", ["WEBP", "JPEG"])
    def test_a_lossy_file_of_gray(self, kind: str, wanted: Any) -> None:
        buffer = io.BytesIO()
        Image.fromarray(wanted).convert("RGB").save(buffer, kind, quality=95)
        assert np.abs(alpha_of(buffer.getvalue()).astype(int) - wanted).mean() < 5

    def test_gray_in_three_channels(self, mask: Any) -> None:
        np.testing.assert_array_equal(alpha_of(np.dstack([mask] * 3)), mask)
        np.testing.assert_array_equal(alpha_of(np.dstack([*[mask] * 3, np.full_like(mask, 255)])), mask)


def test_measures(mask: Any) -> None:
    assert measures(mask)["box"] == [5, 5, 47, 28]
    assert measures(np.full((4, 5), 255, np.uint8)) == {"box": [0, 0, 5, 4], "foreground": 1.0}
    assert measures(np.full((4, 5), 3, np.uint8))["box"] is None


def parts(where: Any, diagonal: bool) -> list[set[tuple[int, int]]]:
    """Find connected parts by walking from pixel to pixel."""
    left, found = {(int(y), int(x)) for y, x in zip(*np.nonzero(where), strict=True)}, []
    while left:
        todo, part = [left.pop()], set()
        while todo:
            y, x = todo.pop()
            part.add((y, x))
            around = {(y + j, x + i) for j in (-1, 0, 1) for i in (-1, 0, 1) if diagonal or not (j and i)} & left
            left -= around
            todo += around
        found.append(part)
    return found


binary = arrays(
    np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.sampled_from([0, 255]), fill=st.nothing()
)


@settings(max_examples=150, deadline=None)
@given(binary, st.sampled_from(["largest", 0.5, 0.2]))
def test_keep_is_what_walking_finds(mask: Any, keep: Any) -> None:
    found = parts(mask > 0, True)
    result = keep_parts(mask, keep)
    kept = [part for part in found if all(result[pixel] == 255 for pixel in part)]
    gone = [part for part in found if all(result[pixel] == 0 for pixel in part)]
    assert len(kept) + len(gone) == len(found)
    most = max(map(len, found), default=0)
    if keep == "largest":
        assert [len(part) for part in kept] == ([most] if most else [])
    else:
        assert all(len(part) >= keep * most for part in kept)
        assert all(len(part) < keep * most for part in gone)


@settings(max_examples=150, deadline=None)
@given(binary)
def test_filled_is_what_walking_finds(mask: Any) -> None:
    wanted = mask.copy()
    height, width = mask.shape
    for part in parts(mask == 0, False):
        if not any(y in (0, height - 1) or x in (0, width - 1) for y, x in part):
            for pixel in part:
                wanted[pixel] = 255
    np.testing.assert_array_equal(fill_holes(mask), wanted)


@pytest.mark.parametrize(("threshold", "level"), [(0.2, 51), (0.4, 102), (0.8, 204)])
def test_alpha_at_the_threshold_is_foreground(threshold: float, level: int) -> None:
    mask = np.array([[0, level - 1, level, 255]], np.uint8)
    assert hard(mask, threshold).tolist() == [[0, 0, 255, 255]]
