"""Whether a file gives what torch gives: ONNX Runtime beside the module, on noise and on pictures of rooms."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx_ir as ir
import onnxruntime
import torch
from numpy.typing import NDArray

from ..compare import relative_l2
from ..exported import PARITY
from .graph import Clip, Graph, Range
from .half import spell_out

TOKENS = 8192
"""Most tokens of a clip that is compared: bounds time and memory."""
ROUNDED = 2e-3
"""The same norm where every product is rounded to half precision, which ONNX Runtime's CPU provider leaves out."""


def clips(within: Range, patch: int, pictures: Sequence[NDArray[np.uint8]]) -> Iterator[Clip]:
    """Noise and pictures on the smallest, the usual and the largest grid; most frames on the smallest.

    Args:
        pictures: RGB, uint8 [h, w, 3], of any size. patch: its side, pixels.
    """
    noise = np.random.default_rng(0)
    for point, frames in (("low", within.frames.high), ("usual", within.frames.usual), ("high", within.frames.low)):
        _, rows, columns = within.at(point)
        count = max(2, min(frames, TOKENS // (rows * columns)) // 2 * 2) if within.frames.high > 1 else 1
        size = rows * patch, columns * patch
        yield Clip("noise", noise.integers(0, 256, (count, *size, 3), np.uint8), (rows, columns))
        resized = [cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA) for picture in pictures]
        yield Clip("rooms", np.stack(list(islice(cycle(resized), count))), (rows, columns))


@torch.inference_mode()
def see(graph: Graph, clip: Clip) -> None:
    """Runs a graph's module on a clip, and notes what it gives."""
    given = (torch.from_numpy(value) for value in graph.feed(clip).values())
    found = graph.module(*given)
    found = found if isinstance(found, tuple) else (found,)
    clip.values |= {name: value.numpy() for name, value in zip(graph.outputs, found, strict=True)}


def parity(file: Path, graph: Graph, seen: Sequence[Clip], precision: str, threads: int) -> dict[str, Any]:
    """How far a file is from what the module gave for some clips.

    Returns:
        ``difference``: the largest of all clips and outputs; ``allowed``; ``clips``: each with its own. In half
        precision also ``rounded``: the same with every rounding of a GPU spelled out, see ``half.spell_out``.
    """
    rows: list[dict[str, Any]] = [
        {"kind": clip.kind, "frames": len(clip.frames), "size": list(clip.frames.shape[1:3])} for clip in seen
    ]
    _measure(file, graph, seen, precision, threads, rows, "difference")
    figures = {"difference": max(row["difference"] for row in rows), "allowed": PARITY[precision]}
    if precision == "fp16":
        with as_a_gpu_rounds(file) as rounded:
            _measure(rounded, graph, seen, precision, threads, rows, "rounded")
        figures |= {"rounded": max(row["rounded"] for row in rows), "rounded_allowed": ROUNDED}
    return {**figures, "clips": rows}


def _measure(
    file: Path,
    graph: Graph,
    seen: Sequence[Clip],
    precision: str,
    threads: int,
    rows: Sequence[dict[str, Any]],
    name: str,
) -> None:
    session = open_session(file, threads)
    for row, clip in zip(rows, seen, strict=True):
        found = session.run(list(graph.outputs), graph.feed(clip))
        apart = max(difference(f, clip.values[name], precision) for f, name in zip(found, graph.outputs, strict=True))
        row[name] = float(f"{apart:.3g}")


def open_session(file: Path, threads: int) -> onnxruntime.InferenceSession:
    """A file in ONNX Runtime, on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.disable_prepacking", "1")  # memory of the weights once
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


@contextmanager
def as_a_gpu_rounds(file: Path) -> Iterator[Path]:
    """A file beside another one in half precision, with every rounding spelled out; gone afterwards."""
    beside = file.with_name(f"rounded_{file.name}")
    model = ir.load(file)
    spell_out(model.graph)
    try:
        ir.save(model, beside)
        yield beside
    finally:
        beside.unlink(missing_ok=True)


def difference(found: Any, expected: NDArray, precision: str) -> float:
    """As ``PARITY`` says; infinite where a number is none."""
    if precision == "fp16":
        return relative_l2(found, expected)
    found, expected = np.asarray(found, np.float64), expected.astype(np.float64)
    return float(np.abs(found - expected).max() / np.abs(expected).max()) if np.isfinite(found).all() else float("inf")
