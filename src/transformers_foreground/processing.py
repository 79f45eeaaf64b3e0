"""`ForegroundImageProcessor`: preprocess and postprocess behind transformers' image-processor interface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from PIL import Image
from transformers.image_processing_utils import BaseImageProcessor, BatchFeature

from transformers_foreground.images import ImageInput, decode
from transformers_foreground.postprocessing import postprocess
from transformers_foreground.preprocessing import Processing, flatten, preprocess


class ForegroundImageProcessor(BaseImageProcessor):  # type: ignore[misc]
    """Image processor for foreground extraction.

    Args:
        kwargs: The fields of `preprocessing.Processing`, which are the keys of `preprocessor_config.json`. Other keys
            are kept and saved again, but do nothing.

    Raises:
        UnsupportedOptionError: A size or a resampling that is not known.

    Example:
        >>> processor = ForegroundImageProcessor(size={"width": 320, "height": 320})
        >>> processor("photo.jpg")["pixel_values"].shape
        (1, 3, 320, 320)
    """

    model_input_names = ["pixel_values"]  # noqa: RUF012 (transformers declares it so)

    def __init__(self, **kwargs: Any) -> None:
        self.processing = Processing.from_dict(kwargs)
        super().__init__(**{**kwargs, **self.processing.to_dict()})

    @classmethod
    def from_dict(cls, image_processor_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Build a processor from parsed JSON, also of the older layout that nests the keys under `"config"`."""
        flat = {key: value for key, value in flatten(image_processor_dict).items() if key != "config"}
        known = {f.name for f in fields(Processing)}
        overrides = {key: kwargs.pop(key) for key in list(kwargs) if key in known}
        return super().from_dict({**flat, **overrides}, **kwargs)

    def to_dict(self) -> dict[str, Any]:
        """Return what `save_pretrained` writes."""
        saved: dict[str, Any] = super().to_dict()
        saved.pop("processing", None)
        saved.pop("feature_extractor_type", None)  # Transformers.js' name for what image_processor_type says
        return {**saved, **self.processing.to_dict()}

    def preprocess(
        self, images: ImageInput | list[ImageInput], return_tensors: str | None = None, **_: Any
    ) -> BatchFeature:
        """Turn pictures into a model's input.

        Args:
            images: One picture or a list: anything that `images.decode` takes.
            return_tensors: `"np"` (default) or `"pt"`.

        Returns:
            `pixel_values` (float32, (B, 3, h, w)), `original_sizes` and `reshaped_input_sizes` (each B pairs of
            height and width), as in Transformers.js.

        Raises:
            ImageError: A picture cannot be read.
        """
        decoded = [decode(image) for image in (images if isinstance(images, list) else [images])]
        arrays = [preprocess(image.pixels, self.processing) for image in decoded]
        features = BatchFeature({"pixel_values": np.stack(arrays)}, tensor_type=return_tensors)
        features["original_sizes"] = [(image.height, image.width) for image in decoded]
        features["reshaped_input_sizes"] = [array.shape[1:] for array in arrays]
        return features

    def post_process_foreground_extraction(
        self, outputs: Any, target_sizes: Sequence[tuple[int, int]]
    ) -> list[Image.Image]:
        """Turn a model's output into masks.

        Args:
            outputs: What the model returned; `outputs.alpha` has shape (B, 1, h, w), values in [0, 1].
            target_sizes: (height, width) of each picture.

        Returns:
            One PIL image of mode "L" for each picture; 255 is foreground.
        """
        planes = np.asarray(outputs.alpha, np.float32)
        return [
            Image.fromarray(postprocess(plane[0], height, width, self.processing))
            for plane, (height, width) in zip(planes, target_sizes, strict=True)
        ]


class ImageImageProcessor(ForegroundImageProcessor):
    """The name that transformers makes of Transformers.js' `"feature_extractor_type": "ImageFeatureExtractor"`."""

    @classmethod
    def from_dict(cls, image_processor_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Build a `ForegroundImageProcessor`, so that this name is never saved."""
        return ForegroundImageProcessor.from_dict(image_processor_dict, **kwargs)
