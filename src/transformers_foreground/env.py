"""Settings for the whole process: the counterpart of Transformers.js' `env`.

The names are those of Transformers.js in snake_case, with the same meanings:
https://huggingface.co/docs/transformers.js/api/env

Environment variables are read once, when this module is imported: `FOREGROUND_MODEL` (`default_model`),
`FOREGROUND_MODELS` (`local_model_path`), `FOREGROUND_DEVICE` (`default_device`), `FOREGROUND_KNOWN_MODELS`
(`known_models_dir`) and `HF_ENDPOINT` (`remote_host`). The Hub's other ones (`HF_HOME`, `HF_HUB_CACHE`, `HF_TOKEN`,
`HF_HUB_OFFLINE`) keep their meaning.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from transformers_foreground.errors import UnsupportedOptionError

__version__ = "0.2.0"

DEFAULT_REMOTE_PATH_TEMPLATE: Final = "{model}/resolve/{revision}/"


class LogLevel(IntEnum):
    """How much is logged, with Transformers.js' names and numbers: `env.log_level = LogLevel.ERROR`."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40
    NONE = 50


@dataclass
class Backends:
    """Defaults for each backend.

    Attributes:
        onnx: Session options for every session, by their names on `onnxruntime.SessionOptions`
            (for example `{"intra_op_num_threads": 1}`). Options given to a call win over these.
    """

    onnx: dict[str, Any] = field(default_factory=dict)


@dataclass
class Environment:
    """Where models come from, and how much is said about it.

    Attributes:
        version: Version of this package.
        allow_local_models: Look in `local_model_path` first.
        allow_remote_models: Look in the cache and on the Hub. `False` reads no cache and opens no connection.
        local_model_path: Folder with models laid out as on the Hub (`<owner>/<name>/onnx/model.onnx`), relative to
            the working directory unless absolute. `./models/`, or what `FOREGROUND_MODELS` names.
        user_model_path: Folder that is looked in after that one, from any working directory. `foreground models fetch`
            puts models there, unless the working directory has a `models` folder or `FOREGROUND_MODELS` is set. It is
            `foreground/models` below `$XDG_DATA_HOME` (`~/.local/share`), `~/Library/Application Support` on macOS,
            `%LOCALAPPDATA%` on Windows.
        known_models_dir: Folder with YAML files of your own known models, in the form of those in `configs/`. A file
            whose id this package knows already replaces what it knows. `foreground/known_models`, in the same place as
            `user_model_path`, or what `FOREGROUND_KNOWN_MODELS` names.
        default_model: Model of the command and the page where none is named; `FOREGROUND_MODEL`.
        default_device: Device of the command and the page where none is named: `"auto"`, or what `FOREGROUND_DEVICE`
            says. `pipeline()` stays on the CPU, byte for byte.
        cache_dir: Folder of the Hugging Face cache; `None` takes `HF_HUB_CACHE`, or below `HF_HOME`.
        remote_host: Server that speaks the Hub's protocol. Starts as `HF_ENDPOINT` where that is set.
        remote_path_template: Path of a model's files on that server, with `{model}` and `{revision}`. Any other value
            than the Hub's means a server of plain files, which are kept below `mirrors` in the cache.
        max_model_bytes: Weights (the graph and its external data) that are larger are not downloaded, and raise a
            `ModelTooLargeError`. 2 GiB; `None` for no limit. What is on this machine is loaded whatever its size.
        allow_private_urls: Fetch images also from hosts that are not on the public internet (`localhost`, the local
            network). Servers that take URLs from strangers set this to `False`; a proxy is not used then.
        log_level: Level of this package's logger: a `LogLevel`, its number, or its name.
        backends: Defaults for each backend; `env.backends.onnx` are session options.
    """

    version: str = __version__
    allow_local_models: bool = True
    allow_remote_models: bool = True
    local_model_path: str | os.PathLike[str] = field(default_factory=lambda: _from("FOREGROUND_MODELS", "./models/"))
    user_model_path: str | os.PathLike[str] = field(default_factory=lambda: _user_folder() / "models")
    known_models_dir: str | os.PathLike[str] = field(
        default_factory=lambda: _from("FOREGROUND_KNOWN_MODELS", _user_folder() / "known_models")
    )
    default_model: str | None = field(default_factory=lambda: os.environ.get("FOREGROUND_MODEL") or None)
    default_device: str = field(default_factory=lambda: os.environ.get("FOREGROUND_DEVICE") or "auto")
    cache_dir: str | os.PathLike[str] | None = None
    remote_host: str = field(default_factory=lambda: _from("HF_ENDPOINT", "https://huggingface.co").rstrip("/"))
    remote_path_template: str = DEFAULT_REMOTE_PATH_TEMPLATE
    max_model_bytes: int | None = 2 * 2**30
    allow_private_urls: bool = True
    log_level: str | int = "WARNING"
    backends: Backends = field(default_factory=Backends)

    if not TYPE_CHECKING:  # a type checker then reports unknown names, too

        def __setattr__(self, name: str, value: Any) -> None:
            """Refuse unknown names, so that a camelCase spelling or a typo is not accepted in silence."""
            if name not in self.__dataclass_fields__:
                raise AttributeError(f"env has no setting {name!r}; it has: {', '.join(self.__dataclass_fields__)}.")
            if name == "backends" and isinstance(value, Mapping):
                value = Backends(**value)
            if name == "log_level":
                value = _set_level(value)
            super().__setattr__(name, value)


def _set_level(level: str | int) -> str:
    """Give the package's logger a level; return its name."""
    import logging

    names = LogLevel.__members__
    if isinstance(level, str):
        found = names.get(level.upper())
    else:
        found = next((each for each in LogLevel if each == level), None)
    if found is None:
        raise UnsupportedOptionError(f"env.log_level is {level!r}; use one of: {', '.join(names)}.")
    # NONE is CRITICAL's number, which it must keep out, too.
    logging.getLogger("transformers_foreground").setLevel(found + 1 if found is LogLevel.NONE else found)
    return found.name


def _from(variable: str, default: str | Path) -> str:
    return os.environ.get(variable) or str(default)


def _user_folder() -> Path:
    """The folder for the data of this user's programs, and this one's in it."""
    if sys.platform == "win32":
        top = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        top = "~/Library/Application Support"
    else:
        top = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(os.path.expanduser(top)) / "foreground"


env: Final = Environment()
