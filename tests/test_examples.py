"""The programs in examples/, on small input with a tiny model."""

from __future__ import annotations

import asyncio
import importlib.util
import io
import runpy
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_models import brightness_model, write_repo

from transformers_foreground import pipeline
from transformers_foreground.errors import InferenceError
from transformers_foreground.runtime import model as runtime_model

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def example(name: str, *needed: str) -> ModuleType:
    """Import an example, or skip where a package that it needs is not installed."""
    for package in needed:
        pytest.importorskip(package, reason=f"{package} is not installed: pip install '.[examples]'")
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def photo(left: int, size: tuple[int, int] = (96, 64), value: int = 255) -> Image.Image:
    """Return a dark image with a bright square of 24 pixels."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[20:44, left : left + 24] = value
    return Image.fromarray(pixels)


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(write_repo(tmp_path / "model", size=64))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with two good photos, of which one name stands twice, a damaged one and an empty one."""
    folder = tmp_path / "photos"
    folder.mkdir()
    photo(8).save(folder / "cup.png")
    photo(60).save(folder / "cup.tif")
    photo(8, (128, 64)).save(folder / "plate.png")
    photo(8, value=0).save(folder / "nothing.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff not an image")
    (folder / "notes.txt").write_text("no photo")
    return folder


def test_every_example_is_tested() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {"product_photos", "dataset_column", "service", "video"}


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("product_photos", "nope shop", "nope"),
        ("product_photos", "empty shop", "no photos in empty"),
        ("product_photos", "photos shop --background nocolour", "background='nocolour' is neither a colour"),
        ("product_photos", "photos shop --model no/such", "Found no onnx/model.onnx of no/such"),
        ("product_photos", "photos file/shop", "file"),
        ("dataset_column", "nope out.parquet", "nope"),
        ("dataset_column", "photos out.parquet --model no/such", "Found no onnx/model.onnx of no/such"),
        ("dataset_column", "photos file/out.parquet", "file"),
        ("video", "nope.mp4 out.webm", "nope.mp4"),
        ("video", "file out.webm", "file"),
        ("video", "sound.m4a out.mp4 --background red", "there are no frames in sound.m4a"),
        ("video", "in.mp4 out.mp4 --background nocolour", "background='nocolour' is neither a colour"),
        ("video", "in.mp4 out.mp4 --background red --model no/such", "Found no onnx/model.onnx of no/such"),
        ("video", "in.mp4 file/out.mp4 --background red", "file"),
        ("service", "--model no/such", "Found no onnx/model.onnx of no/such"),
    ],
)
def test_ordinary_mistakes_are_one_line(
    name: str, arguments: str, message: str, photos: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in {"video": ["av"], "service": ["fastapi", "multipart"]}.get(name, []):
        pytest.importorskip(package)
    monkeypatch.chdir(photos.parent)
    Path("empty").mkdir()
    Path("file").write_bytes(b"no video")
    if name == "video":
        write_video(Path("in.mp4"))
        write_sound(Path("sound.m4a"))
    with_model = ["--model", model] if arguments else []  # one that the arguments name comes later, and counts
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *with_model, *arguments.split()])
    monkeypatch.setenv("FOREGROUND_MODEL", "no/such")
    monkeypatch.setattr("transformers_foreground.env.allow_remote_models", False)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    told = str(ended.value.code)
    assert told.startswith("error: ")
    assert message in told
    assert "\n" not in told
    assert not Path("out.mp4").exists()


# --- product photos ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_product_photos(
    kind: str, photos: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(photos), str(tmp_path / "shop"), "--model", model, "--kind", kind]
    assert example("product_photos").main(arguments) == 1
    made = sorted((tmp_path / "shop").iterdir())
    assert [path.name for path in made] == [f"cup.png.{kind}", f"cup.tif.{kind}", f"plate.{kind}"]
    for path in made:
        with Image.open(path) as opened:
            assert opened.format == kind.upper()
            assert opened.mode == "RGB"
            width, height = opened.size
            assert width == height
            assert 24 <= width <= 40  # cropped to the square, with some room around it
            assert min(opened.getpixel((0, 0))) >= 250
    told = capsys.readouterr().out
    assert "broken.jpg: this JPEG file cannot be read" in told
    assert "nothing.png: no product found" in told


def test_product_photos_of_one_size(photos: Path, model: str, tmp_path: Path) -> None:
    for name in ("broken.jpg", "nothing.png"):
        (photos / name).unlink()
    arguments = [str(photos), str(tmp_path / "shop"), "--model", model, "--size", "50", "--background", "#ff0000"]
    assert example("product_photos").main(arguments) == 0
    with Image.open(tmp_path / "shop" / "plate.png") as opened:
        assert opened.size == (50, 50)
        assert opened.getpixel((0, 0)) == (255, 0, 0)
        assert min(opened.getpixel((25, 25))) > 200


# --- a column of a dataset --------------------------------------------------------------------------------------------


def test_dataset_column(photos: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    datasets = pytest.importorskip("datasets")
    output = tmp_path / "out" / "masks.parquet"
    output.parent.mkdir()
    assert example("dataset_column").main([str(photos), str(output), "--model", model]) == 1
    with Image.open(photos / "plate.png") as opened, pipeline("image-segmentation", model) as segmenter:
        expected = segmenter(opened)[0]["mask"].tobytes()
    shutil.rmtree(photos)  # the images are in the file
    rows = datasets.Dataset.from_parquet(str(output), cache_dir=str(tmp_path / "cache"))
    assert isinstance(rows.features["mask"], datasets.Image)
    assert len(rows) == 5
    good = rows.filter(lambda error: error is None, input_columns="error")
    assert [row["image"].size == row["mask"].size for row in good] == [True] * 4
    assert [row["mask"].tobytes() for row in good if row["image"].size == (128, 64)] == [expected]
    told = capsys.readouterr().out
    assert "5 rows, 1 without a mask" in told
    assert "broken.jpg" in told


# --- a service --------------------------------------------------------------------------------------------------------


@pytest.fixture
def service(model: str) -> ModuleType:
    module = example("service", "fastapi", "multipart", "httpx")
    module.app.state.segmenter = pipeline("image-segmentation", model)
    return module


def test_the_help_of_the_service_needs_no_model(capsys: pytest.CaptureFixture[str]) -> None:
    module = example("service", "fastapi", "multipart")
    with pytest.raises(SystemExit) as ended:
        module.main(["--help"])
    assert ended.value.code == 0
    assert "--model" in capsys.readouterr().out
    assert not hasattr(module.app.state, "segmenter")


def post(service: ModuleType, *requests: dict[str, Any]) -> list[Any]:
    """Start the service, send it requests at the same time, and stop it; return the answers."""
    import httpx

    async def main() -> list[Any]:
        transport = httpx.ASGITransport(app=service.app)
        async with (
            service.lifespan(service.app),
            httpx.AsyncClient(transport=transport, base_url="http://service") as client,
        ):
            return await asyncio.gather(*(client.post("/cutout", **request) for request in requests))

    return asyncio.run(main())


@pytest.fixture
def upload() -> dict[str, Any]:
    buffer = io.BytesIO()
    photo(8).save(buffer, "PNG")
    return {"image": ("cup.png", buffer.getvalue())}


def test_service(service: ModuleType, upload: dict[str, Any]) -> None:
    *answers, cropped = post(service, *[{"files": upload}] * 5, {"files": upload, "params": {"crop": True}})
    for answer in answers:
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "image/png"
        with Image.open(io.BytesIO(answer.content)) as opened:
            assert (opened.format, opened.mode, opened.size) == ("PNG", "RGBA", (96, 64))
            assert opened.getpixel((20, 32))[3] > 250
            assert opened.getpixel((80, 5)) == (0, 0, 0, 0)
    with Image.open(io.BytesIO(cropped.content)) as opened:
        assert max(opened.size) < 40


async def chunks() -> AsyncIterator[bytes]:
    yield b"of no stated length"


@pytest.mark.parametrize(
    ("request_", "status", "message"),
    [
        ({"files": {"image": ("notes.jpg", b"not an image")}}, 422, "Cannot read notes.jpg"),
        ({"files": {"image": ("/etc/passwd", b"")}}, 422, "it is empty"),
        ({"content": chunks()}, 411, "Content-Length"),
        ({"files": {"image": ("a.png", bytes(2000))}}, 413, "the limit is 1000"),
        ({"data": {"image": "http://127.0.0.1/a.png"}}, 422, "image: "),
        ({"params": {"crop": "perhaps"}, "data": {}}, 422, "crop: "),
    ],
    ids=str,
)
def test_service_refuses(
    service: ModuleType, request_: dict[str, Any], status: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MAX_BYTES", 1000)
    (answer,) = post(service, request_)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert message in answer.json()["error"]


def test_service_at_another_address(service: ModuleType) -> None:
    import httpx

    async def main() -> list[Any]:
        transport = httpx.ASGITransport(app=service.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return [await client.get("/"), await client.get("/cutout")]

    found, allowed = asyncio.run(main())
    assert (found.status_code, found.json()) == (404, {"error": "Not Found"})
    assert (allowed.status_code, allowed.json()) == (405, {"error": "Method Not Allowed"})
    assert allowed.headers["allow"] == "POST"


def test_service_without_its_model(
    service: ModuleType, upload: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise InferenceError("ONNX Runtime failed: no memory")

    monkeypatch.setattr(runtime_model, "forward", fail)
    (answer,) = post(service, {"files": upload})
    assert (answer.status_code, answer.json()) == (503, {"error": "ONNX Runtime failed: no memory"})


# --- a video ----------------------------------------------------------------------------------------------------------


def write_video(path: Path, *, sound: bool = False, size: tuple[int, int] = (96, 64)) -> list[int]:
    """Write 12 frames at 25 a second, of which one is left out; return their time stamps in hundredths of a second."""
    av = pytest.importorskip("av")
    stamps = [4 * i for i in range(13) if i != 5]
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = *size, "yuv420p", 2_000_000
        audio = container.add_stream("aac", rate=16000) if sound else None
        for stamp in stamps:
            frame = av.VideoFrame.from_image(photo(stamp, size))
            frame.pts = stamp // 4
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if audio is not None:
            add_tone(container, audio)
    return stamps


def write_sound(path: Path) -> None:
    """Write half a second of sound, and no video."""
    with pytest.importorskip("av").open(path, "w") as container:
        add_tone(container, container.add_stream("aac", rate=16000))


def add_tone(container: Any, audio: Any) -> None:
    av = pytest.importorskip("av")
    tone = (8000 * np.sin(np.arange(8000) / 10)).astype(np.int16)
    samples = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
    samples.sample_rate, samples.pts = 16000, 0
    container.mux(audio.encode(samples))
    container.mux(audio.encode(None))


def read_video(path: Path, decoder: str | None = None) -> tuple[list[int], list[np.ndarray]]:
    """Return the time stamps, and the frames' pixels, uint8, (H, W, 4)."""
    av = pytest.importorskip("av")
    with av.open(path) as container:
        stream = container.streams.video[0]
        assert stream.average_rate is not None
        own = av.CodecContext.create(decoder, "r") if decoder else stream.codec_context
        frames = [frame for packet in container.demux(stream) if packet.size for frame in own.decode(packet)]
        frames += own.decode(None)
        for frame in frames:
            frame.time_base = frame.time_base or stream.time_base
    return [round(100 * frame.time) for frame in frames], [frame.to_ndarray(format="rgba") for frame in frames]


@pytest.fixture
def av() -> Any:
    return pytest.importorskip("av", reason="av is not installed: pip install '.[examples]'")


def test_video_with_alpha(av: Any, model: str, tmp_path: Path) -> None:
    if "libvpx-vp9" not in av.codecs_available:
        pytest.skip("this PyAV has no libvpx")
    stamps = write_video(tmp_path / "in.mp4")
    example("video").main([str(tmp_path / "in.mp4"), str(tmp_path / "out.webm"), "--model", model])
    times, frames = read_video(tmp_path / "out.webm", "libvpx-vp9")
    assert times == stamps
    for stamp, frame in zip(stamps, frames, strict=True):
        assert frame.shape == (64, 96, 4)
        assert frame[32, stamp + 14 : stamp + 22, 3].min() > 200
        assert frame[:12, :, 3].max() < 40


def test_video_on_a_colour_keeps_the_sound(av: Any, tmp_path: Path) -> None:
    if "libx264" not in av.codecs_available:
        pytest.skip("this PyAV has no libx264")
    stamps = write_video(tmp_path / "in.mp4", sound=True, size=(98, 64))
    model = str(write_repo(tmp_path / "batches", dtypes={"": brightness_model(size=64, batch=None)}, size=64))
    arguments = [str(tmp_path / "in.mp4"), str(tmp_path / "out.mp4"), "--model", model, "--background", "#00b140"]
    example("video").main(arguments)
    times, frames = read_video(tmp_path / "out.mp4")
    assert times == stamps
    assert {frame.shape for frame in frames} == {(64, 98, 4)}
    assert np.abs(frames[6][4, 90, :3].astype(int) - (0, 0xB1, 0x40)).max() < 16
    with av.open(tmp_path / "in.mp4") as before, av.open(tmp_path / "out.mp4") as after:
        sounds = [[bytes(packet) for packet in video.demux(audio=0) if packet.size] for video in (before, after)]
    assert sounds[0]
    assert sounds[0] == sounds[1]


def test_video_without_alpha_needs_a_background(av: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        example("video").main(["in.mp4", "out.mp4"])
    assert "give a --background" in capsys.readouterr().err
