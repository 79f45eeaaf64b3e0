"""A mask is an ordinary picture over an array; files are whole or not there."""

from __future__ import annotations

import copy
import os
import pickle
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from killed import kill_while_writing
from PIL import Image, ImageDraw, ImageOps

from transformers_foreground import output
from transformers_foreground.formats import encode
from transformers_foreground.output import MaskImage, put_alpha, to_mask, without_hidden, write_whole


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
    picture = Image.new("RGB", mask.size, "red")
    picture.putalpha(mask)
    assert np.array_equal(np.asarray(picture)[..., 3], pixels)


# --- alpha ------------------------------------------------------------------------------------------------------------


def test_put_alpha_keeps_hidden_colours(rgb: np.ndarray, pixels: np.ndarray) -> None:
    pixels[:10] = 0
    result = put_alpha(rgb, pixels)
    assert (result.mode, result.size) == ("RGBA", (40, 30))
    assert np.array_equal(np.asarray(result), np.dstack([rgb, pixels]))


def test_without_hidden_zeros_them_and_no_others(rgb: np.ndarray, pixels: np.ndarray) -> None:
    pixels[:10], pixels[10:] = 0, np.maximum(pixels[10:], 1)
    before = rgb.copy()
    result = without_hidden(rgb, pixels)
    assert result.dtype == np.uint8
    assert not result[:10].any()
    assert np.array_equal(result[10:], rgb[10:])
    assert np.array_equal(rgb, before)


def test_encode_png_is_lossless(rgb: np.ndarray, pixels: np.ndarray, tmp_path: Path) -> None:
    for image in (put_alpha(rgb, pixels), to_mask(pixels)):
        (tmp_path / "x.png").write_bytes(encode(image))
        back = Image.open(tmp_path / "x.png")
        assert (back.format, back.mode) == ("PNG", image.mode)
        assert np.array_equal(np.asarray(back), np.asarray(image))


# --- write_whole ------------------------------------------------------------------------------------------------------


def test_write_makes_folders_and_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.png"
    write_whole(path, b"one")
    write_whole(path, b"two")
    assert path.read_bytes() == b"two"
    assert os.listdir(path.parent) == ["c.png"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_permissions_are_those_of_the_umask(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        write_whole(tmp_path / "x", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o666 & ~umask


def test_writing_never_touches_the_umask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "umask", lambda _: pytest.fail("the umask belongs to all threads"))
    write_whole(tmp_path / "x", b"")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_failure_leaves_what_was_there(error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.png"
    write_whole(path, b"old")

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(output.os, "replace", fail)
    with pytest.raises(type(error)):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x.png"]


def test_a_folder_or_a_file_in_the_way_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "x.png", tmp_path / "folder"):
        with pytest.raises(OSError):  # noqa: PT011
            write_whole(path, b"x")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


@pytest.mark.skipif(os.name == "nt", reason="symbolic links need a privilege on Windows")
@pytest.mark.parametrize("dangling", [False, True])
def test_a_link_stays_and_its_target_is_written(dangling: bool, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "real.png", tmp_path / "link.png"
    if not dangling:
        target.write_bytes(b"old")
    link.symlink_to(Path("elsewhere") / "real.png")
    write_whole(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert os.listdir(target.parent) == ["real.png"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    write_whole(pipe, b"through")
    reader.join(5)
    assert got == [b"through"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_names_as_long_as_the_file_system_takes(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 251 + ".png")
    write_whole(path, b"x")
    assert path.read_bytes() == b"x"


def test_concurrent_writers_leave_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    contents = [bytes([i]) * 200_000 for i in range(16)]
    stop = threading.Event()
    torn: list[int] = []

    def watch() -> None:
        while not stop.is_set():
            if path.exists() and path.read_bytes() not in contents:
                torn.append(1)

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda data: write_whole(path, data), contents * 4))
    stop.set()
    watcher.join()
    assert not torn
    assert path.read_bytes() in contents
    assert os.listdir(tmp_path) == ["x"]


# --- what a kill leaves -----------------------------------------------------------------------------------------------

POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")


@POSIX
def test_what_a_killed_process_left_is_removed_with_the_next_write(tmp_path: Path) -> None:
    left, another = kill_while_writing(tmp_path / "x.png"), kill_while_writing(tmp_path / "y.png")
    assert left.read_bytes() == another.read_bytes() == b"half"
    write_whole(tmp_path / "x.png", b"whole")
    assert sorted(tmp_path.iterdir()) == [another, tmp_path / "x.png"]


@POSIX
def test_what_living_processes_write_is_left_alone(tmp_path: Path) -> None:
    code = "import sys; from transformers_foreground.unfinished import unfinished as u; from pathlib import Path\n"
    code += "u(Path(sys.argv[1])).write_bytes(b'a'); print(flush=True); input()"
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "x.png")], **pipes) as process:
        assert process.stdout is not None
        process.stdout.readline()
        (part,) = tmp_path.iterdir()
        write_whole(tmp_path / "x.png", b"mine")
        assert part.read_bytes() == b"a"
        process.communicate(b"\n")


@POSIX
@pytest.mark.parametrize(("hours", "stays"), [(23, True), (25, False)])
def test_what_another_machine_left_is_removed_after_a_day(hours: int, stays: bool, tmp_path: Path) -> None:
    left = kill_while_writing(tmp_path / "x.png")
    start, _, *rest = left.name.split("-")
    theirs = left.rename(left.with_name("-".join([start, "0" * 8, *rest])))
    os.utime(theirs, (time.time() - 3600 * hours,) * 2)
    write_whole(tmp_path / "x.png", b"mine")
    assert theirs.exists() == stays
