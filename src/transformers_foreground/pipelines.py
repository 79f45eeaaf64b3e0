"""`pipeline()`: Transformers.js' factory, in Python. It imports neither torch nor transformers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypedDict, Unpack, overload

from PIL import Image

from transformers_foreground.calls import CallOptions, Calls
from transformers_foreground.errors import NotForegroundError, UnsupportedTaskError
from transformers_foreground.hub.known_models import DEFAULT_MODELS
from transformers_foreground.hub.progress import ProgressCallback, ready
from transformers_foreground.images.decode import ImageInput
from transformers_foreground.runtime.foreign_options import without_foreign
from transformers_foreground.segmenter import Segmenter


class Segment(TypedDict):
    """What image segmentation gives for one image.

    Attributes:
        label: Always `None`, as in Transformers.js: there is one class.
        score: Always `None`, for the same reason.
        mask: PIL image of mode "L" and of the image's size; 255 is foreground.
    """

    label: None
    score: None
    mask: Image.Image


class _Pipeline(Calls):
    """An opened model, called as in Transformers.js.

    Attributes:
        task: The task.
        segmenter: The model.
    """

    task: str

    def __init__(self, segmenter: Segmenter, call_options: CallOptions) -> None:
        self.segmenter = segmenter
        self.call_options = call_options

    @property
    def model(self) -> Segmenter:
        """The model, under the name that transformers' pipelines have for it."""
        return self.segmenter

    def save_pretrained(self, save_directory: str | Path) -> None:
        """Write the model into a folder; see `Model.save_pretrained`."""
        self.segmenter.save_pretrained(save_directory)

    @property
    def image_processor(self) -> Any:
        """The model's `ForegroundImageProcessor`; asking for it imports transformers."""
        from transformers_foreground.adapters.image_processing import ForegroundImageProcessor

        return ForegroundImageProcessor(**self.segmenter.processing.to_dict())


class ForegroundPipeline(_Pipeline):
    """`image-segmentation` with a foreground model: each image gives one segment. See `Calls.call`."""

    task = "image-segmentation"

    @overload
    def __call__(
        self, inputs: list[Any] | tuple[Any, ...], options: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> list[list[Segment]]: ...
    @overload
    def __call__(
        self, inputs: ImageInput, options: Mapping[str, Any] | None = None, *, return_mask: Literal[True], **kwargs: Any
    ) -> Image.Image: ...
    @overload
    def __call__(
        self, inputs: ImageInput, options: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> list[Segment]: ...
    @overload
    def __call__(
        self, inputs: Iterable[Any], options: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> Iterator[list[Segment]]: ...
    def __call__(self, inputs: Any = None, options: Mapping[str, Any] | None = None, **kwargs: Any) -> Any:
        """Extract the foreground of one image or of many; see `Calls.call`."""
        return self.call(inputs, options, kwargs)


class RemovalPipeline(_Pipeline):
    """`background-removal`: the image with the mask as its alpha, a PIL image of mode "RGBA". See `Calls.call`."""

    task = "background-removal"
    removes_background = True

    @overload
    def __call__(
        self, inputs: list[Any] | tuple[Any, ...], options: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> list[Image.Image]: ...
    @overload
    def __call__(self, inputs: ImageInput, options: Mapping[str, Any] | None = None, **kwargs: Any) -> Image.Image: ...
    @overload
    def __call__(
        self, inputs: Iterable[Any], options: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> Iterator[Image.Image]: ...
    def __call__(self, inputs: Any = None, options: Mapping[str, Any] | None = None, **kwargs: Any) -> Any:
        """Extract the foreground of one image or of many; see `Calls.call`."""
        return self.call(inputs, options, kwargs)


_CLASSES: Final[Mapping[str, type[_Pipeline]]] = {cls.task: cls for cls in (ForegroundPipeline, RemovalPipeline)}


class PipelineOptions(TypedDict, total=False):
    """The options of `pipeline`, which describes them."""

    device: Any
    dtype: Any
    subfolder: str
    model_file_name: str | None
    revision: str | None
    cache_dir: str | Path | None
    local_files_only: bool
    progress_callback: ProgressCallback | None
    session_options: Any
    provider_options: Mapping[str, Any] | None
    config: Mapping[str, Any] | Any
    use_external_data_format: bool | int | Mapping[str, Any] | None
    token: str | bool | None
    strict: bool
    resampling: str | None
    batch_size: int
    num_workers: int | None
    trust_remote_code: bool | None


@overload
def pipeline(
    task: Literal["image-segmentation"], model: str | Path | None = None, **options: Unpack[PipelineOptions]
) -> ForegroundPipeline: ...
@overload
def pipeline(
    task: Literal["background-removal"], model: str | Path | None = None, **options: Unpack[PipelineOptions]
) -> RemovalPipeline: ...
def pipeline(
    task: str, model: str | Path | None = None, *, batch_size: int = 1, num_workers: int | None = None, **options: Any
) -> Any:
    """Build a pipeline, as Transformers.js' `pipeline` does.

    Args:
        task: `"image-segmentation"` or `"background-removal"`.
        model: Repository id (`"briaai/RMBG-1.4"`) or a folder laid out like a repository; `None` takes the task's own
            (see `hub.known_models.DEFAULT_MODELS`).
        batch_size: Images for each run of the graph, when many are given.
        num_workers: Threads that decode and encode, when many are given.
        options: The rest, by name:

            - device: `"cpu"` (default), `"wasm"`, `"auto"`, `"gpu"`, `"webgpu"`, `"cuda"`, `"dml"`, `"coreml"`,
              `"webnn"` or `"openvino"`: see `devices.PROVIDERS`.
            - dtype: `"fp32"`, `"fp16"`, `"q8"`, ...: see `dtypes.SUFFIXES`. The default is what the model's config asks
              for, else `"q8"` on wasm and `"fp32"` elsewhere.
            - subfolder: Folder of the ONNX files in the repository, `"onnx"`.
            - model_file_name: Stem of the ONNX file; `"model"` by default.
            - revision: Branch, tag or commit; `"main"` by default.
            - cache_dir: The cache to use in place of the Hugging Face one.
            - local_files_only: Never open a connection.
            - progress_callback: Called with Transformers.js' progress events.
            - session_options: `onnxruntime.SessionOptions`, or a mapping of its attributes.
            - provider_options: Options of the device's execution provider.
            - config: Used in place of `config.json`.
            - use_external_data_format: Whether the weights lie beside the graph in `*.onnx_data`.
            - token: Token for the Hub; by default `HF_TOKEN` or the stored one.
            - strict: Raise, instead of warning and using the CPU, where the device's provider is not installed.
            - resampling: `"transformers.js"` (default), `"canvas"`, `"antialias"` or `"bria"`.

    Returns:
        The pipeline. It is a context manager, and `dispose()` frees it. A graph that gives no foreground plane is
        handed to transformers, whose own pipeline is returned.

    Raises:
        UnsupportedTaskError: Another task, or one that the model cannot do.
        ModelNotFoundError: The model is nowhere.
        ModelFileNotFoundError: The model has no file of this dtype; the message lists those that it has.
        ForegroundError: The other errors in `errors`.
        TypeError: There is no such option.

    Examples:
        >>> segmenter = pipeline("image-segmentation", "briaai/RMBG-1.4", device="wasm")
        >>> result = segmenter("photo.jpg", subtask="foreground-extraction")
        >>> result[0]["mask"].save("mask.png")
    """
    if task not in _CLASSES:
        raise UnsupportedTaskError(f"Unsupported task: {task!r}. Use one of: {', '.join(_CLASSES)}.")
    model = DEFAULT_MODELS[task] if model is None else model
    call_options = CallOptions().updated({"batch_size": batch_size, "num_workers": num_workers}, str(model))
    options = without_foreign(options)
    progress_callback = options.get("progress_callback")
    segmenter = Segmenter(model, num_workers=call_options.num_workers, **options)
    try:
        segmenter.open()
    except NotForegroundError as error:
        from transformers_foreground.adapters.other_models import other_pipeline

        result = other_pipeline(task, segmenter, error, batch_size=batch_size, num_workers=num_workers)
    else:
        result = _CLASSES[task](segmenter, call_options)
    ready(progress_callback, task, str(model))
    return result
