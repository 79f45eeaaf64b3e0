"""The command: what hands expect of it, its exit codes, and what it says."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_models import brightness_model, write_repo
from typer.testing import CliRunner, Result

from transformers_foreground import env, segmenter
from transformers_foreground.cli import app, running
from transformers_foreground.cli.planning import Job, plan
from transformers_foreground.cli.style import Style
from transformers_foreground.runtime import opening

SRC = str(Path(__file__).resolve().parents[2] / "src")
MAIN = "from transformers_foreground.cli import main; main()"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory, with the tiny model in models/ below it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")  # usage errors are wrapped at this width
    env.local_model_path = "models"
    write_repo(tmp_path / "models" / "briaai" / "RMBG-1.4")
    return tmp_path


@pytest.fixture
def photo(here: Path, half_bright: Image.Image) -> Path:
    half_bright.save("photo.png")
    return here / "photo.png"


def run(*args: str, **options: Any) -> Result:
    return CliRunner().invoke(app, list(args), **options)


def start(*args: str, **options: Any) -> subprocess.Popen[bytes]:
    """Start the command as a process of its own, in the working directory."""
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": SRC}
    return subprocess.Popen([sys.executable, "-c", MAIN, *args], env=environment, **{**pipes, **options})


def no_model(monkeypatch: pytest.MonkeyPatch, error: BaseException | None = None) -> None:
    """Make loading a model fail: by default because it should not be tried."""

    def load(*_: object, **__: object) -> None:
        raise error or AssertionError("a model was loaded")

    monkeypatch.setattr("transformers_foreground.segmenter.Segmenter", load)


# --- what comes out ---------------------------------------------------------------------------------------------------


def test_cutout_is_written_beside_the_image(photo: Path) -> None:
    result = run("photo.png")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "photo.png → photo.cutout.png\n"
    cutout = Image.open("photo.cutout.png")
    assert (cutout.mode, cutout.size, cutout.format) == ("RGBA", (48, 32), "PNG")
    pixels = np.asarray(cutout)
    assert pixels[16, 8].tolist() == [255, 255, 255, 255]
    assert pixels[16, 40].tolist() == [0, 0, 0, 0]


def test_hidden_colours_are_not_in_the_file(here: Path) -> None:
    Image.new("RGB", (20, 20), (10, 20, 30)).save("dark.png")
    write_repo(here / "m", dtypes={"": brightness_model(logits=True)})
    assert run("dark.png", "--model", "m").exit_code == 0
    pixels = np.asarray(Image.open("dark.cutout.png"))
    assert not pixels[pixels[..., 3] == 0].any()


def test_mask_only(photo: Path) -> None:
    for args in (["--mask-only", "photo.png"], ["photo.png", "--mask-only", "-f"]):
        assert run(*args).exit_code == 0
        mask = Image.open("photo.mask.png")
        assert (mask.mode, mask.size) == ("L", (48, 32))
        assert (mask.getpixel((8, 16)), mask.getpixel((40, 16))) == (255, 0)


def test_existing_results_are_kept_without_force(photo: Path) -> None:
    Path("photo.cutout.png").write_bytes(b"mine")
    result = run("photo.png")
    assert result.exit_code == 1
    assert result.stderr == (
        "failed: photo.png: photo.cutout.png exists. Use --force to overwrite it, --resume to skip it, or -o for "
        "another place.\n"
    )
    assert Path("photo.cutout.png").read_bytes() == b"mine"
    assert run("photo.png", "--force").exit_code == 0
    assert Image.open("photo.cutout.png").mode == "RGBA"


def test_a_result_that_appears_meanwhile_is_kept(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def encode(*_: object) -> bytes:
        Path("photo.cutout.png").write_bytes(b"another's")
        return b"ours"

    monkeypatch.setattr(Style, "encode", encode)
    assert run("photo.png").exit_code == 1
    assert Path("photo.cutout.png").read_bytes() == b"another's"


def test_folder_is_mirrored(photo: Path) -> None:
    for name in ("in/a.png", "in/deep/er/b.PNG", "in/.hidden/c.png", "in/a.mask.png", "in/notes.txt"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, name)
    Image.new("L", (48, 32)).save("in/a.mask.png")
    Path("in/notes.txt").write_text("Pillow takes this for a PPM file.")
    result = run("in/", "-o", "out/")
    assert result.exit_code == 0
    made = sorted(p.as_posix() for p in Path("out").rglob("*") if p.is_file())
    assert made == ["out/a.cutout.png", "out/deep/er/b.cutout.png"]
    assert result.stderr.splitlines() == [
        "Left out 2: not an image: in/notes.txt; results of this command: in/a.mask.png",
        "in/a.png → out/a.cutout.png",
        "in/deep/er/b.PNG → out/deep/er/b.cutout.png",
    ]


@pytest.mark.parametrize("args", [["-"], ["-", "-o", "-"], ["photo.png", "-o", "-"]])
def test_standard_output(args: list[str], photo: Path) -> None:
    result = run(*args, input=photo.read_bytes())
    assert (result.exit_code, result.stderr) == (0, "")
    Path("got.png").write_bytes(result.stdout_bytes)
    assert Image.open("got.png").size == (48, 32)


def test_pipe_of_processes(photo: Path) -> None:
    out, err = start("-").communicate(photo.read_bytes(), timeout=60)
    assert err == b""
    Path("got.png").write_bytes(out)
    assert Image.open("got.png").mode == "RGBA"


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", b"Cannot read <stdin>: it is empty (0 bytes)."), (b"text", b"Cannot read <stdin>: its bytes are not")],
)
def test_bad_standard_input(data: bytes, message: bytes) -> None:
    process = start("-")
    out, err = process.communicate(data, timeout=60)
    assert (process.returncode, out) == (1, b"")
    assert err.startswith(b"failed: " + message)
    assert err.count(b"\n") == 1


def test_json(photo: Path) -> None:
    result = run("photo.png", "nope.png", "--json")
    assert result.exit_code == 1
    first, second = (json.loads(line) for line in result.stdout.splitlines())
    assert first.pop("seconds") >= 0
    assert first.pop("foreground") == pytest.approx(0.5, abs=0.05)
    assert 0 <= first.pop("doubt") <= 1
    assert first == {
        **{"input": "photo.png", "output": "photo.cutout.png", "width": 48, "height": 32},
        "box": [0, 0, 24, 32],
        "engine": "CPUExecutionProvider",
    }
    assert second["input"] == "nope.png"
    assert "there is no such file" in second["error"]
    assert result.stderr.splitlines()[0].startswith("failed: Cannot read nope.png: there is no such file")


def test_quiet_still_names_failures(photo: Path) -> None:
    assert run("photo.png", "-q").output == ""
    assert "failed: Cannot read nope.png" in run("nope.png", "-q").stderr


@pytest.mark.parametrize(
    "name", ["[bold]x.png", "[red]y[green].png", ":smile:.png", "a b'c.png", "ünï.png", "-dash.png", "info"]
)
def test_any_file_name(name: str, photo: Path) -> None:
    shutil.copy(photo, name)
    result = run("--", f"./{name}" if name == "info" else name)
    assert result.exit_code == 0
    assert Path(f"{Path(name).stem}.cutout.png").is_file()
    assert f"{name} → {Path(name).stem}.cutout.png" in result.stderr


def test_options_reach_the_model(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers_foreground import segmenter

    seen: dict[str, Any] = {}
    real = segmenter.Segmenter
    monkeypatch.setattr(
        segmenter, "Segmenter", lambda model, **options: seen.update(options, model=model) or real(model)
    )
    options = "-m models/briaai/RMBG-1.4 --device wasm --dtype fp16 --resampling bria --revision v1 --local-files-only"
    assert run("photo.png", *options.split()).exit_code == 0
    del seen["progress_callback"]
    assert seen == {
        "model": "models/briaai/RMBG-1.4",
        "device": "wasm",
        "dtype": "fp16",
        "resampling": "bria",
        "revision": "v1",
        "local_files_only": True,
    }


# --- where results go -------------------------------------------------------------------------------------------------


@pytest.fixture
def places(here: Path) -> None:
    for name in ("a.jpg", "a.png", "d/a.jpg", "d/b/c.jpg", "e/a.jpg", "old.png", "old.txt"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"")
    for name in ("out", "empty"):
        Path(name).mkdir()


@pytest.mark.parametrize(
    ("images", "output", "expected"),
    [
        (["a.jpg"], None, ["a.cutout.png"]),
        (["d/a.jpg", "e/a.jpg"], None, ["d/a.cutout.png", "e/a.cutout.png"]),
        (["a.jpg", "a.png"], None, ["a.jpg.cutout.png", "a.png.cutout.png"]),
        (
            ["a.jpg", "a.png", "a.jpg.png", "a.jpg.png.png"],
            None,
            ["a.jpg.cutout.png", "a.png.cutout.png", "a.jpg.png.cutout.png", "a.jpg.png.png.cutout.png"],
        ),
        (["a.jpg", "./a.jpg", "a.jpg"], "out", "Two images would both become out/a.jpg.cutout.png"),
        (["a.jpg", "a.jpg"], None, ["a.cutout.png"]),
        (["d"], None, ["d/a.cutout.png", "d/b/c.cutout.png"]),
        (["d"], "new", ["new/a.cutout.png", "new/b/c.cutout.png"]),
        (["d/b"], "x.png", "-o x.png names one file. Several images, or a folder, need a folder: x.png/"),
        (["d", "e"], "out", "Two images would both become out/a.jpg.cutout.png"),
        (["a.jpg"], "out", ["out/a.cutout.png"]),
        (["a.jpg"], "new", ["new/a.cutout.png"]),
        (["a.jpg"], "new.dir/", ["new.dir/a.cutout.png"]),
        (["a.jpg"], "x.png", ["x.png"]),
        (["a.jpg"], "new/X.PNG", ["new/X.PNG"]),
        (["a.jpg"], "/dev/null", ["/dev/null"]),
        (["a.jpg"], "x.jpg", r"Results are PNG files, so -o x\.jpg .* Use x\.png, or --format .* or x\.jpg/"),
        (["a.jpg"], "old.txt", "Results are PNG files"),
        (["a.jpg", "d/b"], "old.png", r"-o old\.png is a file\. Several images, or a folder, need a folder"),
        (["d"], "old.png", r"-o old\.png is a file"),
        (["-"], None, [None]),
        (["-", "-"], None, [None]),
        (["-"], "out", ["out/stdin.cutout.png"]),
        (["-"], "x.png", ["x.png"]),
        (["a.jpg"], "-", [None]),
        (["a.jpg", "-"], "-", "-o - takes one image"),
        (["https://x.org/p/q.jpg?w=1&h=a/b.png#c"], None, ["q.cutout.png"]),
        (["https://x.org/"], "out", ["out/x.cutout.png"]),
        (["file:///tmp/z.jpg"], None, ["z.cutout.png"]),
        (["data:image/png;base64,AA/BB=="], None, ["image.cutout.png"]),
        (["nope.jpg"], None, ["nope.cutout.png"]),
        (["empty"], None, r"No images in empty\.$"),
    ],
)
def test_plan(images: list[str], output: str | None, expected: list[str | None] | str, places: None) -> None:
    import typer

    if isinstance(expected, str):
        with pytest.raises(typer.BadParameter, match=expected):
            plan(images, output, "cutout")
        return
    targets = [job.target for job in plan(images, output, "cutout").jobs]
    assert targets == [None if name is None else Path(name) for name in expected]


def test_plan_of_many() -> None:
    jobs = plan([f"{i}.jpg" for i in range(20_000)], "out/", "mask").jobs  # comparing each with each would take minutes
    assert jobs[-1] == Job("19999.jpg", Path("out/19999.mask.png"))


# --- what is wrong ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["photo.png", "--device", "quantum"], "'--device'.*quantum.*cpu, wasm, auto, gpu, webgpu, cuda"),
        (["photo.png", "--dtype", "fp7"], "'--dtype'.*fp7.*auto, fp32, fp16, q8"),
        (["photo.png", "--resampling", "magic"], r"'--resampling'.*magic.*transformers\.js, canvas, antialias, bria"),
        (["photo.png", "--nonsense"], "No such option:? '?--nonsense"),
        (["--nonsense"], "No such option:? '?--nonsense"),
        (["--mask-only"], "Missing argument"),
        (["models", "fetch", "xuebinqin/u2netp", "--dtype", "fp7"], "'--dtype'.*fp7"),
        (["-", "--json"], "--json writes to standard output, and so does this image"),
        (["photo.png", "-o", "photo.jpg"], "JPEG has no alpha"),
        (["serve", "--max-size", "inf"], "inf is no number that counts"),
        # Some versions of typer refuse NaN themselves.
        (["serve", "--max-disk", "nan"], "'--max-disk': (nan is no number that counts|Input should be)"),
        (["quantize", "m", "--images", "p", "--percentile", "nan"], "'--percentile': (nan is no number|Input should)"),
        (["serve", "--api-key", "secret"], "--api-key needs --api-only"),
        (["quantize", "model", "--images", ".", "--method", "magic"], "'--method'.*magic.*'percentile'"),
    ],
)
def test_usage_errors(args: list[str], message: str, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_model(monkeypatch)
    result = run(*args)
    assert (result.exit_code, result.stdout) == (2, "")
    said = re.sub(r"[│╭╮╰╯─\s]+", " ", result.stderr)
    assert re.search(message, said), said


def test_a_terminal_takes_no_image(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers_foreground.cli import planning

    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(planning.sys, "stdout", Terminal())
    import typer

    with pytest.raises(typer.BadParameter, match=r"write > cutout\.png"):
        planning.check_standard_output(plan(["-"], None, "cutout").jobs, as_json=False)


def test_one_bad_image_stops_no_other(photo: Path) -> None:
    Path("text.jpg").write_text("no image")
    Path("folder.png").mkdir()
    Path("taken.png").write_bytes(photo.read_bytes())
    Path("taken.cutout.png").write_bytes(b"")
    shutil.copy(photo, "last.png")
    result = run("text.jpg", "photo.png", "nope.png", "taken.png", "last.png")
    assert result.exit_code == 1
    assert Path("photo.cutout.png").is_file()
    assert Path("last.cutout.png").is_file()
    text, done, nope, taken, last, summary = result.stderr.splitlines()
    assert text.startswith("failed: Cannot read text.jpg: its bytes are not an image")
    assert done == "photo.png → photo.cutout.png"
    assert nope.startswith("failed: Cannot read nope.png: there is no such file")
    assert taken.startswith("failed: taken.png: taken.cutout.png exists. Use --force")
    assert last == "last.png → last.cutout.png"
    assert summary == "3 of 5 images failed."


def test_nothing_is_loaded_for_images_that_are_not_there(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_model(monkeypatch)
    Path("photo.cutout.png").write_bytes(b"")
    result = run("nope.png", "photo.png")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == "2 of 2 images failed."


def test_results_that_cannot_be_written(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("file").write_bytes(b"")
    result = run("photo.png", "-o", "file/x.png")
    assert result.exit_code == 1
    assert result.stderr == (
        "failed: file/x.png cannot be written: file is not a folder. Choose another place with -o.\n"
    )

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(running, "write_whole", full)
    result = run("photo.png")
    assert result.exit_code == 1
    assert result.stderr.startswith("failed: photo.cutout.png cannot be written: No space left on device.")


def test_a_folder_without_permission(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_model(monkeypatch)
    monkeypatch.setattr(running.os, "access", lambda *_: False)  # tests may run as root, whom nothing stops
    result = run("photo.png")
    assert result.exit_code == 1
    assert "is read-only, or not yours to write in" in result.stderr


@pytest.mark.parametrize(
    ("place", "stage"), [(segmenter, "preprocess"), (segmenter, "postprocess"), (Style, "render"), (Style, "encode")]
)
def test_too_little_memory_for_one_image(place: Any, stage: str, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(photo, "other.png")
    real, calls = getattr(place, stage), []

    def once(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:  # the first of a style's is its check
            raise MemoryError
        return real(*args)

    monkeypatch.setattr(place, stage, once)
    result = run("photo.png", "other.png")
    assert result.exit_code == 1
    assert re.search(r"failed: (photo|other)\.png: not enough memory", result.stderr)
    assert len(list(Path().glob("*.cutout.png"))) == 1


def test_a_failing_forward_names_its_image(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        def run(self, *_: object) -> None:
            raise RuntimeError("[ONNXRuntimeError] : 6 :\n  bad allocation")

    graph_of = opening.graph_of
    monkeypatch.setattr(opening, "graph_of", lambda *args: replace(graph_of(*args), session=Failing()))
    result = run("photo.png")
    assert result.exit_code == 1
    assert result.stderr.startswith("failed: photo.png: ONNX Runtime failed on an input of shape (1, 3, 16, 16): ")
    assert result.stderr.endswith("bad allocation\n")


@pytest.mark.parametrize("args", [[], ["--local-files-only"]])
def test_default_model_out_of_reach(args: list[str], photo: Path) -> None:
    shutil.rmtree("models")
    result = run("photo.png", *args)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: ")
    assert "briaai/RMBG-1.4" in result.stderr
    for model in ("imgly/isnet-general-use", "xuebinqin/u2netp"):
        assert f"foreground models fetch {model}" in result.stderr
    line = " ".join(["Then name it: foreground photo.png", *args, "--model xuebinqin/u2netp"])
    assert result.stderr.splitlines()[-1] == line
    assert len(result.stderr.splitlines()) == 2


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("'my photo.png' --local-files-only", "'my photo.png' --local-files-only --model xuebinqin/u2netp"),
        ("-m a/b -b '#fff' -o out/ -- 'my photo.png'", "-m xuebinqin/u2netp -b '#fff' -o out/ -- 'my photo.png'"),
        ("cutout --model=a/b 'my photo.png' --crop", "cutout --model=xuebinqin/u2netp 'my photo.png' --crop"),
        ("--crop -- 'my photo.png'", "--crop --model xuebinqin/u2netp -- 'my photo.png'"),
        ("-fm a/b 'my photo.png'", "-fm a/b 'my photo.png' --model xuebinqin/u2netp"),
    ],
)
def test_the_line_for_another_model_is_the_users_own(line: str, expected: str, photo: Path, here: Path) -> None:
    shutil.rmtree("models")
    write_repo(here / "models" / "xuebinqin" / "u2netp")
    shutil.copy(photo, "my photo.png")
    result = run(*shlex.split(line))
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-2:] == [
        "Run it with one that is on this machine:",
        f"  foreground {expected}",
    ]
    assert run(*shlex.split(expected)).exit_code == 0


def test_no_line_for_a_model_without_the_dtype(photo: Path, here: Path) -> None:
    write_repo(here / "models" / "xuebinqin" / "u2netp")
    result = run("photo.png", "-m", "a/b", "--dtype", "q4", "--local-files-only")
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)


def test_a_line_of_very_many_images_is_not_shown(photo: Path) -> None:
    names = [f"image-{i}.png" for i in range(300)]
    for name in names:
        shutil.copy(photo, name)
    result = run(*names, "-m", "a/b", "--local-files-only")
    assert result.stderr.splitlines()[-1] == "  the same with --model briaai/RMBG-1.4"


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["serv", "--port", "0"], "foreground serve --port 0"),
        (["model", "list"], "foreground models list"),
        (["Quantise"], "foreground quantize"),
        (["eval", "my recipe.yaml"], "foreground evaluate 'my recipe.yaml'"),
    ],
)
def test_a_misspelt_command_is_named(words: list[str], meant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    no_model(monkeypatch)
    result = run(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    said = re.sub(r"[│╭╮╰╯─\s]+", " ", result.stderr)
    assert f"There is no file or folder '{words[0]}', nor such a command. Did you mean: {meant} " in said


@pytest.mark.parametrize("word", ["frobnicate", "list-models", "photos"])
def test_an_unknown_command_is_a_usage_error(word: str, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_model(monkeypatch)
    result = run(word, "photo.png")
    assert (result.exit_code, result.stdout) == (2, "")
    said = re.sub(r"[│╭╮╰╯─\s]+", " ", result.stderr)
    hint = r"(Commands: cutout, evaluate, map, quantize,|Did you mean: foreground models photo\.png)"
    assert re.search(f"There is no file or folder '{word}', nor such a command. {hint}", said)
    assert run("models", word).exit_code == 2


@pytest.mark.parametrize("name", ["serv.png", "photos/", "./serv", "cutout.webp", "IMG_1"])
def test_other_words_are_images(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    no_model(monkeypatch)
    assert run(name).stderr.startswith(f"failed: Cannot read {name}: there is no such file")


def test_a_file_named_nearly_as_a_command_is_a_image(photo: Path) -> None:
    shutil.copy(photo, "serv")
    assert run("serv").exit_code == 0


def test_missing_dtype_lists_those_there_are(photo: Path) -> None:
    result = run("photo.png", "--dtype", "q8", "--local-files-only")
    assert result.exit_code == 1
    assert "It has: fp32" in result.stderr
    assert "models fetch" not in result.stderr


@pytest.mark.filterwarnings("always")
def test_device_fallback_is_one_plain_line(photo: Path) -> None:
    result = run("photo.png", "--device", "coreml", "-q")
    assert result.exit_code == 0
    assert re.fullmatch(r"warning: device='coreml' needs .* Using the CPU\.\n", result.stderr)


def test_keyboard_interrupt(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_model(monkeypatch, KeyboardInterrupt())
    result = run("photo.png")
    assert (result.exit_code, result.stderr) == (130, "Stopped.\n")


@pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")
def test_ctrl_c_while_waiting_for_standard_input(here: Path) -> None:
    process = start("-")
    assert process.stdin is not None
    process.stdin.write(bytes(200_000))  # more than a pipe holds: this returns when the command is reading
    process.stdin.flush()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, b"Stopped.\n")


@pytest.mark.skipif(os.name == "nt", reason="Windows has other pipes")
@pytest.mark.parametrize("args", [["photo.png", "-o", "-"], ["photo.png", "--json"], ["models", "list"]])
def test_reader_that_goes_away(args: list[str], photo: Path) -> None:
    process = start(*args)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    err = process.stderr.read()
    assert process.wait(timeout=60) == 1
    assert b"Traceback" not in err
    assert b"BrokenPipe" not in err


# --- the other commands -----------------------------------------------------------------------------------------------


def test_version_and_help() -> None:
    assert run("--version").stdout == f"transformers-foreground {env.version}\n"
    for args in (["--help"], ["-h"], ["cutout", "-h"], ["models", "--help"], ["models", "fetch", "--help"]):
        result = run(*args)
        assert result.exit_code == 0
        assert "Usage: " in result.stdout
    assert "foreground photo.jpg" in run().output


def test_models_list_is_readable_at_100_columns(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers_foreground.hub.known_models import known_models

    monkeypatch.setenv("COLUMNS", "100")
    write_repo(here / "models" / "me" / "mine")
    result = run("models", "list")
    assert result.exit_code == 0
    header, *lines = result.stdout.splitlines()
    assert header.split() == ["model", "size", "licence", "commercial", "here", "from"]
    assert [line.split()[0] for line in lines] == [*(card.id for card in known_models()), "me/mine"]
    rows = {line.split()[0]: line.split()[1:] for line in lines}
    assert rows["briaai/RMBG-1.4"] == ["176", "MB", "bria-rmbg-1.4", "no", "fp32", "Hub"]
    assert rows["imgly/isnet-general-use"][2:] == ["AGPL-3.0", "ask", "-", "npm"]
    assert rows["xuebinqin/u2netp"][-4:] == ["Apache-2.0", "yes", "-", "PyPI"]
    assert rows["xuebinqin/u2net"][-4:] == ["Apache-2.0", "yes", "-", "yours"]
    assert rows["me/mine"] == ["-", "-", "ask", "fp32", "yours"]
    assert max(map(len, result.output.splitlines())) <= 100
    assert "your own file in models/MODEL/onnx/model.onnx" in result.stderr


class TestWhereModelsAre:
    def test_the_default_model_is_that_of_the_environment(self, photo: Path, here: Path) -> None:
        write_repo(here / "models" / "me" / "mine")
        shutil.rmtree("models/briaai")
        env.default_model = "me/mine"
        assert run("photo.png").exit_code == 0

    def test_the_variables_are_read(self, photo: Path, here: Path) -> None:
        Path("models/briaai").rename("elsewhere")
        Path("top/me").mkdir(parents=True)
        Path("elsewhere/RMBG-1.4").rename("top/me/mine")
        variables = {"FOREGROUND_MODEL": "me/mine", "FOREGROUND_MODELS": str(here / "top"), "HF_HUB_OFFLINE": "1"}
        environment = {**os.environ, **variables, "PYTHONPATH": SRC}
        done = subprocess.run(
            [sys.executable, "-c", MAIN, str(photo), "-o", "x.png"], env=environment, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr

    def test_models_dir(self, photo: Path, here: Path) -> None:
        Path("models").rename("there")
        assert run("photo.png", "--models-dir", "there").exit_code == 0
        assert "briaai/RMBG-1.4" in run("models", "list", "--models-dir", "there").stdout
        assert run("photo.png", "--models-dir", "nowhere").exit_code == 2

    def test_fetched_models_are_found_from_anywhere(self, photo: Path, here: Path) -> None:
        shutil.copytree("models", env.user_model_path)
        shutil.rmtree("models")
        assert run("photo.png").exit_code == 0

    def test_the_one_that_is_here_is_offered(self, photo: Path, here: Path) -> None:
        shutil.rmtree("models")
        write_repo(Path(env.user_model_path) / "me" / "mine")
        result = run("photo.png", "--crop")
        assert result.exit_code == 1
        line = "foreground photo.png --crop --model me/mine"
        assert result.stderr.splitlines()[-2:] == ["Run it with one that is on this machine:", f"  {line}"]
        assert run(*shlex.split(line)[1:]).exit_code == 0


def test_what_takes_long_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    from transformers_foreground.cli.console import said_if_slow

    said, until = "", time.monotonic() + 60
    with said_if_slow("Opening m", hidden=False, seconds=0.01):
        while not said and time.monotonic() < until:
            time.sleep(0.01)
            said = capsys.readouterr().err
    assert said == "Opening m …\n"
    for hidden, seconds in ((True, 0.01), (False, 30)):
        with said_if_slow("Quiet", hidden, seconds):
            time.sleep(0.05)
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("model", "lines"),
    [
        (
            "briaai/RMBG-1.4",
            ["by itself on first use, from the Hub", "fp32   onnx/model.onnx            176.2 MB  Hub"],
        ),
        (
            "IMGLY/isnet-general-use",
            ["foreground models fetch imgly/isnet-general-use", "made of fp16", "1.4.5 on npm"],
        ),
        ("xuebinqin/u2net", ["your own file in models/xuebinqin/u2net/onnx/model.onnx"]),
    ],
)
def test_models_info(model: str, lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = run("models", "info", model)
    assert (result.exit_code, result.stderr) == (0, "")
    for line in lines:
        assert line in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80
    table = [line for line in result.stdout.splitlines() if "onnx/model" in line and "own file" not in line]
    assert len({line.index("onnx/") for line in table}) == 1


def test_models_info_of_an_unknown_one() -> None:
    result = run("models", "info", "a/b")
    assert result.exit_code == 1
    assert re.match(r"error: No known model a/b\. There are: .*briaai/RMBG-1\.4", result.stderr)


@pytest.mark.parametrize(
    ("args", "dtypes", "use"),
    [
        ([], ["fp32", "fp16"], "--model us/m"),
        (["--folder", "there"], ["fp32"], "--model there/us/m"),
        (["--folder", "models", "--dtype", "fp16"], ["fp16"], "--model us/m --dtype fp16"),
    ],
)
def test_models_fetch_says_how_to_go_on(
    args: list[str], dtypes: list[str], use: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(model: str, *, folder: Path | None, dtypes: list[str] | None, report: Any, **_: Any) -> dict[str, Path]:
        assert model == "us/m"
        top = Path(folder or env.local_model_path) / model / "onnx"
        report(f"{top / 'model.onnx'} (fp32, 1 MB, SHA-256 checked)")
        return {dtype: top / f"{dtype}.onnx" for dtype in dtypes or ["fp32", "fp16"]}

    monkeypatch.setattr("transformers_foreground.hub.fetch.fetch", fetch)
    result = run("models", "fetch", "us/m", *args)
    assert result.exit_code == 0
    first, last = result.stderr.splitlines()
    assert first.endswith("onnx/model.onnx (fp32, 1 MB, SHA-256 checked)")
    assert last == f"Use it: foreground photo.jpg {use}"


@pytest.mark.parametrize(("args", "code"), [([], 1), (["--yes"], 0)])
def test_models_fetch_of_a_large_one_asks(args: list[str], code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers_foreground.errors import ModelTooLargeError

    def fetch(*_: Any, report: Any, progress_callback: Any, **__: Any) -> dict[str, Path]:
        if env.max_model_bytes is not None:
            raise ModelTooLargeError("It is too large.", "It has 9 GB", 9 * 10**9)
        return {"fp32": Path("model.onnx")}

    monkeypatch.setattr("transformers_foreground.hub.fetch.fetch", fetch)
    monkeypatch.setattr(env, "max_model_bytes", env.max_model_bytes)
    assert run("models", "fetch", "us/large", *args).exit_code == code


def test_models_fetch_of_an_unknown_one() -> None:
    result = run("models", "fetch", "a/b")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: a/b (http://127.0.0.1:9) is not in the cache and cannot be reached")
    assert "`foreground models fetch xuebinqin/u2netp`" in result.stderr


def test_info() -> None:
    result = run("info")
    assert (result.exit_code, result.stderr) == (0, "")
    rows = {line[:24].strip(): line[25:] for line in result.stdout.splitlines()}
    assert rows["transformers-foreground"] == env.version
    assert "CPUExecutionProvider" in rows["execution providers"]
    assert rows["models here"] == "briaai/RMBG-1.4 (fp32)"
    assert rows["local models"] == str(Path("models").resolve())


# --- how fast it starts -----------------------------------------------------------------------------------------------

_IMPORTS = """
import sys
from transformers_foreground.cli import main
sys.argv = ["foreground", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
names = ("numpy", "PIL", "onnxruntime", "huggingface_hub", "torch", "transformers", "optimum", "datasets", "onnx")
print("IMPORTED", *[name for name in names if name in sys.modules])
"""


@pytest.mark.parametrize(
    ("args", "allowed"),
    [
        (["--help"], set()),
        (["--version"], set()),
        (["cutout", "--help"], set()),
        (["photo.png"], {"numpy", "PIL", "onnxruntime", "huggingface_hub"}),
        (["models", "list"], {"numpy", "PIL", "huggingface_hub"}),
    ],
)
def test_nothing_heavy_is_imported(args: list[str], allowed: set[str], photo: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _IMPORTS, *args],
        env={**os.environ, "PYTHONPATH": SRC, "HF_HOME": "hf"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.splitlines()[-1].split()[1:]) <= allowed
