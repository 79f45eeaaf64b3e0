"""An image that is replaced while it is done: its result is never that of the one before."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from test_cli import here, photo, run, start

from transformers_foreground.cli import running
from transformers_foreground.cli.planning import Job
from transformers_foreground.cli.style import Style
from transformers_foreground.cli.watching import Seen, rounds
from transformers_foreground.errors import ForegroundError

__all__ = ["here", "photo"]  # fixtures


def share(path: str) -> float:
    """The share of a mask that is white."""
    with Image.open(path) as mask:
        return sum(mask.convert("L").histogram()[128:]) / (mask.width * mask.height)


def overwrite(newer: Path) -> None:
    Path("photo.png").write_bytes(newer.read_bytes())


def move(newer: Path) -> None:
    shutil.copy(newer, "moved.png")
    os.utime("moved.png", (1, 1))  # as from a camera: older than what it replaces
    os.replace("moved.png", "photo.png")


@pytest.fixture
def newer(photo: Path) -> Path:
    """Another image: all of it is foreground."""
    Image.new("RGB", (48, 32), "white").save("newer.png")
    return photo.parent / "newer.png"


def replaced_meanwhile(
    monkeypatch: pytest.MonkeyPatch, newer: Path, replace: Callable[[Path], None], times: int = 1
) -> None:
    """Replace the image after it is computed and before its result is written."""
    real, calls = Style.encode, []

    def encode(style: Style, result: Image.Image) -> bytes:
        calls.append(result)
        if len(calls) <= times:
            time.sleep(0.01)
            replace(newer)
        return real(style, result)

    monkeypatch.setattr(Style, "encode", encode)


@pytest.mark.parametrize("replace", [overwrite, move])
@pytest.mark.parametrize("options", [[], ["--log", "run.jsonl"], ["--resume", "--log", "run.jsonl"]])
def test_an_image_that_is_replaced_meanwhile_is_done_again(
    options: list[str], replace: Callable[[Path], None], newer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced_meanwhile(monkeypatch, newer, replace)
    result = run("photo.png", "--mask-only", *options)
    assert result.exit_code == 0, result.output
    assert share("photo.mask.png") > 0.9
    if options:
        (line,) = (json.loads(line) for line in Path("run.jsonl").read_text().splitlines())
        status = os.stat("photo.png")
        assert line["source"] == {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "inode": status.st_ino}


def test_standard_output_gets_one_result(newer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replaced_meanwhile(monkeypatch, newer, overwrite)
    result = run("photo.png", "-o", "-")
    assert result.exit_code == 0
    assert result.stdout_bytes.count(b"IEND") == 1


@pytest.mark.parametrize("options", [["--resume"], ["--resume", "--log", "run.jsonl"]])
def test_a_run_that_ends_before_it_notices_leaves_no_result_that_counts(
    options: list[str], newer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        replaced_meanwhile(patch, newer, overwrite, times=99)
        patch.setattr(running, "_ATTEMPTS", 1)
        result = run("photo.png", "--mask-only", *options)
    assert result.exit_code == 1
    assert result.stderr.endswith("photo.png: it changes while it is read. Run this again later.\n")
    assert share("photo.mask.png") < 0.9
    assert run("photo.png", "--mask-only", *options).exit_code == 0
    assert share("photo.mask.png") > 0.9


def test_a_log_knows_an_older_file_that_was_moved_there(newer: Path) -> None:
    options = ["photo.png", "--mask-only", "--resume", "--log", "run.jsonl"]
    assert run(*options).exit_code == 0
    assert "is done already" in run(*options).stderr
    move(newer)
    assert "made anew: 1" in run(*options).stderr
    assert share("photo.mask.png") > 0.9


def test_an_image_from_the_future_is_done_once(photo: Path) -> None:
    ahead = time.time() + 1000
    os.utime("photo.png", (ahead, ahead))
    assert run("photo.png").exit_code == 0
    assert "is done already" in run("photo.png", "--resume").stderr


@pytest.mark.parametrize("what", ["image", "result"])
def test_a_clock_that_was_ahead_hides_no_newer_image(what: str, newer: Path) -> None:
    ahead = time.time() + 1000
    if what == "image":
        os.utime("photo.png", (ahead, ahead))
    assert run("photo.png", "--mask-only").exit_code == 0
    if what == "result":
        os.utime("photo.mask.png", (ahead, ahead))
    overwrite(newer)
    assert "is done already" not in run("photo.png", "--mask-only", "--resume").stderr
    assert share("photo.mask.png") > 0.9


class TestWatching:
    def looks(self, folder: Path, known: Seen) -> Iterator[list[Job]]:
        def plan() -> list[Job]:
            return [Job("photo.png", Path("photo.out"))]

        return rounds(plan, known, lambda _: None)

    def test_an_older_file_that_is_moved_there_is_new(self, newer: Path) -> None:
        Path("photo.out").write_bytes(b"")
        os.utime("photo.png", (1, 1))
        known = Seen.of([Job("photo.png", None)])
        move(newer)
        assert [job.source for job in next(self.looks(newer.parent, known))] == ["photo.png"]

    def test_a_bad_image_from_the_future_is_not_waited_for(self, photo: Path) -> None:
        job, error = Job("photo.png", None), ForegroundError("bad")
        for ahead, waits in ((0, True), (1000, False)):
            os.utime("photo.png", (time.time() + ahead, time.time() + ahead))
            assert Seen.of([job]).postpone(job, error) is waits

    def test_what_was_made_here_is_no_image_when_its_own_is_gone(self, photo: Path) -> None:
        plans = iter(
            [[Job("photo.png", Path("photo.cutout.png"))], *[[Job("photo.cutout.png", Path("x.png"))]] * 3, None]
        )
        os.utime("photo.png", (1, 1))

        def plan() -> Any:
            planned = next(plans)
            if planned is None:
                raise KeyboardInterrupt
            return planned

        looks = rounds(plan, Seen(), lambda _: None)
        assert [job.source for job in next(looks)] == ["photo.png"]
        photo.rename("photo.cutout.png")
        with pytest.raises(KeyboardInterrupt):
            next(looks)

    @pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT to send")
    def test_two_images_of_one_name_end_nothing(self, photo: Path) -> None:
        for folder in ("a", "b"):
            Path(folder).mkdir()
        shutil.copy(photo, "a/1.png")
        process = start("a", "b", "-o", "out", "--watch")
        try:
            self.wait_for("out/1.cutout.png")
            shutil.copy(photo, "b/1.png")
            lines = iter(process.stderr.readline, b"")
            said = next(line for line in lines if b"Two images would both become" in line)
            Path("b/1.png").unlink()
            shutil.copy(photo, "b/2.png")
            self.wait_for("out/2.cutout.png")
        finally:
            process.send_signal(signal.SIGINT)
            said += process.communicate(timeout=60)[1]
        assert said.count(b"Two images would both become") == 1

    def wait_for(self, name: str) -> None:
        deadline = time.monotonic() + 60
        while not Path(name).exists():
            assert time.monotonic() < deadline, name
            time.sleep(0.05)
