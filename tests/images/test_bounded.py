"""Bounded decoding: as `decode`, but whatever takes too much time or memory ends, and the next image is served."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageCms

from transformers_foreground.errors import ImageError
from transformers_foreground.images import bounded
from transformers_foreground.images.bounded import decode_bounded
from transformers_foreground.images.decode import decode

RNG = np.random.default_rng(0)


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(*shape: int) -> Image.Image:
    return Image.fromarray(RNG.integers(0, 256, shape, np.uint8))


def slow() -> bytes:
    """A progressive JPEG of hundreds of scans over many pixels: small, and slow to decode."""
    jpeg = encoded(Image.new("L", (9000, 9000), 128), "JPEG", progressive=True)
    scan = jpeg.rindex(b"\xff\xda")
    return jpeg[:-2] + jpeg[scan:-2] * 150 + jpeg[-2:]


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (5, 7, 4)])
def test_it_gives_what_decode_gives(shape):
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = "a hat", 6
    lab = ImageCms.createProfile("sRGB")
    data = encoded(noise(*shape), exif=exif, dpi=(300, 200), icc_profile=ImageCms.ImageCmsProfile(lab).tobytes())
    ours, theirs = decode_bounded(data, "hat.png"), decode(data)
    np.testing.assert_array_equal(ours.pixels, theirs.pixels)
    np.testing.assert_array_equal(ours.in_own_space(), theirs.in_own_space())
    assert (ours.name, ours.profile) == ("hat.png", theirs.profile)
    assert ours.dpi == theirs.dpi
    assert ours.exif is not None
    assert dict(ours.exif) == dict(theirs.exif or {})


def test_it_starts_as_windows_can_start_it(monkeypatch):
    popen = subprocess.Popen

    def checked(*args, **options):
        assert not options.keys() & {"pass_fds", "preexec_fn", "start_new_session"}
        return popen(*args, **options)

    monkeypatch.setattr(subprocess, "Popen", checked)
    bounded._idle.clear()
    assert decode_bounded(encoded(noise(5, 7, 3)), "hat.png").width == 7


def test_errors_are_those_of_decode_and_keep_the_worker():
    bounded._idle.clear()  # of other tests
    for _ in range(2):
        with pytest.raises(ImageError, match=r"hat\.png: its bytes are not an image"):
            decode_bounded(b"no image at all", "hat.png")
        with pytest.raises(ImageError, match="exceed the limit of 9"):
            decode_bounded(encoded(noise(5, 7, 3)), "hat.png", max_pixels=9)
    decode_bounded(encoded(noise(5, 7, 3)), "hat.png")
    assert len([worker for worker in bounded._idle if worker.memory == bounded.MEMORY]) == 1


def test_what_takes_too_long_ends_and_the_next_image_is_served():
    data, start = slow(), time.monotonic()
    with pytest.raises(ImageError, match=r"slow\.jpg: decoding it took more than 1 s of CPU"):
        decode_bounded(data, "slow.jpg", cpu_seconds=1)
    assert time.monotonic() - start < 60
    assert decode_bounded(encoded(noise(5, 7, 3)), "hat.png").width == 7


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone limits address space")
def test_what_takes_too_much_memory_is_an_error_of_this_image():
    data = encoded(Image.new("1", (24_000, 24_000)))  # 70 MB, but a byte a pixel once it is decoded
    with pytest.raises(ImageError, match=r"large\.png"):
        decode_bounded(data, "large.png", max_pixels=10**9, memory=1 << 30)
    assert decode_bounded(encoded(noise(5, 7, 3)), "hat.png", memory=1 << 30).width == 7


def test_many_threads_at_once():
    images = [encoded(noise(9, width, 3)) for width in range(1, 13)]
    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(lambda data: decode_bounded(data, "x").width, images))
    assert found == list(range(1, 13))
