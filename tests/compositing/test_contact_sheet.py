"""Contact sheets: where cells lie, what is in them, and how names are written."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from transformers_foreground.compositing.contact_sheet import SIDE, cell, checkerboard, contact_sheet

FRAME = (190, 190, 190)


def squares(count: int) -> list[Image.Image]:
    return [Image.new("RGB", (60, 40), (10 * i, 0, 200)) for i in range(count)]


def test_an_image_lies_above_its_result_each_in_the_middle_of_a_square() -> None:
    made = cell(Image.new("RGB", (400, 200), "red"), Image.new("L", (100, 200), 255))
    assert made.size == (SIDE, 2 * SIDE)
    pixels = np.asarray(made).astype(int)
    red = np.argwhere((pixels == (255, 0, 0)).all(axis=2))
    top, left = red.min(axis=0)
    bottom, right = red.max(axis=0) + 1
    assert (right - left, bottom - top) == (SIDE - 6, (SIDE - 6) // 2)  # a margin of 3, and the ratio kept
    assert abs((top + bottom) / 2 - SIDE / 2) <= 1
    assert abs((left + right) / 2 - SIDE / 2) <= 1
    assert (pixels[SIDE:] == 255).all()  # a white mask on white


def test_what_is_transparent_shows_a_checkerboard() -> None:
    empty = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    lower = np.asarray(cell(empty, empty))[SIDE:]
    board = np.asarray(checkerboard(64, 64).convert("RGB"))
    start = (SIDE - 64) // 2
    np.testing.assert_array_equal(lower[start : start + 64, start : start + 64], board)
    assert board[0, 0, 0] != board[0, 12, 0] == board[12, 0, 0] != board[12, 12, 0]


def test_a_large_image_is_not_smaller_than_a_small_one_of_its_ratio() -> None:
    small, large = (cell(Image.new("RGB", size, "red"), Image.new("L", (9, 9))) for size in ((300, 300), (3000, 3000)))
    assert small.tobytes() == large.tobytes()


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (3, 3, 1), (5, 5, 1), (6, 5, 2), (11, 5, 3)])
def test_cells_lie_in_rows_of_five_in_frames(count: int, columns: int, rows: int) -> None:
    sheet = contact_sheet(squares(count), [str(i) for i in range(count)])
    assert sheet.size == (columns * 72 + 12, rows * 74 + 12)
    for i in range(count):
        left, top = 12 + i % 5 * 72, 12 + i // 5 * 74
        cut = np.asarray(sheet)[top : top + 40, left : left + 60]
        assert (cut == (10 * i, 0, 200)).all()
        corners = [(left - 1, top - 1), (left + 60, top - 1), (left - 1, top + 62), (left + 60, top + 62)]
        assert {sheet.getpixel(corner) for corner in corners} == {FRAME}
        name = np.asarray(sheet)[top + 41 : top + 61, left : left + 60]
        assert (name < 128).any()  # letters


def test_names_are_shortened_in_the_middle_and_control_characters_are_escaped() -> None:
    def drawn(name: str) -> bytes:
        return contact_sheet(squares(1), [name]).tobytes()

    long = "a" + "m" * 100 + "z"
    assert drawn(long) == drawn("a" + "m" * 200 + "z") != drawn("b" + "m" * 100 + "z") != drawn("b" + "m" * 100 + "y")
    assert drawn("a\nb") == drawn("a\\nb") != drawn("ab")
    assert drawn("\U0010fffe") == drawn("\\U0010fffe")
    assert drawn("\U00012000") == drawn("\\U00012000")  # cuneiform, which no font of the list has
    assert drawn("e\u0301") == drawn("\u00e9")
