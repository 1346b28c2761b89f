"""Half precision where it pays: products of matrices and what is between those of attention; the rest is float32.

As autocast does with torch: sums that go on from layer to layer, norms and rotations keep their digits, so that what is
lost does not add up with depth, and nothing that grows can overflow between two products.
"""

from collections.abc import Collection

import numpy as np
import onnx_ir as ir

from ....errors import ErrorCode, SpatialError

PRODUCTS = {"MatMul", "Gemm", "Conv", "ConvTranspose", "Softmax"}
FLOAT, HALF = ir.DataType.FLOAT, ir.DataType.FLOAT16


def halve(graph: ir.Graph, full: Collection[str]) -> None:
    """Gives products float16 operands, weights included, and casts around them.

    Args:
        full: what stays float32: products of modules with these names, or with inputs of these names.
    Raises:
        SpatialError: a weight is too large for float16.
    """
    halves: dict[ir.Value, ir.Value] = {}  # float32 -> the same in float16
    for node in list(graph):
        if node.op_type not in PRODUCTS or _kept(node, full):
            continue
        for i, value in enumerate(node.inputs):
            if value is not None and value.dtype == FLOAT:
                if value not in halves:
                    halves[value] = _weight(graph, value) if value.is_initializer() else _cast(graph, value, HALF, node)
                node.replace_input_with(i, halves[value])
        (out,) = node.outputs
        uses = list(out.uses())
        out.dtype = HALF
        back = ir.node("Cast", [out], attributes={"to": int(FLOAT)})
        back.outputs[0].dtype, back.outputs[0].shape = FLOAT, out.shape
        graph.insert_after(node, back)
        for user, i in uses:
            user.replace_input_with(i, back.outputs[0])
        halves[back.outputs[0]] = out
        if out in graph.outputs:
            place = list(graph.outputs).index(out)
            back.outputs[0].name, out.name = out.name, f"{out.name}_half"
            graph.outputs[place] = back.outputs[0]
    for node in list(graph):
        if node.op_type == "Cast" and not node.outputs[0].uses() and node.outputs[0] not in graph.outputs:
            graph.remove(node, safe=True)
    for name in [name for name, value in graph.initializers.items() if not value.uses()]:
        del graph.initializers[name]


def _kept(node: ir.Node, full: Collection[str]) -> bool:
    names = {value.name for value in node.inputs if value is not None} | node.meta.get("modules", frozenset())
    return any(name in names for name in full)


def _cast(graph: ir.Graph, value: ir.Value, to: ir.DataType, before: ir.Node) -> ir.Value:
    cast = ir.node("Cast", [value], attributes={"to": int(to)})
    cast.outputs[0].dtype, cast.outputs[0].shape = to, value.shape
    producer = value.producer()
    graph.insert_before(before, cast) if producer is None else graph.insert_after(producer, cast)
    return cast.outputs[0]


def _weight(graph: ir.Graph, value: ir.Value) -> ir.Value:
    assert value.const_value is not None
    numbers = value.const_value.numpy()
    with np.errstate(over="ignore"):
        short = numbers.astype(np.float16)
    if not np.isfinite(short).all():
        largest = float(np.abs(numbers).max())
        raise SpatialError(
            ErrorCode.BAD_REQUEST, f"{value.name} holds {largest:.3g}, too large for fp16: expected --precision fp32"
        )
    half = ir.Value(
        name=f"{value.name}_half",
        shape=value.shape,
        type=ir.TensorType(HALF),
        const_value=ir.Tensor(short, name=f"{value.name}_half"),
    )
    graph.register_initializer(half)
    return half


def spell_out(graph: ir.Graph) -> None:
    """Products in float32 of operands that were rounded to float16, rounded again: what a GPU computes.

    ONNX Runtime has no float16 products on CPUs; it leaves out the casts around them, and with these every rounding and
    every overflow.
    """
    for node in list(graph):
        if node.op_type not in PRODUCTS or node.outputs[0].dtype != HALF:
            continue
        for i, value in enumerate(node.inputs):
            if value is not None and value.dtype == HALF:
                node.replace_input_with(i, _cast(graph, value, FLOAT, node))
        (out,) = node.outputs
        uses = list(out.uses())
        out.dtype = FLOAT
        short = _cast(graph, out, HALF, node)
        for user, i in uses:
            user.replace_input_with(i, short)
