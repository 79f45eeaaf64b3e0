"""What `decode` accepts, what it makes of it, and what it says when it refuses."""

import base64
import contextlib
import http.server
import io
import os
import re
import socket
import struct
import sys
import threading
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageCms, ImageOps

from transformers_foreground.errors import ImageError
from transformers_foreground.images.color_profiles import srgb_profile
from transformers_foreground.images.decode import DecodedImage, decode, name_of

RNG = np.random.default_rng(7)
PIXELS = RNG.integers(0, 256, (4, 6, 3), np.uint8)


def encoded(image=None, kind="PNG", **options):
    buffer = io.BytesIO()
    (Image.fromarray(PIXELS) if image is None else image).save(buffer, kind, **options)
    return buffer.getvalue()


def png(width, height, bits, rows):
    """An RGB PNG with that header, whatever its rows."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


PNG = encoded()
NOISE = Image.effect_noise((120, 90), 90).convert("RGB")


def check(source, expected, **options):
    """`expected` is pixels, or (as text) a part of the message of the ImageError."""
    if isinstance(expected, str):
        with pytest.raises(ImageError, match=re.escape(expected)) as caught:
            decode(source, **options)
        assert name_of(source) in str(caught.value)
    else:
        decoded = decode(source, **options)
        assert decoded.pixels.dtype == np.uint8
        assert decoded.pixels.flags.c_contiguous
        np.testing.assert_array_equal(decoded.pixels, expected)


# ----- orientation


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.transpose(1, 0, 2)),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: np.rot90(a, 2).transpose(1, 0, 2)),
        (8, lambda a: np.rot90(a)),
        (0, lambda a: a),
        (9, lambda a: a),
    ],
)
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_orientation(orientation, upright, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(kind=kind, exif=exif)
    check(data, upright(PIXELS))
    check(data, np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data)))))
    image = Image.open(io.BytesIO(data))
    check(image, upright(PIXELS))
    np.testing.assert_array_equal(np.asarray(image), np.asarray(Image.open(io.BytesIO(data))))  # not changed


def test_broken_exif_does_not_cost_the_image():
    jpeg = encoded(kind="JPEG", exif=b"Exif\0\0" + bytes(range(60)))
    check(jpeg, np.asarray(Image.open(io.BytesIO(jpeg))))


# ----- modes


def gray(*rows):
    return np.array(rows, np.uint8)[..., None]


def palette(mode, values, **info):
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8)).convert("P")
    image.putpalette(values, mode)
    image.info |= info
    return image


MODES = {
    "one bit": (Image.fromarray(np.array([[True, False]])), gray([255, 0])),
    "gray": (Image.fromarray(np.array([[3, 4]], np.uint8)), gray([3, 4])),
    "gray 16 bit": (Image.fromarray(np.array([[0, 255, 256, 65535]], np.uint16)), gray([0, 0, 1, 255])),
    "gray 32 bit": (Image.fromarray(np.array([[0, 511, 65535]], np.int32)), gray([0, 1, 255])),
    "gray 32 bit, too big": (Image.fromarray(np.array([[65536]], np.int32)), "beyond 0..65535"),
    "gray 32 bit, negative": (Image.fromarray(np.array([[-1]], np.int32)), "beyond 0..65535"),
    "float": (Image.new("F", (2, 1)), "convert"),
    "rgb": (Image.fromarray(PIXELS), PIXELS),
    "rgba": (Image.new("RGBA", (1, 1), (9, 8, 7, 0)), [[[9, 8, 7, 0]]]),
    "gray and alpha": (Image.new("LA", (1, 1), (9, 7)), [[[9, 9, 9, 7]]]),
    "premultiplied": (Image.new("RGBa", (1, 1), (10, 20, 30, 255)), [[[10, 20, 30, 255]]]),
    "premultiplied gray": (Image.new("La", (1, 1), (10, 255)), [[[10, 10, 10, 255]]]),
    "padded": (Image.new("RGBX", (1, 1), (1, 2, 3, 0)), [[[1, 2, 3]]]),
    "palette": (palette("RGB", [1, 2, 3, 4, 5, 6, 7, 8, 9]), [[[1, 2, 3], [4, 5, 6], [7, 8, 9]]]),
    "palette, one clear": (
        palette("RGB", [1, 2, 3, 4, 5, 6, 7, 8, 9], transparency=1),
        [[[1, 2, 3, 255], [4, 5, 6, 0], [7, 8, 9, 255]]],
    ),
    "palette with alpha": (palette("RGBA", list(range(12))), [[[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]]),
    "cmyk, no ink": (Image.new("CMYK", (1, 1), (0, 0, 0, 0)), [[[255, 255, 255, 255]]]),
    "ycbcr": (Image.new("YCbCr", (1, 1), (77, 128, 128)), [[[77, 77, 77]]]),
    "hsv": (Image.new("HSV", (1, 1), (0, 0, 50)), [[[50, 50, 50]]]),
    "lab": (Image.new("LAB", (1, 1), (255, 0, 0)), Image.new("LAB", (1, 1), (255, 0, 0)).convert("RGB")),
    "nothing": (Image.new("RGB", (0, 3)), "no pixels"),
}


@pytest.mark.parametrize(("image", "expected"), MODES.values(), ids=MODES)
def test_modes(image, expected):
    check(image, expected)


@pytest.mark.parametrize(
    ("image", "kind", "options", "expected"),
    [
        (MODES["one bit"][0], "PNG", {}, gray([255, 0])),
        (MODES["gray 16 bit"][0], "PNG", {}, gray([0, 0, 1, 255])),
        (MODES["gray 16 bit"][0], "TIFF", {}, gray([0, 0, 1, 255])),
        (Image.fromarray(PIXELS), "BMP", {}, PIXELS),
        (Image.fromarray(PIXELS), "TIFF", {}, PIXELS),
        (Image.fromarray(PIXELS), "WEBP", {"lossless": True}, PIXELS),
        (MODES["palette, one clear"][0], "PNG", {"transparency": 1}, MODES["palette, one clear"][1]),
        # A colour key, as libvips reads it.
        (Image.new("RGB", (1, 1), (1, 2, 3)), "PNG", {"transparency": (1, 2, 3)}, [[[1, 2, 3, 0]]]),
        (MODES["float"][0], "TIFF", {}, "floats, which have no set range"),
    ],
)
def test_modes_in_files(image, kind, options, expected):
    check(encoded(image, kind, **options), expected)


def test_sixteen_bit_rgb_keeps_the_high_byte():
    row = b"\0" + struct.pack(">6H", 0x01FF, 0x0200, 0x03FF, 0xFFFF, 0x00FF, 0x8080)
    check(png(2, 1, 16, row), [[[1, 2, 3], [255, 0, 128]]])


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_first_frame_of_an_animation(kind):
    frames = [Image.new("RGB", (2, 2), color) for color in ("red", "blue")]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True)
    np.testing.assert_array_equal(decode(data).rgb(), np.asarray(frames[0]))


def test_frame_that_the_caller_chose_is_kept():
    frames = [Image.new("RGB", (2, 2), color) for color in ("red", "blue")]
    image = Image.open(io.BytesIO(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])))
    image.seek(1)
    np.testing.assert_array_equal(decode(image).rgb(), np.asarray(frames[1]))


def test_avif():
    if "AVIF" not in Image.registered_extensions().values():
        pytest.skip("this Pillow has no AVIF")
    assert decode(encoded(NOISE, "AVIF")).pixels.shape == (90, 120, 3)


def test_avif_with_an_old_pillow(monkeypatch):
    monkeypatch.setattr(Image, "OPEN", {kind: plugin for kind, plugin in Image.OPEN.items() if kind != "AVIF"})
    monkeypatch.setitem(sys.modules, "PIL.AvifImagePlugin", None)
    check(b"\0\0\0\x18ftypavif" + bytes(40), "Pillow 11.3 and newer do")


def test_heif_with_the_plugin():
    pytest.importorskip("pillow_heif").register_heif_opener()
    data = encoded(NOISE, "HEIF", quality=95)
    Image.OPEN.pop("HEIF")  # as in a process that never asked for the plugin
    Image.ID.remove("HEIF")
    assert decode(data).pixels.shape == (90, 120, 3)


def test_heif_without_the_plugin(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    check(b"\0\0\0\x18ftypheic" + bytes(40), "pip install -e '.[heif]'")


# ----- rgb()


@pytest.mark.parametrize(
    ("pixels", "rgb"),
    [
        (gray([5, 6]), [[[5, 5, 5], [6, 6, 6]]]),
        (np.array([[[1, 2, 3, 0]]], np.uint8), [[[1, 2, 3]]]),  # not composited
    ],
)
def test_rgb(pixels, rgb):
    result = DecodedImage(pixels, "x").rgb()
    np.testing.assert_array_equal(result, rgb)
    assert result.flags.c_contiguous


def test_rgb_does_not_copy():
    decoded = decode(PNG)
    assert np.shares_memory(decoded.rgb(), decoded.pixels)
    assert (decoded.width, decoded.height) == (6, 4)


# ----- profiles


def icc(gamma=1.8):
    """The profile of sRGB with a plain gamma instead of its curve."""
    data = bytearray(srgb_profile())
    for tag in (b"rTRC", b"gTRC", b"bTRC"):
        at = struct.unpack_from(">I", data, data.index(tag) + 4)[0]
        struct.pack_into(">4s4xHxx5i", data, at, b"para", 0, round(gamma * 65536), 0, 0, 0, 0)
    return bytes(data)


def test_generated_profile_is_the_published_srgb():
    def numbers(tag):
        data = srgb_profile()
        at = struct.unpack_from(">I", data, data.index(tag) + 4)[0]
        return struct.unpack_from(">3i", data, at + 8)

    published = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    bradford = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    gains = (bradford @ [0.9642, 1, 0.8249]) / (bradford @ published.sum(axis=1))
    adapted = np.linalg.inv(bradford) @ np.diag(gains) @ bradford @ published
    expected = np.rint(adapted.T * 65536).astype(int).tolist()
    assert [list(numbers(tag)) for tag in (b"rXYZ", b"gXYZ", b"bXYZ")] == expected
    profile = ImageCms.ImageCmsProfile(io.BytesIO(srgb_profile()))
    assert profile.profile.xcolor_space == "RGB "


PLAIN = Image.fromarray(PIXELS)
CONVERTED = np.asarray(
    ImageCms.profileToProfile(
        PLAIN, *(ImageCms.ImageCmsProfile(io.BytesIO(p)) for p in (icc(), srgb_profile())), renderingIntent=0
    )
)
ALPHA = np.dstack([PIXELS, RNG.integers(0, 256, (4, 6), np.uint8)])


@pytest.mark.parametrize(
    ("image", "profile", "expected"),
    [
        pytest.param(PLAIN, icc(), CONVERTED, id="rgb"),
        pytest.param(Image.fromarray(ALPHA), icc(), np.dstack([CONVERTED, ALPHA[..., 3]]), id="rgba"),
        pytest.param(PLAIN, srgb_profile(), PIXELS, id="srgb already"),
        pytest.param(PLAIN, b"no profile at all", PIXELS, id="broken"),
        pytest.param(PLAIN.convert("L"), icc(), np.asarray(PLAIN.convert("L"))[..., None], id="gray stays"),
        pytest.param(Image.new("CMYK", (2, 1)), icc(), np.full((1, 2, 4), 255), id="wrong mode"),
    ],
)
def test_profiles(image, profile, expected):
    assert not np.array_equal(CONVERTED, PIXELS)
    if image.mode != "CMYK":
        check(encoded(image, icc_profile=profile), expected)
    image = image.copy()
    image.info["icc_profile"] = profile
    check(image, expected)


# ----- sources


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "a photo ü.png"
    path.write_bytes(PNG)
    return path


@pytest.mark.parametrize(
    "make",
    [
        str,
        Path,
        lambda path: path.as_uri(),
        lambda path: path.as_uri().replace("file://", "file://localhost"),
        lambda path: path.as_uri().replace("file://", "FILE:"),
        lambda path: os.path.relpath(path),
        lambda path: path.read_bytes(),
        lambda path: bytearray(path.read_bytes()),
        lambda path: memoryview(path.read_bytes()),
        lambda path: memoryview(bytes(b for byte in path.read_bytes() for b in (byte, 0)))[::2],
        lambda path: io.BytesIO(path.read_bytes()),
        lambda path: {"bytes": path.read_bytes(), "path": None},
        lambda path: {"bytes": path.read_bytes(), "path": "/elsewhere.jpg"},
        lambda path: {"bytes": None, "path": str(path)},
        lambda path: {"path": path},
        lambda path: Image.open(path),
        lambda path: "data:image/png;base64," + base64.b64encode(PNG).decode(),
        lambda path: "data:image/png;base64," + base64.b64encode(PNG).decode().rstrip("=").replace("+", "%2B"),
        lambda path: "data:," + "".join(f"%{byte:02x}" for byte in PNG),
    ],
)
def test_sources(make, photo):
    check(make(photo), PIXELS)


def test_file_object_is_read_from_where_it_stands_and_not_closed(tmp_path):
    path = tmp_path / "two.bin"
    path.write_bytes(b"head" + PNG)
    with path.open("rb") as stream:
        stream.seek(4)
        assert decode(stream).name == str(path)
        assert not stream.closed


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "this is no image; pass a path"),
        (17, "this is no image"),
        ([PNG], "this is no image"),
        ({}, "neither 'bytes'"),
        ({"bytes": None, "path": None}, "neither 'bytes'"),
        ({"bytes": PIXELS}, "neither 'bytes'"),
        (io.StringIO("text"), "binary mode"),
        ("ftp://example.org/x.png", "ftp: URLs are not supported"),
        ("s3://bucket/x.png", "s3: URLs are not supported"),
        ("file://server/x.png", "with a host"),
        ("file://[x", "not a valid file: URL"),
        ("data:image/png;base64", "comma"),
        ("data:image/png;base64,!!!!", "not valid"),
        ("data:image/png;base64,", "empty"),
        ("data:text/plain,hello", "not an image"),
        ("a\0b.jpg", "cannot be opened"),
        ("x" * 5000, "cannot be opened"),
        ("", "no such file"),
    ],
)
def test_sources_refused(source, message):
    check(source, message)


def test_closed_file_object():
    stream = io.BytesIO(PNG)
    stream.close()
    check(stream, "closed file")


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("dir/x.jpg", "dir/x.jpg"),
        (Path("x.jpg"), "x.jpg"),
        ("https://example.org/x.jpg", "https://example.org/x.jpg"),
        ("https://me:secret@example.org/x.jpg", "https://…@example.org/x.jpg"),
        ("data:image/png;base64,AAAA", "data:image/png;base64,… (26 characters)"),
        (b"", "<bytes>"),
        (Image.new("RGB", (640, 480)), "<PIL image 640x480>"),
        (PIXELS, "<array>"),
        (io.BytesIO(), "<file object>"),
        ({"bytes": b"", "path": "x.jpg"}, "x.jpg"),
        ({"bytes": b""}, "<bytes>"),
        (3, "<int>"),
    ],
)
def test_names(source, name):
    assert name_of(source) == name


# ----- broken files


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty (0 bytes)"),
        (b"only text, whatever the name says", "not an image in a known format"),
        (b"\x00", "not an image"),
        (encoded(NOISE, "JPEG")[:-2], "truncated; get the whole of it"),
        (encoded(NOISE, "JPEG")[:1500], "truncated; get the whole of it"),
        (encoded(NOISE, "JPEG")[:100], "JPEG file cannot be read"),
        (encoded(NOISE, "PNG")[:2000], "truncated"),
        (encoded(NOISE, "GIF")[:2000], "truncated"),
        (encoded(NOISE, "WEBP")[:900], "WEBP file cannot be read, it may be damaged or truncated"),
        (PNG[:12] + b"XXXX" + PNG[16:], "PNG"),
        (PNG[:50] + bytes(20) + PNG[70:], "Cannot read"),
        (
            b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>',
            "SVG is a drawing, not a raster image",
        ),
        (b"<!DOCTYPE html><title>404</title>", "HTML page"),
        (b"%PDF-1.7", "convert it to PNG"),
        (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",
            "convert it to PNG",
        ),  # no Ghostscript
    ],
)
def test_broken_files(data, message, tmp_path):
    path = tmp_path / "broken.jpg"
    path.write_bytes(data)
    check(path, message)
    check(data, message)


def test_causes_are_kept():
    with pytest.raises(ImageError) as caught:
        decode(encoded(NOISE, "JPEG")[:1500])
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (MemoryError(), "not enough memory"),
        (Image.DecompressionBombError("Too big."), "See PIL.Image.MAX_IMAGE_PIXELS"),
        (RuntimeError(), "its data is damaged (RuntimeError)"),
    ],
)
def test_whatever_pillow_raises(raised, message, monkeypatch):
    def fail(image):
        raise raised

    image = Image.new("RGB", (2, 2))
    monkeypatch.setattr(type(image), "load", fail)
    check(image, message)


def test_broken_pil_image():
    check(Image.open(io.BytesIO(encoded(NOISE, "JPEG")[:1500])), "truncated")


def test_paths_that_are_no_readable_files(tmp_path, photo, monkeypatch):
    check(tmp_path / "missing.jpg", "no such file")
    check(tmp_path, "this is a folder")
    check(photo / "inside.png", "cannot be opened")
    if os.name == "posix":
        check("/dev/null", "not a regular file")
        monkeypatch.chdir(tmp_path)  # the path of a socket must be short
        with socket.socket(socket.AF_UNIX) as unix:
            unix.bind("s.png")
            check("s.png", "not a regular file")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read anything")
def test_path_without_permission(photo):
    photo.chmod(0)
    check(photo, "ermission")


@pytest.mark.skipif(not os.path.exists("/proc/version"), reason="no /proc here")
def test_files_of_the_system_are_not_opened(monkeypatch):
    """They say that they are empty, and some (/proc/kmsg) let whoever reads them wait for ever."""
    monkeypatch.setattr("builtins.open", lambda *_, **__: pytest.fail("it was opened"))
    with pytest.raises(ImageError, match=r"/proc/version: it is empty"):
        decode("/proc/version")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_pipe_is_refused_without_waiting_for_a_writer(tmp_path):
    path = tmp_path / "pipe.jpg"
    os.mkfifo(path)
    errors = []

    def read():
        try:
            decode(path)
        except ImageError as error:
            errors.append(str(error))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive(), "decode waits for the pipe"
    assert str(path) in errors[0]
    assert "not a regular file" in errors[0]


# ----- limits


def test_too_many_pixels_are_refused_before_they_are_decoded():
    bomb = png(60_000, 60_000, 8, b"")
    before = Image.MAX_IMAGE_PIXELS
    check(bomb, "60000x60000 pixels exceed the limit of 200000000")
    why = "its 6x4 pixels exceed the limit of 23; shrink it, or, in Python, pass on images.decode(image, max_pixels="
    check(PNG, why, max_pixels=23)
    check(Image.fromarray(PIXELS), "exceed the limit of 23", max_pixels=23)
    check(PNG, PIXELS, max_pixels=24)
    assert before == Image.MAX_IMAGE_PIXELS


def test_pillows_own_limit_neither_warns_nor_refuses_below_ours(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(PNG, PIXELS)
        check(encoded(PLAIN, "BMP"), PIXELS)


def test_endless_file_object():
    class Zeros:
        def read(self, size=-1):
            return bytes(size)

    check(Zeros(), "more than 1000000 bytes, the limit; in Python, raise max_bytes", max_bytes=1_000_000)


# ----- URLs


class Handler(http.server.BaseHTTPRequestHandler):
    agents: list = []  # noqa: RUF012

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.agents.append(self.headers["User-Agent"])
        path = self.path.partition("?")[0]
        if path.startswith("/to/"):
            target = {
                "png": "/x.png",
                "file": "file:///etc/hostname",
                "ftp": "ftp://127.0.0.1/x.png",
                "me": self.path,
            }
            self.send_response(302)
            self.send_header("Location", target[path[4:]])
            self.end_headers()
        elif path in ("/x.png", "/a%20b.png"):
            self.answer(PNG)
        elif path == "/page.jpg":
            self.answer(b"<!doctype html><p>log in first", "text/html")
        elif path == "/large":
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                for _ in range(1000):
                    self.wfile.write(bytes(100_000))
        elif path == "/cut.png":
            self.answer(PNG[:60], length=len(PNG))
        elif path == "/silent":
            time.sleep(60)
        elif path == "/drip":  # never silent for long, never done
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                for _ in range(1200):  # a minute
                    self.wfile.write(b"\0")
                    self.wfile.flush()
                    time.sleep(0.05)
        else:
            self.send_error(404)

    def answer(self, body, kind="image/png", length=None):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length or len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="module")
def server():
    with (
        pytest.MonkeyPatch.context() as patch,
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server,
    ):
        server.daemon_threads, server.block_on_close = True, False
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            patch.delenv(name, raising=False)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("path", "options", "expected"),
    [
        ("/x.png", {}, PIXELS),
        ("/x.png?size=1&sig=a%2Fb", {}, PIXELS),
        ("/a b.png", {}, PIXELS),
        ("/to/png", {}, PIXELS),
        ("/none.png", {}, "the server answered 404"),
        ("/page.jpg", {}, "HTML page, not an image"),
        ("/cut.png", {}, "truncated"),
        ("/to/file", {}, "Redirection to url 'file:///etc/hostname' is not allowed"),
        ("/to/ftp", {}, "unknown url type: ftp"),
        ("/to/me", {}, "302"),
        ("/large", {"max_bytes": 300_000}, "more than 300000 bytes"),
        ("/silent", {"timeout": 0.2}, "did not end within 0.2 s; fetch it first"),
        ("/drip", {"timeout": 0.3}, "did not end within 0.3 s; fetch it first"),
    ],
)
def test_urls(server, path, options, expected):
    start = time.monotonic()
    check(server + path, expected, **options)
    assert time.monotonic() - start < 30


def test_user_agent(server):
    decode(server + "/x.png")
    assert Handler.agents[-1].startswith("transformers-foreground/")


@pytest.mark.parametrize("url", ["http://", "http://[x/", "http://127.0.0.1:99999/x.png", "HTTP://a\nb/x.png"])
def test_urls_that_are_none(url):
    check(url, "the download failed")


def test_no_server_there():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        check(f"http://127.0.0.1:{free.getsockname()[1]}/x.png", "the download failed")


# ----- arrays and tensors


@settings(deadline=None, max_examples=60)
@given(
    hnp.arrays(
        np.uint8,
        st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3, 4]))
        | st.tuples(st.integers(1, 9), st.integers(1, 9)),
    )
)
def test_arrays_keep_their_values(array):
    want = array if array.ndim == 3 else array[..., None]
    check(array, want)
    check(array[:, ::-1], want[:, ::-1])
    check(array / 255, want)
    check((array / 255).astype(np.float16), want)
    if want.shape[2] > 1 or array.ndim == 2:
        check(encoded(Image.fromarray(array)), want)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([[True, False]]), gray([255, 0])),
        (np.array([[0.0, 1.0, 0.499 / 255, 0.501 / 255]]), gray([0, 255, 0, 1])),
        (np.full((2, 2), 1.01), "scale them to [0, 1], or pass uint8"),
        (np.full((2, 2), -0.01), "scale them"),
        (np.full((2, 2), np.nan), "scale them"),
        (np.full((2, 2), np.inf), "scale them"),
        (np.zeros((2, 2), np.int64), "dtype is int64; pass uint8"),
        (np.zeros((2, 2), np.uint16), "dtype is uint16"),
        (np.zeros((2, 2), complex), "dtype is complex128"),
        (np.array([[None]]), "dtype is object"),
        (np.zeros((0, 3, 3), np.uint8), "no pixels"),
        (np.zeros((3, 3, 0), np.uint8), "no pixels"),
        (np.zeros((3, 8, 9), np.uint8), "transpose(1, 2, 0)"),
        (np.zeros((8, 9, 2), np.uint8), "(8, 9, 2)"),
        (np.zeros((1, 8, 9, 3), np.uint8), "(1, 8, 9, 3)"),
        (np.zeros(5, np.uint8), "(5,)"),
        (np.array(5, np.uint8), "shape ()"),
        (np.zeros((3, 3, 3), np.uint8), np.zeros((3, 3, 3))),  # ambiguous: taken as (H, W, C)
    ],
)
def test_arrays(array, expected):
    check(array, expected)


def test_tensors():
    torch = pytest.importorskip("torch")
    chw = torch.from_numpy(PIXELS.transpose(2, 0, 1).copy())
    for tensor, expected in [
        (chw, PIXELS),
        (chw[:1], PIXELS[..., :1]),
        (chw[0], PIXELS[..., :1]),
        (chw / 255, PIXELS),
        ((chw / 255).double().requires_grad_(), PIXELS),
        (torch.ones(3, 2, 2, dtype=torch.bfloat16), np.full((2, 2, 3), 255)),
        (chw > 255, np.zeros_like(PIXELS)),
        (torch.zeros(8, 9, 3), "permute(2, 0, 1)"),
        (chw[None], "(1, 3, 4, 6)"),
        (chw.long(), "dtype is int64"),
        (torch.zeros(3, 0, 4), "no pixels"),
        (torch.zeros(3, 2, 2, device="meta"), "cannot be turned into an array"),
    ]:
        check(tensor, expected)


# ----- threads


def test_many_threads(photo):
    jobs = [photo, PNG, encoded(PLAIN, "TIFF"), encoded(icc_profile=icc()), encoded(NOISE, "JPEG")[:900]] * 20

    def run(source):
        try:
            return decode(source).pixels.tobytes()
        except ImageError:
            return "error"

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(run, jobs))
    expected = [PIXELS.tobytes()] * 3 + [CONVERTED.tobytes(), "error"]
    assert results == expected * 20


def test_a_lazily_opened_image_beyond_the_limit_is_refused_before_it_is_decoded() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30)).save(buffer, "PNG")
    source = Image.open(buffer)
    with pytest.raises(ImageError, match="40x30"):
        decode(source, max_pixels=1199)
    assert source.tile  # nothing was read of it
    assert decode(source, max_pixels=1200).pixels.shape == (30, 40, 3)
