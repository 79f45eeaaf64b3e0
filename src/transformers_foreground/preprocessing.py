"""Preprocess: RGB pixels to the array that a model takes.

The arithmetic is Transformers.js' (`ImageProcessor.preprocess`), so that `pixel_values` is the same to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transformers_foreground import resampling as rs
from transformers_foreground.errors import UnsupportedOptionError


@dataclass(frozen=True)
class Processing:
    """How pixels go into a model and how its plane comes out: the keys of `preprocessor_config.json`.

    Attributes:
        do_resize: Resize to `size`.
        size: `{"width", "height"}`, or `{"shortest_edge"}` with an optional `"longest_edge"` (the picture's ratio is
            kept).
        size_divisibility: Round both sides down to a multiple of this.
        resample: Pillow's code of the filter (2 is bilinear).
        do_rescale: Multiply by `rescale_factor`.
        rescale_factor: What pixel values are multiplied by.
        rescale_to_max: Divide by the picture's largest value instead (U²-Net's own preprocessing).
        do_normalize: Subtract `image_mean` and divide by `image_std`.
        image_mean: One value a channel.
        image_std: One value a channel.
        min_max: Stretch the model's plane to the whole range (U²-Net's and BRIA's own postprocessing).
        resampling: One of `resampling.RESAMPLINGS`.
    """

    do_resize: bool = True
    size: Mapping[str, int] | None = None
    size_divisibility: int | None = None
    resample: int = 2
    do_rescale: bool = True
    rescale_factor: float = 1 / 255
    rescale_to_max: bool = False
    do_normalize: bool = True
    image_mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    image_std: tuple[float, ...] = (0.5, 0.5, 0.5)
    min_max: bool = False
    resampling: str = "transformers.js"

    def __post_init__(self) -> None:
        if self.resampling not in rs.RESAMPLINGS:
            raise UnsupportedOptionError(
                f"Unknown resampling {self.resampling!r}. Use one of: {', '.join(rs.RESAMPLINGS)}."
            )

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Processing:
        """Read the contents of a `preprocessor_config.json`.

        Args:
            raw: The parsed file. Older revisions of RMBG-1.4 nest the keys under `"config"`: both are read. A number
                as `size` is a square.

        Raises:
            UnsupportedOptionError: `size` is not one of the known forms.
        """
        raw = flatten(raw)
        known = {f.name: raw[f.name] for f in fields(cls) if raw.get(f.name) is not None}
        size = known.get("size")
        if isinstance(size, int):
            known["size"] = {"width": size, "height": size}
        elif isinstance(size, (list, tuple)) and len(size) == 2:  # Transformers.js writes [width, height]
            known["size"] = {"width": size[0], "height": size[1]}
        elif size is not None and not (isinstance(size, Mapping) and _valid_size(size)):
            raise UnsupportedOptionError(
                f"The preprocessor's size is {size!r}. Use {{'width', 'height'}}, {{'shortest_edge'}} or a number."
            )
        known.setdefault("do_normalize", "image_mean" in known)
        for key in ("image_mean", "image_std"):
            if key in known:
                value = known[key]
                known[key] = tuple(value) if isinstance(value, (list, tuple)) else (float(value),) * 3
        return cls(**known)

    def to_dict(self) -> dict[str, Any]:
        """Return the keys again, ready for JSON."""
        return asdict(self)

    def with_size(self, height: int, width: int) -> Processing:
        """Return a copy that resizes to exactly this size."""
        return replace(self, size={"height": height, "width": width}, size_divisibility=None)


def merged(known: Processing | None, own: Processing | None) -> Processing:
    """Let an image processor decide, but for what no `preprocessor_config.json` states: the card and the graph do.

    Args:
        known: What the card and the graph say.
        own: What the image processor says.

    Raises:
        UnsupportedOptionError: Neither says anything.
    """
    if own is None or known is None:
        chosen = own or known
        if chosen is None:
            raise UnsupportedOptionError("Nothing says what the model's input looks like: give an image_processor.")
        return chosen
    return replace(
        own,
        size=own.size or known.size,
        rescale_to_max=own.rescale_to_max or known.rescale_to_max,
        min_max=own.min_max or known.min_max,
    )


def _valid_size(size: Mapping[str, Any]) -> bool:
    return {"width", "height"} <= size.keys() or "shortest_edge" in size or "longest_edge" in size


def flatten(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the preprocessor's keys from where older revisions keep them, one level down under `"config"`."""
    nested = raw.get("config")
    return {**raw, **nested} if isinstance(nested, Mapping) else raw


def target_size(height: int, width: int, processing: Processing) -> tuple[int, int]:
    """Return the size, (height, width), that a picture of this size is given to the model in.

    Sides are floored after rounding to 1/100, and divisibility rounds down but never to zero, as
    Transformers.js' `get_resize_output_image_size` does.
    """
    size = processing.size
    if not processing.do_resize or size is None:
        return height, width
    if "width" in size:
        new_height, new_width = size["height"], size["width"]
    else:
        short, long = size.get("shortest_edge"), size.get("longest_edge")
        factor = 1.0 if short is None else max(short / width, short / height)
        scaled_width, scaled_height = width * factor, height * factor
        limit = 1.0 if long is None else min(long / scaled_width, long / scaled_height)
        new_width = max(1, math.floor(round(scaled_width * limit, 2)))
        new_height = max(1, math.floor(round(scaled_height * limit, 2)))
    if processing.size_divisibility:
        step = processing.size_divisibility
        new_height, new_width = max(new_height // step, 1) * step, max(new_width // step, 1) * step
    return new_height, new_width


def to_rgb(pixels: NDArray[np.uint8], resampling: str) -> NDArray[np.uint8]:
    """Return what a model sees of a picture.

    Gray is repeated, alpha is dropped and not composited: the colours under it are seen, as in Node. A canvas keeps
    colours multiplied by alpha in 8 bits, so with `"canvas"` they are black where alpha is 0, and coarse where it is
    small.

    Args:
        pixels: uint8, shape (H, W, C), C being 1, 3 or 4.
        resampling: One of `resampling.RESAMPLINGS`.

    Returns:
        uint8, shape (H, W, 3).
    """
    channels = pixels.shape[2]
    if channels == 1:
        return np.repeat(pixels, 3, axis=2)
    if channels == 4 and resampling == "canvas":
        alpha = pixels[..., 3:].astype(np.float32)
        stored = np.rint(pixels[..., :3] * alpha / 255)
        return np.minimum(np.rint(stored * 255 / np.maximum(alpha, 1)), 255).astype(np.uint8)
    return pixels[..., :3]


def preprocess(pixels: NDArray[np.uint8], processing: Processing) -> NDArray[np.float32]:
    """Turn a picture into a model's input.

    Args:
        pixels: uint8, shape (H, W, C), C being 1 (gray), 3 (RGB) or 4 (RGBA).
        processing: Size, scale and resampling.

    Returns:
        `pixel_values`, float32, shape (3, h, w). With the default resampling each value is the one that
        Transformers.js computes: `float32(rescale_factor · v)`, then `float32((that − mean) / std)`, both in double
        precision before each rounding.
    """
    height, width = target_size(pixels.shape[0], pixels.shape[1], processing)
    rgb = to_rgb(pixels, processing.resampling)
    resized = rs.resize(rgb, width, height, processing.resampling, filter=processing.resample)
    scale = processing.rescale_factor if processing.do_rescale else 1.0
    if processing.rescale_to_max:
        scale = 1.0 / max(float(resized.max()), 1e-6)
    if resized.dtype == np.uint8:
        table = _normalise(np.arange(256, dtype=np.float64)[None, :], scale, processing)
        planes = [np.take(channel, resized[..., i]) for i, channel in enumerate(table)]
        return np.stack(planes)
    return _normalise(np.moveaxis(resized, -1, 0), scale, processing)


def _normalise(values: NDArray[Any], scale: float, processing: Processing) -> NDArray[np.float32]:
    """Rescale and normalise values of shape (1 or 3, ...) to float32 of shape (3, ...)."""
    scaled = np.multiply(values, scale, dtype=np.float64).astype(np.float32)
    if not processing.do_normalize:
        return np.broadcast_to(scaled, (3, *scaled.shape[1:])).astype(np.float32)
    shape = (3,) + (1,) * (values.ndim - 1)
    mean = np.asarray(processing.image_mean, np.float64).reshape(shape)
    std = np.asarray(processing.image_std, np.float64).reshape(shape)
    return np.asarray((scaled.astype(np.float64) - mean) / std, np.float32)
