"""Files of encoders, each checked before it is kept."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from shutil import disk_usage
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from numpy.typing import NDArray

from ....errors import ErrorCode, SpatialError, bad
from ..exported import ABOUT, FORMAT
from . import check
from .chunks import chunk_attention
from .graph import Clip, Graph, Range
from .half import halve
from .merge import merge
from .rules import broken, largest_scores
from .translate import OPSET, translate

SCORES = 1 << 30
"""Most numbers in a tensor of attention: half of what a 32-bit index reaches, where kernels have given NaN."""
LARGEST_FILE = 2_000_000_000  # bytes; above, weights lie beside the file
TRACED = (6, 10, 12)  # frames, rows and columns that graphs are traced with: no two axes of the same length
Progress = Callable[[str, float], None]


def write(
    folder: Path,
    graphs: Iterable[Graph],
    within: Range,
    patch: int,
    pictures: Sequence[NDArray[np.uint8]],
    about: Mapping[str, Any],
    precision: str = "fp32",
    progress: Progress = lambda stage, part: None,
) -> dict[str, Any]:
    """Writes a file for each graph, checks it, and describes all in ``encoders.json``.

    Args:
        folder: where to; what is there is replaced.
        graphs: made one after the other; what one gives is there for the next.
        within: the sizes that the files are for. patch: side of a patch, pixels.
        pictures: of rooms, see ``check.clips``.
        about: what else ``encoders.json`` says.
        precision: ``fp32`` or ``fp16``.
        progress: is told what is done, and which part of it all is.
    Returns:
        What ``encoders.json`` holds.
    Raises:
        SpatialError: a file breaks the rules of TensorRT, or is too far from torch; no space.
    """
    frames, rows, columns = TRACED
    noise = np.random.default_rng(1).integers(0, 256, (frames, rows * patch, columns * patch, 3), np.uint8)
    traced = Clip("noise", noise, (rows, columns))
    seen = list(check.clips(within, patch, pictures))
    files: dict[str, Any] = {}
    for number, graph in enumerate(graphs):
        name = f"{graph.name}.onnx"
        for clip in (traced, *seen):
            check.see(graph, clip)
        progress(f"exporting {name}", number / 4)
        files[name] = _file(folder / name, graph, within, traced, precision)
        progress(f"checking {name}", (number + 0.5) / 4)
        onnx.checker.check_model(str(folder / name))
        found = check.parity(folder / name, graph, seen, _of(graph, precision), torch.get_num_threads())
        for figure, allowed in (("difference", "allowed"), ("rounded", "rounded_allowed")):
            if figure in found and not found[figure] <= found[allowed]:
                said = f"{name} is {found[figure]:.3g} from torch: expected at most {found[allowed]}"
                other = "" if precision == "fp32" else " (--precision fp32 is closer)"
                raise SpatialError(ErrorCode.FAILED, said + other)
        files[name]["parity"] = found
    written = {"format": FORMAT, **about, "precision": precision, "opset": OPSET, "files": files}
    (folder / ABOUT).write_text(json.dumps(written, indent=2) + "\n", "utf-8")
    return written


def _of(graph: Graph, precision: str) -> str:
    """A file that stays float32 is measured as such."""
    return "fp32" if "" in graph.full else precision


def _file(path: Path, graph: Graph, within: Range, traced: Clip, precision: str) -> dict[str, Any]:
    """Writes the graph's file; what ``encoders.json`` says of it."""
    example = graph.feed(traced)
    model = translate(graph.module, {n: torch.from_numpy(v) for n, v in example.items()}, graph.axes, graph.outputs)
    largest = graph.sizes(*within.at("high"))
    if _of(graph, precision) == "fp16":
        halve(model.graph, graph.full)
    else:
        merge(model)
    chunk_attention(model.graph, largest, SCORES)
    if said := list(broken(model.graph, largest)):
        raise SpatialError(ErrorCode.FAILED, f"{path.name} would not run with TensorRT: {'; '.join(said[:5])}")
    weights = sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value)
    if weights * 1.05 > (free := disk_usage(path.parent).free):
        raise bad(f"{path.name} has {weights / 1e9:.1f} GB, {free / 1e9:.1f} GB are free in the folder")
    beside = f"{path.name}.data" if weights > LARGEST_FILE else None
    ir.save(model, path, external_data=beside)
    return {
        "inputs": {name: {"type": str(example[name].dtype), "shape": graph.symbols(name, example)} for name in example},
        "outputs": {value.name: {"type": "float32", "shape": _shape(value)} for value in model.graph.outputs},
        "profiles": graph.profiles(within, example),
        "largest_scores": largest_scores(model.graph, largest),
    }


def _shape(value: ir.Value) -> list[Any]:
    return [dim.value if isinstance(dim, ir.SymbolicDim) else dim for dim in value.shape or ()]
