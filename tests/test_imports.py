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

HEAVY = (
    *("torch", "transformers", "onnxruntime", "optimum", "onnx", "datasets", "huggingface_hub", "numpy", "PIL"),
    *("pyarrow", "fsspec", "requests", "httpx", "rich", "typer", "http.client", "ssl"),
)


def _loaded_after(code: str, *arguments: object) -> set[str]:
    script = f"import sys, json\n{code}\nprint(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        ("import transformers_foreground", set()),
        ("import transformers_foreground; transformers_foreground.env.local_model_path", set()),
        ("import transformers_foreground.cli", {"rich", "typer"}),
        ("import transformers_foreground.segmenter", {"numpy", "PIL"}),
        ("from transformers_foreground import pipeline", {"numpy", "PIL"}),
        ("from transformers_foreground.adapters.registration import register", set()),
    ],
)
def test_imports_are_light(code: str, allowed: set[str]) -> None:
    assert _loaded_after(code) <= allowed


@pytest.mark.parametrize("task", ["image-segmentation", "background-removal"])
def test_a_pipeline_needs_little_more_than_onnx_runtime(task: str, tmp_path: Path) -> None:
    code = "from transformers_foreground import pipeline; import numpy\n"
    code += f"pipeline({task!r}, sys.argv[1])(numpy.zeros((9, 9, 3), numpy.uint8))"
    assert _loaded_after(code, write_repo(tmp_path / "model")) == {"numpy", "PIL", "onnxruntime"}


def test_onnx_runtime_reports_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its Linux wheels from 1.29 on do, and write an identity of the machine below the home folder."""
    write_repo(tmp_path / "model")
    home, temporary = tmp_path / "home", tmp_path / "tmp"
    home.mkdir()
    temporary.mkdir()
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    code = "import numpy, sys; from transformers_foreground import pipeline; "
    code += "pipeline('image-segmentation', sys.argv[1])(numpy.zeros((9, 9, 3), numpy.uint8))"
    own = {"HOME": str(home), "TMPDIR": str(temporary), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", code, str(tmp_path / "model")]
    subprocess.run(command, env={**os.environ, **own}, check=True, timeout=120)
    assert not [path for path in (*home.rglob("*"), *temporary.rglob("*")) if path.name in ("Microsoft", ".ses")]


@pytest.mark.parametrize(("given", "kept"), [(None, "1"), ("0", "0")])
def test_telemetry_is_the_users_choice(given: str | None, kept: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    if given is not None:
        monkeypatch.setenv("ORT_DISABLE_TELEMETRY", given)
    code = "import os, transformers_foreground; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == kept


def test_public_names() -> None:
    assert transformers_foreground.__all__ == sorted(transformers_foreground.__all__)
    for name in transformers_foreground.__all__:
        assert getattr(transformers_foreground, name) is not None
    assert dir(transformers_foreground) == transformers_foreground.__all__


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'segment'"):
        _ = transformers_foreground.segment
