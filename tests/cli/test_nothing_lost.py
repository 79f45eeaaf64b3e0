"""What anyone may have at the place of a result stays, or the command says why not before it writes anything."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from test_cli import here, no_model, photo, run, start

from transformers_foreground.cli import batch
from transformers_foreground.cli.planning import plan

__all__ = ["here", "photo"]  # fixtures


def _files() -> dict[str, bytes]:
    """The content of every file in the working directory and below, by its path."""
    return {str(path): path.read_bytes() for path in Path().rglob("*") if path.is_file() and path.parts[0] != "models"}


def _as_copy(image: Path) -> None:
    shutil.copy(image, "photo.cutout.png")


def _as_hard_link(image: Path) -> None:
    shutil.copy(image, "second.png")
    os.link("second.png", "photo.cutout.png")


def _as_link(image: Path) -> None:
    shutil.copy(image, "second.png")
    os.symlink("second.png", "photo.cutout.png")


def _as_link_to_the_folder(image: Path) -> None:
    shutil.copy(image, "photo.cutout.png")
    os.symlink(".", "second")


@pytest.mark.parametrize("option", ["--force", "--resume", "--animate"])
@pytest.mark.parametrize(
    ("lay", "second"),
    [
        (_as_copy, "photo.cutout.png"),
        (_as_copy, "./photo.cutout.png"),
        (_as_copy, "file:{here}/photo.cutout.png"),
        (_as_hard_link, "second.png"),
        (_as_link, "second.png"),
        (_as_link_to_the_folder, "second/photo.cutout.png"),
    ],
)
def test_a_result_in_the_place_of_an_image_of_the_run(
    lay: Callable[[Path], None], second: str, option: str, photo: Path, here: Path
) -> None:
    lay(photo)
    second = second.format(here=here)
    before = _files()
    options = [option] if option != "--animate" else ["--force", "--animate", "--format", "png"]
    result = run("photo.png", second, *options)
    assert result.exit_code == 1
    assert f"failed: photo.png: its result would overwrite {second}, which this run reads." in result.stderr
    after = _files()
    assert {name: after[name] for name in before} == before
    assert len(after) == len(before) + 1  # the second image's own result


def test_the_image_itself(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_model(monkeypatch)
    before = _files()
    result = run("photo.png", "-o", "photo.png", "--force")
    assert result.exit_code == 1
    assert result.stderr.startswith("failed: photo.png: its result would overwrite photo.png, which this run reads.")
    assert _files() == before


def test_the_image_on_standard_input(photo: Path) -> None:
    with photo.open("rb") as file:
        process = start("-", "-o", "photo.png", "--force", stdin=file)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert b"would overwrite" in said
    with Image.open(photo) as image:
        assert image.mode == "RGB"


def test_the_background(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_model(monkeypatch)
    shutil.copy(photo, "photo.cutout.png")
    before = _files()
    result = run("photo.png", "--background", "photo.cutout.png", "--force")
    assert result.exit_code == 1
    assert "would overwrite photo.cutout.png, which this run reads" in result.stderr
    assert _files() == before


def test_in_a_folder_of_results(photo: Path) -> None:
    for folder, name in (("a", "x.png"), ("b", "x.cutout.png")):
        Path(folder).mkdir()
        shutil.copy(photo, f"{folder}/{name}")
    before = _files()
    result = run("a/x.png", "b/x.cutout.png", "-o", "b", "--force")
    assert result.exit_code == 1
    assert "failed: a/x.png: its result would overwrite b/x.cutout.png" in result.stderr
    after = _files()
    assert after.keys() - before.keys() == {"b/x.cutout.cutout.png"}
    assert {name: after[name] for name in before} == before


def test_a_photo_called_like_a_mask(photo: Path) -> None:
    """A folder's `photo.mask.png` is a photo if it has colours: it is neither overwritten nor taken for done."""
    Path("in").mkdir()
    shutil.copy(photo, "in/photo.png")
    shutil.copy(photo, "in/photo.mask.png")
    before = _files()
    result = run("in", "--mask-only", "--resume")
    assert result.exit_code == 1
    assert "failed: in/photo.png: its result would overwrite in/photo.mask.png" in result.stderr
    after = _files()
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--contact-sheet", "link/photo.png", "--force"], "is one of the images"),
        (["--contact-sheet", "hard.png", "--force"], "is one of the images"),
        (["--contact-sheet", "back.png", "--background", "back.png", "--force"], "is one of the images"),
        (["--contact-sheet", "link/photo.cutout.png"], "is where a result goes"),
        (["--contact-sheet", "both.png", "--log", "link/both.png"], "is where the contact sheet goes"),
        (["--log", "link/photo.cutout.png"], "is where a result goes"),
        (["--log", "hard.png"], "is one of the images"),
    ],
)
def test_sheet_and_log_take_no_files_place(
    arguments: list[str], message: str, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_model(monkeypatch)
    os.symlink(".", "link")
    os.link("photo.png", "hard.png")
    shutil.copy(photo, "back.png")
    before = _files()
    result = run("photo.png", *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())
    assert _files() == before


def test_a_sheet_in_a_watched_folder(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be taken for an image; and an image that arrives there would be overwritten at the end."""
    no_model(monkeypatch)
    monkeypatch.setattr(batch, "rounds", lambda *_: iter(()))  # else a failure would watch for ever
    Path("in").mkdir()
    result = run("in", "--watch", "--contact-sheet", "in/new/sheet.png")
    assert result.exit_code == 2
    assert "is in a folder that is watched" in " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    ("first", "second", "names"),
    [
        ("a/x.jpg", "a/X.png", ["X.png.cutout.png", "x.jpg.cutout.png"]),
        ("a/x.jpg", "b/X.png", ["X.png.cutout.png", "x.jpg.cutout.png"]),
        ("a/\u00fc.jpg", "b/u\u0308.png", ["u\u0308.png.cutout.png", "\u00fc.jpg.cutout.png"]),
        ("a/\u00dc.jpg", "b/u\u0308.png", ["u\u0308.png.cutout.png", "\u00dc.jpg.cutout.png"]),
        ("a/STRASSE.jpg", "b/stra\u00dfe.png", ["STRASSE.jpg.cutout.png", "stra\u00dfe.png.cutout.png"]),
        ("a/x.jpg", "b/y.png", ["x.cutout.png", "y.cutout.png"]),
    ],
)
def test_names_that_are_one_on_some_systems(first: str, second: str, names: list[str], photo: Path) -> None:
    for name in (first, second):
        Path(name).parent.mkdir(exist_ok=True)
        shutil.copy(photo, name)
    assert run(first, second, "-o", "out").exit_code == 0
    assert sorted(os.listdir("out")) == names


@pytest.mark.parametrize(
    ("first", "second"), [("a/x.png", "b/X.png"), ("a/\u00fc.png", "b/u\u0308.png"), ("a/Sub/x.png", "b/sub/x.png")]
)
def test_names_that_cannot_be_told_apart_on_some_systems(
    first: str, second: str, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_model(monkeypatch)
    for name in (first, second):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, name)
    result = run("a", "b", "-o", "out")
    assert result.exit_code == 2
    said = "".join(result.stderr.replace("\u2502", " ").split())
    assert f"whichareonefileonsomesystems:{first}and{second}.Runthemapart" in said
    assert not Path("out").exists()


def test_results_beside_images_may_differ_in_case_as_these_do(here: Path) -> None:
    """Where both images can be, both results can."""
    jobs = plan(["x.png", "X.png"], None, "cutout").jobs
    assert [str(job.target) for job in jobs] == ["x.png.cutout.png", "X.png.cutout.png"]


def test_one_result_by_two_ways(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_model(monkeypatch)
    os.symlink(".", "link")
    result = run("photo.png", "link/photo.png", "--force")
    assert result.exit_code == 2
    assert "which are one file on some systems" in " ".join(result.stderr.replace("\u2502", " ").split())
