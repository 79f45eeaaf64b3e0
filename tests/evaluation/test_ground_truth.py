"""Masks as data sets have them: gray, alpha, 0/1, labels, palettes, 16 bits."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_data import gray_profile

from transformers_foreground.errors import ImageError
from transformers_foreground.evaluation.ground_truth import Truth, read_truth
from transformers_foreground.evaluation.recipes import DatasetSpec
from transformers_foreground.evaluation.sources import Item
from transformers_foreground.images.decode import decode

MASK = np.zeros((6, 8), np.uint8)
MASK[2:5, 1:6] = 1
RED = [0, 0, 0, 128, 0, 0, 0, 128, 0] + [77, 1, 9] * 253


def truth(image: Any, **options: Any) -> Truth:
    spec = DatasetSpec("d", images="im", truth="gt", **options)
    return read_truth(Item(0, "p0", truth=image, bands=options.get("bands", {})), spec, 6, 8)


def saved(folder: Path, image: Image.Image, kind: str = "PNG") -> Path:
    path = folder / f"mask.{kind.lower()}"
    image.save(path, kind)
    return path


def palette(values: np.ndarray, colours: list[int] = RED) -> Image.Image:
    image = Image.fromarray(values).convert("L")
    image.putpalette(colours)
    return image


SAME = {
    "gray": Image.fromarray(MASK * 255),
    "0 and 1": Image.fromarray(MASK),
    "one bit": Image.fromarray(MASK * 255).convert("1"),
    "coloured palette": palette(MASK),
    "gray palette of 0 and 1": palette(MASK, [v for i in range(256) for v in (i, i, i)]),
    "black and white palette": palette(MASK, [0, 0, 0] + [255] * 765),
    "16 bits": Image.fromarray(MASK.astype(np.uint16) * 65535),
    "16 bits, 0 and 255": Image.fromarray(MASK.astype(np.uint16) * 255),
    "16 bits, 0 and 1": Image.fromarray(MASK.astype(np.uint16)),
    "alpha": Image.fromarray(np.dstack([MASK * 9, MASK * 7, MASK * 5, MASK * 255])),
}


@pytest.mark.parametrize("name", SAME)
@pytest.mark.parametrize("form", ["path", "bytes", "PIL"])
def test_a_mask_is_the_same_in_all_forms(tmp_path: Path, name: str, form: str) -> None:
    path = saved(tmp_path, SAME[name])
    source: Any = path if form == "path" else {"bytes": path.read_bytes(), "path": None}
    if form == "PIL":
        source = Image.open(io.BytesIO(path.read_bytes()))
    found = truth(source)
    np.testing.assert_array_equal(found.mask, MASK == 1)
    np.testing.assert_array_equal(found.alpha, MASK)


def test_labels_are_refused_until_the_recipe_says_what_they_mean(tmp_path: Path) -> None:
    labels = MASK.copy()
    labels[3] *= 7
    for image in (Image.fromarray(labels), palette(labels)):
        path = saved(tmp_path, image)
        with pytest.raises(ImageError, match=r"no values above 7\. .* add `binarise: "):
            truth(path)
        found = truth(path, binarise="> 0")
        np.testing.assert_array_equal(found.mask, MASK == 1)
        np.testing.assert_array_equal(found.alpha, MASK)
        np.testing.assert_array_equal(truth(path, binarise=">= 7").mask, labels == 7)
    many = truth(saved(tmp_path, Image.fromarray(labels * 9)), binarise="> 0")
    np.testing.assert_array_equal(many.alpha, MASK)


def test_labels_with_a_border_to_ignore(tmp_path: Path) -> None:
    labels = MASK * 15
    labels[2, 1:4] = 255
    path = saved(tmp_path, palette(labels))
    with pytest.raises(ImageError, match="add `ignore: 255` and `binarise"):
        truth(path)
    found = truth(path, ignore=255, binarise="> 0")
    assert found.counted is not None
    np.testing.assert_array_equal(found.counted, labels != 255)
    np.testing.assert_array_equal(found.mask[found.counted], labels[found.counted] == 15)
    one = saved(tmp_path, Image.fromarray(np.where(labels == 15, np.uint8(1), labels)))
    np.testing.assert_array_equal(truth(one, ignore=255).mask[labels != 255], MASK[labels != 255] == 1)


def test_mattes_stay_as_they_are(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 48).astype(np.uint8).reshape(6, 8)
    np.testing.assert_array_equal(truth(saved(tmp_path, Image.fromarray(ramp))).alpha, ramp / 255.0)
    specks = MASK * 255
    specks[0, 0] = 1  # hardly a label: one pixel beside many of 255
    np.testing.assert_array_equal(truth(saved(tmp_path, Image.fromarray(specks))).alpha, specks / 255.0)
    graded = MASK * 21  # one of twelve people chose it, and all twelve a pixel
    graded[2, 2] = 255
    np.testing.assert_array_equal(truth(saved(tmp_path, Image.fromarray(graded))).alpha, graded / 255.0)
    for level in (13, 90):
        faint = saved(tmp_path, Image.fromarray(MASK * level))
        with pytest.raises(ImageError, match=f"no values above {level}"):
            truth(faint)
        said = truth(faint, binarise="> 128")
        np.testing.assert_array_equal(said.alpha, MASK * level / 255.0)
        assert not said.mask.any()
    np.testing.assert_array_equal(truth(faint, measures=("alpha",)).alpha, MASK * 90 / 255.0)
    empty = truth(saved(tmp_path, Image.fromarray(MASK * 0)))
    assert not empty.mask.any()


def test_labels_above_255_are_no_gray(tmp_path: Path) -> None:
    ids = np.where(MASK, np.uint16(300), np.uint16(0))  # 256 to 511 would be 1 in 8 bits
    ids[3] *= 17
    ids[2, 1] = 7
    path = saved(tmp_path, Image.fromarray(ids))
    with pytest.raises(ImageError, match=r'no values above 20\..*`binarise: "> 0"`'):
        truth(path)
    np.testing.assert_array_equal(truth(path, binarise="> 0").mask, MASK == 1)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_a_colour_profile_changes_no_values(tmp_path: Path, kind: str) -> None:
    soft = MASK * 128
    soft[2, 1:4] = (255, 200, 60)
    path = tmp_path / "mask"
    Image.fromarray(soft).save(path, kind, icc_profile=gray_profile(1.0))
    assert (decode(path).pixels[..., 0] != soft).any()  # as an image, it is converted to sRGB
    for source in (path, {"bytes": path.read_bytes(), "path": None}, Image.open(path)):
        found = truth(source, ignore=128)
        np.testing.assert_array_equal(found.alpha, soft / 255.0)
        np.testing.assert_array_equal(found.counted, soft != 128)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ImageError, match=str(path)):
        truth(path)


def test_a_mask_of_another_size_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"mask\.png: the truth has 9×9 pixels, the image 8×6\. Give the mask"):
        truth(saved(tmp_path, Image.new("L", (9, 9))))
    with pytest.raises(ImageError, match=r"6×8 pixels, the image 8×6\..*turn the mask"):
        truth(saved(tmp_path, Image.new("L", (6, 8))))


def test_colours_and_trimaps_of_labels_are_refused(tmp_path: Path) -> None:
    colours = np.dstack([MASK * 200, MASK * 10, MASK * 30])
    for kind in ("PNG", "TIFF"):
        with pytest.raises(ImageError, match="has colours"):
            truth(saved(tmp_path, Image.fromarray(colours), kind))
    gray, trimap = saved(tmp_path, Image.fromarray(MASK * 255)), tmp_path / "trimap.png"
    Image.fromarray(MASK * 2).save(trimap)
    with pytest.raises(ImageError, match="tri holds labels up to 2"):
        truth(gray, bands={"tri": trimap})


def test_gray_that_a_lossy_file_makes_nearly_so(tmp_path: Path) -> None:
    """Of WebP's, channels are a level apart."""
    webp = truth(saved(tmp_path, Image.fromarray(MASK * 255), "WEBP"))
    np.testing.assert_allclose(webp.alpha, MASK, atol=0.4)
