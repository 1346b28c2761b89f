"""What is exported: parts of a model as graphs, and in which sizes they will be used."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import nn

Sizes = Mapping[str, int]  # length of each axis by its name


class Extent(NamedTuple):
    """The least, the usual and the most of something."""

    low: int
    usual: int
    high: int


class Range(NamedTuple):
    """In which sizes encoders are used: frames of a clip, rows and columns of patches of a frame."""

    frames: Extent
    rows: Extent
    columns: Extent

    def pixels(self, patch: int) -> dict[str, list[int]]:
        """Least, usual and most frames, heights and widths, for patches of that side."""
        sides = {"height": self.rows, "width": self.columns}
        return {"frames": [*self.frames], **{name: [patch * n for n in extent] for name, extent in sides.items()}}

    def at(self, point: str) -> tuple[int, int, int]:
        """Frames, rows and columns at ``low``, ``usual`` or ``high``."""
        frames, rows, columns = (getattr(extent, point) for extent in self)
        return frames, rows, columns


@dataclass
class Clip:
    """A clip that graphs run on, and what is known of it: values are added as graphs give them.

    Attributes:
        kind: what is in it, for reports. frames: uint8 [S, H, W, 3], RGB. grid: rows and columns of patches.
    """

    kind: str
    frames: NDArray
    grid: tuple[int, int]
    values: dict[str, NDArray] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Frames, rows and columns."""
        return len(self.frames), *self.grid


@dataclass(frozen=True)
class Graph:
    """A part of a model that becomes a file.

    Attributes:
        name: of the file, without suffix.
        module: float32, takes tensors and gives tensors.
        axes: of each input, in order, which axes vary and how long they are, like ``{0: "frames", 2: "14*rows"}``.
        outputs: what the results are called.
        feed: the inputs, as arrays, for a clip.
        sizes: length of each axis for so many frames, rows and columns.
        full: what stays float32 in a file of half precision: names of modules or of inputs. ``("",)``: all of it.
    """

    name: str
    module: nn.Module
    axes: Mapping[str, Mapping[int, str]]
    outputs: tuple[str, ...]
    feed: Callable[[Clip], dict[str, NDArray]]
    sizes: Callable[[int, int, int], Sizes]
    full: tuple[str, ...] = ()

    def profiles(self, within: Range, example: Mapping[str, NDArray]) -> dict[str, dict[str, list[int]]]:
        """Least, usual and largest shape of each input.

        Args:
            example: any inputs: axes that do not vary are as they are there.
        """
        points = {"min": within.at("low"), "opt": within.at("usual"), "max": within.at("high")}
        return {
            name: {point: self._shape(name, example[name].shape, self.sizes(*at)) for point, at in points.items()}
            for name in self.axes
        }

    def symbols(self, name: str, example: Mapping[str, NDArray]) -> list[Any]:
        """Shape of an input, with expressions where it varies."""
        return [self.axes[name].get(i, length) for i, length in enumerate(example[name].shape)]

    def _shape(self, name: str, shape: tuple[int, ...], sizes: Sizes) -> list[int]:
        return [length_of(self.axes[name].get(i, length), sizes) for i, length in enumerate(shape)]


@dataclass(frozen=True)
class Parts:
    """What of a model is exported.

    Attributes:
        weights: its folder, or its file.
        graphs: its parts, one after the other, so that memory holds one.
        sizes: height and width that pictures of these sizes are brought to.
        patch: side of a patch, pixels. even: frames, rows and columns of patches come in pairs.
        about: what ``encoders.json`` says of it.
    """

    weights: Path
    graphs: Callable[[], Iterable[Graph]]
    sizes: Callable[[Sequence[tuple[int, int]]], list[tuple[int, int]]]
    patch: int
    even: bool
    about: Mapping[str, Any]


OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv}
FUNCTIONS = {"Max": max, "Min": min, "max": max, "min": min}


def length_of(expression: Any, sizes: Sizes) -> int:
    """Length of an axis: a number, or an expression of others', as torch writes it, like ``frames*(rows + 5)``."""
    return int(evaluated(str(expression), sizes))


def evaluated(expression: str, names: Mapping[str, Any]) -> Any:
    """Sums, products and the like of whole numbers and of what names stand for. Raises ValueError, KeyError."""

    def value(node: ast.AST) -> Any:
        if isinstance(node, ast.Constant) and type(node.value) is int:
            return node.value
        if isinstance(node, ast.Name):
            return names[node.id]
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
            return OPERATORS[type(node.op)](value(node.left), value(node.right))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -value(node.operand)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS:
            return FUNCTIONS[node.func.id](*map(value, node.args))
        raise ValueError(f"{expression}: no length of an axis")

    return value(ast.parse(expression, mode="eval").body)
