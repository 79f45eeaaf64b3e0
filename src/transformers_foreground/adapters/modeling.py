"""`ORTModelForForegroundExtraction`: a foreground model as transformers and Optimum see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from transformers import PretrainedConfig
from transformers.utils import ModelOutput

from transformers_foreground.adapters.configuration import ForegroundConfig, to_config
from transformers_foreground.adapters.image_processing import ForegroundImageProcessor
from transformers_foreground.errors import ForegroundError
from transformers_foreground.runtime.foreign_options import NEEDLESS
from transformers_foreground.runtime.graphs import Graph, graph_of
from transformers_foreground.runtime.model import copy_weights
from transformers_foreground.runtime.sessions import forward
from transformers_foreground.segmenter import Segmenter

if TYPE_CHECKING:
    from transformers_foreground.runtime.processing import Processing

try:  # a true ORTModel where Optimum can be had; optimum-onnx 0.1.0 fails to import beside transformers 5
    from optimum.onnxruntime import ORTModel
except (ImportError, RuntimeError):
    from transformers_foreground.adapters.standalone import StandaloneModel as ORTModel

# Options that transformers' and Optimum's factories add by themselves.
_FACTORY_NOISE = (
    "_commit_hash",
    "_from_auto",
    "_from_pipeline",
    "adapter_kwargs",
    "export",
    "force_download",
    "output_loading_info",
    "use_io_binding",
)


@dataclass
class ForegroundOutput(ModelOutput):  # type: ignore[misc]
    """The output of the model.

    Attributes:
        alpha: Foreground opacity in [0, 1], float32, shape (B, 1, h, w): torch for torch, numpy for numpy.
    """

    alpha: Any = None


class ORTModelForForegroundExtraction(ORTModel):  # type: ignore[misc]
    """ONNX model that gives one alpha plane for each image.

    The graph's input may have any name; of its outputs only the first is computed. The class is an
    `optimum.onnxruntime.ORTModel` where Optimum is installed and works.

    Examples:
        >>> model = ORTModelForForegroundExtraction.from_pretrained("briaai/RMBG-1.4", dtype="fp16")
        >>> model(pixel_values=np.zeros((1, 3, 1024, 1024), np.float32)).alpha.shape
        (1, 1, 1024, 1024)
    """

    main_input_name = "pixel_values"

    def __init__(
        self,
        *,
        config: PretrainedConfig,
        session: Any,
        use_io_binding: bool | None = False,
        model_save_dir: str | Path | None = None,
        segmenter: Segmenter | None = None,
    ) -> None:
        # Numpy goes in and comes out, so there is nothing to bind.
        super().__init__(config=config, session=session, use_io_binding=False, model_save_dir=model_save_dir)
        self.segmenter = segmenter
        self._graph: Graph | None = None if segmenter else graph_of(session, session._model_path)
        if segmenter is not None:
            self.path = segmenter.files.onnx

    @classmethod
    def from_segmenter(cls, segmenter: Segmenter) -> ORTModelForForegroundExtraction:
        """Wrap an engine that is open already."""
        files = segmenter.files
        config = files.config
        if not isinstance(config, PretrainedConfig):
            config = to_config(config, files.model_id, files.commit)
        session = segmenter.graph.session
        model = cls(config=config, session=session, model_save_dir=files.onnx.parent, segmenter=segmenter)
        model.preprocessors = [ForegroundImageProcessor(**segmenter.processing.to_dict())]
        return model

    @classmethod
    def from_pretrained(
        cls, model_id: str | Path, config: PretrainedConfig | Mapping[str, Any] | None = None, **kwargs: Any
    ) -> ORTModelForForegroundExtraction:
        """Load a model.

        Args:
            model_id: Repository id or folder.
            config: Replaces `config.json`.
            kwargs: The options of `Segmenter`: device, dtype, strict, subfolder, model_file_name, revision,
                cache_dir, local_files_only, token, session_options, provider_options, use_external_data_format,
                progress_callback, resampling. Optimum's `file_name` is taken too.

        Raises:
            ForegroundError: As `Segmenter` says.
        """
        options = {key: value for key, value in kwargs.items() if key not in (*NEEDLESS, *_FACTORY_NOISE)}
        if "torch_dtype" in options:
            options.setdefault("dtype", options.pop("torch_dtype"))
        if "file_name" in options:
            options["model_file_name"] = options.pop("file_name").removesuffix(".onnx")
            options.setdefault("dtype", "fp32")  # the name is complete: no suffix of a dtype
        raw = config.to_dict() if isinstance(config, PretrainedConfig) else config
        return cls.from_segmenter(Segmenter(model_id, config=raw, **options).open())

    @property
    def graph(self) -> Graph:
        """How to call the session."""
        graph = self.segmenter.graph if self.segmenter else self._graph
        if graph is None:
            raise ForegroundError("This model has been disposed of. Load it again with from_pretrained().")
        return graph

    def forward(self, pixel_values: Any, **_: Any) -> ForegroundOutput:
        """Run the model.

        Args:
            pixel_values: float32, shape (B, 3, h, w), numpy or torch.

        Returns:
            The alpha planes, of the kind that was given.

        Raises:
            InvalidModelError: The size does not fit the graph.
        """
        run = self.segmenter.forward if self.segmenter else partial(forward, self.graph)
        if hasattr(pixel_values, "detach"):
            import torch

            alpha = run(pixel_values.detach().cpu().float().numpy())
            return ForegroundOutput(alpha=torch.from_numpy(alpha).to(pixel_values.device))
        return ForegroundOutput(alpha=run(np.asarray(pixel_values)))

    def to(self, *args: Any, **kwargs: Any) -> ORTModelForForegroundExtraction:
        """Move to a device: a name of Transformers.js, or a torch device. A dtype is ignored.

        Raises:
            UnsupportedDeviceError: The device name is unknown.
        """
        given = [value for value in (*args, kwargs.get("device")) if value is not None]
        wanted = [value for value in given if type(value).__name__ != "dtype"]  # torch's
        if wanted and self.segmenter is not None:
            self.segmenter.to(wanted[0])
            self.session = self.segmenter.graph.session
            if hasattr(self, "initialize_ort_attributes"):
                self.initialize_ort_attributes(self.session, use_io_binding=False)
        return self

    @property
    def processing(self) -> Processing | None:
        """How pixels go in and the plane comes out; `None` for a model that was not made by `from_pretrained`."""
        return self.segmenter.processing if self.segmenter else None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the model without its session: each process opens its own."""
        if self.segmenter is None:
            raise TypeError("Only a model from from_pretrained() can be pickled.")
        return type(self).from_segmenter, (self.segmenter,)

    def eval(self) -> ORTModelForForegroundExtraction:
        """Do nothing: a session cannot train."""
        return self

    def _save_pretrained(self, save_directory: str | Path) -> None:
        """Write the ONNX file, and weights that lie beside it, where `from_pretrained` and Transformers.js look."""
        folder = Path(save_directory) / "onnx"
        if self.segmenter is None:
            self.save_session(folder)
            return
        folder.mkdir(parents=True, exist_ok=True)
        # The session's own file may be one that was optimised for this machine.
        copy_weights(self.segmenter.files, folder)

    def dispose(self) -> None:
        """Free the session. The model cannot be called any more."""
        self.session = self.model = None
        self._io_binding = None
        self._graph = None
        if self.segmenter is not None:
            self.segmenter.dispose()


if hasattr(ORTModel, "auto_model_class"):
    from transformers import AutoModelForImageSegmentation

    ORTModelForForegroundExtraction.auto_model_class = AutoModelForImageSegmentation

__all__ = ["ForegroundConfig", "ForegroundOutput", "ORTModelForForegroundExtraction"]
