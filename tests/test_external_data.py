"""Graphs that keep tensors in other files: only in files beside them."""

from __future__ import annotations

import contextlib
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
from google.protobuf.message import DecodeError, Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnxruntime import SessionOptions
from test_quantization import SIDE, photos, small_network
from tiny_models import brightness_model, write_repo

from transformers_foreground import ForegroundMapper, ORTModelForForegroundExtraction, pipeline
from transformers_foreground.errors import InvalidModelError
from transformers_foreground.external_data import check_external_data
from transformers_foreground.loading import load
from transformers_foreground.portable import PortableModel
from transformers_foreground.quantization.run import quantize


def external(location: str, **more: str) -> TensorProto:
    """Make a tensor of one number that lies in another file."""
    tensor = TensorProto(name="far", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    for key, value in {"offset": "0", "length": "4", **more, "location": location}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def sparse(**tensors: TensorProto) -> onnx.SparseTensorProto:
    return onnx.SparseTensorProto(dims=[1], **tensors)


def graph(location: str) -> onnx.GraphProto:
    return onnx.GraphProto(name="inner", initializer=[external(location)])


def with_attribute(model: onnx.ModelProto, **attribute: Any) -> None:
    model.graph.node[-1].attribute.add(name="more", **attribute)


def deep(location: str) -> onnx.GraphProto:
    """Nest a graph three levels deep, with nodes between, as in If and Loop."""
    inner = graph(location)
    for _ in range(3):
        outer = onnx.GraphProto(name="outer")
        outer.node.add(op_type="If").attribute.add(name="then_branch", g=inner)
        inner = outer
    return inner


# Where a graph may have tensors, and how each is put there.
PLACES: dict[str, Callable[[onnx.ModelProto, str], Any]] = {
    "initializer": lambda m, at: m.graph.initializer.append(external(at)),
    "sparse initializer, values": lambda m, at: m.graph.sparse_initializer.append(sparse(values=external(at))),
    "sparse initializer, indices": lambda m, at: m.graph.sparse_initializer.append(sparse(indices=external(at))),
    "attribute t": lambda m, at: with_attribute(m, t=external(at)),
    "attribute tensors": lambda m, at: with_attribute(m, tensors=[external("beside"), external(at)]),
    "attribute sparse_tensor": lambda m, at: with_attribute(m, sparse_tensor=sparse(values=external(at))),
    "attribute sparse_tensors": lambda m, at: with_attribute(m, sparse_tensors=[sparse(indices=external(at))]),
    "attribute g": lambda m, at: with_attribute(m, g=graph(at)),
    "attribute graphs": lambda m, at: with_attribute(m, graphs=[graph("beside"), graph(at)]),
    "deep": lambda m, at: with_attribute(m, g=deep(at)),
    "function's node": lambda m, at: m.functions.add(name="f").node.add().attribute.add(name="a", t=external(at)),
    "function's default": lambda m, at: m.functions.add(name="f").attribute_proto.add(name="a", t=external(at)),
    "training, initialization": lambda m, at: m.training_info.add(initialization=graph(at)),
    "training, algorithm": lambda m, at: m.training_info.add(algorithm=graph(at)),
    "not marked external": lambda m, at: m.graph.initializer.add(external_data=external(at).external_data),
}  # fmt: skip


def repo(folder: Path, change: Callable[[onnx.ModelProto], Any], data: str = "") -> Path:
    """Write a repository whose graph was changed; with `data`, that file lies beside the graph."""
    model = brightness_model()
    change(model)
    write_repo(folder, dtypes={})
    (folder / "onnx" / "model.onnx").write_bytes(model.SerializeToString())
    if data:
        (folder / "onnx" / data).parent.mkdir(exist_ok=True)
        (folder / "onnx" / data).write_bytes(b"\0\0\x80\x3f")  # 1.0
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
def test_a_location_outside_is_refused_wherever_it_stands(place: str, tmp_path: Path) -> None:
    folder = repo(tmp_path / "m", lambda model: PLACES[place](model, "../../secret"))
    with pytest.raises(InvalidModelError, match=r"model\.onnx keeps a tensor in '../../secret'.*beside it"):
        load(folder)
    repo(folder, lambda model: PLACES[place](model, "beside"))
    check_external_data(folder / "onnx" / "model.onnx")


@pytest.mark.parametrize(
    "location",
    [
        "/etc/passwd",
        "//server/share/x",
        "..",
        "../x",
        "a/../../x",
        "a/../x",
        "./../x",
        "a//../..//x",
        "..\\x",
        "a\\..\\..\\x",
        "\\x",
        "\\\\server\\share\\x",
        "C:\\x",
        "C:/x",
        "c:x",
        "x\0",
        "x\n",
        "*/_ORT_MEM_ADDR_/*",
        "*/_ORT_NATIVE_ENDIAN_MEM_ADDR_/*",
    ],
)
def test_locations_that_are_refused(location: str, tmp_path: Path) -> None:
    folder = repo(tmp_path / "m", scale_in(location))
    with pytest.raises(InvalidModelError, match=r"keeps a tensor in"):
        load(folder)


@pytest.mark.parametrize("location", ["w", "model.onnx_data", "..w..", "./w", "deep/w", "wägt 1:0.bin"])
def test_files_beside_the_graph_are_read(location: str, tmp_path: Path) -> None:
    assert load(repo(tmp_path / "m", scale_in(location), location)).graph.input_name == "input"


def test_an_absolute_path_is_refused_wherever_it_leads(tmp_path: Path) -> None:
    folder = repo(tmp_path / "m", scale_in(str(tmp_path / "m" / "onnx" / "w")), "w")
    with pytest.raises(InvalidModelError, match="only relative"):
        load(folder)


def test_a_file_that_is_missing_is_told_by_onnx_runtime(tmp_path: Path) -> None:
    with pytest.raises(InvalidModelError, match="ONNX Runtime cannot open"):
        load(repo(tmp_path / "m", scale_in("nowhere")))


def test_key_and_value_may_come_in_any_order_and_again(tmp_path: Path) -> None:
    """Protocol buffers take the last of fields that are there twice, in any order."""
    folder = repo(tmp_path / "m", lambda model: None)
    entry = b"\x12\x04../x" + b"\x0a\x03foo" + b"\x0a\x08location"  # value, key, key
    tensor = b"\x6a" + bytes([len(entry)]) + entry
    graph = b"\x2a" + bytes([len(tensor)]) + tensor
    model = b"\x3a\x00" + b"\xba\x80\x00" + bytes([len(graph)]) + graph  # the second graph's key is longer than need be
    assert onnx.ModelProto.FromString(model).graph.initializer[0].external_data[0].value == "../x"
    (folder / "onnx" / "model.onnx").write_bytes(model)
    with pytest.raises(InvalidModelError, match=r"'\.\./x'"):
        load(folder)


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
    assert load(cached).graph.input_name == "input"


def test_a_link_out_of_the_cache_is_refused(cached: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"\0" * 4)
    data = cached / "onnx" / "model.onnx_data"
    data.unlink()
    data.symlink_to(tmp_path / "secret")
    with pytest.raises(InvalidModelError, match=r"is a link to .*secret, outside"):
        load(cached)


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
        load(folder)


def test_a_linked_folder_and_a_linked_graph_are_the_users_own(tmp_path: Path) -> None:
    real = repo(tmp_path / "real", scale_in("w"), "w")
    (tmp_path / "linked").symlink_to(real)
    load(tmp_path / "linked")
    for name in ("model.onnx", "w"):
        (tmp_path / "files" / "onnx").mkdir(parents=True, exist_ok=True)
        (tmp_path / "files" / "onnx" / name).symlink_to(real / "onnx" / name)
    (tmp_path / "files" / "preprocessor_config.json").symlink_to(real / "preprocessor_config.json")
    load(tmp_path / "files")
    (tmp_path / "files" / "onnx" / "w").unlink()
    (tmp_path / "files" / "onnx" / "w").write_bytes(b"\0\0\x80\x3f")
    load(tmp_path / "files")


# --- ways in ----------------------------------------------------------------------------------------------------------

WAYS: dict[str, Callable[[Path], Any]] = {
    "pipeline": lambda folder: pipeline("image-segmentation", folder),
    "semantic pipeline": lambda folder: pipeline("image-segmentation", folder, config={"model_type": "segformer"}),
    "own options": lambda folder: load(folder, session_options=SessionOptions()),
    "from_pretrained": ORTModelForForegroundExtraction.from_pretrained,
    "a worker": lambda folder: pickle.loads(pickle.dumps(PortableModel(folder))).open(),
    "a mapper": lambda folder: ForegroundMapper(folder)({"image": [None]}),
    "quantize": lambda folder: quantize(folder, folder),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_that_opens_a_graph_checks_it(way: str, tmp_path: Path) -> None:
    folder = repo(tmp_path / "m", scale_in("../../secret"))
    if way == "semantic pipeline":
        (folder / "config.json").write_text('{"model_type": "segformer"}')
    with pytest.raises(InvalidModelError, match=r"keeps a tensor in .*secret"):
        WAYS[way](folder)


def test_a_pickled_model_is_checked_where_it_is_opened_again(tmp_path: Path) -> None:
    folder = repo(tmp_path / "m", lambda model: None)
    data = pickle.dumps(load(folder))
    repo(folder, scale_in("../../secret"))
    with pytest.raises(InvalidModelError, match=r"keeps a tensor in .*secret"):
        pickle.loads(data)


def test_the_published_int8_that_is_measured_beside_ours_is_checked(tmp_path: Path) -> None:
    folder = write_repo(tmp_path / "m", dtypes={"": small_network()}, size=SIDE)
    other = repo(tmp_path / "other", scale_in("/etc/hostname"))
    (other / "onnx" / "model.onnx").rename(folder / "onnx" / "model_quantized.onnx")
    with pytest.raises(InvalidModelError, match=r"model_quantized\.onnx.*'/etc/hostname'"):
        quantize(folder, photos(tmp_path / "photos", 14), count=8, keep_float=0, curve=True)


# --- damage and size --------------------------------------------------------------------------------------------------


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
    with pytest.raises(InvalidModelError, match=r"model\.onnx cannot be read.*delete it and load the model again"):
        load(folder)


def tensors(message: Message) -> Iterator[TensorProto]:
    """Find all tensors in a message, by what protobuf knows of it."""
    if isinstance(message, TensorProto):
        yield message
    for field, value in message.ListFields():
        if field.message_type:
            for inner in [value] if isinstance(value, Message) else value:
                yield from tensors(inner)


def everywhere() -> bytes:
    model = brightness_model()
    for i, put in enumerate(PLACES.values()):
        put(model, f"../{i}")
    return bytes(model.SerializeToString())


WHOLE = everywhere()


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_protobuf_still_reads_of_a_damaged_graph_is_found(data: st.DataObject, tmp_path: Path) -> None:
    """Nothing but an InvalidModelError comes out, and no damage hides a location from us that is there for others."""
    content = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        gone = data.draw(st.sampled_from([0, 1, 1, 2, 5, len(content)]))
        there = data.draw(st.binary(max_size=4) | st.sampled_from([WHOLE[at : at + 20], WHOLE]))
        content[at : at + gone] = there
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    try:
        found = {e.value for t in tensors(onnx.ModelProto.FromString(bytes(content))) for e in t.external_data
                 if e.key == "location"}  # fmt: skip
    except DecodeError:
        found = set()
    if any(location.startswith("../") for location in found):
        with pytest.raises(InvalidModelError):
            check_external_data(path)
    else:
        with contextlib.suppress(InvalidModelError):
            check_external_data(path)


def varint(value: int) -> bytes:
    return bytes([value & 0x7F | 0x80]) + varint(value >> 7) if value > 0x7F else bytes([value])


def test_weights_are_not_read(tmp_path: Path) -> None:
    """A graph with 64 GB of weights, a hole on the disk, is looked through at once; what follows them counts, too."""
    size = 1 << 36
    tail = helper.make_graph([], "g", [], [], [external("../x")]).SerializeToString()
    tensor = b"\x4a" + varint(size)  # raw_data
    initializer = b"\x2a" + varint(len(tensor) + size) + tensor
    head = b"\x3a" + varint(len(initializer) + size + len(tail)) + initializer
    path = tmp_path / "model.onnx"
    with path.open("wb") as file:
        file.write(head)
        file.seek(size, 1)
        file.write(tail)
    began = time.perf_counter()
    with pytest.raises(InvalidModelError, match=r"\.\./x"):
        check_external_data(path)
    assert time.perf_counter() - began < 2


def test_a_deeply_nested_graph_is_no_recursion(tmp_path: Path) -> None:
    parts = [external("../x").SerializeToString()]
    size = len(parts[0])
    for field in [b"\x2a", *(b"\x32", b"\x2a", b"\x0a") * 2000, b"\x3a"]:  # graph.node.attribute.g, 2000 times
        parts.append(field + varint(size))
        size += len(parts[-1])
    (tmp_path / "model.onnx").write_bytes(b"".join(reversed(parts)))
    with pytest.raises(InvalidModelError, match=r"\.\./x"):
        check_external_data(tmp_path / "model.onnx")


def test_neither_onnx_nor_onnxruntime_is_needed(tmp_path: Path) -> None:
    folder = repo(tmp_path / "m", lambda model: None)
    code = (
        "import sys, pathlib; from transformers_foreground.external_data import check_external_data as check; "
        "check(pathlib.Path(sys.argv[1])); print(*{'onnx', 'onnxruntime', 'numpy', 'google'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code, str(folder / "onnx" / "model.onnx")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == ""
