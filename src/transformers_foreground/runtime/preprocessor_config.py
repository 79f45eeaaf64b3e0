"""Read `preprocessor_config.json`: what Transformers.js' `ImageProcessor` honours, checked, in one form.

Its aliases (`image_size`, `mean`, `std`, `size_divisor`), its forms of a size and the image processors that only change
a number are resolved here, so that `preprocessing` knows one name and one form for each thing. What would change pixels
and is not done here is refused by name.
"""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Mapping
from typing import Any, Final

from transformers_foreground.errors import UnsupportedOptionError

LARGEST_SIDE: Final = 16384
"""Pixels of any width or height that a file may name."""

LARGEST_AREA: Final = 8192 * 8192
"""Pixels of the largest input that a model is given."""

RESAMPLES: Final = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""Names of `resample`, in the order of Pillow's codes."""

_FLAGS: Final = (
    "do_rescale", "do_normalize", "do_center_crop", "do_pad", "do_thumbnail", "do_crop_margin", "do_flip_channel_order",
    "rescale_to_max", "min_max",
)  # fmt: skip
# Image processors of Transformers.js whose own arithmetic on pixels is that of no foreground model.
_OTHER_PROCESSORS: Final = re.compile(
    r"(VitMatte|Sam\w*|Pixtral|Idefics3|SmolVLM|Qwen2VL|Glm46V|Gemma4|Janus\w*|VLM|JinaCLIP|Phi3V|Lfm\dVl|Nougat)"
    r"(ImageProcessor|FeatureExtractor)(Fast)?"
)
_OTHER_PADDING: Final = re.compile(r"(Donut|Swin2SR)(ImageProcessor|FeatureExtractor)(Fast)?")


def read(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `processing.Processing` that a parsed file states.

    Args:
        raw: The parsed file. Older revisions of RMBG-1.4 nest the keys under `"config"`: both are read. `null` is as
            good as a missing key.

    Raises:
        UnsupportedOptionError: A value of the wrong type or out of range, or one that is knowingly not supported; the
            message names the key.
    """
    keys = {key: value for key, value in flatten(raw).items() if value is not None}
    for alias, name in (("mean", "image_mean"), ("std", "image_std"), ("size_divisor", "size_divisibility"),
                        ("image_size", "size")):  # fmt: skip
        if alias in keys:
            keys.setdefault(name, keys[alias])
    found: dict[str, Any] = {name: _flag(name, keys[name]) for name in _FLAGS if name in keys}
    found.setdefault("do_normalize", False)
    found["size"] = _size(keys)
    found["do_resize"] = _flag("do_resize", keys.get("do_resize", found["size"] is not None))
    divisor = _whole("size_divisibility", keys.get("size_divisibility", 0), least=0)
    found["size_divisibility"] = divisor or None
    found["resample"] = _resample(keys.get("resample", 2))
    if "rescale_factor" in keys:
        found["rescale_factor"] = _number("rescale_factor", keys["rescale_factor"])
    found |= {name: _triple(name, keys[name]) for name in ("image_mean", "image_std") if name in keys}
    if keys.get("keep_aspect_ratio") and keys.get("ensure_multiple_of"):
        found["ensure_multiple_of"] = _whole("ensure_multiple_of", keys["ensure_multiple_of"])
    if "crop_size" in keys:
        found["crop_size"] = _rectangle("crop_size", keys["crop_size"])
    if "pad_size" in keys:
        square = keys["pad_size"] == "square"
        found["pad_size"] = "square" if square else _rectangle("pad_size", keys["pad_size"])
    if "resampling" in keys:
        found["resampling"] = keys["resampling"]
    _apply_type(found, keys)
    _check_together(found)
    return found


def flatten(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the preprocessor's keys from where older revisions keep them, one level down under `"config"`."""
    if not isinstance(raw, Mapping):
        raise UnsupportedOptionError(f"A preprocessor_config.json is an object, not {_shown(raw)}.")
    nested = raw.get("config")
    return {**raw, **nested} if isinstance(nested, Mapping) else raw


def _apply_type(found: dict[str, Any], keys: Mapping[str, Any]) -> None:
    """Do what the image processor's class does beyond the keys, or refuse it."""
    kind = keys.get("image_processor_type", keys.get("feature_extractor_type", ""))
    if not isinstance(kind, str):
        raise UnsupportedOptionError(f"image_processor_type is {_shown(kind)}: use a name.")
    if _OTHER_PROCESSORS.fullmatch(kind) or (found.get("do_pad") and _OTHER_PADDING.fullmatch(kind)):
        raise UnsupportedOptionError(
            f"image_processor_type {kind!r} prepares images in a way of its own, which is not supported"
            + (" together with do_pad." if found.get("do_pad") else ".")
        )
    if kind.startswith("EfficientNetImageProcessor") and keys.get("include_top", True) and "image_std" in found:
        found["image_std"] = tuple(value * value for value in found["image_std"])
    if kind.startswith(("ConvNextImageProcessor", "ConvNextFeatureExtractor")) and found["do_resize"]:
        edge = (found["size"] or {}).get("shortest_edge")
        if edge is not None:
            _shorten_and_crop(found, edge, _number("crop_pct", keys.get("crop_pct", 224 / 256)))


def _shorten_and_crop(found: dict[str, Any], edge: int, share: float) -> None:
    """Resize as ConvNeXt: below 384 to a larger image whose centre is kept, else without regard to the ratio."""
    if found.get("do_center_crop"):
        raise UnsupportedOptionError(
            "do_center_crop is not supported with ConvNeXt's image processor, which crops too."
        )
    if edge >= 384:
        found["size"] = {"width": edge, "height": edge}
        return
    if not 0 < share <= 1:
        raise UnsupportedOptionError(f"crop_pct is {share}: use a share above 0, up to 1.")
    found["size"] = {"shortest_edge": math.floor(edge / share)}
    found |= {"do_center_crop": True, "crop_size": {"width": edge, "height": edge}}


def _check_together(found: Mapping[str, Any]) -> None:
    """Refuse keys that ask for a number which another key should give."""
    if found["do_normalize"] and not {"image_mean", "image_std"} <= found.keys():
        raise UnsupportedOptionError(
            "do_normalize is true, but image_mean or image_std is missing: state both, or set do_normalize to false."
        )
    if found["do_normalize"] and 0 in found["image_std"]:
        raise UnsupportedOptionError("image_std has a 0, by which nothing can be divided.")
    if found.get("do_center_crop") and "crop_size" not in found:
        raise UnsupportedOptionError("do_center_crop is true, but crop_size is missing.")
    if found.get("do_thumbnail") and "width" not in (found["size"] or {}):
        raise UnsupportedOptionError("do_thumbnail needs a size with width and height.")


def _size(keys: Mapping[str, Any]) -> dict[str, int] | None:
    """Return `size` as edges or as a rectangle. A number is the longest edge, if there is no `max_size`."""
    size = keys.get("size")
    if size is None:
        return None
    if isinstance(size, (list, tuple)) and len(size) == 2 and size[0] == size[1]:
        size = {"width": size[0], "height": size[1]}  # of two that differ nobody knows which is which
    if isinstance(size, Mapping):
        edges = {key: size[key] for key in ("shortest_edge", "longest_edge") if size.get(key) is not None}
        if edges:
            return {key: _whole(f"size[{key!r}]", value) for key, value in edges.items()}
        if size.get("width") is not None and size.get("height") is not None:
            return _rectangle("size", size)
    elif isinstance(size, (int, float)) and not isinstance(size, bool):
        edge = _whole("size", size)
        return {"shortest_edge": edge, "longest_edge": _whole("max_size", keys.get("max_size", edge))}
    raise UnsupportedOptionError(
        f"size is {_shown(size)}. Use {{'width', 'height'}}, {{'shortest_edge'}}, {{'longest_edge'}} or a number."
    )


def _rectangle(name: str, value: Any) -> dict[str, int]:
    """Return a width and a height; a number is a square."""
    if isinstance(value, Mapping):
        if value.get("width") is None or value.get("height") is None:
            raise UnsupportedOptionError(f"{name} is {_shown(value)}. Use {{'width', 'height'}} or a number.")
        rectangle = {side: _whole(f"{name}[{side!r}]", value[side]) for side in ("width", "height")}
    else:
        side = _whole(name, value)
        rectangle = {"width": side, "height": side}
    if rectangle["width"] * rectangle["height"] > LARGEST_AREA:
        raise UnsupportedOptionError(f"{name} is {_shown(value)}: at most {LARGEST_AREA:,} pixels.")
    return rectangle


def _whole(name: str, value: Any, *, least: int = 1) -> int:
    """Return a number of pixels; also of digits in quotes, which Transformers.js takes for the number."""
    if isinstance(value, str) and re.fullmatch(r"\d{1,9}", value):
        value = int(value)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not least <= value <= LARGEST_SIDE or value != int(value):
        raise UnsupportedOptionError(f"{name} is {_shown(value)}: use a whole number from {least} to {LARGEST_SIDE}.")
    return int(value)


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e30:
        raise UnsupportedOptionError(f"{name} is {_shown(value)}: use a number.")
    return float(value)


def _triple(name: str, value: Any) -> tuple[float, ...]:
    """Return one value a channel; a number is the same for all three."""
    values = value if isinstance(value, (list, tuple)) else [value] * 3
    if len(values) != 3:
        raise UnsupportedOptionError(f"{name} is {_shown(value)}: use three numbers, one a channel, or one for all.")
    return tuple(_number(name, channel) for channel in values)


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, (bool, int)) or value not in (0, 1):
        raise UnsupportedOptionError(f"{name} is {_shown(value)}: use true or false.")
    return bool(value)


def _resample(value: Any) -> int:
    """Return Pillow's code of a filter, given as that or by name."""
    if isinstance(value, str):
        if value in RESAMPLES:
            return RESAMPLES.index(value)
        value = int(value) if re.fullmatch(r"\d", value) else value
    if not isinstance(value, (int, float)) or isinstance(value, bool) or value not in range(len(RESAMPLES)):
        raise UnsupportedOptionError(f"resample is {_shown(value)}: use 0 to 5, or one of {', '.join(RESAMPLES)}.")
    return int(value)


def _shown(value: Any) -> str:
    """Return a value for a message, shortened where it is long or deep."""
    return reprlib.repr(value)
