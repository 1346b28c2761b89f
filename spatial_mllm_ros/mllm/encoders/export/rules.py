"""What a file has to keep to, so that TensorRT from 10.1 on reads it."""

from collections import Counter
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import onnx_ir as ir

from .graph import Sizes, length_of

RANK = 8  # axes of a tensor
ELEMENTS = 1 << 31  # what a 32-bit index does not reach
OPERATORS = frozenset(
    (Path(__file__).with_name("tensorrt_operators.txt").read_text("utf-8")).split("\n\n", 1)[1].split()
)


def broken(graph: ir.Graph, largest: Sizes) -> Iterator[str]:
    """What in a graph breaks the rules, a sentence for each kind.

    Args:
        largest: length of each axis in the largest clip.
    """
    kinds = Counter(node.op_type for node in graph)
    for name, count in kinds.items():
        if name not in OPERATORS:
            yield f"{count} {name}: TensorRT 10.1 has no such operator"
    for node in graph:
        if node.op_type == "Resize" and node.attributes.get_int("antialias", 0):
            yield f"{node.name}: TensorRT has no antialiased resize"
        for value in node.outputs:
            shape = known_shape(value)
            if shape is None:
                if node.op_type in ("MatMul", "Softmax"):
                    yield f"{value.name} of {node.op_type} has an unknown shape"
            elif len(shape) > RANK:
                yield f"{value.name} has {len(shape)} axes: TensorRT takes {RANK}"
            elif (count := prod(length_of(dim, largest) for dim in shape)) >= ELEMENTS:
                yield f"{value.name} of {node.op_type} has {count} elements in the largest clip: expected below 2^31"


def largest_scores(graph: ir.Graph, sizes: Sizes) -> int:
    """Elements of the largest tensor of attention, for axes of these lengths."""
    shapes = [known_shape(node.outputs[0]) for node in graph if node.op_type == "Softmax"]
    return max((prod(length_of(dim, sizes) for dim in shape) for shape in shapes if shape), default=0)


def known_shape(value: ir.Value) -> list[str] | None:
    """Lengths of a value's axes, numbers or expressions; None where they are not known."""
    if value.shape is None:
        return None
    dims: list[Any] = [dim.value if isinstance(dim, ir.SymbolicDim) else dim for dim in value.shape]
    return None if None in dims else [str(dim) for dim in dims]
