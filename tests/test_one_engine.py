"""Every way in gives the same bytes: each image, each resampling, one, many, a stream, a batch, a cluster."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from clusters import ray_cluster, spark_session
from PIL import Image
from tiny_models import brightness_model, write_repo

from transformers_foreground import ForegroundMapper, Segmenter, cutout, pipeline, register
from transformers_foreground.data.arrow import ArrowMapper
from transformers_foreground.runtime.resampling import RESAMPLINGS

Masks = list[bytes]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph that takes any batch, so that batches of three are batches."""
    return write_repo(tmp_path_factory.mktemp("model") / "tiny", dtypes={"": brightness_model(batch=None)})


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """RGB, RGBA with colours under its alpha, gray, and one that EXIF turns; noise, so that each filter tells."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(7)
    kinds = {"rgb": (37, 53, 3), "rgba": (41, 29, 4), "gray": (33, 47), "exif": (26, 52, 3)}
    paths = []
    for name, shape in kinds.items():
        image = Image.fromarray(rng.integers(0, 256, shape, np.uint8))
        exif = Image.Exif()
        if name == "exif":
            exif[0x0112] = 6
        image.save(folder / f"{name}.png", exif=exif)
        paths.append(folder / f"{name}.png")
    return paths


def bytes_of(mask: Any) -> bytes:
    """Return a mask's size and pixels: of a PIL image, an array, or an encoded file."""
    if isinstance(mask, bytes):
        mask = Image.open(io.BytesIO(mask))
    elif isinstance(mask, dict):
        mask = Image.open(io.BytesIO(mask["bytes"]))
    pixels = np.asarray(mask)
    assert pixels.dtype == np.uint8
    return repr(pixels.shape).encode() + pixels.tobytes()


@pytest.fixture(scope="module", params=RESAMPLINGS)
def resampling(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def expected(model: Path, images: list[Path], resampling: str) -> Masks:
    """Each image by itself, through the engine."""
    with Segmenter(model, resampling=resampling) as segmenter:
        return [bytes_of(segmenter(path).mask) for path in images]


# --- pipelines --------------------------------------------------------------------------------------------------------


def _single(call: Any, images: Sequence[Any]) -> list[Any]:
    return [call(image) for image in images]


def _list(call: Any, images: Sequence[Any]) -> list[Any]:
    return list(call(list(images)))


def _generator(call: Any, images: Sequence[Any]) -> list[Any]:
    return list(call(image for image in images))


def _batch(call: Any, images: Sequence[Any]) -> list[Any]:
    return list(call(list(images), batch_size=3))


def _inline(call: Any, images: Sequence[Any]) -> list[Any]:
    return list(call(list(images), batch_size=3, num_workers=0))


def _awaited(call: Any, images: Sequence[Any]) -> list[Any]:
    async def main() -> list[Any]:
        return [*await asyncio.gather(*(call.acall(image) for image in images))]

    return asyncio.run(main())


def _opened_lazily(call: Any, images: Sequence[Path]) -> list[Any]:
    return list(call([Image.open(path) for path in images]))


def ours(model: Path, resampling: str) -> Any:
    return pipeline("image-segmentation", model, resampling=resampling)


def by_transformers(model: Path, resampling: str) -> Any:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("torch")
    register()
    return partial_call(transformers.pipeline("image-segmentation", str(model)), resampling)


def by_optimum(model: Path, resampling: str) -> Any:
    try:
        from optimum.onnxruntime import pipeline as optimum_pipeline
    except (ImportError, RuntimeError):
        pytest.skip("only transformers 4 has Optimum beside it")
    register()
    return partial_call(optimum_pipeline("image-segmentation", str(model)), resampling)


class partial_call:
    """A pipeline whose calls have a resampling."""

    def __init__(self, called: Any, resampling: str) -> None:
        self.acall = partial(called.acall, resampling=resampling)
        self._call = partial(called, resampling=resampling)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(*args, **kwargs)


@pytest.mark.parametrize("how", [_single, _list, _generator, _batch, _inline, _awaited, _opened_lazily])
@pytest.mark.parametrize("made", [ours, by_transformers, by_optimum])
def test_pipelines(
    made: Callable[..., Any], how: Any, model: Path, images: list[Path], resampling: str, expected: Masks
) -> None:
    given = images if how is _opened_lazily else [str(path) for path in images]
    assert [bytes_of(result[0]["mask"]) for result in how(made(model, resampling), given)] == expected


def test_background_removal(model: Path, images: list[Path], resampling: str, expected: Masks) -> None:
    with pipeline("background-removal", model, resampling=resampling) as remover:
        assert [bytes_of(result.getchannel("A")) for result in remover([str(path) for path in images])] == expected


# --- data -------------------------------------------------------------------------------------------------------------


def table(images: Sequence[Path]) -> pa.Table:
    return pa.table({"id": list(range(len(images))), "image": [path.read_bytes() for path in images]})


@pytest.mark.parametrize("batch_size", [1, 3])
def test_the_mapper(batch_size: int, model: Path, images: list[Path], resampling: str, expected: Masks) -> None:
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_dict({"image": [str(path) for path in images]}).cast_column("image", datasets.Image())
    mapper = ForegroundMapper(model, resampling=resampling, batch_size=batch_size)
    result = rows.map(mapper, batched=True, batch_size=4, features=mapper.features(rows.features))
    assert [bytes_of(mask) for mask in result["mask"]] == expected


def test_arrow(model: Path, images: list[Path], resampling: str, expected: Masks) -> None:
    result = ArrowMapper(model, resampling=resampling, graph_batch_size=3)(table(images))
    assert [bytes_of(mask) for mask in result.column("mask").to_pylist()] == expected


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    pytest.importorskip("ray.data", reason="ray is not installed: pip install -e '.[ray]'")
    with ray_cluster():
        yield


def test_ray(cluster: None, model: Path, images: list[Path], resampling: str, expected: Masks) -> None:
    import ray

    from transformers_foreground.data.ray import map_batches

    rows = map_batches(ray.data.from_arrow(table(images)), model, resampling=resampling, concurrency=1).take_all()
    assert [bytes_of(row["mask"]) for row in sorted(rows, key=lambda row: row["id"])] == expected


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    pytest.importorskip("pyspark", reason="pyspark is not installed: pip install -e '.[spark]'")
    with spark_session() as session:
        yield session


def test_spark(spark: Any, model: Path, images: list[Path], resampling: str, expected: Masks) -> None:
    from transformers_foreground.data.spark import map_in_arrow

    frame = spark.createDataFrame([(i, bytearray(path.read_bytes())) for i, path in enumerate(images)], ["id", "image"])
    rows = map_in_arrow(frame, str(model), resampling=resampling).collect()
    assert [bytes_of(bytes(row["mask"])) for row in sorted(rows, key=lambda row: row["id"])] == expected


# --- the command, an evaluation, a server -----------------------------------------------------------------------------


def test_the_command(model: Path, images: list[Path], resampling: str, expected: Masks, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from transformers_foreground.cli import app

    line = [
        *map(str, images),
        "-o",
        str(tmp_path),
        "--mask-only",
        "--ignore-alpha",
        "--model",
        str(model),
        "--resampling",
        resampling,
    ]
    result = CliRunner().invoke(app, line)
    assert result.exit_code == 0, result.stderr
    assert [bytes_of((tmp_path / f"{path.stem}.mask.png").read_bytes()) for path in images] == expected


def test_an_evaluation(model: Path, images: list[Path], resampling: str, expected: Masks, tmp_path: Path) -> None:
    """Its masks are measured, not kept: against the expected ones as the truth there is no error at all."""
    pytest.importorskip("py_sod_metrics", reason="pysodmetrics is not installed: pip install -e '.[eval]'")
    from transformers_foreground.evaluation import evaluate

    (tmp_path / "truth").mkdir()
    for path, mask in zip(images, expected, strict=True):
        head, pixels = mask.split(b")", 1)
        height, width = map(int, head[1:].split(b","))
        Image.fromarray(np.frombuffer(pixels, np.uint8).reshape(height, width)).save(
            tmp_path / "truth" / f"{path.stem}.png"
        )
    recipe = {
        "name": "same",
        "models": [{"id": str(model), "resampling": resampling}],
        "datasets": [
            {"name": "same", "images": str(images[0].parent), "truth": str(tmp_path / "truth"), "measures": ["alpha"]}
        ],
    }
    evaluate(recipe, output=tmp_path / "out")
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    (score,) = summary["scores"]
    assert (score["images"], score["measures"]["mad"]["value"]) == (len(images), 0)


def test_the_server(model: Path, images: list[Path], tmp_path: Path) -> None:
    """It takes no resampling; the page's cut-out has the mask as its alpha, times the image's own."""
    from transformers_foreground.server.decoding import Upload
    from transformers_foreground.server.downloads import Downloads
    from transformers_foreground.server.looks import Look
    from transformers_foreground.server.progress import Settings
    from transformers_foreground.server.results import Result
    from transformers_foreground.server.service import Service

    service = Service(Settings(str(model)), tmp_path)
    downloads = Downloads(service)

    async def main() -> list[bytes]:
        uploads = [Upload(path.name, path) for path in images]
        outcomes = [outcome async for outcome in service.remove(uploads)]
        results = [outcome for outcome in outcomes if isinstance(outcome, Result)]
        return [(await downloads.full_size(result, Look())).data for result in results]

    results = asyncio.run(main())
    service.close()
    with Segmenter(model) as segmenter:
        for path, result in zip(images, results, strict=True):
            wanted = cutout(path, segmenter(path).mask)
            assert bytes_of(Image.open(io.BytesIO(result))) == bytes_of(wanted)
