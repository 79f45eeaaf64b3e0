"""`env`: Transformers.js' settings in snake_case."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from typing import Any

import pytest

from transformers_foreground import __version__, env
from transformers_foreground.env import Environment, LogLevel
from transformers_foreground.errors import UnsupportedOptionError


@pytest.mark.parametrize(
    ("name", "value"),
    [("localModelPath", "x"), ("allowRemoteModels", False), ("local_models_path", "x"), ("useBrowserCache", True)],
)
def test_camel_case_and_typos_are_refused(name: str, value: Any) -> None:
    with pytest.raises(AttributeError, match="local_model_path"):
        setattr(env, name, value)


def test_version() -> None:
    assert env.version == __version__


@pytest.mark.parametrize(
    ("value", "name", "level"),
    [
        ("debug", "DEBUG", logging.DEBUG),
        (LogLevel.ERROR, "ERROR", logging.ERROR),
        (20, "INFO", logging.INFO),
        (LogLevel.NONE, "NONE", logging.CRITICAL + 1),
        ("WARNING", "WARNING", logging.WARNING),
    ],
)
def test_log_level_is_the_loggers(value: Any, name: str, level: int) -> None:
    env.log_level = value
    assert env.log_level == name
    assert logging.getLogger("transformers_foreground").level == level


@pytest.mark.parametrize("value", ["loud", 15, -1])
def test_log_levels_that_are_none(value: Any) -> None:
    with pytest.raises(UnsupportedOptionError, match="DEBUG, INFO, WARNING, ERROR, NONE"):
        env.log_level = value


def test_backends_take_a_mapping() -> None:
    env.backends = {"onnx": {"intra_op_num_threads": 1}}
    assert env.backends.onnx == {"intra_op_num_threads": 1}


@pytest.mark.parametrize(
    ("variable", "value", "setting", "expected"),
    [
        ("HF_ENDPOINT", "https://mirror.example/", "remote_host", "https://mirror.example"),
        ("FOREGROUND_MODELS", "/srv/models", "local_model_path", "/srv/models"),
        ("FOREGROUND_MODELS", "", "local_model_path", "./models/"),
        ("FOREGROUND_MODEL", "me/mine", "default_model", "me/mine"),
        ("FOREGROUND_KNOWN_MODELS", "/srv/known", "known_models_dir", "/srv/known"),
    ],
)
def test_environment_variables(variable: str, value: str, setting: str, expected: str) -> None:
    code = f"import transformers_foreground as t; print(t.env.{setting})"
    environment = {"SYSTEMROOT": os.environ.get("SYSTEMROOT", ""), "HOME": "/nowhere", variable: value}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == expected


def test_an_empty_endpoint_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "")
    assert Environment().remote_host == "https://huggingface.co"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other folders")
def test_the_users_folder_follows_xdg() -> None:
    code = "import transformers_foreground as t; print(t.env.user_model_path, t.env.known_models_dir)"
    environment = {"HOME": "/home/me"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout.split() == [f"/home/me/.local/share/foreground/{name}" for name in ("models", "known_models")]
    environment["XDG_DATA_HOME"] = "/data"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["/data/foreground/models", "/data/foreground/known_models"]
