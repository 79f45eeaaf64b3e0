"""`pipeline()`: Transformers.js' factory, in Python."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import PretrainedConfig

from transformers_foreground.devices import Device
from transformers_foreground.errors import UnsupportedTaskError
from transformers_foreground.loading import LoadedModel, installed_device, open_graph, processing_of
from transformers_foreground.model_files import ModelFiles, load_files
from transformers_foreground.modeling import ORTModelForForegroundExtraction
from transformers_foreground.pipelines import BackgroundRemovalPipeline, ForegroundExtractionPipeline
from transformers_foreground.progress import ProgressCallback, ready
from transformers_foreground.registration import register
from transformers_foreground.sessions import create_session
from transformers_foreground.sessions import session_options as make_session_options

_CLASSES: Mapping[str, type[ForegroundExtractionPipeline]] = {
    "image-segmentation": ForegroundExtractionPipeline,
    "background-removal": BackgroundRemovalPipeline,
}


def pipeline(
    task: str,
    model: str | Path = "briaai/RMBG-1.4",
    *,
    device: Any = None,
    dtype: Any = None,
    subfolder: str = "onnx",
    model_file_name: str | None = None,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    progress_callback: ProgressCallback | None = None,
    session_options: Any = None,
    provider_options: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | PretrainedConfig | None = None,
    use_external_data_format: bool | int | Mapping[str, Any] | None = None,
    token: str | bool | None = None,
    strict: bool = False,
    resampling: str | None = None,
    batch_size: int = 1,
    num_workers: int | None = None,
) -> ForegroundExtractionPipeline:
    """Build a pipeline, as Transformers.js' `pipeline` does.

    Args:
        task: `"image-segmentation"` or `"background-removal"`.
        model: Repository id (`"briaai/RMBG-1.4"`) or a folder laid out like a repository.
        device: `"cpu"` (default), `"wasm"`, `"auto"`, `"gpu"`, `"webgpu"`, `"cuda"`, `"dml"`, `"coreml"`,
            `"webnn"` or `"openvino"`: see `devices.PROVIDERS`.
        dtype: `"fp32"`, `"fp16"`, `"q8"`, ...: see `dtypes.SUFFIXES`. The default is what the model's config asks for,
            else `"q8"` on wasm and `"fp32"` elsewhere.
        subfolder: Folder of the ONNX files in the repository.
        model_file_name: Stem of the ONNX file; `"model"` by default.
        revision: Branch, tag or commit; `"main"` by default.
        cache_dir: The cache to use in place of the Hugging Face one.
        local_files_only: Never open a connection.
        progress_callback: Called with Transformers.js' progress events.
        session_options: `onnxruntime.SessionOptions`, or a mapping of its attributes.
        provider_options: Options of the device's execution provider.
        config: Used in place of `config.json`.
        use_external_data_format: Whether the weights lie beside the graph in `*.onnx_data`.
        token: Token for the Hub; by default `HF_TOKEN` or the stored one.
        strict: Raise, instead of warning and using the CPU, where the device's provider is not installed.
        resampling: `"transformers.js"` (default), `"canvas"`, `"antialias"` or `"bria"`.
        batch_size: Pictures for each run of the graph, when many are given.
        num_workers: Threads that decode and encode, when many are given.

    Returns:
        The pipeline. It is a context manager, and `dispose()` frees it.

    Raises:
        UnsupportedTaskError: Another task, or one that the model cannot do.
        ModelNotFoundError: The model is nowhere.
        ModelFileNotFoundError: The model has no file of this dtype; the message lists those that it has.
        ForegroundError: The other errors in `errors`.

    Example:
        >>> segmenter = pipeline("image-segmentation", "briaai/RMBG-1.4", device="wasm")
        >>> result = segmenter("photo.jpg", subtask="foreground-extraction")
        >>> result[0]["mask"].save("mask.png")
    """
    if task not in _CLASSES:
        raise UnsupportedTaskError(f"Unsupported task: {task!r}. Use one of: {', '.join(_CLASSES)}.")
    register()
    resolved = installed_device(device, strict=strict, provider_options=provider_options)
    files = load_files(
        model,
        device=resolved.name,
        dtype=dtype,
        subfolder=subfolder,
        model_file_name=model_file_name,
        revision=revision,
        cache_dir=cache_dir,
        local_files_only=local_files_only,
        token=token,
        config=config.to_dict() if isinstance(config, PretrainedConfig) else config,
        use_external_data_format=use_external_data_format,
        progress_callback=progress_callback,
    )
    cls, options = _CLASSES[task], {"batch_size": batch_size, "num_workers": num_workers}
    with _without_device_notice():
        if _is_semantic(files.config):
            result = _semantic(task, files, resolved, session_options, **options)
        else:
            graph = open_graph(files.onnx, resolved, session_options)
            loaded = LoadedModel(files, resolved, graph, processing_of(files, graph, resampling), session_options)
            ort_model = ORTModelForForegroundExtraction.from_loaded(loaded)
            result = cls(model=ort_model, image_processor=ort_model.preprocessors[0], task=task, **options)
    ready(progress_callback, task, str(model))
    return result


def _is_semantic(config: Mapping[str, Any]) -> bool:
    """Whether transformers knows the model type as one of semantic segmentation."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES

    return config.get("model_type") in MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES


def _semantic(
    task: str, files: ModelFiles, device: Device, options: Any, **kwargs: Any
) -> ForegroundExtractionPipeline:
    """Build the parent's pipeline around Optimum's model for semantic segmentation."""
    from optimum.onnxruntime import ORTModelForSemanticSegmentation
    from transformers import AutoConfig, AutoImageProcessor

    config = AutoConfig.from_pretrained(files.folder)
    session = create_session(files.onnx, device.providers, device.provider_options, make_session_options(options))
    model = ORTModelForSemanticSegmentation(config=config, session=session, model_save_dir=files.onnx.parent)
    return _CLASSES[task](
        model=model,
        image_processor=AutoImageProcessor.from_pretrained(files.folder),
        framework="pt",
        task=task,
        device=model.device,
        **kwargs,
    )


@contextmanager
def _without_device_notice() -> Iterator[None]:
    """Keep transformers from announcing torch's device, which is not where an ONNX session runs."""
    logger = logging.getLogger("transformers.pipelines.base")

    def is_other(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("Device set to use")

    logger.addFilter(is_other)
    try:
        yield
    finally:
        logger.removeFilter(is_other)
