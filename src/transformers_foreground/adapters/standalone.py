"""Stands in for Optimum's `ORTModel` where Optimum is not installed, or does not work."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class StandaloneModel:
    """The part of `optimum.onnxruntime.ORTModel` that transformers' pipelines use.

    Args:
        config: The model's configuration.
        session: An `onnxruntime.InferenceSession`.
        use_io_binding: Ignored.
        model_save_dir: The folder of the ONNX file.
    """

    hf_device_map = None
    input_modalities = ("image",)

    def __init__(
        self, *, config: Any, session: Any, use_io_binding: bool | None = False, model_save_dir: Any = None
    ) -> None:
        self.config, self.session, self.model_save_dir = config, session, model_save_dir
        self.preprocessors: list[Any] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the model; see `forward`."""
        return self.forward(*args, **kwargs)  # type: ignore[attr-defined]

    @property
    def device(self) -> Any:
        """The tensors' device: the CPU, since numpy goes in and comes out; a `torch.device` if torch is installed."""
        try:
            import torch
        except ImportError:
            return "cpu"
        return torch.device("cpu")

    @property
    def dtype(self) -> Any:
        """The tensors' type."""
        return "float32"

    def can_generate(self) -> bool:
        """Whether it generates text: no."""
        return False

    def save_pretrained(self, save_directory: str | Path, **_: Any) -> None:
        """Write the configuration, the image processor and the ONNX file.

        Args:
            save_directory: The folder; it is created.
        """
        Path(save_directory).mkdir(parents=True, exist_ok=True)
        for part in (self.config, *self.preprocessors):
            part.save_pretrained(save_directory)
        self._save_pretrained(save_directory)  # type: ignore[attr-defined]
