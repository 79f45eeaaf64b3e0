"""Settings for the whole process: the counterpart of Transformers.js' `env`.

The names are those of Transformers.js in snake_case, with the same meanings:
https://huggingface.co/docs/transformers.js/api/env
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

__version__ = "0.1.0"

DEFAULT_REMOTE_PATH_TEMPLATE: Final = "{model}/resolve/{revision}/"


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
            the working directory unless absolute.
        cache_dir: Folder of the Hugging Face cache; `None` takes `HF_HUB_CACHE`, or below `HF_HOME`.
        remote_host: Server that speaks the Hub's protocol. Starts as `HF_ENDPOINT` where that is set.
        remote_path_template: Path of a model's files on that server, with `{model}` and `{revision}`. Any other value
            than the Hub's means a server of plain files, which are kept below `mirrors` in the cache.
        max_model_bytes: Weights (the graph and its external data) that are larger are not downloaded, and raise a
            `ModelTooLargeError`. 2 GiB; `None` for no limit. What is on this machine is loaded whatever its size.
        allow_private_urls: Fetch pictures also from hosts that are not on the public internet (`localhost`, the local
            network). Servers that take URLs from strangers set this to `False`; a proxy is not used then.
        log_level: Level of this package's logger, by its name in `logging`.
        backends: Defaults for each backend; `env.backends.onnx` are session options.
    """

    version: str = __version__
    allow_local_models: bool = True
    allow_remote_models: bool = True
    local_model_path: str | os.PathLike[str] = "./models/"
    cache_dir: str | os.PathLike[str] | None = None
    remote_host: str = field(
        default_factory=lambda: os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    )
    remote_path_template: str = DEFAULT_REMOTE_PATH_TEMPLATE
    max_model_bytes: int | None = 2 * 2**30
    allow_private_urls: bool = True
    log_level: str = "WARNING"
    backends: Backends = field(default_factory=Backends)

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse unknown names, so that a camelCase spelling or a typo is not accepted in silence."""
        if name not in self.__dataclass_fields__:
            raise AttributeError(f"env has no setting {name!r}; it has: {', '.join(self.__dataclass_fields__)}.")
        if name == "backends" and isinstance(value, Mapping):
            value = Backends(**value)
        if name == "log_level":
            import logging

            value = value.upper()
            logging.getLogger("transformers_foreground").setLevel(value)
        super().__setattr__(name, value)


env: Final = Environment()
