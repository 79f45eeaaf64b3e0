"""transformers' pipelines with the subtask `foreground-extraction`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from transformers import ImageSegmentationPipeline

from transformers_foreground.adapters.modeling import ORTModelForForegroundExtraction
from transformers_foreground.calls import SUBTASK, CallOptions, Calls
from transformers_foreground.errors import UnsupportedTaskError
from transformers_foreground.runtime.processing import merged
from transformers_foreground.segmenter import Prepared, Segmenter


class ForegroundExtractionPipeline(Calls, ImageSegmentationPipeline):  # type: ignore[misc]
    """transformers' `image-segmentation` pipeline with the `foreground-extraction` subtask.

    With a foreground model it is called as `calls.Calls` says. With any other model it is its parent, unchanged.

    Args:
        args: Model and the rest, as for the parent.
        kwargs: As for the parent, and as defaults for every call: subtask, resampling, return_mask, model_input_size,
            timeout, on_error.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        model = kwargs["model"] if "model" in kwargs else args[0]
        self.extracts_foreground = isinstance(model, ORTModelForForegroundExtraction)
        if self.extracts_foreground:
            if kwargs.get("device") is not None:
                model.to(kwargs["device"])
            kwargs["device"] = model.device  # any other default is torch's best, which is not where the session is
            self.segmenter: Segmenter = model.segmenter
            self.call_options = CallOptions()
        super().__init__(*args, **kwargs)
        if self.extracts_foreground:
            counts = {"batch_size": self._batch_size, "num_workers": self._num_workers}
            self.call_options = self.call_options.updated(counts, self.segmenter.files.model_id)

    def check_model_type(self, supported_models: Any) -> None:
        """Skip the parent's check against a list of classes, which cannot hold ours."""
        if not self.extracts_foreground:
            super().check_model_type(supported_models)

    def _sanitize_parameters(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        if self.extracts_foreground:
            self.call_options = self.call_options.updated(kwargs, self.segmenter.files.model_id)
            return {}, {}, {}
        if kwargs.get("subtask") == SUBTASK:
            raise UnsupportedTaskError(
                f"{self.model.config._name_or_path} does not give one foreground plane, so it has no "
                f"subtask={SUBTASK!r}. Leave out the subtask, or use semantic, instance or panoptic."
            )
        parameters: tuple[dict[str, Any], dict[str, Any], dict[str, Any]] = super()._sanitize_parameters(**kwargs)
        return parameters

    def __call__(self, inputs: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Extract the foreground as `Calls.call` says; another model is called as its own pipeline would be."""
        if self.extracts_foreground:
            return self.call(inputs, args[0] if args else None, kwargs)
        return ImageSegmentationPipeline.__call__(self, inputs, *args, **kwargs)

    async def acall(self, inputs: Any = None, *args: Any, **kwargs: Any) -> Any:
        """See `Calls.acall`."""
        if self.extracts_foreground:
            return await Calls.acall(self, inputs, *args, **kwargs)
        import asyncio

        return await asyncio.to_thread(self, inputs, *args, **kwargs)

    def preprocess(self, image: Any, **options: Any) -> Any:
        """Decode an image and make the model's input of it."""
        if not self.extracts_foreground:
            return super().preprocess(image, **options)
        return {"prepared": self.segmenter.prepare(image, **self._processed(self.call_options).prepare)}

    def _given(self, inputs: Any, options: Any, kwargs: dict[str, Any]) -> tuple[Any, CallOptions]:
        given, call = super()._given(inputs, options, kwargs)
        return given, self._processed(call)

    def _processed(self, call: CallOptions) -> CallOptions:
        """Use the pipeline's own image processor, as it is now: other pipelines may share the model."""
        own = getattr(self.image_processor, "processing", None)
        return replace(call, prepare={**call.prepare, "processing": merged(self.segmenter.processing, own)})

    def _forward(self, model_inputs: dict[str, Any], **options: Any) -> Any:
        if not self.extracts_foreground:
            return super()._forward(model_inputs, **options)
        prepared: Prepared = model_inputs["prepared"]
        return {"ran": self.segmenter.run([prepared])[0]}

    def postprocess(self, model_outputs: dict[str, Any], **options: Any) -> Any:
        """Make the result of the model's plane."""
        if not self.extracts_foreground:
            return super().postprocess(model_outputs, **options)
        return self._result(self.call_options, self.segmenter.finish(model_outputs["ran"]))

    def dispose(self) -> None:
        """Free the session. The pipeline cannot be called any more; a second call does nothing."""
        if self.extracts_foreground:
            self.model.dispose()

    def _wait(self) -> None:
        if self.extracts_foreground:
            super()._wait()

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the same bytes before and after a call, so that datasets finds what it has computed before."""
        return {**self.__dict__, "call_count": 0}


class BackgroundRemovalPipeline(ForegroundExtractionPipeline):
    """Transformers.js' `background-removal`: the image with the mask as its alpha, a PIL image of mode "RGBA"."""

    removes_background = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.extracts_foreground:
            raise UnsupportedTaskError(
                f"background-removal needs a model with one foreground plane, and {self.model.config._name_or_path} "
                "has none. Use the task image-segmentation with it."
            )
