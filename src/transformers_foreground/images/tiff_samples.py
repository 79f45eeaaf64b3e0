"""TIFF samples that Pillow does not read: gray of 16 bits with alpha or min-is-white, YCbCr without compression."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import IO, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ExifTags import Base

from transformers_foreground.images.tiff import Directory, Tiff, TiffError

_FLOAT, _YCBCR = 3, 6
_DEFLATE: Final = (8, 32946)


def read_samples(stream: IO[bytes], tiff: Tiff, image: Directory) -> Image.Image | None:
    """Read an image of these kinds.

    Args:
        stream: The file.
        tiff: Its directories.
        image: The image's.

    Returns:
        Mode "L", "LA" or "RGB"; `None` if it is of another kind, which is Pillow's to read.

    Raises:
        TiffError: It is of a kind that nobody can read rightly, or in a compression that is not read here.
    """
    bits, samples = tiff.numbers(image, Base.BitsPerSample, 1), tiff.number(image, Base.SamplesPerPixel, 1)
    if tiff.number(image, Base.SampleFormat, 1) == _FLOAT:
        raise TiffError("its samples are floats, which have no set range; save it with 8 or 16 bits a channel")
    photometric = tiff.number(image, Base.PhotometricInterpretation)
    stream.seek(0)
    inverted = samples == 1 and photometric == 0 and stream.read(2) == b"MM"
    gray = bits[0] == 16 and (inverted or (samples == 2 and photometric in (0, 1)))
    compression = tiff.number(image, Base.Compression, 1)
    ycbcr = photometric == _YCBCR and compression == 1 and samples == 3 and bits[0] == 8
    if not gray and not ycbcr:
        return None
    whole = (
        tiff.number(image, Base.PlanarConfiguration, 1) == 1
        and Base.StripOffsets in image.tags
        and tiff.number(image, Base.Predictor, 1) == 1
    )
    subsampled = ycbcr and tiff.numbers(image, Base.YCbCrSubSampling, 2) != [1, 1]
    if not whole or subsampled or compression not in (1, *_DEFLATE):  # tiles, planes, differences, LZW...
        raise TiffError("its samples are laid out in a way that is not read; save it uncompressed, or as PNG")
    pixels = _pixels(stream, tiff, image, bits[0] // 8, samples)
    if ycbcr:
        return Image.fromarray(pixels, "YCbCr").convert("RGB")
    return _gray(pixels, tiff, image)


def _pixels(stream: IO[bytes], tiff: Tiff, image: Directory, size: int, samples: int) -> NDArray[np.uint8]:
    """Return the most significant byte of each sample, (H, W, samples)."""
    width, height = tiff.size(image)
    stream.seek(0)
    most_significant = 0 if stream.read(2) == b"MM" else size - 1
    wanted = width * height * samples * size
    deflated = tiff.number(image, Base.Compression, 1) in _DEFLATE
    data, unread = bytearray(), stream.seek(0, 2)  # strips that overlap would be read as often as there are
    for offset, length in _strips(tiff, image):
        missing = wanted - len(data)
        if not missing:
            break
        stream.seek(offset)
        strip = stream.read(min(length, unread if deflated else missing))
        unread -= len(strip)
        data += zlib.decompressobj().decompress(strip, missing) if deflated else strip
    if len(data) < wanted:
        raise TiffError("the file is truncated; get the whole of it")
    whole = np.frombuffer(data, np.uint8, wanted).reshape(height, width, samples, size)
    return np.ascontiguousarray(whole[..., most_significant])


def _strips(tiff: Tiff, image: Directory) -> Iterator[tuple[int, int]]:
    offsets, lengths = (tiff.numbers(image, tag) for tag in (Base.StripOffsets, Base.StripByteCounts))
    if image.tags[Base.StripOffsets][1] > len(offsets):
        raise TiffError("it has more than a thousand strips; save it anew, or as PNG")
    return zip(offsets, lengths, strict=False)


def _gray(pixels: NDArray[np.uint8], tiff: Tiff, image: Directory) -> Image.Image:
    if tiff.number(image, Base.PhotometricInterpretation) == 0:  # min is white
        pixels[..., 0] = 255 - pixels[..., 0]
    if pixels.shape[2] == 1:
        return Image.fromarray(pixels[..., 0])
    gray, alpha = pixels[..., 0], pixels[..., 1]
    if tiff.number(image, Base.ExtraSamples) == 1:  # premultiplied
        gray = np.minimum(np.rint(gray * 255.0 / np.maximum(alpha, 1)), 255).astype(np.uint8)
    return Image.fromarray(np.dstack((gray, alpha)), "LA")
