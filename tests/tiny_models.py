"""Makers of tiny ONNX models, laid out as repositories.

The plane that they give is the image's own brightness, so a mask can be predicted: bright is foreground.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from transformers_foreground.segmenter import Segmenter

# What briaai/RMBG-1.4 has at revision 22532af, with an architecture and code that are not to be run.
RMBG_CONFIG: dict[str, Any] = {
    "_name_or_path": "briaai/RMBG-1.4",
    "architectures": ["BriaRMBG"],
    "auto_map": {
        "AutoConfig": "MyConfig.RMBGConfig",
        "AutoModelForImageSegmentation": "briarmbg.BriaRMBG",
    },
    "custom_pipelines": {
        "image-segmentation": {
            "impl": "MyPipe.RMBGPipe",
            "pt": ["AutoModelForImageSegmentation"],
            "tf": [],
            "type": "image",
        }
    },
    "in_ch": 3,
    "model_type": "SegformerForSemanticSegmentation",
    "out_ch": 1,
    "torch_dtype": "float32",
    "transformers_version": "4.38.0.dev0",
}
RMBG_PREPROCESSOR: dict[str, Any] = {
    "do_normalize": True,
    "do_pad": False,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "feature_extractor_type": "ImageFeatureExtractor",
    "image_std": [1, 1, 1],
    "resample": 2,
    "rescale_factor": 0.00392156862745098,
    "size": {"width": 1024, "height": 1024},
}


def brightness_model(
    *,
    size: int | None = 16,
    batch: int | None = 1,
    input_name: str = "input",
    output_name: str = "output",
    side_outputs: int = 2,
    logits: bool = False,
    channels: int = 1,
    channels_last: bool = False,
    half: bool = False,
) -> onnx.ModelProto:
    """Make a graph whose first output is the mean of the input's channels plus 0.5.

    With mean 0.5 and std 1 that is the brightness in [0, 1]. `logits` gives 20 · (brightness − 0.5) instead, which
    leaves [0, 1]; `channels` more than one makes it another kind of model.
    """
    kind, numpy_kind = (TensorProto.FLOAT16, np.float16) if half else (TensorProto.FLOAT, np.float32)
    side: int | str = size or "side"
    shape = [batch or "batch", side, side, 3] if channels_last else [batch or "batch", 3, side, side]
    axis = 3 if channels_last else 1
    plane = [*shape[:axis], channels, *shape[axis + 1 :]]

    def constant(name: str, value: Any, dtype: Any = numpy_kind) -> onnx.TensorProto:
        return numpy_helper.from_array(np.asarray(value, dtype), name)

    initializers = [
        constant("axes", [axis], np.int64),
        constant("scale", 20.0 if logits else 1.0),
        constant("shift", 0.0 if logits else 0.5),
        constant("half", 0.5),
    ]
    nodes = [
        helper.make_node("ReduceMean", [input_name, "axes"], ["mean"], keepdims=1),
        helper.make_node("Mul", ["mean", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "shift"], ["plane"]),
        helper.make_node("Concat", ["plane"] * channels, [output_name], axis=axis),
    ]
    outputs = [helper.make_tensor_value_info(output_name, kind, plane)]
    for i in range(side_outputs):
        nodes.append(helper.make_node("Mul", ["plane", "half"], [f"side{i}"]))
        outputs.append(helper.make_tensor_value_info(f"side{i}", kind, [*shape[:axis], 1, *shape[axis + 1 :]]))
    graph = helper.make_graph(
        nodes, "brightness", [helper.make_tensor_value_info(input_name, kind, shape)], outputs, initializers
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def write_repo(
    folder: Path,
    *,
    dtypes: dict[str, onnx.ModelProto] | None = None,
    config: dict[str, Any] | None = RMBG_CONFIG,
    preprocessor: dict[str, Any] | None = None,
    size: int = 16,
    subfolder: str = "onnx",
) -> Path:
    """Write a repository as RMBG-1.4's, but with a tiny graph and input.

    Args:
        folder: Where.
        dtypes: File suffix (`""` for fp32, `"_fp16"`, ...) to model; one fp32 brightness model by default.
        config: Contents of `config.json`; `None` writes none.
        preprocessor: Contents of `preprocessor_config.json`; RMBG-1.4's at this size by default, `{}` writes none.
        size: Side of the input.
        subfolder: Where the ONNX files go.
    """
    (folder / subfolder).mkdir(parents=True, exist_ok=True)
    for suffix, model in (dtypes or {"": brightness_model(size=size)}).items():
        onnx.save(model, folder / subfolder / f"model{suffix}.onnx")
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    if preprocessor is None:
        preprocessor = {**RMBG_PREPROCESSOR, "size": {"width": size, "height": size}}
    if preprocessor:
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    """Return a folder's files, for a server: path to contents."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def opened(model: Any, **options: Any) -> Segmenter:
    """Return a model whose session is open."""
    return Segmenter(model, **options).open()
