"""What importing costs: nothing heavy until a name is used."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

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


def test_public_names() -> None:
    assert transformers_foreground.__all__ == sorted(transformers_foreground.__all__)
    for name in transformers_foreground.__all__:
        assert getattr(transformers_foreground, name) is not None
    assert dir(transformers_foreground) == transformers_foreground.__all__


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Segmenter'"):
        _ = transformers_foreground.Segmenter
