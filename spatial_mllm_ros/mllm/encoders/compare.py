"""How far the values of two that run the same files are apart. Needs no torch."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .files import FileEncoders, Runs

ALLOWED = {"fp32": 1e-3, "fp16": 1e-2}
"""Largest relative L2 norm of differences between an engine and ONNX Runtime: ten times what rounding gives, and far
below what overflow, a wrong kernel or lost weights do."""
PATCH_VALUES = 1176  # of a patch of the 2D encoder: RGB of 14 x 14 pixels of two frames


def relative_l2(found: Any, expected: Any) -> float:
    """L2 norm of all differences as a part of that of all values; infinite where a number is none."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    if not np.isfinite(found).all():
        return float("inf")
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


class Beside:
    """Runs two files at once on the same inputs, gives what the first gives, and notes how far the other is.

    Attributes:
        apart: the largest of all outputs so far.
    """

    def __init__(self, first: "Runs", other: "Runs"):
        self._first, self._other, self.provider, self.apart = first, other, first.provider, 0.0

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """See ``files.Runs``."""
        given = {name: value if isinstance(value, np.ndarray) else value.numpy() for name, value in inputs.items()}
        expected, found = self._first.run(given), self._other.run(given)
        apart = (relative_l2(found[name].numpy(), value.numpy()) for name, value in expected.items())
        self.apart = max(self.apart, *apart)
        return expected

    def forget(self) -> None:
        """See ``files.Runs``."""
        self._first.forget()
        self._other.forget()


def compare(reference: "FileEncoders", engines: Mapping[str, "Runs"]) -> dict[str, float]:
    """Relative L2 norms between engines and the files that they were built from, on noise of two sizes.

    Args:
        reference: of the same folder, by ONNX Runtime; it is of no use afterwards. engines: by the name of the file.
    """
    both = {name: Beside(reference.load(name.removesuffix(".onnx")), engine) for name, engine in engines.items()}
    for name, beside in both.items():
        reference.put(name.removesuffix(".onnx"), beside)
    noise, patch = np.random.default_rng(0), reference.exported.patch
    for frames, height, width in sizes(reference):
        images = noise.random((frames, 3, height, width), np.float32)
        grid = -(-frames // 2), height // patch, width // patch
        if "geometry.onnx" in both:
            reference.heads(images)
        if "visual.onnx" in both:
            patches = noise.standard_normal((np.prod(grid), PATCH_VALUES), np.float32)
            visual = reference.visual(patches, grid)
            if "connector.onnx" in both and frames % 2 == 0:
                reference.connect(visual, reference.tokens(images), grid)
        elif "spatial.onnx" in both:
            reference.spatial(images)
    return {name: beside.apart for name, beside in both.items()}


def sizes(encoders: "FileEncoders") -> Iterator[tuple[int, int, int]]:
    """Frames, height and width of the smallest clip, and as many frames of the usual size."""
    frames, height, width = encoders.smallest
    yield frames, height, width
    _, _, *usual = encoders.exported.profiles("spatial.onnx")["images"]["opt"]
    if usual != [height, width]:
        yield frames, usual[0], usual[1]
