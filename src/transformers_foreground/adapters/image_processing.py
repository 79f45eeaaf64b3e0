"""`ForegroundImageProcessor`: preprocess and postprocess behind transformers' image-processor interface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from PIL import Image
from transformers.image_processing_utils import BaseImageProcessor, BatchFeature

from transformers_foreground.images.decode import ImageInput, decode
from transformers_foreground.runtime.postprocessing import postprocess
from transformers_foreground.runtime.preprocessing import reshape, to_values
from transformers_foreground.runtime.preprocessor_config import flatten
from transformers_foreground.runtime.processing import Processing


class ForegroundImageProcessor(BaseImageProcessor):  # type: ignore[misc]
    """Image processor for foreground extraction.

    Args:
        kwargs: The fields of `processing.Processing`, which are the keys of `preprocessor_config.json`. Other keys
            are kept and saved again, but do nothing.

    Raises:
        UnsupportedOptionError: A size or a resampling is unknown.

    Examples:
        >>> processor = ForegroundImageProcessor(size={"width": 320, "height": 320})
        >>> processor("photo.jpg")["pixel_values"].shape
        (1, 3, 320, 320)
    """

    model_input_names = ["pixel_values"]  # noqa: RUF012 (transformers declares it so)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, **Processing.from_dict(kwargs).to_dict()})

    @property
    def processing(self) -> Processing:
        """How pixels go in and the plane comes out, by the attributes as they are now."""
        return Processing.from_dict({f.name: getattr(self, f.name) for f in fields(Processing)})

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
        # Transformers.js knows only its own classes; transformers makes `ImageImageProcessor` of this name.
        saved.pop("image_processor_type", None)
        saved["feature_extractor_type"] = "ImageFeatureExtractor"
        return {**saved, **self.processing.to_dict()}

    def preprocess(
        self, images: ImageInput | list[ImageInput], return_tensors: str | None = None, **_: Any
    ) -> BatchFeature:
        """Turn images into a model's input.

        Args:
            images: One image or a list: anything that `images.decode` takes.
            return_tensors: `"np"` (default) or `"pt"`.

        Returns:
            `pixel_values` (float32, (B, 3, h, w)), `original_sizes` and `reshaped_input_sizes` (each B pairs of
            height and width; the latter before padding), as in Transformers.js.

        Raises:
            ImageError: An image cannot be read.
        """
        decoded = [decode(image) for image in (images if isinstance(images, list) else [images])]
        reshaped = [reshape(image.pixels, self.processing) for image in decoded]
        arrays = [to_values(rgb, self.processing) for rgb in reshaped]
        features = BatchFeature({"pixel_values": np.stack(arrays)}, tensor_type=return_tensors)
        features["original_sizes"] = [(image.height, image.width) for image in decoded]
        features["reshaped_input_sizes"] = [rgb.shape[:2] for rgb in reshaped]
        return features

    def post_process_foreground_extraction(
        self, outputs: Any, target_sizes: Sequence[tuple[int, int]]
    ) -> list[Image.Image]:
        """Turn a model's output into masks.

        Args:
            outputs: What the model returned; `outputs.alpha` has shape (B, 1, h, w), values in [0, 1].
            target_sizes: (height, width) of each image.

        Returns:
            One PIL image of mode "L" for each image; 255 is foreground.
        """
        planes = np.asarray(outputs.alpha, np.float32)
        return [
            Image.fromarray(postprocess(plane[0], height, width, self.processing))
            for plane, (height, width) in zip(planes, target_sizes, strict=True)
        ]


class ImageImageProcessor(ForegroundImageProcessor):
    """The class that transformers looks for where a file says `"feature_extractor_type": "ImageFeatureExtractor"`."""

    @classmethod
    def from_dict(cls, image_processor_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Build a `ForegroundImageProcessor`, so that this name is never saved."""
        return ForegroundImageProcessor.from_dict(image_processor_dict, **kwargs)
