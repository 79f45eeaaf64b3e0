"""`ForegroundConfig`: a model's `config.json`, as transformers holds it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import PretrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from transformers_foreground.runtime.model import REMOTE_CODE

FOREGROUND_MODEL_TYPE = "foreground-extraction"


class ForegroundConfig(PretrainedConfig):  # type: ignore[misc]
    """Configuration of a model that gives one alpha plane.

    It holds whatever `config.json` says, except `auto_map` and `custom_pipelines`: these point at code in the
    repository, which is never run.
    """

    model_type = FOREGROUND_MODEL_TYPE

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Build a configuration from parsed JSON; see `PretrainedConfig.from_dict`."""
        harmless = {key: value for key, value in config_dict.items() if key not in REMOTE_CODE}
        if "torch_dtype" in harmless:  # the older name, of which transformers warns
            harmless["dtype"] = harmless.pop("torch_dtype")
        # Here a dtype names a file ("q8"), which transformers would look up in torch.
        dtype = {key: kwargs.pop(key) for key in ("dtype", "torch_dtype") if key in kwargs}
        result = super().from_dict(harmless, **kwargs)
        if isinstance(result, tuple):
            config, unused = result
            return config, {**unused, **dtype}
        return result


def config_class(model_type: str) -> type[ForegroundConfig]:
    """Return a configuration class for one more `model_type`.

    transformers registers a class for one `model_type` only, and asks that it bears the name that the model class
    expects; so these are subclasses of the same name.
    """
    if model_type == ForegroundConfig.model_type:
        return ForegroundConfig
    return type(ForegroundConfig.__name__, (ForegroundConfig,), {"model_type": model_type, "__module__": __name__})


def to_config(raw: Mapping[str, Any], model_id: str, commit: str | None) -> ForegroundConfig:
    """Hold `config.json` in the class that transformers knows for its model type, if that is one of ours.

    Args:
        raw: The parsed file.
        model_id: Where it came from.
        commit: Its commit, of a model from the Hub.
    """
    model_type = raw.get("model_type")
    # Not .get(), which does not see what was registered.
    known = CONFIG_MAPPING[model_type] if model_type in CONFIG_MAPPING else ForegroundConfig  # noqa: SIM401
    cls = known if issubclass(known, ForegroundConfig) else ForegroundConfig
    config: ForegroundConfig = cls.from_dict({**raw, "_commit_hash": commit})
    config._name_or_path = model_id
    return config
