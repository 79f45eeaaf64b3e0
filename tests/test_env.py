"""`env`: Transformers.js' settings in snake_case."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import Any

import pytest

from transformers_foreground import __version__, env


@pytest.mark.parametrize(
    ("name", "value"),
    [("localModelPath", "x"), ("allowRemoteModels", False), ("local_models_path", "x"), ("useBrowserCache", True)],
)
def test_camel_case_and_typos_are_refused(name: str, value: Any) -> None:
    with pytest.raises(AttributeError, match="local_model_path"):
        setattr(env, name, value)


def test_version() -> None:
    assert env.version == __version__


def test_log_level_is_the_loggers() -> None:
    env.log_level = "debug"
    assert logging.getLogger("transformers_foreground").level == logging.DEBUG
    env.log_level = "WARNING"


def test_backends_take_a_mapping() -> None:
    env.backends = {"onnx": {"intra_op_num_threads": 1}}
    assert env.backends.onnx == {"intra_op_num_threads": 1}


def test_hf_endpoint_is_the_first_remote_host() -> None:
    code = "import transformers_foreground as t; print(t.env.remote_host)"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"HF_ENDPOINT": "https://mirror.example/"}, capture_output=True, text=True
    )
    assert done.stdout.strip() == "https://mirror.example"
