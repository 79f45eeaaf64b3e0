"""Photoshop files: a saved selection is no transparency, and further channels move none of the colours."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from transformers_foreground.errors import ImageError
from transformers_foreground.images.decode import decode

MODES = {"gray": (1, 1), "rgb": (3, 3), "cmyk": (4, 4)}  # number, colours


def _packed(row: bytes) -> bytes:
    return b"".join(bytes([len(part) - 1]) + part for part in (row[i : i + 128] for i in range(0, len(row), 128)))


def psd(
    planes: np.ndarray, mode: str = "rgb", *, layers: int | None = None, ids: tuple[int, ...] = (), packed: bool = False
) -> bytes:
    """Return a file of planes (C, H, W), uint8; with a number of layers, or without their section."""
    channels, height, width = planes.shape
    resource = b"".join(struct.pack(">I", number) for number in ids)
    resources = b"8BIM" + struct.pack(">H2xI", 1053, len(resource)) + resource if ids else b""
    section = b"" if layers is None else struct.pack(">IhH", 4, layers, 0)
    if packed:
        rows = [_packed(row.tobytes()) for plane in planes for row in plane]
        pixels = struct.pack(f">{len(rows)}H", *map(len, rows)) + b"".join(rows)
    else:
        pixels = planes.tobytes()
    return (
        struct.pack(">4sH6xHIIHH", b"8BPS", 1, channels, height, width, 8, MODES[mode][0])
        + struct.pack(">I", 0)
        + struct.pack(">I", len(resources))
        + resources
        + struct.pack(">I", len(section))
        + section
        + struct.pack(">H", int(packed))
        + pixels
    )


@pytest.fixture
def planes() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 5, 200), np.uint8)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("extra", [0, 1, 2, 3])
@pytest.mark.parametrize(
    ("marks", "transparent"),
    [
        ({}, False),
        ({"layers": 0}, False),
        ({"layers": 2}, False),
        ({"layers": -1}, True),
        ({"layers": -3, "ids": (0, 5)}, True),
        ({"ids": (0,)}, True),
        ({"ids": (4, 0)}, False),
    ],
)
def test_only_transparency_is_alpha(
    marks: dict, transparent: bool, extra: int, packed: bool, planes: np.ndarray
) -> None:
    pixels = decode(psd(planes[: 3 + extra], packed=packed, **marks)).pixels
    channels = 4 if transparent and extra else 3
    assert np.array_equal(pixels, planes[:channels].transpose(1, 2, 0))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("extra", [0, 1, 2])
@pytest.mark.parametrize("mode", ["gray", "cmyk"])
def test_further_channels_move_no_colours(mode: str, extra: int, packed: bool, planes: np.ndarray) -> None:
    colours = MODES[mode][1]
    alone = decode(psd(planes[:colours], mode)).pixels
    assert np.array_equal(decode(psd(planes[: colours + extra], mode, packed=packed)).pixels, alone)


@pytest.mark.parametrize("cut", [30, 36, 40, 60])
def test_files_that_are_cut_off(cut: int, planes: np.ndarray) -> None:
    with pytest.raises(ImageError, match=r"truncated|damaged"):
        decode(psd(planes[:4], packed=True)[:cut])


def test_a_compression_that_is_not_read(planes: np.ndarray) -> None:
    """Pillow gives black instead."""
    data = psd(planes[:3])
    at = len(data) - planes[:3].nbytes - 2
    with pytest.raises(ImageError, match="compressed in a way that is not read"):
        decode(data[:at] + struct.pack(">H", 2) + data[at + 2 :])


def test_a_side_that_no_such_file_has() -> None:
    """Pillow would read a number for each row, twelve million here, before it looks at the size."""
    data = psd(np.zeros((3, 1, 1), np.uint8), packed=True)
    data = data[:14] + struct.pack(">I", 12_000_000) + data[18:]
    with pytest.raises(ImageError, match="at most 30000 pixels a side"):
        decode(data)
