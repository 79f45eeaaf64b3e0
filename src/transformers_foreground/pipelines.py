"""The two pipeline classes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from PIL import Image
from transformers import ImageSegmentationPipeline

from transformers_foreground.asynchronous import AsyncCalls
from transformers_foreground.errors import ForegroundError, ImageError, UnsupportedOptionError, UnsupportedTaskError
from transformers_foreground.images import DecodedImage, decode
from transformers_foreground.line import Steps
from transformers_foreground.modeling import ORTModelForForegroundExtraction
from transformers_foreground.output import put_alpha, to_mask
from transformers_foreground.postprocessing import postprocess
from transformers_foreground.preprocessing import Processing, merged, preprocess
from transformers_foreground.sessions import forward, usable_cpus
from transformers_foreground.streaming import is_many, items_of, stream

SUBTASK = "foreground-extraction"

_CALL_OPTIONS = ("subtask", "resampling", "return_mask", "model_input_size", "timeout", "on_error")
# Transformers.js takes these for any segmentation model; a single alpha plane has no use for them.
_IGNORED_OPTIONS = (
    "threshold",
    "mask_threshold",
    "overlap_mask_area_threshold",
    "label_ids_to_fuse",
    "target_sizes",
)


class ForegroundExtractionPipeline(AsyncCalls, ImageSegmentationPipeline):  # type: ignore[misc]
    """transformers' `image-segmentation` pipeline with the `foreground-extraction` subtask.

    With a foreground model, each picture gives `[{"label": None, "score": None, "mask": mask}]`, where `mask` is a PIL
    image of mode "L" and of the picture's size. With any other model it is its parent, unchanged.

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
            kwargs["device"] = model.device
            # Any other default is torch's best device, which is not where the session is.
            kwargs.setdefault("framework", "pt")
        super().__init__(*args, **kwargs)
        if self.extracts_foreground:
            self.processing = merged(model.processing, getattr(self.image_processor, "processing", None))

    def check_model_type(self, supported_models: Any) -> None:
        """Skip the parent's list of classes, which cannot name ours."""
        if not self.extracts_foreground:
            super().check_model_type(supported_models)

    def _sanitize_parameters(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        subtask = kwargs.get("subtask")
        if not self.extracts_foreground:
            if subtask == SUBTASK:
                raise UnsupportedTaskError(
                    f"{self.model.config._name_or_path} does not give one foreground plane, so it has no "
                    f"subtask={SUBTASK!r}. Leave out the subtask, or use semantic, instance or panoptic."
                )
            parameters: tuple[dict[str, Any], dict[str, Any], dict[str, Any]] = super()._sanitize_parameters(**kwargs)
            return parameters
        if subtask and subtask != SUBTASK:
            raise UnsupportedTaskError(
                f"Subtask {subtask!r} is not supported: {self.model.config._name_or_path} gives one foreground plane. "
                f"Use subtask={SUBTASK!r}, or leave it out."
            )
        unknown = [key for key in kwargs if key not in (*_CALL_OPTIONS, *_IGNORED_OPTIONS)]
        if unknown:
            known = ", ".join((*_CALL_OPTIONS, "batch_size", "num_workers"))
            raise TypeError(f"Unknown option {unknown[0]!r}. The options are: {known}.")
        if kwargs.get("on_error", "raise") not in ("raise", "none", "skip"):
            raise UnsupportedOptionError(f"on_error={kwargs['on_error']!r}: use 'raise', 'none' or 'skip'.")

        def given(*keys: str) -> dict[str, Any]:
            return {key: kwargs[key] for key in keys if key in kwargs}

        return given("resampling", "model_input_size", "timeout"), given("on_error"), given("return_mask")

    def __call__(self, inputs: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Extract the foreground of one picture or of many.

        Args:
            inputs: One picture: path, URL (`http:`, `file:`, `data:`), bytes, file object, PIL image, numpy array,
                torch tensor or datasets' image dict. Or a list of pictures; or any other iterable of them, such as a
                generator, a torch dataset or a datasets column, which is read only a little ahead.
            args: Ignored, as by the parent.
            kwargs: subtask (only `"foreground-extraction"`); resampling (see `resampling.RESAMPLINGS`); return_mask
                (give the PIL mask alone); model_input_size ([height, width] or a number, for graphs of any size);
                timeout (seconds for a URL); batch_size (1); num_workers (threads, 2; 0 for none); on_error, for a
                picture that cannot be read: `"raise"`, `"none"` (give `None` in its place) or, of many, `"skip"`.

        Returns:
            For one picture `[{"label": None, "score": None, "mask": PIL "L"}]` (background removal: PIL "RGBA"), for a
            list the list of these, for an iterable an iterator over these.

        Raises:
            ImageError: A picture cannot be read; the message names it.
            UnsupportedTaskError: The subtask is not the model's.
            TypeError: An unknown option.
        """
        if not self.extracts_foreground:
            return super().__call__(inputs, *args, **kwargs)
        inputs = kwargs.pop("images", inputs)
        batch_size = _whole("batch_size", kwargs.pop("batch_size", None), self._batch_size, least=1) or 1
        workers = _whole("num_workers", kwargs.pop("num_workers", None), self._num_workers, least=0)
        before, streaming, after = self._options(kwargs)
        self.call_count += 1
        if not is_many(inputs):
            try:
                return self.postprocess(self._forward(self.preprocess(inputs, **before)), **after)
            except ImageError:
                if streaming.get("on_error") == "none":
                    return None
                raise
        outputs = self._stream(inputs, before, after, batch_size, workers, **streaming)
        return list(outputs) if isinstance(inputs, (list, tuple)) else outputs

    def _options(self, given: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Lay a call's options over the pipeline's: those before the model, of many pictures, and after it."""
        defaults = self._preprocess_params, self._forward_params, self._postprocess_params
        return [{**d, **g} for d, g in zip(defaults, self._sanitize_parameters(**given), strict=True)]

    def _steps(self, options: dict[str, Any]) -> tuple[Steps, str]:
        batch_size = _whole("batch_size", options.pop("batch_size", None), self._batch_size, least=1) or 1
        before, streaming, after = self._options(options)
        prepare, finish = partial(self.preprocess, **before), partial(self.postprocess, **after)
        return Steps(prepare, self._forward_batch, finish, batch_size), streaming.get("on_error", "raise")

    def _stream(
        self,
        inputs: Iterable[Any],
        before: Mapping[str, Any],
        after: Mapping[str, Any],
        batch_size: int,
        workers: int | None,
        on_error: str = "raise",
    ) -> Iterator[Any]:
        """Run many pictures, in order, reading only a little ahead."""
        for outcome in stream(
            items_of(inputs),
            lambda item: self.preprocess(item, **before),
            self._forward_batch,
            lambda _, outputs: self.postprocess(outputs, **after),
            batch_size=batch_size,
            workers=min(2, usable_cpus()) if workers is None else workers,
        ):
            if not isinstance(outcome, ForegroundError):
                yield outcome
            elif on_error == "raise" or not isinstance(outcome, ImageError):
                raise outcome
            elif on_error == "none":
                yield None

    def preprocess(self, image: Any, **options: Any) -> dict[str, Any]:
        """Decode a picture and make the model's input of it: `pixel_values`, float32, (1, 3, h, w)."""
        if not self.extracts_foreground:
            inputs: dict[str, Any] = super().preprocess(image, **options)
            return inputs
        processing = self._processing(options.get("resampling"), options.get("model_input_size"))
        timeout = options.get("timeout")
        decoded = decode(image) if timeout is None else decode(image, timeout=timeout)
        return {
            "pixel_values": preprocess(decoded.pixels, processing)[None],
            "image": decoded,
            "processing": processing,
        }

    def forward(self, model_inputs: dict[str, Any], **options: Any) -> dict[str, Any]:
        """Run the model, without the parent's moves between torch devices for what is numpy on both sides."""
        if self.extracts_foreground:
            return self._forward(model_inputs, **options)
        outputs: dict[str, Any] = super().forward(model_inputs, **options)
        return outputs

    def _forward(self, model_inputs: dict[str, Any], **_: Any) -> dict[str, Any]:
        if not self.extracts_foreground:
            outputs: dict[str, Any] = super()._forward(model_inputs)
            return outputs
        return self._forward_batch([model_inputs])[0]

    def _forward_batch(self, batch: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Run several pictures; those of one size go through the graph together."""
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for i, item in enumerate(batch):
            by_shape.setdefault(item["pixel_values"].shape, []).append(i)
        alphas: dict[int, Any] = {}
        for indices in by_shape.values():
            values = np.concatenate([batch[i]["pixel_values"] for i in indices])
            alphas.update(zip(indices, forward(self.model.graph, values), strict=True))
        return [{**item, "pixel_values": None, "alpha": alphas[i]} for i, item in enumerate(batch)]

    def postprocess(self, model_outputs: dict[str, Any], **options: Any) -> Any:
        """Make the result of the model's plane."""
        if not self.extracts_foreground:
            return super().postprocess(model_outputs, **options)
        image: DecodedImage = model_outputs["image"]
        alpha = model_outputs["alpha"][0]
        mask = postprocess(alpha, image.height, image.width, model_outputs["processing"])
        if options.get("return_mask"):
            return to_mask(mask)
        return self._result(image, mask)

    def _result(self, image: DecodedImage, mask: np.ndarray[Any, np.dtype[np.uint8]]) -> Any:
        return [{"label": None, "score": None, "mask": to_mask(mask)}]

    def _processing(self, resampling: str | None, size: Any) -> Processing:
        """Apply a call's own resampling and size."""
        processing: Processing = self.processing
        if resampling is not None:
            processing = replace(processing, resampling=resampling)
        if size is not None:
            height, width = _pair(size)
            graph = self.model.graph
            if (graph.height or height, graph.width or width) != (height, width):
                raise UnsupportedOptionError(
                    f"model_input_size={[height, width]}: this graph takes {[graph.height, graph.width]} only."
                )
            processing = processing.with_size(height, width)
        return processing

    def dispose(self) -> None:
        """Free the session. The pipeline cannot be called any more; a second call does nothing."""
        super().dispose()
        if self.extracts_foreground:
            self.model.dispose()

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the same bytes before and after a call, so that datasets finds what it has computed before."""
        return {**{key: value for key, value in self.__dict__.items() if key != "_lines"}, "call_count": 0}

    def __enter__(self) -> ForegroundExtractionPipeline:
        return self

    def __exit__(self, *_: object) -> None:
        self.dispose()


class BackgroundRemovalPipeline(ForegroundExtractionPipeline):
    """Transformers.js' `background-removal`: the picture with the mask as its alpha, a PIL image of mode "RGBA"."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.extracts_foreground:
            raise UnsupportedTaskError(
                f"background-removal needs a model with one foreground plane, and {self.model.config._name_or_path} "
                "has none. Use the task image-segmentation with it."
            )

    def _result(self, image: DecodedImage, mask: np.ndarray[Any, np.dtype[np.uint8]]) -> Image.Image:
        return put_alpha(image.rgb(), mask)


def _whole(name: str, given: Any, default: Any, least: int) -> int | None:
    """Return a whole number that an option gives, or its default."""
    value = default if given is None else given
    if value is not None and (not isinstance(value, int) or value < least):
        raise UnsupportedOptionError(f"{name}={value!r}: use a whole number from {least}.")
    return value


def _pair(size: Any) -> tuple[int, int]:
    """Return (height, width) of `model_input_size`; a number is a square."""
    pair = (size, size) if isinstance(size, int) else tuple(size) if isinstance(size, (list, tuple)) else ()
    if len(pair) != 2 or not all(isinstance(side, int) and side > 0 for side in pair):
        raise UnsupportedOptionError(f"model_input_size={size!r}: use [height, width], or a number for a square.")
    return pair[0], pair[1]
