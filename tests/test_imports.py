"""What importing costs: nothing heavy until a name is used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_models import write_repo

import transformers_foreground

HEAVY = ("torch", "transformers", "onnxruntime", "optimum", "datasets", "huggingface_hub", "numpy", "PIL")


def _loaded_after(code: str) -> set[str]:
    script = f"import sys, json\n{code}\nprint(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        ("import transformers_foreground", set()),
        ("import transformers_foreground; transformers_foreground.env.local_model_path", set()),
        ("import transformers_foreground.cli", set()),
        ("import transformers_foreground.loading", {"numpy", "PIL"}),
        ("from transformers_foreground.registration import register", set()),
    ],
)
def test_imports_are_light(code: str, allowed: set[str]) -> None:
    assert _loaded_after(code) <= allowed


@pytest.mark.parametrize("telemetry", [None, "0"])
def test_onnx_runtime_reports_nothing_unless_it_is_told_to(telemetry: str | None, tmp_path: Path) -> None:
    """Its Linux wheels from 1.29 on do, and write an identity of the machine below the home folder."""
    write_repo(tmp_path / "model")
    home, temporary = tmp_path / "home", tmp_path / "tmp"
    home.mkdir()
    temporary.mkdir()
    code = "import numpy, sys; from transformers_foreground import pipeline; "
    code += "pipeline('image-segmentation', sys.argv[1])(numpy.zeros((9, 9, 3), numpy.uint8))"
    own = {"HOME": str(home), "TMPDIR": str(temporary), "HF_HUB_OFFLINE": "1"}
    kept = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    asked = {} if telemetry is None else {"ORT_DISABLE_TELEMETRY": telemetry}
    command = [sys.executable, "-c", code, str(tmp_path / "model")]
    subprocess.run(command, env={**kept, **own, **asked}, check=True, timeout=120)
    written = [path for path in (*home.rglob("*"), *temporary.rglob("*")) if path.name in ("Microsoft", ".ses")]
    assert telemetry is not None or not written


def test_public_names() -> None:
    assert transformers_foreground.__all__ == sorted(transformers_foreground.__all__)
    for name in transformers_foreground.__all__:
        assert getattr(transformers_foreground, name) is not None
    assert dir(transformers_foreground) == transformers_foreground.__all__


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Segmenter'"):
        _ = transformers_foreground.Segmenter
