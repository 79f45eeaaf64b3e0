"""Graphs that keep weights in other files: only in files beside them. ONNX Runtime refuses the rest since 1.27."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper
from onnxruntime import SessionOptions
from PIL import Image
from test_quantization import SIDE, photos, small_network
from tiny_models import brightness_model, opened, write_repo

from transformers_foreground import ForegroundMapper, ORTModelForForegroundExtraction, pipeline
from transformers_foreground.errors import ForegroundError, InvalidModelError
from transformers_foreground.quantization.quantize import quantize
from transformers_foreground.runtime.sessions import create_session
from transformers_foreground.segmenter import Segmenter

ONE = b"\0\0\x80\x3f"  # 1.0, little-endian


def external(location: str, name: str = "scale") -> TensorProto:
    """Make a tensor of one number that lies in another file."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    for key, value in {"offset": "0", "length": "4", "location": location}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def without_scale(model: onnx.ModelProto) -> onnx.ModelProto:
    """Take the graph's factor away, for something to give it."""
    model.graph.initializer.remove(next(tensor for tensor in model.graph.initializer if tensor.name == "scale"))
    return model


def initializer(model: onnx.ModelProto, location: str) -> None:
    without_scale(model).graph.initializer.append(external(location))


def sparse(location: str) -> onnx.SparseTensorProto:
    indices = helper.make_tensor("indices", TensorProto.INT64, [1], [0])
    return onnx.SparseTensorProto(dims=[1], values=external(location), indices=indices)


def sparse_initializer(model: onnx.ModelProto, location: str) -> None:
    without_scale(model).graph.sparse_initializer.append(sparse(location))


def add_first(model: onnx.ModelProto, node: onnx.NodeProto) -> None:
    nodes = [node, *without_scale(model).graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def constant(model: onnx.ModelProto, location: str) -> None:
    add_first(model, constant_node(location))


def constant_node(location: str) -> onnx.NodeProto:
    node = helper.make_node("Constant", [], ["scale"])
    node.attribute.add(name="value", t=external(location), type=onnx.AttributeProto.TENSOR)
    return node


def sparse_constant(model: onnx.ModelProto, location: str) -> None:
    node = helper.make_node("Constant", [], ["scale"])
    node.attribute.add(name="sparse_value", sparse_tensor=sparse(location), type=onnx.AttributeProto.SPARSE_TENSOR)
    add_first(model, node)


def branch(location: str, *, named: bool) -> onnx.GraphProto:
    out = helper.make_tensor_value_info("branch", TensorProto.FLOAT, [1])
    nodes = [helper.make_node("Identity", ["scale"], ["branch"])]
    if named:
        return helper.make_graph(nodes, "then", [], [out], [external(location)])
    return helper.make_graph([constant_node(location), *nodes], "then", [], [out])


def in_a_branch(model: onnx.ModelProto, location: str, *, named: bool) -> None:
    then = branch(location, named=named)
    add_first(model, helper.make_node("If", ["always"], ["scale"], then_branch=then, else_branch=then))
    model.graph.initializer.append(helper.make_tensor("always", TensorProto.BOOL, [], [True]))


def function(model: onnx.ModelProto, location: str) -> None:
    body = helper.make_function("of.a.stranger", "Scale", [], ["scale"], [constant_node(location)], model.opset_import)
    add_first(model, helper.make_node("Scale", [], ["scale"], domain="of.a.stranger"))
    model.functions.append(body)
    model.opset_import.append(helper.make_opsetid("of.a.stranger", 1))


# Where a graph may have a tensor that ONNX Runtime reads.
PLACES: dict[str, Callable[[onnx.ModelProto, str], None]] = {
    "initializer": initializer,
    "sparse initializer": sparse_initializer,
    "constant": constant,
    "sparse constant": sparse_constant,
    "initializer of a branch": lambda model, location: in_a_branch(model, location, named=True),
    "constant of a branch": lambda model, location: in_a_branch(model, location, named=False),
    "function": function,
}


def repo(folder: Path, change: Callable[[onnx.ModelProto], Any], data: str = "") -> Path:
    """Write a repository whose graph was changed; with `data`, that file lies beside the graph."""
    model = brightness_model()
    change(model)
    write_repo(folder, dtypes={})
    (folder / "onnx" / "model.onnx").write_bytes(model.SerializeToString())
    if data:
        (folder / "onnx" / data).parent.mkdir(exist_ok=True)
        (folder / "onnx" / data).write_bytes(ONE)
    return folder


def scale_in(location: str) -> Callable[[onnx.ModelProto], None]:
    """Let the graph read its factor of 1 from a file."""

    def change(model: onnx.ModelProto) -> None:
        scale = next(tensor for tensor in model.graph.initializer if tensor.name == "scale")
        scale.CopyFrom(external(location))
        scale.name = "scale"
        del scale.dims[:]

    return change


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("location", ["../../secret", "{top}/secret", "link", "folder/secret"])
def test_a_location_outside_is_refused_wherever_it_stands(place: str, location: str, tmp_path: Path) -> None:
    """By its path, as an absolute path, and through a link; beside the graph the same tensor is read."""
    (tmp_path / "secret").write_bytes(ONE)
    (tmp_path / "m" / "onnx").mkdir(parents=True)
    (tmp_path / "m" / "onnx" / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "m" / "onnx" / "folder").symlink_to(tmp_path)
    folder = repo(tmp_path / "m", lambda model: PLACES[place](model, location.format(top=tmp_path)))
    with pytest.raises(InvalidModelError, match=r"cannot open .*model\.onnx(.|\n)*do not trust it"):
        opened(folder)
    repo(folder, lambda model: PLACES[place](model, "beside"), "beside")
    opened(folder)


def test_an_older_onnx_runtime_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = repo(tmp_path / "m", lambda model: None)
    monkeypatch.setattr("onnxruntime.__version__", "1.26.3")
    with pytest.warns(RuntimeWarning, match=r"1\.26\.3 may read files outside"):
        create_session(folder / "onnx" / "model.onnx", ["CPUExecutionProvider"], [{}], SessionOptions())


@pytest.mark.parametrize(
    "location",
    [
        "/etc/passwd",
        "//server/share/x",
        "..",
        "../x",
        "a/../../x",
        "./../x",
        "a//../..//x",
        "*/_ORT_MEM_ADDR_/*",
        "*/_ORT_NATIVE_ENDIAN_MEM_ADDR_/*",
    ],
)
def test_locations_that_are_refused(location: str, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    for folder in (tmp_path, tmp_path / "m"):
        (folder / "x").write_bytes(ONE)
    with pytest.raises(InvalidModelError, match="cannot open"):
        opened(repo(tmp_path / "m", scale_in(location)))


@pytest.mark.parametrize("location", ["w", "model.onnx_data", "..w..", "./w", "deep/w", "wägt 1:0.bin"])
def test_files_beside_the_graph_are_read(location: str, tmp_path: Path) -> None:
    assert opened(repo(tmp_path / "m", scale_in(location), location)).graph.input_name == "input"


def test_an_absolute_path_is_refused_wherever_it_leads(tmp_path: Path) -> None:
    folder = repo(tmp_path / "m", scale_in(str(tmp_path / "m" / "onnx" / "w")), "w")
    with pytest.raises(InvalidModelError, match="cannot open"):
        opened(folder)


def test_a_file_that_is_missing_is_told_by_onnx_runtime(tmp_path: Path) -> None:
    with pytest.raises(InvalidModelError, match="ONNX Runtime cannot open"):
        opened(repo(tmp_path / "m", scale_in("nowhere")))


# --- links ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def cached(tmp_path: Path) -> Path:
    """A model as the Hub's cache keeps it; gives the snapshot."""
    source = repo(tmp_path / "source", scale_in("model.onnx_data"), "model.onnx_data")
    top = tmp_path / "models--me--m"
    snapshot = top / "snapshots" / "0123"
    (snapshot / "onnx").mkdir(parents=True)
    (top / "blobs").mkdir()
    for path in [path for path in source.rglob("*") if path.is_file()]:
        blob = top / "blobs" / f"blob-of-{path.name}"
        path.rename(blob)
        link = snapshot / path.relative_to(source)
        link.symlink_to(Path("../" * (len(link.relative_to(top).parts) - 1)) / "blobs" / blob.name)
    return snapshot


def test_the_hubs_cache_has_links_to_its_blobs(cached: Path) -> None:
    assert (cached / "onnx" / "model.onnx_data").is_symlink()
    assert opened(cached).graph.input_name == "input"


def test_a_link_out_of_the_cache_is_refused(cached: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"\0" * 4)
    data = cached / "onnx" / "model.onnx_data"
    data.unlink()
    data.symlink_to(tmp_path / "secret")
    with pytest.raises(InvalidModelError, match="cannot open"):
        opened(cached)


@pytest.mark.parametrize("what", ["file", "folder", "circle"])
def test_a_link_out_of_a_folder_is_refused(what: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "w").write_bytes(b"\0" * 4)
    location = "sub/w" if what == "folder" else "w"
    folder = repo(tmp_path / "m", scale_in(location))
    if what == "folder":
        (folder / "onnx" / "sub").symlink_to(tmp_path / "out")
    else:
        (folder / "onnx" / "w").symlink_to(tmp_path / "out" / "w" if what == "file" else "w")
    with pytest.raises(InvalidModelError):
        opened(folder)


def test_a_linked_folder_and_a_linked_graph_are_the_users_own(tmp_path: Path) -> None:
    real = repo(tmp_path / "real", scale_in("w"), "w")
    (tmp_path / "linked").symlink_to(real)
    opened(tmp_path / "linked")
    for name in ("model.onnx", "w"):
        (tmp_path / "files" / "onnx").mkdir(parents=True, exist_ok=True)
        (tmp_path / "files" / "onnx" / name).symlink_to(real / "onnx" / name)
    (tmp_path / "files" / "preprocessor_config.json").symlink_to(real / "preprocessor_config.json")
    opened(tmp_path / "files")
    (tmp_path / "files" / "onnx" / "w").unlink()
    (tmp_path / "files" / "onnx" / "w").write_bytes(b"\0\0\x80\x3f")
    opened(tmp_path / "files")


# --- ways in ----------------------------------------------------------------------------------------------------------

WAYS: dict[str, Callable[[Path], Any]] = {
    "pipeline": lambda folder: pipeline("image-segmentation", folder),
    "semantic pipeline": lambda folder: pipeline("image-segmentation", folder, config={"model_type": "segformer"}),
    "own options": lambda folder: opened(folder, session_options=SessionOptions()),
    "from_pretrained": ORTModelForForegroundExtraction.from_pretrained,
    "a worker": lambda folder: pickle.loads(pickle.dumps(Segmenter(folder))).open(),
    "a mapper": lambda folder: ForegroundMapper(folder)({"image": [Image.new("RGB", (4, 4))]}),
    "quantize": lambda folder: quantize(folder, photos(folder / "photos", 24), count=8),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_that_opens_a_graph_checks_it(way: str, tmp_path: Path) -> None:
    folder = repo(tmp_path / "m", scale_in("../../secret"))
    if way == "semantic pipeline":
        (folder / "config.json").write_text('{"model_type": "segformer"}')
    with pytest.raises(InvalidModelError, match=r"cannot open .*model\.onnx"):
        WAYS[way](folder)


def test_a_pickled_model_is_checked_where_it_is_opened_again(tmp_path: Path) -> None:
    folder = repo(tmp_path / "m", lambda model: None)
    data = pickle.dumps(opened(folder))
    repo(folder, scale_in("../../secret"))
    with pytest.raises(ForegroundError, match=r"model\.onnx"):  # it is another file, too
        pickle.loads(data).open()


def test_the_published_int8_that_is_measured_beside_ours_is_checked(tmp_path: Path) -> None:
    folder = write_repo(tmp_path / "m", dtypes={"": small_network()}, size=SIDE)
    other = repo(tmp_path / "other", scale_in("/etc/hostname"))
    (other / "onnx" / "model.onnx").rename(folder / "onnx" / "model_quantized.onnx")
    with pytest.raises(InvalidModelError, match=r"cannot open .*model_quantized\.onnx"):
        quantize(folder, photos(tmp_path / "photos", 24), count=8, keep_float=0, curve=True)


# --- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x3a",
        b"\x3a\xff",
        b"\x3a\x05abc",
        b"\x08" + b"\xff" * 20,
        b"\x0b\x3a\x00\x0c",  # a group, in which a graph hides
        b"\x0d\x00",
        b"\x00\x00",
        b"version https://git-lfs.github.com/spec/v1\n",
        b"<!doctype html>",
    ],
)
def test_damaged_files(content: bytes, tmp_path: Path) -> None:
    folder = repo(tmp_path / "m", lambda model: None)
    (folder / "onnx" / "model.onnx").write_bytes(content)
    with pytest.raises(InvalidModelError, match=r"cannot open .*model\.onnx(.|\n)*delete it and load the model again"):
        opened(folder)
