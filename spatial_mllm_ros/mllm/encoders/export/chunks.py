"""Attention whose scores would be too many at once: queries in chunks, each of which sees all keys. Exact.

Without loops, which TensorRT fuses badly: as many chunks as the largest clip needs, of equal length whatever the clip.
"""

from math import ceil, prod
from typing import Any

import numpy as np
import onnx_ir as ir

from .graph import Sizes, length_of


def chunk_attention(graph: ir.Graph, largest: Sizes, most: int) -> int:
    """Divides each attention that has more scores than ``most`` in the largest clip.

    Args:
        largest: length of each axis there.
    Returns:
        In how many chunks, at most.
    """
    bounds: dict[tuple[str, int], list[ir.Value]] = {}
    divided = 1
    for node in list(graph):
        if node.op_type != "Softmax":
            continue
        scores = node.inputs[0]
        assert scores is not None and scores.shape is not None
        shape = list(scores.shape)
        count = ceil(prod(length_of(dim, largest) for dim in map(_text, shape)) / most)
        if count > 1 and (product := scores.producer()) and product.op_type == "MatMul":  # else of windows: small
            divided = max(divided, count)
            _divide(graph, node, count, bounds)
    return divided


def _divide(graph: ir.Graph, softmax: ir.Node, count: int, bounds: dict[tuple[str, int], list[ir.Value]]) -> None:
    """query [..., L, D] @ key [..., D, K] -> softmax -> @ value, for ``count`` parts of L."""
    assert softmax.inputs[0] is not None
    first = softmax.inputs[0].producer()
    ((last, _),) = softmax.outputs[0].uses()
    assert first is not None
    query, key, value = first.inputs[0], first.inputs[1], last.inputs[1]
    assert query is not None and query.shape is not None
    axis, made = len(query.shape) - 2, []
    length = _text(query.shape[axis])
    dims = list(query.shape)

    def add(kind: str, inputs: list[Any], shape: list[Any], like: ir.Value | None, **attributes: Any) -> ir.Value:
        node = ir.node(kind, inputs, attributes=attributes)
        node.outputs[0].shape = ir.Shape(shape)
        node.outputs[0].dtype = (like and like.dtype) or ir.DataType.INT64
        made.append(node)
        return node.outputs[0]

    def numbers(values: Any) -> ir.Value:
        return _constant(graph, np.atleast_1d(np.array(values, np.int64)))

    if (length, count) not in bounds:
        whole = add("Shape", [query], [1], None, start=axis, end=axis + 1)
        ends = add("Mul", [whole, numbers(range(count + 1))], [count + 1], None)
        ends = add("Div", [ends, numbers(count)], [count + 1], None)
        bounds[length, count] = [add("Gather", [ends, numbers(i)], [1], None, axis=0) for i in range(count + 1)]
    at, parts = bounds[length, count], []
    for i in range(count):
        dims[axis] = part = ir.SymbolicDim(f"{i + 1}*({length})//{count}-{i}*({length})//{count}")
        q = add("Slice", [query, at[i], at[i + 1], numbers(axis)], dims, query)
        s = add("MatMul", [q, key], [*dims[:-2], part, softmax.inputs[0].shape[-1]], query)  # type: ignore[index]
        p = add("Softmax", [s], list(s.shape), query, axis=-1)  # type: ignore[arg-type]
        parts.append(add("MatMul", [p, value], [*dims[:-1], last.outputs[0].shape[-1]], query))  # type: ignore[index]
    old = last.outputs[0]
    joined = add("Concat", parts, list(old.shape or ()), query, axis=axis)
    graph.insert_before(last, made)
    for user, i in list(old.uses()):
        user.replace_input_with(i, joined)
    graph.remove([last], safe=True)
    graph.remove([softmax], safe=True)
    graph.remove([first], safe=True)


def _constant(graph: ir.Graph, values: np.ndarray) -> ir.Value:
    name = f"at_{'_'.join(map(str, values[:2]))}_{len(values)}"
    if name not in graph.initializers:
        tensor = ir.Tensor(values, name=name)
        value = ir.Value(
            name=name, shape=ir.Shape(values.shape), type=ir.TensorType(ir.DataType.INT64), const_value=tensor
        )
        graph.register_initializer(value)
    return graph.initializers[name]


def _text(dim: Any) -> str:
    return str(dim.value) if isinstance(dim, ir.SymbolicDim) else str(dim)
