"""What a type checker knows of this package: README's programs pass, wrong calls do not, and results have types."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent, indent

import pytest

import transformers_foreground

ROOT = Path(__file__).resolve().parents[1]
pytest.importorskip("mypy", reason="mypy is not installed: pip install -e '.[dev]'")


def checked(code: str, folder: Path) -> str:
    """What mypy, with this repository's own settings, says of a program; empty where nothing is wrong."""
    program = folder / "program.py"
    program.write_text(code, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", "--no-error-summary", str(program)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout.replace(str(program), "program.py")


def test_the_programs_in_readme(tmp_path: Path) -> None:
    """One after another, as a reader goes on with the names of the one before."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    programs = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    assert programs
    assert checked("async def main() -> None:\n" + indent("\n".join(programs), "    "), tmp_path) == ""


WRONG = {
    'pipeline("image-segmentation", devise="cpu")': r"No overload variant|Unexpected keyword argument",
    'pipeline("image-classification")': "No overload variant|incompatible type",
    'pipeline("background-removal")("photo.jpg").size.width': 'has no attribute "width"',
    'pipeline("image-segmentation")("photo.jpg")[0]["masks"]': 'TypedDict "Segment" has no key "masks"',
    "cutout()": "Missing positional argument|No overload variant",
    'ForegroundMapper("some/model", mask_column=1)': "incompatible type",
    'env.local_models_path = "x"': 'has no attribute "local_models_path"',
    "register(1)": "Too many arguments",
}


def test_wrong_calls(tmp_path: Path) -> None:
    lines = ["from transformers_foreground import ForegroundMapper, cutout, env, pipeline, register", *WRONG]
    told = checked("\n".join(lines) + "\n", tmp_path)
    for number, (code, error) in enumerate(WRONG.items(), start=2):
        lines = [line for line in told.splitlines() if line.startswith(f"program.py:{number}: error:")]
        assert re.search(error, "\n".join(lines)), code


def test_results_have_types(tmp_path: Path) -> None:
    program = dedent("""
        from transformers_foreground import ForegroundError, cutout, pipeline

        segment, remove = pipeline("image-segmentation"), pipeline("background-removal")
        reveal_type(segment("a.jpg")[0]["mask"])
        reveal_type(remove("a.jpg"))
        reveal_type(remove(["a.jpg"]))
        reveal_type(cutout("a.jpg", segment("a.jpg")[0]["mask"]))
        reveal_type(ForegroundError("no"))
    """)
    revealed = re.findall(r'Revealed type is "(.*)"', checked(program, tmp_path))
    assert [name.replace("builtins.", "") for name in revealed] == [
        "PIL.Image.Image",
        "PIL.Image.Image",
        "list[PIL.Image.Image]",
        "PIL.Image.Image",
        "transformers_foreground.errors.ForegroundError",
    ]


def test_no_public_name_is_any(tmp_path: Path) -> None:
    names = [name for name in transformers_foreground.__all__ if not name.startswith("_")]
    code = ["import transformers_foreground as t", *(f"reveal_type(t.{name})" for name in names)]
    revealed = re.findall(r'Revealed type is "(.*)"', checked("\n".join(code), tmp_path))
    assert len(revealed) == len(names)
    assert "Any" not in revealed
