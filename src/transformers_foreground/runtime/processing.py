"""How pixels go into a model and how its plane comes out, as one value; and who decides it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from transformers_foreground.errors import UnsupportedOptionError
from transformers_foreground.runtime import preprocessor_config
from transformers_foreground.runtime import resampling as rs


@dataclass(frozen=True)
class Processing:
    """How pixels go into a model and how its plane comes out: the keys of `preprocessor_config.json`, in one form.

    In this order: `do_crop_margin`, `do_resize`, `do_thumbnail`, `do_center_crop`, `do_rescale`, `do_normalize`,
    `do_pad`, `do_flip_channel_order`.

    Attributes:
        do_resize: Resize to `size`.
        size: `{"width", "height"}`; or `{"shortest_edge"}`, `{"longest_edge"}` or both (the image's ratio is kept).
        size_divisibility: Where the ratio is kept, or there is no `size`: round both sides down to a multiple of this.
        ensure_multiple_of: Resize to `size` with the ratio kept, as little as possible, sides rounded to a multiple.
        resample: Pillow's code of the filter (2 is bilinear).
        do_rescale: Multiply by `rescale_factor`.
        rescale_factor: What pixel values are multiplied by.
        rescale_to_max: Divide by the image's largest value instead (U²-Net's own preprocessing).
        do_normalize: Subtract `image_mean` and divide by `image_std`.
        image_mean: One value a channel.
        image_std: One value a channel.
        do_center_crop: Keep the centre of `crop_size`; what lies outside the image is black.
        crop_size: `{"width", "height"}`.
        do_pad: Add zeros on the right and below: up to `pad_size`, else to a multiple of `size_divisibility`, else to
            the `size`.
        pad_size: `{"width", "height"}`, or `"square"`.
        do_thumbnail: Shrink what is larger than `size`, after resizing to its shorter side.
        do_crop_margin: Leave off the margin that is bright (200 and above, of the range that the image has).
        do_flip_channel_order: Give BGR.
        min_max: Stretch the model's plane to the whole range (U²-Net's and BRIA's own postprocessing).
        resampling: One of `resampling.RESAMPLINGS`.

    The mask is resized to the image's size whatever was cropped or padded, as in Transformers.js.
    """

    do_resize: bool = True
    size: Mapping[str, int] | None = None
    size_divisibility: int | None = None
    ensure_multiple_of: int | None = None
    resample: int = 2
    do_rescale: bool = True
    rescale_factor: float = 1 / 255
    rescale_to_max: bool = False
    do_normalize: bool = True
    image_mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    image_std: tuple[float, ...] = (0.5, 0.5, 0.5)
    do_center_crop: bool = False
    crop_size: Mapping[str, int] | None = None
    do_pad: bool = False
    pad_size: Mapping[str, int] | str | None = None
    do_thumbnail: bool = False
    do_crop_margin: bool = False
    do_flip_channel_order: bool = False
    min_max: bool = False
    resampling: str = "transformers.js"

    def __post_init__(self) -> None:
        if self.resampling not in rs.RESAMPLINGS:
            raise UnsupportedOptionError(
                f"Unknown resampling {self.resampling!r}. Use one of: {', '.join(rs.RESAMPLINGS)}."
            )

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Processing:
        """Read the contents of a `preprocessor_config.json` (see `preprocessor_config.read`).

        Raises:
            UnsupportedOptionError: A value is of the wrong type or out of range, or knowingly not supported.
        """
        return cls(**preprocessor_config.read(raw))

    @classmethod
    def of_known_model(cls, preprocessor: Mapping[str, Any]) -> Processing:
        """Read a known model's `preprocessor`: the same keys, normalised wherever it has a mean."""
        return cls.from_dict({"do_normalize": "image_mean" in preprocessor, **preprocessor})

    def to_dict(self) -> dict[str, Any]:
        """Return the keys again, ready for JSON."""
        keys = asdict(self)
        if self.ensure_multiple_of:
            keys["keep_aspect_ratio"] = True  # Transformers.js wants both
        return keys

    def with_size(self, height: int, width: int) -> Processing:
        """Return a copy that gives a model exactly this size."""
        return replace(
            self, do_resize=True, size={"height": height, "width": width}, size_divisibility=None,
            ensure_multiple_of=None, do_center_crop=False, do_pad=False, do_thumbnail=False,
        )  # fmt: skip


def choose(
    file: Mapping[str, Any] | None,
    known: Mapping[str, Any] | None,
    input_size: tuple[int | None, int | None],
    *,
    source: str,
    resampling: str | None = None,
) -> Processing:
    """Decide how pixels go into a model.

    The repository's own `preprocessor_config.json` alone counts where there is one, as in Transformers.js; else what is
    known of the model. A graph of fixed size decides where neither says to resize.

    Args:
        file: The parsed `preprocessor_config.json`; `None` without one.
        known: A known model's `preprocessor`; `None` for others.
        input_size: Height and width of the graph's input, each `None` where any will do.
        source: Names the model in messages.
        resampling: One of `resampling.RESAMPLINGS`; `None` for the file's, else `"transformers.js"`.

    Raises:
        UnsupportedOptionError: Nothing says what the input looks like or what size it has, a key has a value that
            cannot be honoured, or the resampling is unknown.
    """
    if file is None and known is None:
        raise UnsupportedOptionError(
            f"{source} is not a known model and has no preprocessor_config.json: nothing says what its input looks "
            "like. Put one beside its config.json, with size, do_normalize, image_mean and image_std."
        )
    if file is None:
        processing = Processing.of_known_model(known or {})
    else:
        try:
            processing = Processing.from_dict(file)
        except UnsupportedOptionError as error:
            raise UnsupportedOptionError(f"The preprocessor_config.json of {source} cannot be used: {error}") from error
    height, width = input_size
    shaped = processing.do_pad or processing.do_center_crop or processing.do_thumbnail
    if height and width and (not processing.do_resize or processing.size is None) and not shaped:
        processing = processing.with_size(height, width)
    if processing.do_resize and not (processing.size or processing.size_divisibility):
        raise UnsupportedOptionError(
            f"Nothing says what size {source} takes. Put a preprocessor_config.json with a 'size' beside its "
            "config.json."
        )
    return replace(processing, resampling=resampling) if resampling else processing


def merged(known: Processing, own: Processing | None) -> Processing:
    """Follow a pipeline's image processor, but for what no `preprocessor_config.json` states: there the model decides.

    Args:
        known: What is known of the model, and what its graph says.
        own: What the image processor says; `None` without one.
    """
    if own is None:
        return known
    sized = own if own.size or not known.size else replace(own, size=known.size, do_resize=known.do_resize)
    return replace(
        sized,
        rescale_to_max=own.rescale_to_max or known.rescale_to_max,
        min_max=own.min_max or known.min_max,
    )
