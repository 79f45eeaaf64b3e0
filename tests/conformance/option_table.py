"""Calls that Transformers.js and this package were both given, and what each made of them.

A row holds one call, in JavaScript and in Python. `recorded.json` holds what Transformers.js made of it, written by
`scripts/conformance.py --record`; `test_options.py` makes ours; `docs/conformance.md` shows both. Names in the calls:

- `id` is `"briaai/RMBG-1.4"`, of a tiny graph, in fp32, fp16 and q8;
- `load(task, options)` is `pipeline(task, id, options)`; in JavaScript also with `config: {model_type: "isnet"}`,
  without which nothing loads;
- `file_of(options)` is the ONNX file that is loaded with these options;
- `segmenter` and `remover` are new pipelines for image-segmentation and background-removal;
- `files` are small images, by their name.
"""

from __future__ import annotations

import base64
import io
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
from PIL import Image
from tiny_models import brightness_model, write_repo

from transformers_foreground import ForegroundPipeline, RemovalPipeline, env, pipeline

RECORDED = Path(__file__).with_name("recorded.json")
ID = "briaai/RMBG-1.4"

SAME, REFUSED, WORKS, STRICTER, DIFFERS = "same", "both refuse", "works here", "refused here", "differs"


@dataclass(frozen=True)
class Row:
    """One call.

    Attributes:
        js: The call in JavaScript.
        python: The call in Python.
        verdict: One of the five above.
        ours: What ours must be, as `describe` puts it, or a regular expression for the error; empty where it is what
            Transformers.js gives.
        note: What there is to say about it.
    """

    js: str
    python: str
    verdict: str = SAME
    ours: str = ""
    note: str = ""


_MASK = "[{label: null, score: null, mask: image 3×2×1}]"
_SUBTASK = "UnsupportedTaskError: Subtask .* Use subtask='foreground-extraction'"
_NO_FALLBACK = "Transformers.js does not fall back; we warn, and `strict=True` refuses."

TABLE: Mapping[str, Sequence[Row]] = {
    "Tasks and models": [
        Row(
            "pipeline('image-segmentation', id)",
            'pipeline("image-segmentation", id)',
            WORKS,
            "a pipeline",
            "RMBG-1.4's own `model_type` is no longer accepted by Transformers.js 4; we do not ask for it.",
        ),
        Row("pipeline('background-removal', id)", 'pipeline("background-removal", id)', WORKS, "a pipeline"),
        Row(
            "pipeline('image-segmentation', id, {config: {model_type: 'custom'}})",
            'pipeline("image-segmentation", id, config={"model_type": "custom"})',
            WORKS,
            "a pipeline",
        ),
        Row(
            "pipeline('image-segmentation', id, {config: {model_type: 'isnet'}})",
            'pipeline("image-segmentation", id, config={"model_type": "isnet"})',
        ),
        Row(
            "load('foreground-extraction')",
            'load("foreground-extraction")',
            REFUSED,
            "UnsupportedTaskError: .*image-segmentation, background-removal",
            "It is a subtask, not a task.",
        ),
        Row(
            "pipeline('image-segmentation', 'briaai/RMBG-9')",
            'pipeline("image-segmentation", "briaai/RMBG-9")',
            REFUSED,
            "ModelNotFoundError: .*briaai/RMBG-9",
        ),
        Row(
            "load('image-segmentation', {progressCallback: 1})",
            'load("image-segmentation", progressCallback=1)',
            STRICTER,
            "TypeError: .*progressCallback",
            "Transformers.js ignores options that it does not know; here a slip of the pen is told.",
        ),
    ],
    "`dtype`": [
        Row("file_of({})", "file_of()"),
        Row("file_of({dtype: null})", "file_of(dtype=None)"),
        Row("file_of({dtype: 'auto'})", 'file_of(dtype="auto")'),
        Row("file_of({dtype: 'fp32'})", 'file_of(dtype="fp32")'),
        Row("file_of({dtype: 'fp16'})", 'file_of(dtype="fp16")'),
        Row("file_of({dtype: 'q8'})", 'file_of(dtype="q8")'),
        Row(
            "file_of({dtype: 'q4'})",
            'file_of(dtype="q4")',
            REFUSED,
            r"ModelFileNotFoundError: .*model_q4\.onnx.* It has: fp32, fp16, q8",
            "There is no such file.",
        ),
        Row(
            "file_of({dtype: 'fp64'})",
            'file_of(dtype="fp64")',
            STRICTER,
            "UnsupportedDtypeError: .*Use one of: auto, fp32, fp16",
            "Transformers.js takes the default for a name that it does not know.",
        ),
        Row(
            "file_of({model_file_name: 'other'})",
            'file_of(model_file_name="other")',
            REFUSED,
            r"ModelFileNotFoundError: .*other\.onnx",
        ),
    ],
    "`device`, on a machine without a GPU": [
        Row("file_of({device: 'cpu'})", 'file_of(device="cpu")'),
        Row(
            "file_of({device: 'wasm'})",
            'file_of(device="wasm")',
            WORKS,
            "onnx/model_quantized.onnx",
            "Node refuses; in a browser it is the CPU, with q8 as the default, and so it is here.",
        ),
        Row(
            "load('image-segmentation', {device: 'cuda'})",
            'load("image-segmentation", device="cuda")',
            WORKS,
            "a pipeline, with a DeviceFallbackWarning",
            _NO_FALLBACK,
        ),
        Row(
            "load('image-segmentation', {device: 'cuda'})",
            'load("image-segmentation", device="cuda", strict=True)',
            REFUSED,
            "UnsupportedDeviceError: .*onnxruntime-gpu",
        ),
        Row(
            "load('image-segmentation', {device: 'gpu'})",
            'load("image-segmentation", device="gpu")',
            WORKS,
            "a pipeline, with a DeviceFallbackWarning",
            _NO_FALLBACK,
        ),
        Row(
            "load('image-segmentation', {device: 'auto'})",
            'load("image-segmentation", device="auto")',
            WORKS,
            "a pipeline",
        ),
        Row(
            "load('image-segmentation', {device: 'tpu'})",
            'load("image-segmentation", device="tpu")',
            REFUSED,
            "UnsupportedDeviceError: .*Use one of: cpu, wasm, auto",
        ),
    ],
    "One image and many": [
        Row("segmenter(files.photo)", "segmenter(files.photo)"),
        Row(
            "segmenter([files.photo])",
            "segmenter([files.photo])",
            DIFFERS,
            f"[{_MASK}]",
            "As transformers does in Python: a list of images gives a list of results.",
        ),
        Row(
            "segmenter([files.photo, files.photo])",
            "segmenter([files.photo, files.photo])",
            WORKS,
            f"[{_MASK}, {_MASK}]",
        ),
        Row("segmenter([])", "segmenter([])", WORKS, "[]"),
        Row("remover(files.photo)", "remover(files.photo)"),
        Row("remover([files.photo])", "remover([files.photo])"),
        Row(
            "remover([files.photo, files.photo])",
            "remover([files.photo, files.photo])",
            WORKS,
            "[image 3×2×4, image 3×2×4]",
        ),
        Row("remover([])", "remover([])", WORKS, "[]"),
    ],
    "Options of a call": [
        Row(
            "segmenter(files.photo, {subtask: 'foreground-extraction'})",
            'segmenter(files.photo, subtask="foreground-extraction")',
            WORKS,
            _MASK,
        ),
        Row("segmenter(files.photo, {subtask: null})", "segmenter(files.photo, subtask=None)"),
        Row("segmenter(files.photo, {subtask: ''})", 'segmenter(files.photo, subtask="")'),
        Row(
            "segmenter(files.photo, {subtask: 'semantic'})",
            'segmenter(files.photo, subtask="semantic")',
            REFUSED,
            _SUBTASK,
        ),
        Row(
            "segmenter(files.photo, {subtask: 'instance'})",
            'segmenter(files.photo, subtask="instance")',
            REFUSED,
            _SUBTASK,
        ),
        Row(
            "segmenter(files.photo, {subtask: 'panoptic'})",
            'segmenter(files.photo, subtask="panoptic")',
            REFUSED,
            _SUBTASK,
        ),
        Row("segmenter(files.photo, {subtask: 'foo'})", 'segmenter(files.photo, subtask="foo")', REFUSED, _SUBTASK),
        Row(
            "segmenter(files.photo, {threshold: 0.9, mask_threshold: 0.9, overlap_mask_area_threshold: 0.1})",
            "segmenter(files.photo, threshold=0.9, mask_threshold=0.9, overlap_mask_area_threshold=0.1)",
            STRICTER,
            "UnsupportedOptionError: threshold=0.9 means nothing",
            "Transformers.js ignores them, and who sets a threshold expects a hard mask.",
        ),
        Row(
            "segmenter(files.photo, {label_ids_to_fuse: [1], target_sizes: [[7, 7]]})",
            "segmenter(files.photo, label_ids_to_fuse=[1], target_sizes=[[7, 7]])",
            STRICTER,
            "UnsupportedOptionError: label_ids_to_fuse=.* means nothing",
            "Transformers.js ignores them.",
        ),
        Row(
            "segmenter(files.photo, {treshold: 0.9})",
            "segmenter(files.photo, treshold=0.9)",
            STRICTER,
            "TypeError: Unknown option 'treshold'",
            "Transformers.js ignores options that it does not know.",
        ),
    ],
    "Images": [
        Row("segmenter(new URL(`file://${files.photo}`))", "segmenter(Path(files.photo))"),
        Row("segmenter(`file://${files.photo}`)", 'segmenter(f"file://{files.photo}")', WORKS, _MASK),
        Row("segmenter(data_url(files.photo))", "segmenter(data_url(files.photo))", WORKS, _MASK),
        Row("segmenter(new Blob([read(files.photo)]))", "segmenter(io.BytesIO(read(files.photo)))"),
        Row(
            "segmenter(read(files.photo))", "segmenter(read(files.photo))", WORKS, _MASK, "The bytes of an image file."
        ),
        Row("remover(files.gray)", "remover(files.gray)", WORKS, "image 5×4×4"),
        Row("remover(await RawImage.read(files.gray))", "remover(Image.open(files.gray))"),
        Row("remover(files.gray_alpha)", "remover(files.gray_alpha)", WORKS, "image 5×4×4"),
        Row("segmenter(files.gray_alpha)", "segmenter(files.gray_alpha)", WORKS, _MASK.replace("3×2", "5×4")),
        Row("segmenter(files.tiff)", "segmenter(files.tiff)"),
        Row("segmenter(files.bmp)", "segmenter(files.bmp)", WORKS, _MASK),
        Row(
            "segmenter(files.svg)",
            "segmenter(files.svg)",
            STRICTER,
            "ImageError: .*SVG is a drawing",
            "Pillow has no SVG renderer.",
        ),
        Row("segmenter(files.missing)", "segmenter(files.missing)", REFUSED, r"ImageError: .*missing\.png"),
        Row("segmenter(files.empty)", "segmenter(files.empty)", REFUSED, r"ImageError: .*empty\.png.*0 bytes"),
        Row(
            "segmenter(files.not_image)",
            "segmenter(files.not_image)",
            REFUSED,
            r"ImageError: .*not_image\.jpg.*not an image",
        ),
        Row(
            "segmenter(files.truncated)",
            "segmenter(files.truncated)",
            REFUSED,
            r"ImageError: .*truncated\.jpg.*truncated",
        ),
        Row(
            "segmenter('http://127.0.0.1:9/photo.png')",
            'segmenter("http://127.0.0.1:9/photo.png")',
            REFUSED,
            r"ImageError: .*http://127\.0\.0\.1:9/photo\.png",
        ),
        Row("segmenter(null)", "segmenter(None)", REFUSED, "Error: "),
        Row("segmenter(5)", "segmenter(5)", REFUSED, "Error: "),
        Row(
            "(image => segmenter(image).then(() => image.channels))(await RawImage.read(files.rgba))",
            "(lambda image: [segmenter(image), len(image.getbands())][1])(Image.open(files.rgba))",
            DIFFERS,
            "4",
            "Transformers.js changes the image that it is given to three channels; here it stays as it is.",
        ),
    ],
    "Lifetime": [
        Row("[await segmenter.dispose(), 'done'][1]", '[segmenter.dispose(), "done"][1]'),
        Row(
            "[await segmenter.dispose(), await segmenter.dispose()][1]",
            "[segmenter.dispose(), segmenter.dispose()][1]",
            WORKS,
            "null",
        ),
        Row(
            "[await segmenter.dispose(), await segmenter(files.photo)]",
            "[segmenter.dispose(), segmenter(files.photo)]",
            REFUSED,
            "ForegroundError: .*disposed|disposed",
        ),
    ],
}


class Outcome(NamedTuple):
    """What came of a call: a description of the value, or the error's text."""

    text: str
    failed: bool


def recorded() -> dict[str, Outcome]:
    """Return what Transformers.js made of each call, by the call."""
    calls = json.loads(RECORDED.read_text(encoding="utf-8"))["calls"] if RECORDED.is_file() else {}
    return {js: Outcome(said.get("error", said.get("ok")), "error" in said) for js, said in calls.items()}


def verdict_of(theirs: Outcome, ours: Outcome) -> str:
    """Compare two outcomes."""
    if theirs.failed:
        return REFUSED if ours.failed else WORKS
    if ours.failed:
        return STRICTER
    return SAME if theirs.text == ours.text else DIFFERS


def describe(value: Any) -> str:
    """Put a value as `conformance_options.mjs` puts JavaScript's."""
    if isinstance(value, ForegroundPipeline | RemovalPipeline):
        return "a pipeline"
    if isinstance(value, Image.Image):
        return f"image {value.width}×{value.height}×{len(value.getbands())}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(describe(item) for item in value)}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {describe(item)}" for key, item in value.items()) + "}"
    return "null" if value is None else str(value)


def write_files(folder: Path) -> dict[str, str]:
    """Write the images that the rows name; gives their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    names = (
        "photo.png rgba.png gray.png gray_alpha.png tiff.tif bmp.bmp svg.svg empty.png not_image.jpg truncated.jpg "
        "missing.png"
    )
    files = {name.split(".")[0]: folder / name for name in names.split()}
    photo = Image.fromarray((np.arange(18) * 14).astype(np.uint8).reshape(2, 3, 3))
    for name in ("photo", "tiff", "bmp"):
        photo.save(files[name])
    photo.convert("RGBA").save(files["rgba"])
    gray = Image.linear_gradient("L").resize((5, 4))
    gray.save(files["gray"])
    Image.merge("LA", [gray, gray]).save(files["gray_alpha"])
    files["svg"].write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="3" height="2"><rect width="3" height="2"/></svg>'
    )
    files["empty"].write_bytes(b"")
    files["not_image"].write_text("hello")
    Image.effect_noise((64, 64), 90).save(files["truncated"])
    files["truncated"].write_bytes(files["truncated"].read_bytes()[:900])
    return {name: str(path) for name, path in files.items()}


def write_models(top: Path) -> Path:
    """Write the tiny model under its id; gives the folder above."""
    graphs = {suffix: brightness_model() for suffix in ("", "_fp16", "_quantized")}
    write_repo(top / ID, dtypes=graphs)
    return top


class Bench:
    """Where the Python calls are made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = SimpleNamespace(**write_files(folder / "files"))
        self.models = write_models(folder / "models")

    def run(self, python: str) -> Outcome:
        """Make a call; gives what came of it, with this machine's paths left out."""
        names = {
            "Image": Image,
            "Path": Path,
            "data_url": lambda path: f"data:image/png;base64,{base64.b64encode(Path(path).read_bytes()).decode()}",
            "file_of": self._file_of,
            "files": self.files,
            "id": ID,
            "io": io,
            "load": lambda task, **options: pipeline(task, ID, **options),
            "pipeline": pipeline,
            "read": lambda path: Path(path).read_bytes(),
        }
        with (
            patch.object(env, "local_model_path", self.models),
            patch.object(env, "allow_remote_models", False),
            patch("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"]),
            warnings.catch_warnings(record=True) as warned,
        ):
            warnings.simplefilter("always")
            try:
                for name, task in (("segmenter", "image-segmentation"), ("remover", "background-removal")):
                    if name in python:
                        names[name] = pipeline(task, ID)
                text, failed = describe(eval(python, names)), False
            except Exception as error:
                text, failed = f"{type(error).__name__}: {error}", True
        kinds = {w.category.__name__ for w in warned if issubclass(w.category, UserWarning)}
        return Outcome(self._clean(text) + "".join(f", with a {kind}" for kind in sorted(kinds)), failed)

    def _file_of(self, **options: Any) -> str:
        events: list[dict[str, Any]] = []
        pipeline("image-segmentation", ID, progress_callback=events.append, **options)
        return next(e["file"] for e in events if e["status"] == "initiate" and e["file"].endswith(".onnx"))

    def _clean(self, text: str) -> str:
        return re.sub(r"\s+", " ", text.replace(str(self.folder), "…").replace(str(Path.home()), "~"))
