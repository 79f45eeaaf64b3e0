"""Models whose graph gives no foreground plane: transformers' own pipeline runs them."""

from __future__ import annotations

from typing import Any

from transformers_foreground.errors import NotForegroundError, UnsupportedTaskError
from transformers_foreground.segmenter import Segmenter


def other_pipeline(
    task: str, segmenter: Segmenter, error: NotForegroundError, *, batch_size: int, num_workers: int | None
) -> Any:
    """Build transformers' own pipeline around a model that extracts no foreground.

    Its graph runs in Optimum's `ORTModelForSemanticSegmentation` where Optimum works; else transformers loads the
    repository's own weights.

    Args:
        task: The task.
        segmenter: The model's files and device.
        error: Why it is no foreground model.
        batch_size: For the pipeline.
        num_workers: For the pipeline.

    Raises:
        UnsupportedTaskError: The task needs a foreground plane.
        NotForegroundError: transformers cannot load it either.
    """
    if task != "image-segmentation":
        raise UnsupportedTaskError(
            f"{task} needs a model with one foreground plane, and {segmenter.files.model_id} has none. Use the task "
            "image-segmentation with it."
        ) from error
    try:
        import transformers

        files = segmenter.files
        model: Any = str(files.folder)
        # trust_remote_code=False: never run a repository's code, nor ask on the terminal whether to.
        kwargs: dict[str, Any] = {"batch_size": batch_size, "num_workers": num_workers or 0}
        if onnx := _optimum_model(segmenter):
            processor = transformers.AutoImageProcessor.from_pretrained(files.folder, trust_remote_code=False)
            return transformers.ImageSegmentationPipeline(
                model=onnx, image_processor=processor, task=task, device=onnx.device, **kwargs
            )
        return transformers.pipeline(task, model, trust_remote_code=False, **kwargs)
    except (ImportError, OSError, ValueError, KeyError, RuntimeError) as why:
        raise NotForegroundError(
            f"{error} transformers cannot load it as another model either: {why} "
            "(it needs torch, and the repository's own weights or the extra [optimum])."
        ) from why


def _optimum_model(segmenter: Segmenter) -> Any:
    """Return Optimum's model around the graph; `None` where Optimum is not installed or does not work."""
    try:
        from optimum.onnxruntime import ORTModelForSemanticSegmentation
    except (ImportError, RuntimeError):
        return None
    from transformers import AutoConfig

    from transformers_foreground.runtime.sessions import create_session, session_options

    files, device = segmenter.files, segmenter.device
    options = session_options(segmenter.session_options)
    session = create_session(files.onnx, device.providers, device.provider_options, options)
    config = AutoConfig.from_pretrained(files.folder, trust_remote_code=False)
    return ORTModelForSemanticSegmentation(config=config, session=session, model_save_dir=files.onnx.parent)
