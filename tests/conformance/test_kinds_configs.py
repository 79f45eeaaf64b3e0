"""Every kind of preprocessor config gives Transformers.js' pixel values and masks, byte for byte."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from kinds import EXCEPTIONS, digest, folder_of, images_of, records

from transformers_foreground.errors import ForegroundError
from transformers_foreground.images.alpha import put_alpha
from transformers_foreground.segmenter import Segmenter

RECORDS = records()
pytestmark = pytest.mark.skipif(not RECORDS, reason="../shared/oracle/kinds is not there")


@pytest.fixture(autouse=True)
def _known_models_answer_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oracle's models are tiny ones in folders: nothing is fetched."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def opened(name: str) -> Segmenter:
    """Open a config's model."""
    record = RECORDS[name]
    return Segmenter(folder_of(name, record), config=record["load"].get("config")).open()


def run(segmenter: Segmenter, path: Path, task: str) -> tuple[np.ndarray, np.ndarray]:
    """Return an image's pixel values and what the task gives of it, shape (H, W, 1 or 4)."""
    prepared = segmenter.prepare(path)
    (ran,) = segmenter.run([prepared])
    mask, image = segmenter.finish(ran).mask, prepared.image
    assert mask.shape == (image.height, image.width)
    result = np.asarray(put_alpha(image.rgb(), mask)) if task == "background-removal" else mask[..., None]
    return prepared.pixel_values, result


@pytest.mark.parametrize("name", [name for name in RECORDS if name not in EXCEPTIONS])
def test_pixel_values_and_masks(name: str) -> None:
    """Where Transformers.js fails, so may we, if an error says why; a mask that comes must have the image's size."""
    record = RECORDS[name]
    fails = "error" in record or all("error" in image for _, _, image in images_of(record))
    try:
        segmenter = opened(name)
    except ForegroundError:
        assert fails
        return
    for image, path, wanted in images_of(record):
        try:
            values, result = run(segmenter, path, record["task"])
        except ForegroundError:
            assert "error" in wanted, image
            continue
        if "mask" in wanted:
            height, width, channels = result.shape
            assert [*values.shape, digest(values)] == wanted["pv"], image
            assert [width, height, channels, digest(result)] == wanted["mask"], image


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_what_is_refused(name: str) -> None:
    with pytest.raises(ForegroundError, match=EXCEPTIONS[name].error):
        opened(name)


def test_nothing_but_these_is_an_exception() -> None:
    """Each takes part in the records, so that none is kept that is not needed."""
    assert set(EXCEPTIONS) <= set(RECORDS)
    for name in EXCEPTIONS:
        assert any("mask" in image for _, _, image in images_of(RECORDS[name]))
