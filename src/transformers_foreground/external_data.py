"""Tensors that a graph keeps in other files: these must lie beside it, and nowhere else on this machine.

A graph from a stranger may say that a weight is `../../../.ssh/id_rsa`, and ONNX Runtime before 1.24 reads it. Where
weights lie is found here by walking the file's wire format: they themselves are not read, and onnx is not imported.

Source: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3 (field numbers below; "location" is a "POSIX filesystem
path relative to the directory where the ONNX protobuf model was stored") and
https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path, PureWindowsPath
from typing import Final

from transformers_foreground.errors import InvalidModelError

# For each message of onnx.proto3, the fields that may hold a tensor, however deep, and the message in each.
_ENTRY: Final = "StringStringEntryProto"  # key = 1, value = 2
_INSIDE: Final[Mapping[str, Mapping[int, str]]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},  # initialization, algorithm
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto",  # t
        6: "GraphProto",  # g
        10: "TensorProto",  # tensors
        11: "GraphProto",  # graphs
        22: "SparseTensorProto",  # sparse_tensor
        23: "SparseTensorProto",  # sparse_tensors
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},  # values, indices
    "TensorProto": {13: _ENTRY},  # external_data
}
_FIXED: Final = {1: 8, 5: 4}  # bytes of a value, by its wire type


def check_external_data(path: Path) -> None:
    """Refuse a graph that has a tensor in a file outside its folder.

    The folder is the one that the file lies in, and the one that it really lies in where it is a link: in the Hugging
    Face cache, `snapshots/<commit>/onnx` and the same repository's `blobs`. That is ONNX Runtime's own rule, in the
    versions that have one. A file that is not there is left to ONNX Runtime.

    Args:
        path: The ONNX file.

    Raises:
        InvalidModelError: A location leads outside, or the file is damaged.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            locations = set(_locations(data))
    except (OSError, ValueError, IndexError) as error:  # ValueError: nothing to map, or no protocol buffer
        why = "it is cut short" if isinstance(error, IndexError) else error
        raise InvalidModelError(
            f"{path} cannot be read as an ONNX graph: {why}. If it is damaged, delete it and load the model again."
        ) from error
    for location in sorted(locations):
        why = _why_not(path, location)
        if why:
            raise InvalidModelError(
                f"{path} keeps a tensor in {location!r}: {why}. Nothing was read. Do not trust this model; if it is "
                f"your own, put that file beside it, in {path.parent}, and name it without a path."
            )


def _why_not(path: Path, location: str) -> str:
    """Say what is wrong with a tensor's location; empty where nothing is."""
    if "*" in location or not location.isprintable():  # ONNX Runtime's */_ORT_MEM_ADDR_/* is memory of this process
        return "that is no file's name"
    if "\\" in location or location.startswith("/") or PureWindowsPath(location).drive:
        return "only relative POSIX paths are allowed"
    if ".." in location.split("/"):
        return "it leaves the folder"
    try:
        real = (path.parent / location).resolve()
        folders = (path.parent.resolve(), path.resolve().parent)
    except (OSError, RuntimeError) as error:  # links in a circle
        return f"it cannot be followed ({error})"
    return "" if any(real.is_relative_to(folder) for folder in folders) else f"it is a link to {real}, outside"


def _locations(data: mmap.mmap) -> Iterator[str]:
    """Yield the location of every tensor that has one."""
    waiting = [("ModelProto", 0, len(data))]  # and no recursion, as graphs may be nested as deep as they like
    while waiting:
        message, start, end = waiting.pop()
        if message == _ENTRY:
            entry = [(number, data[a:b]) for number, a, b in _fields(data, start, end)]
            if (1, b"location") in entry:
                yield from (value.decode("utf-8", "surrogateescape") for number, value in entry if number == 2)
        else:
            inside = _INSIDE[message]
            waiting += [(inside[number], a, b) for number, a, b in _fields(data, start, end) if number in inside]


def _fields(data: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, start and end of each field of a message that has a length; skip the others.

    Raises:
        ValueError: This is no protocol buffer, or one that no writer of ONNX makes.
        IndexError: It is cut short.
    """
    while at < end:
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == 2:
            size, at = _varint(data, at)
            start, at = at, at + size
            if at <= end:
                yield number, start, at
        elif kind == 0:
            _, at = _varint(data, at)
        elif kind in _FIXED:
            at += _FIXED[kind]
        else:  # a group, in which fields could hide
            raise ValueError(f"wire type {kind} at byte {at}")
        if at > end or not 0 < number < 1 << 29:
            raise ValueError(f"a field that cannot be, before byte {min(at, end)}")


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    """Return a base-128 number, and where the next byte is."""
    byte = data[at]
    if byte < 0x80:
        return byte, at + 1
    value, shift = byte & 0x7F, 7
    while shift < 70:
        at += 1
        byte = data[at]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at + 1
        shift += 7
    raise ValueError(f"a number that does not end, before byte {at}")
