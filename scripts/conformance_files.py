"""Files of the kinds that cameras and editors write, from a seed: modes, bit depths, containers, ICC profiles."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

Pixels = NDArray[Any]


class FileKind(NamedTuple):
    """A kind of file.

    Attributes:
        ending: Of its name.
        make: Makes its contents of RGBA pixels, uint8, (H, W, 4).
        levels: By how many of 255 levels the mask may differ from Transformers.js', for a reason that
            `tests/conformance/file_exceptions.py` gives; 0: the input and the mask are the same.
    """

    ending: str
    make: Callable[[Pixels, np.random.Generator], bytes]
    levels: int = 0


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _png(samples: Pixels, colour: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """Write a PNG of 8 or 16 bits; `chunks` come before the pixels."""
    bits = samples.dtype.itemsize * 8
    rows = b"".join(b"\0" + row.astype(f">u{bits // 8}").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", samples.shape[1], samples.shape[0], bits, colour, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    written = (struct.pack(">I", len(v)) + k + v + struct.pack(">I", zlib.crc32(k + v)) for k, v in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(written)


def _wide(rgba: Pixels, rng: np.random.Generator) -> Pixels:
    """Make 16 bits of 8."""
    wide: Pixels = rgba.astype(np.uint16) << 8 | rng.integers(0, 256, rgba.shape, np.uint16)
    return wide


def _profile(space: bytes, rng: np.random.Generator) -> bytes:
    """Make an ICC profile for gray (`b"GRAY"`) or RGB (`b"RGB "`), with a gamma that is drawn."""
    xyz: Callable[..., bytes] = lambda *v: struct.pack(">4s4x3i", b"XYZ ", *(round(n * 65536) for n in v))  # noqa: E731
    curve = struct.pack(">4s4xIH2x", b"curv", 1, round(rng.uniform(1, 2.6) * 256))
    tags = {b"wtpt": xyz(0.9642, 1, 0.8249), b"kTRC": curve}
    if space == b"RGB ":  # Display P3's colours
        primaries = ((0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841))
        tags = {
            b"wtpt": tags[b"wtpt"],
            **{c + b"XYZ": xyz(*p) for c, p in zip((b"r", b"g", b"b"), primaries, strict=True)},
        }
        tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    table, data, start = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, value in tags.items():
        table += struct.pack(">4sII", name, start + len(data), len(value))
        data += value
    head = struct.pack(
        ">I4xI4s4s4s12x4s28x3i48x", start + len(data), 0x02400000, b"mntr", space, b"XYZ ", b"acsp", 63190, 65536, 54061
    )
    return head + table + data


def _rgb(rgba: Pixels) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(rgba[..., :3]))


def _gray(rgba: Pixels) -> Image.Image:
    return _rgb(rgba).convert("L")


def _palette(rgba: Pixels, rng: np.random.Generator) -> Image.Image:
    return _rgb(rgba).quantize(int(rng.integers(2, 257)))


def _tiff(mode: str, compression: str | None = None, **options: Any) -> Callable[..., bytes]:
    def make(rgba: Pixels, rng: np.random.Generator) -> bytes:
        if mode == "I;16":
            return _saved(Image.fromarray(_wide(np.asarray(_gray(rgba)), rng)), "TIFF", compression=compression)
        image = Image.fromarray(rgba) if mode == "RGBA" else _rgb(rgba).convert(mode)
        more = {"icc_profile": _profile(b"GRAY", rng)} if options.get("profile") else {}
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        for tag, value in options.get("tags", {}).items():
            tags[tag] = value
        return _saved(image, "TIFF", compression=compression, tiffinfo=tags, **more)

    return make


def _animated(kind: str) -> Callable[..., bytes]:
    def make(rgba: Pixels, rng: np.random.Generator) -> bytes:
        frames = [Image.fromarray(np.roll(rgba, int(n), 1)) for n in rng.integers(1, 9, 3)]
        if kind == "GIF":
            frames = [_palette(np.asarray(frame), rng) for frame in frames]
        return _saved(frames[0], kind, save_all=True, append_images=frames[1:], duration=50, loop=0)

    return make


def _transparent_gif(rgba: Pixels, rng: np.random.Generator) -> bytes:
    image = _palette(rgba, rng)
    return _saved(image, "GIF", transparency=int(rng.integers(0, image.getextrema()[1] + 1)))


FILE_KINDS: dict[str, FileKind] = {
    "gray": FileKind("png", lambda p, _: _saved(_gray(p), "PNG")),
    "gray-icc": FileKind("png", lambda p, r: _saved(_gray(p), "PNG", icc_profile=_profile(b"GRAY", r))),
    "gray16": FileKind("png", lambda p, r: _png(_wide(np.asarray(_gray(p)), r), 0)),
    "gray16-transparent": FileKind(
        "png", lambda p, r: _png(w := _wide(np.asarray(_gray(p)), r), 0, (b"tRNS", w[0, 0].astype(">u2").tobytes()))
    ),
    "rgb16": FileKind("png", lambda p, r: _png(_wide(p[..., :3], r), 2)),
    "rgb16-transparent": FileKind(
        "png", lambda p, r: _png(w := _wide(p[..., :3], r), 2, (b"tRNS", w[0, 0].astype(">u2").tobytes()))
    ),
    "rgba16": FileKind("png", lambda p, r: _png(_wide(p, r), 6)),
    "rgb-transparent": FileKind(
        "png", lambda p, _: _png(p[..., :3], 2, (b"tRNS", p[0, 0, :3].astype(">u2").tobytes()))
    ),
    "rgb-text": FileKind(
        "png", lambda p, _: _png(p[..., :3], 2, (b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1_200_000))))
    ),
    "rgb-icc": FileKind("png", lambda p, r: _saved(_rgb(p), "PNG", icc_profile=_profile(b"RGB ", r))),
    "rgba-icc": FileKind("png", lambda p, r: _saved(Image.fromarray(p), "PNG", icc_profile=_profile(b"RGB ", r))),
    "onebit": FileKind("png", lambda p, _: _saved(_rgb(p).convert("1"), "PNG")),
    "palette-bits": FileKind("png", lambda p, r: _saved(_rgb(p).quantize(int(r.integers(2, 17))), "PNG")),
    "jpeg-icc": FileKind("jpg", lambda p, r: _saved(_rgb(p), "JPEG", icc_profile=_profile(b"RGB ", r))),
    "jpeg-gray-icc": FileKind("jpg", lambda p, r: _saved(_gray(p), "JPEG", icc_profile=_profile(b"GRAY", r))),
    "jpeg-quality": FileKind("jpg", lambda p, r: _saved(_rgb(p), "JPEG", quality=int(r.integers(5, 100)))),
    "jpeg-cmyk": FileKind("jpg", lambda p, _: _saved(_rgb(p).convert("CMYK"), "JPEG"), 10),
    "webp-icc": FileKind("webp", lambda p, r: _saved(_rgb(p), "WEBP", lossless=True, icc_profile=_profile(b"RGB ", r))),
    "webp-animated": FileKind("webp", _animated("WEBP")),
    "gif-animated": FileKind("gif", _animated("GIF")),
    "gif-transparent": FileKind("gif", _transparent_gif),
    "tiff-rgb": FileKind("tif", _tiff("RGB")),
    "tiff-rgb-lzw": FileKind("tif", _tiff("RGB", "tiff_lzw", tags={317: 2})),
    "tiff-rgba-deflate": FileKind("tif", _tiff("RGBA", "tiff_adobe_deflate")),
    "tiff-gray": FileKind("tif", _tiff("L", "packbits")),
    "tiff-gray-icc": FileKind("tif", _tiff("L", profile=True)),
    "tiff-gray16": FileKind("tif", _tiff("I;16")),
    "tiff-onebit": FileKind("tif", _tiff("1", "group4")),
    "tiff-palette": FileKind("tif", _tiff("P")),
    "tiff-cmyk": FileKind("tif", _tiff("CMYK"), 10),
    "avif": FileKind("avif", lambda p, r: _saved(_rgb(p), "AVIF", quality=int(r.integers(60, 100))), 20),
}


def make_files(folder: Path, seed: int) -> Iterator[tuple[Path, FileKind]]:
    """Write one file of each kind into a folder, which is emptied first.

    Args:
        folder: Where.
        seed: What sizes, pixels and options are drawn from.

    Yields:
        The path and the kind of each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    rng = np.random.default_rng(seed)
    for name, kind in FILE_KINDS.items():
        path = folder / f"{name}.{kind.ending}"
        path.write_bytes(kind.make(_pixels(rng), rng))
        yield path, kind


def _pixels(rng: np.random.Generator) -> Pixels:
    """Draw waves with some noise, of any size up to 160 × 160."""
    height, width = rng.integers(2, 161, 2)
    y, x = np.mgrid[:height, :width]
    waves = [127 + 110 * np.sin(x / rng.uniform(5, 40) + c) * np.cos(y / rng.uniform(5, 40)) for c in range(4)]
    noise = rng.integers(-12, 13, (height, width, 4))
    return np.clip(np.stack(waves, axis=2) + noise, 0, 255).astype(np.uint8)
