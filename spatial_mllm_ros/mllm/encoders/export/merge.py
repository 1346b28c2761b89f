"""Steps of which each takes its time, joined: factors and biases go into the products before them. For float32.

In half precision they stay apart: factors of a hundredth would make weights smaller than float16 holds well.
"""

from typing import Any

import onnx_ir as ir
from onnxscript.rewriter.pattern import RewriteRule, RewriteRuleSet

from .rules import known_shape


def merge(model: ir.Model) -> None:
    """Joins what follows products of tokens with weights, and writes norms as ONNX Runtime knows them."""
    for rule in (SCALE, DIVIDE, BIAS):
        RewriteRuleSet([rule], commute=True).apply_to_model(model)
    _share_lengths(model.graph)
    used = model.graph.initializers
    for name in [name for name, value in used.items() if not value.uses()]:
        del used[name]


def _share_lengths(graph: ir.Graph) -> None:
    """Lengths of the same axes are looked up once: ONNX Runtime then sees that what is made of them is the same."""
    known: dict[tuple[str, ...], ir.Value] = {}
    for node in list(graph):
        if node.op_type != "Shape" or (shape := known_shape(node.inputs[0])) is None:  # type: ignore[arg-type]
            continue
        found, span = node.outputs[0], (node.attributes.get_int(name, None) for name in ("start", "end"))
        first = known.setdefault(tuple(shape[slice(*span)]), found)
        if first is not found and found not in graph.outputs:
            found.replace_all_uses_with(first)
            graph.remove(node, safe=True)


def _tokens(x: ir.Value) -> bool:
    return x.shape is not None and len(x.shape) > 2


def _fixed(rank: int, *values: ir.Value) -> bool:
    return all(value.const_value is not None and len(value.const_value.shape) == rank for value in values)


def _scaled(op: Any, value: ir.Value, factors: ir.Value) -> ir.Value:
    """Weights times factors: computed when they are written, and once where a layer runs several times."""
    name = f"{value.name}_scaled_{factors.name}"
    if value.graph is not None and name in value.graph.initializers:
        return value.graph.initializers[name]
    weights, by = value.const_value, factors.const_value
    assert weights is not None and by is not None
    product = ir.LazyTensor(
        lambda: ir.tensor(weights.numpy() * by.numpy()), weights.dtype, ir.Shape(weights.numpy().shape), name=name
    )
    return op.initializer(product, name=name)


def _scale(op: Any, x: ir.Value, weight: ir.Value, bias: ir.Value, factors: ir.Value) -> Any:
    product = op.MatMul(x, _scaled(op, weight, factors))
    return op.Add(product, _scaled(op, bias, factors))


SCALE = RewriteRule(
    lambda op, x, weight, bias, factors: op.Mul(op.Add(op.MatMul(x, weight), bias), factors),
    _scale,
    lambda context, x, weight, bias, factors: (
        _tokens(x) and _fixed(2, weight) and _fixed(1, bias, factors) and bias.shape == factors.shape
    ),
    name="(x W + b) f = x (W f) + b f",
)

DIVIDE = RewriteRule(
    lambda op, x, root: op.Mul(x, op.Reciprocal(root)),
    lambda op, x, root: op.Div(x, root),
    name="x (1 / root) = x / root",
)


def _one_product(op: Any, x: ir.Value, weight: ir.Value, bias: ir.Value) -> Any:
    rows = op.Reshape(x, op.Constant(value_ints=[-1, weight.shape[0]]))  # type: ignore[index]
    lead = op.Shape(x, start=0, end=len(x.shape) - 1)  # type: ignore[arg-type]
    lengths = op.Concat(lead, op.Constant(value_ints=[weight.shape[1]]), axis=0)  # type: ignore[index]
    return op.Reshape(op.Gemm(rows, weight, bias), lengths)


BIAS = RewriteRule(
    lambda op, x, weight, bias: op.Add(op.MatMul(x, weight), bias),
    _one_product,
    lambda context, x, weight, bias: (
        _tokens(x) and _fixed(2, weight) and _fixed(1, bias) and bias.shape[0] in (1, weight.shape[1])
    ),
    name="x W + b, for any rank of x",
)
