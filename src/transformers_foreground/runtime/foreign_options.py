"""Options of other libraries that mean nothing here, or have another name."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

_logger = logging.getLogger(__name__)

NEEDLESS: Final[Mapping[str, str]] = {
    "attn_implementation": "the graph is as it was exported",
    "code_revision": "no code of a repository is ever run",
    "device_map": "one session runs the whole graph; device= chooses where",
    "feature_extractor": "preprocessor_config.json says how pixels go in",
    "framework": "ONNX Runtime runs the graph",
    "low_cpu_mem_usage": "ONNX Runtime maps the file",
    "max_memory": "one session runs the whole graph",
    "offload_folder": "one session runs the whole graph",
    "quantization_config": "dtype= chooses a file that is quantised already",
    "trust_remote_code": "no code of a repository is ever run",
    "use_fast": "there is one image processor",
    "use_safetensors": "the weights are in the ONNX file",
}
"""Options that have no effect here, and why."""

_RENAMED: Final = {"torch_dtype": "dtype", "providers": "device", "file_name": "model_file_name"}


def without_foreign(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a caller's options without those that mean nothing here, which are named in a warning.

    Raises:
        TypeError: An option has another name here, or `config` is no configuration.
    """
    for name, ours in _RENAMED.items():
        if options.get(name) is not None:
            raise TypeError(f"There is no option {name!r} here: use {ours}=.")
    needless = [name for name in NEEDLESS if options.get(name) is not None]
    if needless:
        _logger.warning("Ignored: %s.", "; ".join(f"{name} ({NEEDLESS[name]})" for name in needless))
    kept = {name: value for name, value in options.items() if name not in (*NEEDLESS, *_RENAMED)}
    config: Any = kept.get("config")
    if hasattr(config, "to_dict"):
        return {**kept, "config": config.to_dict()}
    if config is not None and not isinstance(config, Mapping):
        raise TypeError(f"config={config!r}: give the contents of a config.json, as a mapping or a PretrainedConfig.")
    return kept
