"""Names of columns that are refused, by every mapper before anything is computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from transformers_foreground import ForegroundMapper
from transformers_foreground.data.arrow import ArrowMapper
from transformers_foreground.errors import UnsupportedOptionError

KINDS = ("mask", "cutout", "alpha", "doubt", "error")


@pytest.mark.parametrize("mapper", [ForegroundMapper, ArrowMapper])
@pytest.mark.parametrize("option", ["image_column", "id_column", *(f"{kind}_column" for kind in KINDS)])
@pytest.mark.parametrize("name", ["", " \t"])
def test_a_blank_name_is_refused(tiny: Path, mapper: Any, option: str, name: str) -> None:
    with pytest.raises(UnsupportedOptionError, match=rf"^{option}='.*' is no name"):
        mapper(tiny, **{option: name})


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_that_would_be_lost_is_refused(tiny: Path, kind: str) -> None:
    with pytest.raises(UnsupportedOptionError, match=rf"^{kind}_column='key' would replace the column of the ids"):
        ForegroundMapper(tiny, id_column="key", **{f"{kind}_column": "key"})
    if kind not in ("mask", "cutout"):
        with pytest.raises(UnsupportedOptionError, match=rf"^{kind}_column='photo' would replace .* images"):
            ForegroundMapper(tiny, image_column="photo", **{f"{kind}_column": "photo"})


def test_a_mask_may_take_its_images_place_and_columns_may_be_left_out(tiny: Path) -> None:
    for place in ({"mask_column": "photo"}, {"mask_column": None, "cutout_column": "photo"}):
        assert ForegroundMapper(tiny, image_column="photo", id_column="photo.path", **place).error_column is None
