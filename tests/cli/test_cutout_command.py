"""The command's options for many images and for what the result is."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from test_cli import MAIN, SRC, here, no_model, photo, run, start
from tiny_models import brightness_model, write_repo

from transformers_foreground.cli import batch, watching
from transformers_foreground.cli.planning import Job, Plan
from transformers_foreground.cli.reporting import Reporter
from transformers_foreground.cli.running import Done
from transformers_foreground.cli.watching import Seen, rounds
from transformers_foreground.errors import ImageError

__all__ = ["here", "photo"]  # fixtures


def opened(path: str) -> Image.Image:
    with Image.open(path) as image:
        image.load()
        return image


class TestResults:
    def test_on_a_colour(self, photo: Path) -> None:
        assert run("photo.png", "--background", "#ff8800").exit_code == 0
        result = opened("photo.cutout.png")
        assert (result.mode, result.size) == ("RGB", (48, 32))
        assert result.getpixel((40, 16)) == (255, 136, 0)

    def test_on_a_image(self, photo: Path) -> None:
        Image.new("RGB", (4, 4), (0, 200, 0)).save("green.png")
        assert run("photo.png", "-b", "green.png").exit_code == 0
        assert opened("photo.cutout.png").getpixel((40, 16)) == (0, 200, 0)

    def test_a_background_is_in_memory_once(self, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each of 64 threads would have a copy of a large one."""
        names = [f"{i}.png" for i in range(4)]
        for name in names:
            shutil.copy(photo, name)
        Image.new("RGBA", (70, 50), (0, 200, 0, 255)).save("green.png")
        copied: list[tuple[int, ...]] = []
        real = Image.fromarray

        def counting(array: np.ndarray, *args: Any) -> Image.Image:
            copied.append(array.shape)
            return real(array, *args)

        monkeypatch.setattr(Image, "fromarray", counting)
        assert run(*names, "-b", "green.png").exit_code == 0
        assert copied.count((50, 70, 3)) == 1
        assert all(opened(f"{i}.cutout.png").getpixel((40, 16)) == (0, 200, 0) for i in range(4))

    @pytest.mark.parametrize(
        ("name", "kind"), [("x.webp", "WEBP"), ("x.tif", "TIFF"), ("x.png", "PNG"), ("new/x.jpg", "JPEG")]
    )
    def test_the_name_says_the_format(self, photo: Path, name: str, kind: str) -> None:
        extra = ["-b", "white"] if kind == "JPEG" else []
        assert run("photo.png", "-o", name, *extra).exit_code == 0
        assert opened(name).format == kind

    def test_format_of_many(self, photo: Path) -> None:
        shutil.copy(photo, "other.png")
        assert run("photo.png", "other.png", "-o", "out", "--format", "jpeg", "-b", "white").exit_code == 0
        assert sorted(os.listdir("out")) == ["other.cutout.jpg", "photo.cutout.jpg"]

    def test_results_are_not_taken_for_images(self, photo: Path) -> None:
        Path("in").mkdir()
        shutil.copy(photo, "in/a.png")
        assert run("in", "--format", "webp").exit_code == 0
        assert run("in", "--format", "webp", "--force").exit_code == 0
        assert sorted(os.listdir("in")) == ["a.cutout.webp", "a.png"]

    def test_crop_pad_and_size(self, photo: Path) -> None:
        assert run("photo.png", "--crop", "--pad", "10%", "-f").exit_code == 0
        width, height = opened("photo.cutout.png").size
        assert width < 48
        assert height >= 32 + 2 * 3 - 1
        assert run("photo.png", "--max-size", "24", "-f").exit_code == 0
        assert opened("photo.cutout.png").size == (24, 16)

    @pytest.mark.parametrize("threshold", ["0.5", "50%"])
    @pytest.mark.parametrize("mask_only", [False, True])
    def test_masks_are_edited(self, photo: Path, mask_only: bool, threshold: str) -> None:
        extra = ["--mask-only", "-o", "result.png"] if mask_only else ["--square", "-o", "result.png"]
        done = run(
            "photo.png", "--threshold", threshold, "--keep", "5%", "--fill-holes", "--roi", "0,0,10,8", "--json", *extra
        )
        assert json.loads(done.stdout)["box"] == [0, 0, 10, 8]
        result = opened("result.png")
        assert result.size == ((48, 32) if mask_only else (48, 48))
        alpha = np.asarray(result)[:, :, 3] if not mask_only else np.asarray(result)
        assert set(np.unique(alpha)) == {0, 255}
        assert (alpha == 255).sum() == 80

    @pytest.mark.parametrize("extra", [[], ["--mask-only"], ["--ignore-alpha"], ["--mask-only", "--ignore-alpha"]])
    def test_what_was_erased_stays_erased(self, here: Path, extra: list[str]) -> None:
        image = Image.new("RGBA", (48, 32), (250, 250, 250, 255))
        image.paste((250, 250, 250, 0), (0, 0, 24, 32))
        image.save("erased.png")
        assert run("erased.png", "-o", "result.png", *extra).exit_code == 0
        alpha = np.asarray(opened("result.png"))
        alpha = alpha[..., 3] if alpha.ndim == 3 else alpha
        assert alpha[:, 24:].min() > 0
        assert (alpha[:, :24].max() == 0) == ("--ignore-alpha" not in extra)

    def test_hidden_colours_are_kept_when_asked_for(self, here: Path) -> None:
        gray = np.full((32, 48, 3), 30, np.uint8)
        gray[:, :24] = 250
        Image.fromarray(gray).save("gray.png")
        assert run("gray.png", "--keep-hidden").exit_code == 0
        pixels = np.asarray(opened("gray.cutout.png"))
        assert (pixels[pixels[..., 3] == 0][:, :3] == 30).all()

    @pytest.mark.parametrize(
        ("args", "message"),
        [
            (["-o", "x.jpg"], "JPEG has no alpha: give a background"),
            (["--format", "bmp"], "Format 'bmp': use png, webp, tiff, avif, jpeg"),
            (["--quality", "50"], "png is always lossless"),
            (["-b", "no-such"], "no-such"),
            (["-b", "#12345678"], "a colour is opaque"),
            (["--pad", "1.5"], "pad='1.5': use pixels"),
            (["--pad", "-3"], "pad='-3': use pixels"),
            (["--pad", "900%"], "pad='900%': use pixels"),
            (["--pad", "9" * 5000], "pad='999"),
            (["--keep", "9" * 5000 + "%"], "keep='999"),
            (["--roi", f"0,0,9,{'9' * 5000}"], "roi='0,0,9,999"),
            (["--mask-only", "--crop"], "--mask-only writes the mask alone, and has no use for --crop"),
            (["--threshold", "2"], "threshold=2.0: use a share between 0 and 1"),
            (["--threshold", "half"], "'half': use a share, such as 0.5 or 50%"),
            (["--keep", "most"], "keep='most': use 'largest'"),
            (["--roi", "1,2,3"], "roi='1,2,3': use x,y,width,height"),
            (["--resume", "--force"], "Use one of them"),
            (["--watch"], "--watch is for folders"),
            (["--contact-sheet", "sheet.txt"], "use a name that ends with .png, .jpg or .webp"),
            (["--contact-sheet", "./photo.cutout.png"], "is where a result goes"),
            (["--contact-sheet", "x.png", "-o", "x.png", "--force"], "is where a result goes"),
            (["--log", "x.png", "-o", "x.png"], "is where a result goes"),
            (["-o", "x.webp", "--format", "png"], "Results are PNG files, so -o x.webp would be a wrong name"),
        ],
    )
    def test_usage_errors(self, photo: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], message: str) -> None:
        no_model(monkeypatch)
        result = run("photo.png", *args)
        assert (result.exit_code, result.stdout) == (2, "")
        said = re.sub(r"[│╭╮╰╯─\s]+", " ", result.stderr)
        assert message in said


class TestMany:
    def test_resume_skips_what_is_newer(self, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("a.png", "b.png", "c.png"):
            shutil.copy(photo, name)
        assert run("a.png", "b.png").exit_code == 0
        os.utime("b.png", (time.time() + 10, time.time() + 10))  # changed since
        before = Path("a.cutout.png").stat().st_mtime_ns
        result = run("a.png", "b.png", "c.png", "--resume", "--json")
        assert result.exit_code == 0
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        assert [line.get("skipped", False) for line in lines] == [True, False, False]
        assert Path("a.cutout.png").stat().st_mtime_ns == before
        no_model(monkeypatch)
        result = run("a.png", "b.png", "c.png", "--resume")
        assert result.exit_code == 0
        assert "a.png is done already" in result.stderr
        assert result.stderr.startswith("Results kept: 3, newer than their images, whatever options made them")
        assert run("a.png", "b.png", "c.png", "--resume", "-q").stderr == ""

    @pytest.mark.parametrize(
        "other",
        [
            "-b red",
            "--mask-only -o x.png",
            "--threshold 0.5",
            "--dtype fp16",
            "--dtype fp32",  # auto may be another of the model's own choice
            "--device webnn-cpu",
            "--resampling bria",
            "-m m",
            "--models-dir models",
        ],
    )
    def test_resume_with_a_log_does_again_what_other_options_made(
        self, other: str, photo: Path, here: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for place in (here / "m", here / "models" / "briaai" / "RMBG-1.4"):
            write_repo(place, dtypes={"": brightness_model(), "_fp16": brightness_model()})
        shutil.copy(photo, "b.png")
        names = ["photo.png"] if "-o" in other else ["photo.png", "b.png"]
        logged = ["--resume", "--log", "run.jsonl"]
        usual = [*names, *logged, *(["-o", "x.png"] if "-o" in other else [])]
        assert run(*usual).exit_code == 0
        with Path("run.jsonl").open("a") as log:
            log.write('[]\n{"output": "photo.cutout.png", "opti\n')  # cut short
        for arguments in ([*names, *logged, *other.split()], usual):
            result = run(*arguments, "--json")
            lines = [json.loads(line) for line in result.stdout.splitlines()]
            assert [line.get("skipped", False) for line in lines] == [False] * len(names)
            assert result.stderr.startswith(f"Results to be made anew: {len(names)}, as run.jsonl does not say")
            with monkeypatch.context() as patch:
                no_model(patch)
                assert run(*arguments).stderr.count("is done already") == len(names)

    def test_resume_with_another_background_image(self, photo: Path) -> None:
        for colour in ("red", "red", "blue"):
            Image.new("RGB", (4, 4), colour).save("behind.png")
            assert run("photo.png", "-b", "behind.png", "--resume", "--log", "run.jsonl").exit_code == 0
        fates = [json.loads(line) for line in Path("run.jsonl").read_text().splitlines()]
        assert [fate.get("skipped", False) for fate in fates] == [False, True, False]

    @pytest.mark.parametrize("log", [None, "", '{"time": "", "input": "photo.png", "output": "photo.cutout.png"}\n'])
    def test_resume_does_again_what_the_log_does_not_know(self, log: str | None, photo: Path) -> None:
        assert run("photo.png").exit_code == 0
        if log is not None:
            Path("run.jsonl").write_text(log)
        assert "made anew: 1" in run("photo.png", "-b", "red", "--resume", "--log", "run.jsonl").stderr
        assert opened("photo.cutout.png").mode == "RGB"

    def test_log_has_each_fate(self, photo: Path) -> None:
        assert run("photo.png", "nope.png", "--log", "logs/run.jsonl").exit_code == 1
        assert run("photo.png", "--resume", "--log", "logs/run.jsonl").exit_code == 0
        done, failed, skipped = (json.loads(line) for line in Path("logs/run.jsonl").read_text().splitlines())
        assert (done["input"], done["output"]) == ("photo.png", "photo.cutout.png")
        assert "there is no such file" in failed["error"]
        assert skipped["skipped"] is True
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", done["time"])

    @pytest.mark.parametrize(
        ("log", "message"),
        [
            ("file/log", "cannot be written"),
            ("folder", "cannot be written"),
            ("photo.png", "is one of the images"),
            ("taken.png", "is no log of this command"),
            ("text.md", "is no log of this command"),
            ("other.jsonl", "is no log of this command"),
        ],
    )
    def test_files_that_are_no_logs(self, log: str, message: str, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        no_model(monkeypatch)
        Path("file").write_bytes(b"")
        Path("folder").mkdir()
        shutil.copy(photo, "taken.png")
        Path("text.md").write_text("# Text\n")
        Path("other.jsonl").write_text("[1]\n")
        before = {path: path.read_bytes() for path in Path().iterdir() if path.is_file()}
        result = run("photo.png", "--log", log)
        assert (result.exit_code, result.stdout) == (2, "")
        assert message in re.sub(r"[│╭╮╰╯─\s]+", " ", result.stderr)
        assert {path: path.read_bytes() for path in Path().iterdir() if path.is_file()} == before

    def test_contact_sheet(self, photo: Path) -> None:
        names = [f"{i}.png" for i in range(7)]
        for name in names:
            shutil.copy(photo, name)
        assert run(*names, "nope.png", "--contact-sheet", "sheet.png").exit_code == 1
        sheet = opened("sheet.png")
        assert sheet.size == (5 * (220 + 12) + 12, 2 * (2 * 220 + 22 + 12) + 12)
        assert sheet.getpixel((62, 122)) == (255, 255, 255)  # the bright half of the first image
        frame = {sheet.getpixel(place) for place in ((11, 12), (11, 300), (11, 470), (232, 300), (120, 474))}
        assert len(frame) == 1, "around an image, its cut-out and their name"
        assert frame != {(255, 255, 255)}

    def test_contact_sheet_takes_no_other_files_place(self, photo: Path) -> None:
        shutil.copy(photo, "sheet.png")
        for arguments in (["--contact-sheet", "photo.png", "--force"], ["--contact-sheet", "sheet.png"]):
            assert run("photo.png", *arguments).exit_code == 2
        assert Path("sheet.png").read_bytes() == photo.read_bytes()
        assert run("photo.png", "--contact-sheet", "sheet.png", "--force").exit_code == 0
        assert opened("sheet.png").size == (220 + 24, 2 * 220 + 22 + 24)

    def test_contact_sheet_names_its_images(self, photo: Path) -> None:
        names = ["写真.png", "名前.png", "a.png", "b" * 200 + ".png", "two\nlines.png"]
        for name in names:
            shutil.copy(photo, name)
        assert run(*names, "--contact-sheet", "sheet.png").exit_code == 0
        texts = [opened("sheet.png").crop((12 + 232 * i, 452, 232 * (i + 1), 474)) for i in range(5)]
        boxes = [ImageOps.invert(text.convert("L")).getbbox() for text in texts]
        assert all(box and box[0] >= 3 and box[2] <= 217 for box in boxes), boxes  # none reaches its neighbours
        assert len({text.tobytes() for text in texts}) == 5  # the first two would be the same boxes
        assert boxes[3][2] - boxes[3][0] > 150

    def test_contact_sheet_marks_a_doubt_of_a_third(self, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("transformers_foreground.cli.running.doubt", lambda plane: 1 / 3)
        assert run("photo.png", "--contact-sheet", "sheet.png").exit_code == 0
        red, _, blue = opened("sheet.png").getpixel((11, 300))[:3]
        assert red > blue + 100  # orange

    def test_contact_sheet_marks_what_is_doubtful(self, here: Path) -> None:
        write_repo(here / "m", dtypes={"": brightness_model()})
        for name, level in (("sure", 255), ("soft", 200)):
            gray = np.full((32, 48, 3), level, np.uint8)
            gray[:, :8] = 0
            Image.fromarray(gray).save(f"{name}.png")
        assert run("sure.png", "soft.png", "-m", "m", "--contact-sheet", "sheet.png").exit_code == 0
        sheet = opened("sheet.png")
        frames = [sheet.getpixel((11 + 232 * i, 300)) for i in range(2)]
        assert frames[0][0] == frames[0][2]  # gray
        assert frames[1][0] > frames[1][2] + 100  # orange
        texts = [sheet.crop((16 + 232 * i, 454, 228 + 232 * i, 472)).convert("L") for i in range(2)]
        widths = [box[2] - box[0] for box in (ImageOps.invert(text).getbbox() for text in texts) if box]
        assert widths[1] > widths[0] + 40, "the doubt stands beside the name"

    def test_review_lists_the_most_doubtful(self, photo: Path, here: Path) -> None:
        write_repo(here / "m", dtypes={"": brightness_model()})
        for name, level in (("sure", 255), ("half", 150), ("soft", 200), ("empty", 0)):
            gray = np.full((32, 48, 3), level, np.uint8)
            gray[:, :24] = 255
            Image.fromarray(gray).save(f"{name}.png")
        names = ["sure.png", "half.png", "soft.png", "nope.png", "empty.png"]
        result = run(*names, "-m", "m", "--review", "2", "--json", "--log", "run.jsonl")
        assert result.exit_code == 1
        records = [json.loads(line) for line in result.stdout.splitlines()]
        doubts = {record["input"]: record["doubt"] for record in records if "doubt" in record}
        order = sorted(doubts, key=lambda name: -doubts[name])
        listed = result.stderr.partition("Most doubtful; look at these first:\n")[2].splitlines()
        assert [line.split() for line in listed[:2]] == [
            [f"{doubts[name]:.3f}", name, "→", name.replace(".png", ".cutout.png")] for name in order[:2]
        ]
        assert "failed" in listed[2]
        logged = [json.loads(line) for line in Path("run.jsonl").read_text().splitlines()]
        assert {record["input"]: record["doubt"] for record in logged if "doubt" in record} == doubts

    def test_force_keeps_the_mode(self, photo: Path) -> None:
        assert run("photo.png").exit_code == 0
        os.chmod("photo.cutout.png", 0o600)
        assert run("photo.png", "--force").exit_code == 0
        assert os.stat("photo.cutout.png").st_mode & 0o777 == (0o666 if os.name == "nt" else 0o600)

    def test_jobs(self, photo: Path) -> None:
        names = [f"{i}.png" for i in range(5)]
        for name in names:
            shutil.copy(photo, name)
        for jobs in ("1", "4"):
            assert run(*names, "-f", "--jobs", jobs).exit_code == 0
        assert len({Path(f"{i}.cutout.png").read_bytes() for i in range(5)}) == 1

    def test_killed_and_resumed(self, photo: Path) -> None:
        Path("in").mkdir()
        for i in range(40):
            shutil.copy(photo, f"in/{i:02}.png")
        process = start("in", "-o", "out")
        deadline = time.monotonic() + 60
        while len(list(Path("out").glob("*.png"))) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.kill()
        process.communicate()
        finished = {path.name: path.read_bytes() for path in Path("out").glob("*.png") if path.name[0] != "."}
        assert run("in", "-o", "out", "--resume").exit_code == 0
        results = {path.name: path.read_bytes() for path in Path("out").glob("*.cutout.png")}
        assert len(results) == 40
        assert len(set(results.values())) == 1
        assert all(results[name] == data for name, data in finished.items())

    @pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for a child alone")
    def test_ctrl_c_loses_no_line_of_the_log(self, photo: Path) -> None:
        Path("in").mkdir()
        Image.new("RGB", (3000, 3000)).save(
            "in/000.png", compress_level=0
        )  # slow: those after it are written before it
        for i in range(1, 1000):  # more than are done before the signal arrives
            os.link(photo, f"in/{i:03}.png")
        process = start("in", "-o", "out", "--jobs", "4", "--log", "run.jsonl")
        deadline = time.monotonic() + 60
        while not list(Path("out").glob("*.png")):
            assert time.monotonic() < deadline
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        process.communicate()
        assert process.returncode == 130
        logged = {json.loads(line)["output"] for line in Path("run.jsonl").read_text().splitlines()}
        assert logged == {str(path) for path in Path("out").glob("*.png")}


class TestWatch:
    def test_rounds(self, here: Path) -> None:
        names: list[str] = []
        looks = iter(range(100))

        def plan() -> list[Job]:
            return [Job(name, Path(f"{name}.out")) for name in names]

        def settle(_: float) -> None:
            """What happens between two looks."""
            look = next(looks)
            if look == 0:
                Path("growing").write_bytes(b"12")
            if look == 2:
                Path("growing").write_bytes(b"1234")

        Path("old").write_bytes(b"1")
        os.utime("old", (1, 1))
        Path("growing").write_bytes(b"1")
        names += ["old", "growing", "gone"]
        found = rounds(plan, Seen(), settle)
        assert [job.source for job in next(found)] == ["old"]  # the other may not be whole
        assert [job.source for job in next(found)] == ["growing"]  # it has not changed between two looks
        assert [job.source for job in next(found)] == ["growing"]  # it has changed again
        Path("new").write_bytes(b"1")
        Path("new.out").write_bytes(b"1")
        os.utime("new", (1, 1))
        Path("newer").write_bytes(b"1")
        os.utime("newer", (1, 1))
        names += ["new", "newer"]
        assert [job.source for job in next(found)] == ["newer"]  # the first is done already

    def test_an_image_that_is_written_slowly(
        self, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Half of it is no failure, unless it stays so; at the end what is still half is named."""
        for name, seconds in (("_PAUSE", 0.05), ("_SETTLED", 0.1), ("_PATIENCE", 2.0)):
            monkeypatch.setattr(watching, name, seconds)
        names, tried = ["grows.png", "stays.png"], list[tuple[str, bytes]]()
        for name in names:
            Path(name).write_bytes(b"half")

        def jobs() -> Plan:
            if ("stays.png", b"half") in tried and Path("grows.png").read_bytes() == b"half":
                Path("grows.png").write_bytes(b"whole")
            if tried.count(("stays.png", b"half")) == 2 and "late.png" not in names:
                names.append("late.png")
                Path("late.png").write_bytes(b"half")
            if ("late.png", b"half") in tried:
                raise KeyboardInterrupt
            return Plan([Job(name, Path(f"{name}.out")) for name in names])

        def cut(todo: list[Job]) -> list[Any]:
            tried.extend((job.source, Path(job.source).read_bytes()) for job in todo)
            return [
                ImageError(f"Cannot read {name}.") if data == b"half" else Done({"input": name})
                for name, data in tried[-len(todo) :]
            ]

        batch.watch(jobs, Seen(), cut, Reporter(quiet=True), set())
        assert tried.count(("grows.png", b"whole")) == 1
        said = capsys.readouterr().err.splitlines()
        assert said == ["failed: Cannot read stays.png.", "failed: Cannot read late.png."]

    @pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT to send")
    def test_images_that_come(self, photo: Path) -> None:
        Path("in").mkdir()
        shutil.copy(photo, "in/a.png")
        process = start("in", "-o", "out", "--watch", stderr=subprocess.STDOUT)
        try:
            wait_for("out/a.cutout.png")
            shutil.copy(photo, "in/b.png")
            wait_for("out/b.cutout.png")
            Path("in/bad.png").write_bytes(b"no image")
            shutil.copy(photo, "in/c.png")
            wait_for("out/c.cutout.png")
        finally:
            process.send_signal(signal.SIGINT)
            said = process.communicate(timeout=60)[0].decode()
        assert "Watching. Ctrl-C ends." in said
        assert "Stopped." in said
        assert process.returncode in (0, 1)


def wait_for(name: str) -> None:
    deadline = time.monotonic() + 60
    while not Path(name).exists():
        assert time.monotonic() < deadline, name
        time.sleep(0.05)


@pytest.mark.skipif(
    tuple(map(int, version("typer").split(".")[:2])) < (0, 29), reason="older versions of typer know less of arguments"
)
def test_the_man_page_is_up_to_date() -> None:
    script = Path(__file__).resolve().parents[2] / "scripts/man_page.py"
    environment: Any = {**os.environ, "COLUMNS": "100"}
    assert subprocess.run([sys.executable, str(script), "--check"], env=environment, check=False).returncode == 0


def completed(words: str) -> set[str]:
    """What a shell gets when the user presses Tab at the end of these words."""
    environment = {"_FOREGROUND_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    command = [sys.executable, "-c", f"import sys; sys.argv[0] = 'foreground'; {MAIN}"]
    variables = {**os.environ, "PYTHONPATH": SRC, **environment}
    return set(subprocess.run(command, env=variables, capture_output=True, text=True, check=True).stdout.split())


def test_completion(here: Path) -> None:
    assert {"--resume", "--revision", "--resampling"} <= completed("foreground cutout --re")
    assert "briaai/RMBG-1.4" in completed("foreground cutout --model bri")


def test_a_format_that_cannot_be_written_is_named_before_anything_else(photo: Path) -> None:
    result = run("photo.png", "--format", "bmp", "-o", "x.bmp")
    assert result.exit_code == 2
    assert "use png, webp" in " ".join(result.stderr.split())
