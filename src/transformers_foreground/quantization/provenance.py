"""What a quantised file says of itself, and whether to believe that it is safe. Needs neither onnx nor onnxruntime."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

KEY: Final = "transformers_foreground.quantization"
_METADATA: Final = 14  # the field of ModelProto in onnx.proto
_MAX_BYTES: Final = 1 << 20


def read_provenance(path: str | Path) -> dict[str, Any] | None:
    """Return what `foreground quantize` wrote into a file, or `None`; without reading its weights."""
    try:
        with open(path, "rb") as file:
            for entry in _metadata(file):
                parts = dict(_fields(entry))
                if parts.get(1) == KEY.encode():
                    content = json.loads(parts.get(2, b""))
                    return content if isinstance(content, dict) else None
    except (OSError, ValueError, IndexError, EOFError):
        return None
    return None


def is_safe(path: str | Path) -> bool:
    """Whether a quantised file kept its bounds on held-out pictures, by its own record.

    A file without a record is not safe; nor is one beside a `model.onnx` of another size than the one that it was made
    from.

    Args:
        path: The ONNX file.
    """
    record = read_provenance(path)
    if record is None or record.get("safe") is not True:
        return False
    source = record.get("source") or {}
    beside = Path(path).with_name(str(source.get("name") or "model.onnx"))
    return not beside.is_file() or beside.stat().st_size == source.get("bytes")


def _metadata(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the `metadata_props` of a serialised ModelProto, seeking past its graph."""
    while (key := _varint(file)) is not None:
        field, kind = key >> 3, key & 7
        if kind == 0:
            _varint(file)
        elif kind == 2:
            length = _varint(file) or 0
            if field == _METADATA and length <= _MAX_BYTES:
                yield file.read(length)
            else:
                file.seek(length, 1)
        elif kind in (1, 5):
            file.seek(8 if kind == 1 else 4, 1)
        else:
            raise ValueError("not a protocol buffer")


def _fields(entry: bytes) -> Iterator[tuple[int, bytes]]:
    import io

    stream = io.BytesIO(entry)
    while (key := _varint(stream)) is not None:
        if key & 7 != 2:
            raise ValueError("not a StringStringEntryProto")
        yield key >> 3, stream.read(_varint(stream) or 0)


def _varint(file: IO[bytes]) -> int | None:
    """Read a base-128 number; `None` at the end of the file."""
    value = shift = 0
    while byte := file.read(1):
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
        shift += 7
        if shift > 63:
            raise ValueError("not a protocol buffer")
    if shift:
        raise EOFError("cut short")
    return None


def write_provenance(model: Any, record: dict[str, Any]) -> bytes:
    """Put a record into an `onnx.ModelProto` and serialise it; the same arguments give the same bytes."""
    del model.metadata_props[:]
    model.metadata_props.add(key=KEY, value=json.dumps(record, sort_keys=True, ensure_ascii=False))
    return bytes(model.SerializeToString(deterministic=True))
