"""`foreground --animate`: animations by the command, and what it says of them without."""

from __future__ import annotations

import io
import json
import os
import signal
import time
from pathlib import Path

import pytest
from PIL import Image
from test_animations import drawn, read, write
from test_cli import here, photo, run, start

__all__ = ["here", "photo"]  # fixtures


@pytest.fixture
def ball(here: Path) -> Path:
    return write(here / "ball.gif")


def test_all_frames(ball: Path) -> None:
    done = run("ball.gif", "--animate")
    assert done.exit_code == 0, done.output
    assert "ball.gif → ball.cutout.webp" in done.stderr
    plays, delays, frames = read(Path("ball.cutout.webp"))
    assert (plays, delays, len(frames)) == (4, [40, 50, 70, 100, 200, 300], 6)
    assert frames[2][20, 23, 3] > 240


@pytest.mark.parametrize(
    ("arguments", "name", "kind"),
    [
        (["-o", "x.gif"], "x.gif", "GIF"),
        (["-o", "x.apng"], "x.apng", "PNG"),
        (["--format", "gif", "-b", "white"], "ball.cutout.gif", "GIF"),
        (["--format", "png", "--mask-only"], "ball.mask.png", "PNG"),
        (["--format", "webp", "--quality", "80", "--pad", "10%", "--square"], "ball.cutout.webp", "WEBP"),
    ],
)
def test_formats(ball: Path, arguments: list[str], name: str, kind: str) -> None:
    done = run("ball.gif", "--animate", *arguments)
    assert done.exit_code == 0, done.output
    with Image.open(name) as opened:
        assert (opened.format, opened.n_frames) == (kind, 6)


def test_a_folder_of_both(ball: Path, photo: Path) -> None:
    write(Path("other.png"), 3, duration=50)
    done = run(".", "-o", "out", "--animate", "--json", "--contact-sheet", "sheet.png", "--review", "3")
    assert done.exit_code == 0, done.output
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(record["input"], record.get("frames")) for record in records] == [
        ("ball.gif", 6),
        ("other.png", 3),
        ("photo.png", None),
    ]
    assert records[0].keys() == records[2].keys() | {"frames"}
    assert records[0]["doubt"] >= 0
    assert sorted(os.listdir("out")) == [f"{stem}.cutout.webp" for stem in ("ball", "other", "photo")]
    again = run(".", "-o", "out", "--animate", "--resume")
    assert again.exit_code == 0
    assert again.stderr.count("is done already") == 3


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_without_it_one_line_says_that_the_first_was_taken(here: Path, suffix: str) -> None:
    write(Path(f"ball.{suffix}"))
    done = run(f"ball.{suffix}", "-o", "still.png")
    assert done.exit_code == 0
    assert f"ball.{suffix}: only its first frame was taken; --animate takes all" in done.stderr
    with Image.open("still.png") as opened:
        assert opened.n_frames == 1
    assert "frame" not in run(f"ball.{suffix}", "-o", "still.png", "-f", "-q").output


def test_a_still_image_has_no_such_line(photo: Path) -> None:
    drawn(0).save("still.gif")
    done = run("photo.png", "still.gif")
    assert done.exit_code == 0
    assert "frame" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "x.gif"], "GIF is for animations (--animate"),
        (["--format", "gif"], "GIF is for animations (--animate"),
        (["--animate", "--format", "tiff"], "animations are webp, png, gif"),
        (["--animate", "--format", "jpeg", "-b", "white"], "animations are webp, png, gif"),
        (["--animate", "--crop"], "--crop would give each frame another size"),
        (["--animate", "-o", "x.gif", "--quality", "80"], "GIF has none"),
    ],
)
def test_refusals(ball: Path, arguments: list[str], message: str) -> None:
    done = run("ball.gif", *arguments)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.replace("│", " ").split())


def test_a_broken_one_is_named_and_the_others_are_done(ball: Path, photo: Path) -> None:
    data = ball.read_bytes()
    Path("cut.gif").write_bytes(data[: len(data) * 6 // 10])
    done = run("ball.gif", "cut.gif", "photo.png", "-o", "out", "--animate")
    assert done.exit_code == 1
    assert "failed: Cannot read cut.gif: the file is truncated" in done.stderr
    assert "This is frame 4 of 4." in done.stderr
    assert sorted(os.listdir("out")) == ["ball.cutout.webp", "photo.cutout.webp"]


def test_a_pipe(ball: Path) -> None:
    done = run("-", "--animate", "-o", "piped.webp", input=ball.read_bytes())
    assert done.exit_code == 0, done.output
    process = start("-", "--animate", "--format", "gif")
    stdout, stderr = process.communicate(ball.read_bytes(), timeout=60)
    assert process.returncode == 0, stderr
    with Image.open(io.BytesIO(stdout)) as opened:
        assert opened.n_frames == 6
    assert len(read(Path("piped.webp"))[2]) == 6


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT for a single process")
def test_ctrl_c_leaves_nothing_half(here: Path) -> None:
    write(Path("long.gif"), 6, duration=20)
    frames = [drawn(i % 8).resize((320, 240)) for i in range(400)]
    frames[0].save("long.gif", save_all=True, append_images=frames[1:], duration=20)
    process = start("long.gif", "--animate", "-o", "out/long.png")
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size > 100_000 for path in Path().glob("out/.*.part")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert os.listdir("out") == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has other pipes")
def test_a_pipe_that_nobody_writes_to_is_not_waited_for(ball: Path) -> None:
    os.mkfifo("pipe.gif")
    process = start("pipe.gif", "ball.gif", "--animate", "-o", "out")
    try:
        said = process.communicate(timeout=60)[1].decode()
    finally:
        process.kill()
    assert "Cannot read pipe.gif: this is a pipe" in said
    assert os.listdir("out") == ["ball.cutout.webp"]
