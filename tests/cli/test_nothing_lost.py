"""What anyone may have at the place of a result stays, or the command says why not before it writes anything."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from test_cli import SRC, here, no_model, photo, run, start

from transformers_foreground.cli import batch, planning
from transformers_foreground.cli.planning import plan
from transformers_foreground.cli.style import Style
from transformers_foreground.cli.watching import Seen, rounds

__all__ = ["here", "photo"]  # fixtures


_AS_ANYONE = """
import ctypes, os, sys
if sys.platform == "linux" and os.geteuid() == 0:  # whom no mode of a file stops: give up all capabilities
    head, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert ctypes.CDLL(None).capset(head, none) == 0
from transformers_foreground.cli import main
main()
"""
posix = pytest.mark.skipif(os.name == "nt", reason="Windows has other rights")


def _run_as_anyone(*args: str, **environment: str) -> tuple[int, str]:
    """Return the exit code and the lines on standard error of the command, run by a user without privileges."""
    variables = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": SRC, **environment}
    command = [sys.executable, "-c", _AS_ANYONE, *args]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stderr


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
    os.utime("photo.cutout.png", (0, 0))  # else it would count as done
    before = _files()
    options = [option] if option != "--animate" else ["--force", "--animate", "--format", "png"]
    result = run("photo.png", second, *options)
    assert result.exit_code == 1
    assert f"failed: photo.png: its result would overwrite {second}, which this run reads." in result.stderr
    after = _files()
    assert {name: after[name] for name in before} == before
    assert len(after) == len(before) + 1  # the second image's own result


def test_all_images_of_a_folder_again(photo: Path) -> None:
    """A shell's `*.png` names results of the run before, too."""
    assert run("photo.png").exit_code == 0
    before = _files()
    result = run("photo.cutout.png", "photo.png", "--resume")
    assert result.exit_code == 0
    assert "photo.png is done already" in result.stderr
    assert {name: _files()[name] for name in before} == before


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
    for name in (first, second):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, name)
    assert run("a", "b", "-o", "both").exit_code == 0
    assert sum(path.is_file() for path in Path("both").rglob("*")) == 2
    no_model(monkeypatch)
    monkeypatch.setattr(planning, "folds_case", lambda _: True)
    result = run("a", "b", "-o", "out")
    assert result.exit_code == 2
    said = "".join(result.stderr.replace("\u2502", " ").split())
    assert f"whichareonefilethere:{first}and{second}.Runthemapart" in said
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
    assert "which are one file there" in " ".join(result.stderr.replace("\u2502", " ").split())


# --- rights -----------------------------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("name", ["out", "out/new"])
def test_a_read_only_folder(name: str, photo: Path) -> None:
    Path("out").mkdir(mode=0o555)
    code, said = _run_as_anyone("photo.png", "-o", f"{name}/")
    assert code == 1
    place = Path("out").resolve()
    assert said.startswith(
        f"failed: {name}/photo.cutout.png cannot be written: {place} is read-only, or not yours to write in. Choose"
    )
    assert os.listdir("out") == []


@posix
@pytest.mark.parametrize("option", ["--force", "--resume", "--animate"])
def test_a_read_only_result(option: str, photo: Path) -> None:
    shutil.copy(photo, "other.png")
    Path("photo.cutout.png").write_bytes(b"somebody's")
    Path("photo.cutout.png").chmod(0o444)
    os.utime("photo.cutout.png", (0, 0))
    options = [option] if option != "--animate" else ["--force", "--animate", "--format", "png"]
    code, said = _run_as_anyone("photo.png", "other.png", *options)
    assert code == 1
    assert "failed: photo.cutout.png cannot be written: the file that is there is read-only. Choose another" in said
    assert Path("photo.cutout.png").read_bytes() == b"somebody's"
    assert Path("other.cutout.png").is_file()


@posix
def test_a_result_that_becomes_read_only_meanwhile(photo: Path) -> None:
    target = Path("photo.cutout.png")
    target.write_bytes(b"somebody's")
    target.chmod(0o444)
    code = "from pathlib import Path; from transformers_foreground.atomic_write import write_whole"
    program = _AS_ANYONE.partition("from")[0] + f"{code}; write_whole(Path({str(target)!r}), b'other')"
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": SRC}, capture_output=True, text=True
    )
    assert "PermissionError" in done.stderr
    assert "the file that is there is read-only: 'photo.cutout.png'" in done.stderr.replace(f"{Path().resolve()}/", "")
    assert target.read_bytes() == b"somebody's"


@posix
def test_a_read_only_home(photo: Path) -> None:
    """No cache can be written: the command does without."""
    Path("home").mkdir(mode=0o555)
    home = str(Path("home").resolve())
    places = {"HOME": home, "HF_HOME": f"{home}/hf", "XDG_CACHE_HOME": f"{home}/cache"}
    assert _run_as_anyone("photo.png", **places) == (0, "photo.png → photo.cutout.png\n")
    assert os.listdir("home") == []


@posix
@pytest.mark.parametrize("option", ["--contact-sheet", "--log"])
def test_a_read_only_folder_of_sheet_or_log(option: str, photo: Path) -> None:
    """It is refused before any work."""
    Path("out").mkdir(mode=0o555)
    code, said = _run_as_anyone("photo.png", option, "out/x.png")
    assert code == 2
    assert "cannot be written" in " ".join(said.replace("\u2502", " ").split())
    assert not Path("photo.cutout.png").exists()


@pytest.mark.parametrize("instead", ["a file", "nothing"])
def test_a_folder_that_goes_away_meanwhile(instead: str, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{i}.png" for i in range(3)]
    for name in names:
        shutil.copy(photo, name)
    real, count = Style.encode, iter(range(3))

    def encode(style: Style, result: Image.Image) -> bytes:
        if next(count) == 1:
            shutil.rmtree("out")
            if instead == "a file":
                Path("out").write_bytes(b"somebody's")
        return real(style, result)

    monkeypatch.setattr(Style, "encode", encode)
    result = run(*names, "-o", "out/", "--jobs", "1")
    failed = [line for line in result.stderr.splitlines() if line.startswith("failed: out/")]
    if instead == "a file":
        assert result.exit_code == 1
        assert len(failed) == 2
        assert all("cannot be written: out is not a folder. Choose another place" in line for line in failed), failed
        assert Path("out").read_bytes() == b"somebody's"
    else:  # it is made again
        assert result.exit_code == 0
        assert len(os.listdir("out")) == 2


def test_a_sheet_that_appears_meanwhile(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Style.encode

    def encode(style: Style, result: Image.Image) -> bytes:
        Path("sheet.png").write_bytes(b"somebody's")
        return real(style, result)

    monkeypatch.setattr(Style, "encode", encode)
    result = run("photo.png", "--contact-sheet", "sheet.png")
    assert result.exit_code == 1
    assert "error: sheet.png exists by now. Use --force" in result.stderr
    assert Path("sheet.png").read_bytes() == b"somebody's"
    assert Path("photo.cutout.png").is_file()


def test_a_watched_photo_called_like_a_mask_is_still_a_photo(here: Path) -> None:
    """It is in the place of a result, which is refused, and is done itself as often as it changes."""
    for name in ("hat.png", "hat.mask.png"):
        Image.new("RGB", (4, 4), "red").save(name)
        os.utime(name, (1e9, 1e9))
    jobs = plan(["hat.png", "hat.mask.png"], None, "mask").jobs
    looks = iter(range(4))

    def pause(_: float) -> None:
        if next(looks) == 0:
            os.utime("hat.mask.png", (1e9, 1e9 + 60))  # changed since

    found = rounds(lambda: jobs, Seen(), pause)
    assert next(found) == jobs
    assert next(found) == [jobs[1]]
