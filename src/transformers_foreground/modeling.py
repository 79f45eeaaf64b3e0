"""`ORTModelForForegroundExtraction`: a foreground model as Optimum and transformers see it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from optimum.onnxruntime import ORTModel
from transformers import AutoModelForImageSegmentation, PretrainedConfig
from transformers.utils import ModelOutput

from transformers_foreground.configuration import ForegroundConfig
from transformers_foreground.errors import ForegroundError
from transformers_foreground.loading import LoadedModel, installed_device, load
from transformers_foreground.preprocessing import Processing
from transformers_foreground.processing import ForegroundImageProcessor
from transformers_foreground.sessions import Graph, forward, graph_of

# What transformers' and Optimum's factories add, and means nothing here. Code in a repository is never run.
_FACTORY_NOISE = (
    "_commit_hash",
    "_from_auto",
    "_from_pipeline",
    "adapter_kwargs",
    "attn_implementation",
    "export",
    "force_download",
    "trust_remote_code",
    "use_io_binding",
)


@dataclass
class ForegroundOutput(ModelOutput):  # type: ignore[misc]
    """What the model returns.

    Attributes:
        alpha: Foreground opacity in [0, 1], float32, shape (B, 1, h, w): torch for torch, numpy for numpy.
    """

    alpha: Any = None


class ORTModelForForegroundExtraction(ORTModel):  # type: ignore[misc]
    """ONNX model that gives one alpha plane for each picture.

    The input may have any name and the graph may have more outputs: only the first one is asked for.

    Example:
        >>> model = ORTModelForForegroundExtraction.from_pretrained("briaai/RMBG-1.4", dtype="fp16")
        >>> model(pixel_values=np.zeros((1, 3, 1024, 1024), np.float32)).alpha.shape
        (1, 1, 1024, 1024)
    """

    auto_model_class = AutoModelForImageSegmentation
    main_input_name = "pixel_values"

    def __init__(
        self,
        *,
        config: PretrainedConfig,
        session: Any,
        use_io_binding: bool | None = False,
        model_save_dir: str | Path | None = None,
        loaded: LoadedModel | None = None,
    ) -> None:
        # Numpy goes in and comes out, so there is nothing to bind.
        super().__init__(config=config, session=session, use_io_binding=False, model_save_dir=model_save_dir)
        self.graph: Graph = loaded.graph if loaded else graph_of(session, session._model_path)
        self.loaded = loaded
        if loaded is not None:
            self.path = loaded.files.onnx

    @classmethod
    def from_loaded(cls, loaded: LoadedModel) -> ORTModelForForegroundExtraction:
        """Wrap a model that `loading.load` has opened."""
        config = loaded.files.config
        if not isinstance(config, PretrainedConfig):
            config = _to_config(config, loaded.files.model_id, loaded.files.commit)
        model = cls(
            config=config,
            session=loaded.graph.session,
            model_save_dir=loaded.files.onnx.parent,
            loaded=loaded,
        )
        model.preprocessors = [ForegroundImageProcessor(**loaded.processing.to_dict())]
        return model

    @classmethod
    def from_pretrained(
        cls, model_id: str | Path, config: PretrainedConfig | Mapping[str, Any] | None = None, **kwargs: Any
    ) -> ORTModelForForegroundExtraction:
        """Load a model.

        Args:
            model_id: Repository id or folder.
            config: Used in place of `config.json`.
            kwargs: The options of `loading.load`: device, dtype, strict, subfolder, model_file_name, revision,
                cache_dir, local_files_only, token, session_options, provider_options, use_external_data_format,
                progress_callback, resampling. Optimum's `file_name` is taken too.

        Raises:
            ForegroundError: As `loading.load` says.
        """
        options = {key: value for key, value in kwargs.items() if key not in _FACTORY_NOISE}
        if "torch_dtype" in options:
            options.setdefault("dtype", options.pop("torch_dtype"))
        if "file_name" in options:
            options["model_file_name"] = options.pop("file_name").removesuffix(".onnx")
            options.setdefault("dtype", "fp32")  # the name is already the whole name
        raw = config.to_dict() if isinstance(config, PretrainedConfig) else config
        return cls.from_loaded(load(model_id, config=raw, **options))

    def forward(self, pixel_values: Any, **_: Any) -> ForegroundOutput:
        """Run the model.

        Args:
            pixel_values: float32, shape (B, 3, h, w), numpy or torch.

        Returns:
            The alpha planes, of the kind that was given.

        Raises:
            InvalidModelError: The size does not fit the graph.
        """
        if isinstance(pixel_values, torch.Tensor):
            alpha = forward(self.graph, pixel_values.detach().cpu().numpy())
            return ForegroundOutput(alpha=torch.from_numpy(alpha).to(pixel_values.device))
        return ForegroundOutput(alpha=forward(self.graph, np.asarray(pixel_values)))

    def to(self, *args: Any, **kwargs: Any) -> ORTModelForForegroundExtraction:
        """Move to a device: a name of Transformers.js, or what torch says. A dtype is ignored.

        Raises:
            UnsupportedDeviceError: The device name is unknown.
        """
        wanted = [a for a in (*args, kwargs.get("device")) if a is not None and not isinstance(a, torch.dtype)]
        if wanted:
            device = installed_device(wanted[0])
            if device.providers[0] != self.provider:
                self.session.set_providers(
                    list(device.providers), provider_options=[dict(o) for o in device.provider_options]
                )
                self.initialize_ort_attributes(self.session, use_io_binding=False)
            if self.loaded is not None:
                self.loaded = replace(self.loaded, device=device)
        return self

    @property
    def processing(self) -> Processing | None:
        """How pixels go in and the plane comes out; `None` for a model that was not made by `from_pretrained`."""
        return self.loaded.processing if self.loaded else None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what the session is opened from: each process opens its own."""
        if self.loaded is None:
            raise TypeError("Only a model from pipeline() or from_pretrained() can be pickled.")
        return type(self).from_loaded, (self.loaded,)

    def eval(self) -> ORTModelForForegroundExtraction:
        """Do nothing: a session cannot train."""
        return self

    def _save_pretrained(self, save_directory: str | Path) -> None:
        """Write the ONNX file, and weights that lie beside it, where `from_pretrained` and Transformers.js look."""
        folder = Path(save_directory) / "onnx"
        if self.loaded is None:
            self.save_session(folder)
            return
        onnx = self.loaded.files.onnx  # the session's own file may be one that was optimised for this machine
        folder.mkdir(parents=True, exist_ok=True)
        for path in [onnx, *onnx.parent.glob(f"{onnx.name}_data*")]:
            shutil.copy(path, folder / path.name)

    def dispose(self) -> None:
        """Free the session. The model cannot be called any more."""
        self.session: Any = None
        self.model: Any = None
        self.loaded = None
        self._io_binding = None
        self.graph = cast(Graph, _Disposed())


class _Disposed:
    """Stands where a graph was."""

    def __getattr__(self, name: str) -> Any:
        raise ForegroundError("This model has been disposed of. Load it again with pipeline() or from_pretrained().")


def _to_config(raw: Mapping[str, Any], model_id: str, commit: str | None) -> ForegroundConfig:
    """Hold `config.json` in the class that transformers knows for its model type."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    model_type = raw.get("model_type")
    # Not .get(), which does not see what was registered.
    known = CONFIG_MAPPING[model_type] if model_type in CONFIG_MAPPING else ForegroundConfig  # noqa: SIM401
    cls = known if issubclass(known, ForegroundConfig) else ForegroundConfig
    config: ForegroundConfig = cls.from_dict({**raw, "_commit_hash": commit})
    config._name_or_path = model_id
    return config
