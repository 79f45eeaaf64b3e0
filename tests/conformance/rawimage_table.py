"""The methods of Transformers.js' `RawImage`, and the lines of Python that do the same.

Our results are PIL images. In the lines, `image` is one of mode "RGB" (2×2), `gray` and `rgba` have other modes,
`row` is gray and 4×1, `mask` is what a pipeline gives; `resize` is `transformers_foreground.runtime.resampling.resize`.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from transformers_foreground.images.alpha import to_mask
from transformers_foreground.runtime.resampling import resize


@dataclass(frozen=True)
class Line:
    """One method.

    Attributes:
        js: The method.
        python: The line.
        record: Its name in the oracle's quirks.json, where it is there.
        pick: Where in what is recorded the pixels are, or the size.
        note: What there is to say about it.
    """

    js: str
    python: str
    record: str = ""
    pick: tuple[int, ...] = ()
    note: str = ""


LINES = (
    Line("await RawImage.read(path)", "Image.open(path)", note="Pipelines take paths, URLs and bytes themselves."),
    Line("await RawImage.fromBlob(blob)", "Image.open(io.BytesIO(data))"),
    Line("RawImage.fromTensor(tensor)", "Image.fromarray(np.moveaxis(tensor, 0, 2))", note="(C, H, W)."),
    Line("image.size", "image.size", "size"),
    Line("image.channels", "len(image.getbands())"),
    Line("image.data", "np.asarray(image)", note="(H, W, C). For a mask (H, W), and not a copy."),
    Line("mask.data", "np.asarray(mask)"),
    Line("image.clone()", "image.copy()"),
    Line("image.grayscale()", 'image.convert("L")', "grayscale() on 3ch", (1,), "A new image: `image` stays as it is."),
    Line("gray.rgb()", 'gray.convert("RGB")', "rgb() on 1ch", (1,)),
    Line("rgba.rgb()", 'rgba.convert("RGB")', "rgb() on 4ch", (1,)),
    Line("image.rgba()", 'image.convert("RGBA")', "rgba() on 3ch", (1,)),
    Line("image.convert(1)", 'image.convert("L")', "convert(1) on 3ch", note="3 is `RGB`, 4 is `RGBA`."),
    Line("image.putAlpha(mask)", "image.putalpha(mask)", "putAlpha(1ch) on 3ch", (2,), "In place, in both."),
    Line("rgba.putAlpha(mask)", "rgba.putalpha(mask)", "putAlpha(1ch) on 4ch", (2,)),
    Line("image.split()", "image.split()", note="One image a channel."),
    Line("image.toTensor()", "np.moveaxis(np.asarray(image), 2, 0)", "toTensor", (2,), "`torch.tensor(...)` of it."),
    Line("image.toTensor('HWC')", "np.asarray(image)", "toTensor HWC"),
    Line(
        "await image.resize(4, 4)",
        "Image.fromarray(resize(np.asarray(image), 4, 4))",
        "resize new object",
        (1,),
        "Byte for byte, up to three channels. `image.resize((4, 4))` is Pillow's, which averages when it shrinks.",
    ),
    Line("await row.resize(8, 1)", "Image.fromarray(resize(np.asarray(row), 8, 1))", "resample 2"),
    Line(
        "await image.crop([0, 0, 1, 1])",
        "image.crop((0, 0, 2, 2))",
        "crop inclusive",
        (),
        "JavaScript's end is inside.",
    ),
    Line(
        "await gray.pad([1, 0, 0, 0])",
        "ImageOps.expand(gray, (1, 0, 0, 0))",
        "pad gray values",
        note="[left, right, top, bottom] there, (left, top, right, bottom) here.",
    ),
    Line("await image.center_crop(1, 1)", "ImageOps.fit(image, (1, 1), centering=(0.5, 0.5))"),
    Line("await image.save('photo.png')", 'image.save("photo.png")', note="Both choose the format by the ending."),
    Line("await image.toBlob('image/png')", 'image.save(buffer, "PNG")', note="`buffer = io.BytesIO()`."),
    Line("image.toSharp()", "image", note="A PIL image has the methods itself."),
    Line("image.toCanvas()", "image.show()"),
)


def pixels(channels: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return the oracle's 2×2 image, (2, 2, channels)."""
    return (np.arange(4 * channels) * 37 % 256).astype(np.uint8).reshape(2, 2, channels)


def names(folder: Path) -> dict[str, Any]:
    """Return what the lines name; they run in this folder."""
    image = Image.fromarray(pixels(3))
    image.save(folder / "in.png")
    gray = pixels(1)[..., 0]
    return {
        "Image": Image,
        "ImageOps": ImageOps,
        "buffer": io.BytesIO(),
        "data": (folder / "in.png").read_bytes(),
        "gray": Image.fromarray(gray),
        "image": image,
        "io": io,
        "mask": to_mask(gray.copy()),
        "np": np,
        "path": folder / "in.png",
        "resize": resize,
        "row": Image.fromarray(gray.reshape(1, 4)),
        "rgba": Image.fromarray(pixels(4)),
        "tensor": np.moveaxis(pixels(3), 2, 0),
    }
