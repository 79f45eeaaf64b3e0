"""What is taken from a folder, and that nothing is left out without a word."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image
from test_cli import here, photo, run

from transformers_foreground.cli import folders
from transformers_foreground.cli.folders import images_in
from transformers_foreground.cli.planning import plan
from transformers_foreground.cli.results import result_name

__all__ = ["here", "photo"]  # fixtures


def encoded(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def sources(*args: str, output: str | None = None) -> list[str]:
    return [job.source for job in plan(list(args), output, "cutout").jobs]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.jfif", "JPEG"),
        ("a.jpe", "JPEG"),
        ("a.JP2", "JPEG2000"),
        ("a.tga", "TGA"),
        ("a.ppm", "PPM"),
        ("a.ico", "ICO"),
        ("a.mpo", "MPO"),
        ("hat.mask.jpg", "JPEG"),
        ("hat.cutout.png", "PNG"),
        ("none", "JPEG"),
        ("none", "BMP"),
        ("none", "PPM"),
        ("none", "TIFF"),
        ("a.jpg_original", "JPEG"),
        ("a.old", "PNG"),
    ],
)
def test_images_of_any_name(name: str, kind: str, here: Path, half_bright: Image.Image) -> None:
    Path("in").mkdir()
    Path("in", name).write_bytes(encoded(half_bright, kind))
    result = run("in", "-o", "out")
    assert (result.exit_code, len(os.listdir("out"))) == (0, 1), result.output
    assert "Left out" not in result.stderr


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("Pypi", b"Python is a language"),
        ("P5", b"P5 is no size"),
        ("BMW", b"BMW is a car"),
        ("a.nef", b"II*\x00 and so on"),
        ("a.txt", b"\n\x05 text"),
        ("empty", b""),
        ("a.bin", b"(\x00\x00\x00 which Pillow takes for a DIB"),
        ("a.mp4", b"\x00\x00\x00\x18ftypisom"),
    ],
)
def test_what_is_no_image_is_named(name: str, data: bytes, photo: Path) -> None:
    Path("in").mkdir()
    shutil.copy(photo, "in/photo.png")
    Path("in", name).write_bytes(data)
    result = run("in", "-o", "out")
    assert result.exit_code == 0
    assert result.stderr.splitlines() == [
        f"Left out 1: not an image: in/{name}",
        "in/photo.png → out/photo.cutout.png",
    ]
    assert "Left out" not in run("in", "-o", "out", "-f", "-q").stderr


@pytest.mark.skipif(os.name == "nt", reason="Windows has other links and pipes")
def test_links_and_pipes(photo: Path) -> None:
    Path("in").mkdir()
    Path("elsewhere").mkdir()
    for name in ("in/a.png", "elsewhere/b.png"):
        shutil.copy(photo, name)
    os.symlink("../elsewhere", "in/linked")
    os.symlink("../elsewhere/b.png", "in/b.png")
    os.symlink("..", "in/circle")
    os.mkfifo("in/pipe.png")
    result = run("in", "-o", "out")
    assert result.exit_code == 0
    assert sorted(os.listdir("out")) == ["a.cutout.png", "b.cutout.png"]
    assert result.stderr.splitlines()[0] == (
        "Left out 3: linked folders: in/circle, in/linked; pipes, sockets and devices: in/pipe.png"
    )
    os.symlink("nowhere.png", "in/dangling.png")
    result = run("in", "-o", "out", "-f")
    assert result.exit_code == 1
    assert "failed: Cannot read in/dangling.png: a link to a file that is not there." in result.stderr
    assert result.stderr.splitlines()[-1] == "1 of 3 images failed."


def test_what_cannot_be_read_is_an_error(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("in/private").mkdir(parents=True)
    shutil.copy(photo, "in/a.png")
    real = os.scandir

    def scandir(path: Path) -> object:
        if Path(path).name == "private":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(folders.os, "scandir", scandir)  # tests may run as root, whom nothing stops
    result = run("in", "-o", "out", "--json", "--log", "run.jsonl")
    assert result.exit_code == 1
    assert os.listdir("out") == ["a.cutout.png"]
    error = "Cannot read in/private: the folder cannot be read (Permission denied)."
    assert f"failed: {error}" in result.stderr
    assert error in result.stdout
    assert error in Path("run.jsonl").read_text()
    assert run("in/private", "-o", "out").exit_code == 1


def test_only_what_is_no_image(here: Path) -> None:
    Path("in").mkdir()
    Path("in/a.txt").write_text("text")
    result = run("in")
    assert result.exit_code == 2
    assert "No images in in. Left out 1: not an image: in/a.txt." in " ".join(result.stderr.replace("│", " ").split())


class TestResults:
    def test_beside_their_images(self, photo: Path) -> None:
        Path("in").mkdir()
        for name in ("a.png", "a.jpg", "hat.mask.png"):
            shutil.copy(photo, f"in/{name}")
        taken = sorted(sources("in"))
        assert taken == ["in/a.jpg", "in/a.png", "in/hat.mask.png"]
        for options in ([], ["--mask-only"], ["--mask-only", "--format", "webp"], ["-b", "red", "--format", "jpeg"]):
            assert run("in", *options).exit_code == 0
        assert len(os.listdir("in")) == 15
        assert sorted(sources("in")) == taken

    def test_in_an_output_folder_within(self, photo: Path) -> None:
        Path("in").mkdir()
        shutil.copy(photo, "in/a.png")
        for options in ([], ["--mask-only"]):
            assert run("in", "-o", "in/out", *options).exit_code == 0
        assert sources("in", output="in/out") == ["in/a.png"]
        Path("in/a.png").rename("in/b.png")
        assert sources("in", output="in/out") == ["in/b.png"]
        assert sources("in") == ["in/b.png", "in/out/a.cutout.png", "in/out/a.mask.png"]

    def test_a_photo_that_is_called_as_a_mask(self, photo: Path) -> None:
        Path("in").mkdir()
        for name in ("hat.png", "hat.mask.png"):
            shutil.copy(photo, f"in/{name}")
        assert sources("in") == ["in/hat.mask.png", "in/hat.png"]
        Image.new("L", (48, 32)).save("in/hat.mask.png")
        assert sources("in") == ["in/hat.png"]


@pytest.mark.parametrize("name", ["n" * 250, "ü" * 124, "写" * 83])
def test_long_names(name: str, photo: Path) -> None:
    Path("in").mkdir()
    shutil.copy(photo, f"in/{name}.png")
    shutil.copy(photo, "in/a.png")
    result = run("in", "-o", "out")
    assert result.exit_code == 0, result.output
    assert len(os.listdir("out")) == 2
    assert run("in").exit_code == 0
    assert len(sources("in")) == 2
    assert "is done already" in run("in", "--resume").stderr


def test_long_names_differ() -> None:
    first, second = (result_name("n" * 250 + end, "cutout.png") for end in "ab")
    assert first != second
    assert len(first) == len(second) == 255
    assert result_name("photo", "cutout.png") == "photo.cutout.png"


def test_a_name_that_no_file_system_has(photo: Path) -> None:
    result = run("photo.png", "n" * 5000, "-o", "out")
    assert result.exit_code == 1
    assert os.listdir("out") == ["photo.cutout.png"]
    assert result.stderr.count("failed: ") == 1


def test_images_are_in_order(here: Path) -> None:
    for name in ("b/2.png", "b/c/1.png", "a.png", "c.png", "b.png"):
        Path("in", name).parent.mkdir(parents=True, exist_ok=True)
        Path("in", name).write_bytes(b"")
    found = [path.as_posix() for path in images_in(Path("in")).images]
    assert found == ["in/a.png", "in/b/2.png", "in/b/c/1.png", "in/b.png", "in/c.png"]
