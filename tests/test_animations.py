"""Animations: every frame cut out, with the same timing and loop, in files that Pillow and browsers play."""

from __future__ import annotations

import io
import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, features
from tiny_models import write_repo

from transformers_foreground import Segmenter, cutout, cutout_animation, load_image, pipeline
from transformers_foreground.errors import ImageError, UnsupportedOptionError
from transformers_foreground.images.animated import write_animation
from transformers_foreground.images.frames import open_animation

DELAYS = [40, 50, 70, 100, 200, 300]


def drawn(number: int) -> Image.Image:
    """A bright ball, further to the right in each frame, before a dark wall."""
    image = Image.new("RGB", (64, 48), (20, 0, 60))
    ImageDraw.Draw(image).ellipse((5 + 4 * number, 10, 25 + 4 * number, 30), fill=(255, 250, 240))
    return image


def write(path: Path, count: int = 6, **options: Any) -> Path:
    frames = [drawn(i) for i in range(count)]
    options = {"duration": DELAYS[:count], "loop": 3, **options}
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)
    return path


def read(path: Path | bytes) -> tuple[int, list[float], list[np.ndarray]]:
    """Return how often it plays, the frames' milliseconds, and their pixels, uint8, (H, W, C)."""
    with open_animation(path) as animation:
        frames = list(animation)
        assert len(frames) == animation.count
        return animation.plays, [frame.milliseconds for frame in frames], [frame.image.pixels for frame in frames]


@pytest.fixture
def segmenter(tmp_path: Path) -> Iterator[Segmenter]:
    with Segmenter(write_repo(tmp_path / "model")) as opened:
        yield opened


@pytest.mark.parametrize("output", ["webp", "png", "apng", "gif"])
@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "avif"])
def test_timing_loop_and_alpha(suffix: str, output: str, segmenter: Segmenter, tmp_path: Path) -> None:
    if suffix == "avif" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    source, target = write(tmp_path / f"ball.{suffix}"), tmp_path / f"out.{output}"
    calls: list[tuple[int, int]] = []
    told = cutout_animation(source, target, segmenter, on_frame=lambda done, of: calls.append((done, of)))
    assert told == 6
    assert calls == [(i, 6) for i in range(1, 7)]
    plays, delays, frames = read(target)
    assert plays == {"gif": 4, "avif": 0}.get(suffix, 3)  # GIF counts repeats
    assert delays == DELAYS
    for i, pixels in enumerate(frames):
        assert pixels.shape == (48, 64, 4)
        assert pixels[20, 15 + 4 * i, 3] > 240
        assert int(pixels[44, 60, 3]) < (1 if output == "gif" else 60)
    with Image.open(target) as opened:  # Pillow alone
        assert (opened.n_frames, opened.size) == (6, (64, 48))


def test_the_first_frame_is_the_still_image(segmenter: Segmenter, tmp_path: Path) -> None:
    source = write(tmp_path / "ball.gif")
    cutout_animation(source, tmp_path / "out.png", pipeline("image-segmentation", tmp_path / "model"))
    still = cutout(source, segmenter(source).mask)
    assert read(tmp_path / "out.png")[2][0].tobytes() == np.asarray(still).tobytes()
    with open_animation(source) as animation:
        assert next(iter(animation)).image.pixels.tobytes() == np.asarray(load_image(source)).tobytes()


def test_on_a_colour(segmenter: Segmenter, tmp_path: Path) -> None:
    cutout_animation(write(tmp_path / "ball.gif"), tmp_path / "out.webp", segmenter, background="red", quality=90)
    _, _, frames = read(tmp_path / "out.webp")
    assert np.abs(frames[3][45, 3].astype(int) - (255, 0, 0)).max() < 60
    assert (tmp_path / "out.webp").stat().st_size < 12_000


def test_masks_are_calmed(segmenter: Segmenter, tmp_path: Path) -> None:
    gray = [Image.new("RGB", (16, 16), (level,) * 3) for level in (100, 130, 100, 130)]
    gray[0].save(tmp_path / "flicker.png", save_all=True, append_images=gray[1:], duration=50)

    def levels(weight: float) -> list[int]:
        cutout_animation(tmp_path / "flicker.png", tmp_path / "out.png", segmenter, weight=weight)
        return [int(pixels[8, 8, 3]) for pixels in read(tmp_path / "out.png")[2]]

    raw, calmed = levels(1), levels(0.5)
    assert np.ptp(raw) > 0
    assert np.abs(np.diff(calmed)).sum() < np.abs(np.diff(raw)).sum()


def test_an_apng_with_another_default_image(segmenter: Segmenter, tmp_path: Path) -> None:
    source = write(tmp_path / "ball.png", default_image=True, duration=50)
    assert cutout_animation(source, tmp_path / "out.png", segmenter) == 5
    assert read(tmp_path / "out.png")[2][0][20, 19, 3] > 240  # the second drawing is the first frame


def test_a_still_image_is_one_frame(segmenter: Segmenter, tmp_path: Path) -> None:
    drawn(0).save(tmp_path / "ball.jpg")
    assert cutout_animation(tmp_path / "ball.jpg", tmp_path / "out.webp", segmenter) == 1
    assert load_image(tmp_path / "out.webp").size == (64, 48)


@pytest.mark.parametrize(
    ("output", "options", "message"),
    [
        ("out.jpg", {}, "ends with .webp"),
        ("out.webp", {"crop": True}, "crop=True"),
        ("out.webp", {"premultiplied": True}, "premultiplied=True"),
        ("out.png", {"quality": 80}, "always lossless"),
        ("out.gif", {"quality": 80}, "256 colours"),
        ("out.webp", {"quality": 0}, "1 to 100"),
        ("out.webp", {"weight": 0}, "above 0"),
        ("out.webp", {"background": "nocolour"}, "neither a colour"),
    ],
)
def test_refusals(output: str, options: Any, message: str, segmenter: Segmenter, tmp_path: Path) -> None:
    source = write(tmp_path / "ball.gif")
    with pytest.raises((UnsupportedOptionError, ImageError), match=message):
        cutout_animation(source, tmp_path / output, segmenter, **options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ball.gif", "model"]


def test_the_animation_itself_is_not_overwritten(segmenter: Segmenter, tmp_path: Path) -> None:
    source = write(tmp_path / "ball.png")
    before = source.read_bytes()
    os.symlink(source, tmp_path / "link.png")
    for image, output in ((source, source), (str(source), tmp_path / "link.png")):
        with pytest.raises(UnsupportedOptionError, match=r"is the animation itself, which would be lost"):
            cutout_animation(image, output, segmenter)
    assert source.read_bytes() == before


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_a_broken_frame_is_named_and_nothing_is_left(suffix: str, segmenter: Segmenter, tmp_path: Path) -> None:
    source = write(tmp_path / f"ball.{suffix}")
    data = bytearray(source.read_bytes())
    if suffix == "gif":
        del data[len(data) * 6 // 10 :]
    elif suffix == "webp":
        start = [i for i in range(len(data)) if data[i : i + 4] == b"ANMF"][3]
        data[start + 32 : start + 60] = bytes(28)
    else:
        start = [i for i in range(len(data)) if data[i : i + 4] == b"fdAT"][2]
        data[start + 12 : start + 20] = bytes(8)
    source.write_bytes(data)
    with pytest.raises(ImageError, match=rf"ball\.{suffix}: .*This is frame \d of \d"):
        cutout_animation(source, tmp_path / "out.webp", segmenter)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["model", source.name])


def test_ctrl_c_leaves_the_old_file(segmenter: Segmenter, tmp_path: Path) -> None:
    def stop(done: int, _: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    (tmp_path / "out.webp").write_bytes(b"old")
    source = write(tmp_path / "ball.gif")
    with pytest.raises(KeyboardInterrupt):
        cutout_animation(source, tmp_path / "out.webp", segmenter, on_frame=stop)
    assert (tmp_path / "out.webp").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ball.gif", "model", "out.webp"]


@pytest.mark.parametrize("kind", ["gif", "png", "webp"])
def test_memory_does_not_grow_with_the_frames(kind: str, tmp_path: Path) -> None:
    """A thousand frames of 128x96 would be 49 MB; a few are held."""

    def frames() -> Iterator[tuple[Image.Image, float]]:
        for i in range(1000):
            yield Image.new("RGBA", (128, 96), (i % 256, 0, 0, 255)), 20

    def reread() -> int:
        with open_animation(tmp_path / "long") as animation:
            return sum(1 for _ in animation)

    tracemalloc.start()
    try:
        with (tmp_path / "long").open("wb") as file:
            write_animation(file, frames(), kind, count=1000)
        assert reread() == 1000
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("kind", "delays", "kept"),
    [
        ("gif", [33.3] * 6, [30, 40, 30, 30, 40, 30]),  # in all, as long
        ("gif", [16] * 3, [20, 20, 20]),  # browsers show less than 20 for 100
        ("gif", [0, 10], [0, 10]),
        ("webp", [33.4] * 5, [33, 34, 33, 34, 33]),
        ("png", [70_000, 40], [65_535, 4_505]),
    ],
)
def test_rounded_delays(kind: str, delays: list[float], kept: list[int]) -> None:
    buffer = io.BytesIO()
    write_animation(buffer, [(drawn(i), delay) for i, delay in enumerate(delays)], kind, count=len(delays))
    assert read(buffer.getvalue())[1] == kept


def test_what_is_no_animation(segmenter: Segmenter, tmp_path: Path) -> None:
    (tmp_path / "notes.gif").write_bytes(b"GIF89a, not really")
    for name in ("notes.gif", "none.gif"):
        with pytest.raises(ImageError, match=name):
            cutout_animation(tmp_path / name, tmp_path / "out.webp", segmenter)
    assert not (tmp_path / "out.webp").exists()
