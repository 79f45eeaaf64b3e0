"""Reduce a graph to what its first output needs: without side outputs, shape arithmetic and constant parts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from transformers_foreground.errors import InvalidModelError
from transformers_foreground.temporary import temporary_folder

PER_CHANNEL: Final = 13  # the first opset whose DequantizeLinear has a scale for each channel


def simplify(model: Any, height: int | None = None, width: int | None = None) -> Any:
    """Return an equivalent graph with one output and without constant parts.

    Side outputs are removed, with the nodes that only they need. ONNX Runtime's basic optimisations (which use standard
    operators only) then fold constants; with a fixed input size these include shapes. An opset below 13 is raised to
    13, which per-channel quantisation needs.

    Args:
        model: `onnx.ModelProto` with one image input. Not changed.
        height: Height to fix the input to; `None` leaves it as it is.
        width: Width to fix the input to.

    Returns:
        The new `onnx.ModelProto`. Its first output has the same name.

    Raises:
        InvalidModelError: ONNX Runtime cannot read the graph, or its input is not one image.
    """
    import onnx
    import onnx.version_converter

    inputs = [i for i in model.graph.input if i.name not in {t.name for t in model.graph.initializer}]
    if len(inputs) != 1 or len(inputs[0].type.tensor_type.shape.dim) != 4:
        raise InvalidModelError("Only a graph that takes one image (a 4-D tensor) can be quantised.")
    pruned = _pruned(model)
    _fix_size(pruned.graph.input[0], height, width)
    with temporary_folder() as folder:
        before, after = folder / "before.onnx", folder / "after.onnx"
        onnx.save(pruned, before)
        _optimise(before, after)
        folded = onnx.load(after)
    _drop_casts(folded.graph)
    result = _pruned(folded)
    if _opset(result) < PER_CHANNEL:
        result = onnx.version_converter.convert_version(result, PER_CHANNEL)
    domains = {node.domain for node in result.graph.node} | {""}
    for opset in list(result.opset_import):
        if opset.domain not in domains:
            result.opset_import.remove(opset)
    return onnx.shape_inference.infer_shapes(result)


def _opset(model: Any) -> int:
    return next((int(opset.version) for opset in model.opset_import if not opset.domain), PER_CHANNEL)


def _pruned(model: Any) -> Any:
    """Return a copy with only the first output and what it needs."""
    from onnx import helper

    graph = model.graph
    producer = {name: node for node in graph.node for name in node.output if name}
    needed: set[str] = set()
    stack = [graph.output[0].name]
    while stack:
        name = stack.pop()
        if name and name not in needed:
            needed.add(name)
            stack += producer[name].input if name in producer else []
    initializers = [tensor for tensor in graph.initializer if tensor.name in needed]
    weights = {tensor.name for tensor in initializers}
    small = helper.make_graph(
        in_order(node for node in graph.node if needed & set(node.output)),
        graph.name or "graph",
        [value for value in graph.input if value.name in needed and value.name not in weights],
        [graph.output[0]],
        initializers,
    )
    return helper.make_model(
        small, opset_imports=list(model.opset_import), ir_version=model.ir_version, producer_name=model.producer_name
    )


def in_order(nodes: Iterable[Any]) -> list[Any]:
    """Sort nodes so that each comes after those it reads from; otherwise keep their order."""
    nodes = list(nodes)
    producer = {name: i for i, node in enumerate(nodes) for name in node.output if name}
    done: set[int] = set()
    result = []
    for first in range(len(nodes)):
        stack = [first]
        while stack:
            i = stack[-1]
            waiting = [producer[n] for n in nodes[i].input if n in producer and producer[n] not in done]
            if i in done or not waiting:
                stack.pop()
                if i not in done:
                    done.add(i)
                    result.append(nodes[i])
            else:
                stack += waiting[:1]
    return result


def _fix_size(value: Any, height: int | None, width: int | None) -> None:
    """Set an input's shape to a batch of one and this size, if given."""
    dims = value.type.tensor_type.shape.dim
    axes = (1, 2) if dims[3].dim_value == 3 and dims[1].dim_value != 3 else (2, 3)
    if height and width:
        for dim, side in ((dims[0], dims[0].dim_value or 1), (dims[axes[0]], height), (dims[axes[1]], width)):
            dim.Clear()
            dim.dim_value = side


def _optimise(before: Path, after: Path) -> None:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(after)
    options.log_severity_level = 3
    try:
        ort.InferenceSession(before, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions share no base but Exception
        raise InvalidModelError(f"ONNX Runtime cannot read the graph: {error}") from error


def _drop_casts(graph: Any) -> None:
    """Remove casts of float to float, which converters from fp16 leave behind."""
    from onnx import TensorProto, helper, shape_inference

    inferred = shape_inference.infer_shapes(helper.make_model(graph))
    values = (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output)
    kinds = {value.name: value.type.tensor_type.elem_type for value in values}
    outputs = {value.name for value in graph.output}
    for cast in [node for node in graph.node if node.op_type == "Cast"]:
        source, target = cast.input[0], cast.output[0]
        to = next(attribute.i for attribute in cast.attribute if attribute.name == "to")
        if to != TensorProto.FLOAT or kinds.get(source) != TensorProto.FLOAT:
            continue
        if target not in outputs:
            old, new = target, source
        elif any(source in node.output for node in graph.node):
            old, new = source, target
        else:
            continue
        graph.node.remove(cast)
        for node in graph.node:
            node.input[:] = [new if name == old else name for name in node.input]
            node.output[:] = [new if name == old else name for name in node.output]
