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
MOST_TOKENS = 4096  # patches of a clip that is compared


def relative_l2(found: Any, expected: Any) -> float:
    """L2 norm of all differences as a part of that of all values; infinite where a number is none."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    with np.errstate(all="ignore"):
        apart = float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
    return apart if np.isfinite(apart) else float("inf")


class Beside:
    """Runs two files at once on the same inputs, gives what the first gives, and notes how far the other is.

    Attributes:
        apart: the largest of all outputs so far; infinite until there is one.
    """

    def __init__(self, first: "Runs", other: "Runs | None"):
        self._first, self._other, self.provider = first, other, first.provider
        self._apart: list[float] = []

    @property
    def apart(self) -> float:
        return max(self._apart, default=float("inf"))

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """See ``files.Runs``."""
        given = {name: value if isinstance(value, np.ndarray) else value.numpy() for name, value in inputs.items()}
        expected = self._first.run(given)
        if self._other is not None:
            found = self._other.run(given)
            self._apart += [relative_l2(found[name].numpy(), value.numpy()) for name, value in expected.items()]
        return expected

    def forget(self) -> None:
        """See ``files.Runs``."""
        self._first.forget()


def compare(reference: "FileEncoders", engines: Mapping[str, "Runs"]) -> dict[str, float]:
    """Relative L2 norms between engines and the files that they were built from, on noise of two sizes.

    Args:
        reference: of the same folder, by ONNX Runtime; it is of no use afterwards. engines: by the name of the file.
    """
    files = reference.exported.about["files"]
    beside = {}
    for name in files:
        beside[name] = Beside(reference.load(stem := name.removesuffix(".onnx")), engines.get(name))
        reference.put(stem, beside[name])
    noise, patch = np.random.default_rng(0), reference.exported.patch
    for frames, height, width in sizes(reference):
        images = noise.random((frames, 3, height, width), np.float32)
        reference.heads(images) if "geometry.onnx" in files else reference.spatial(images)
        if "visual.onnx" in files:
            grid = -(-frames // 2), height // patch, width // patch
            visual = reference.visual(noise.standard_normal((np.prod(grid), PATCH_VALUES), np.float32), grid)
            if "connector.onnx" in files:
                tokens = reference.tokens(images)
                reference.connect(visual, np.concatenate([tokens, tokens[-1:]])[: 2 * grid[0]], grid)
    return {name: beside[name].apart for name in engines}


def sizes(encoders: "FileEncoders") -> Iterator[tuple[int, int, int]]:
    """Frames, height and width of the smallest clip, and of one of the usual size, as many frames as are cheap."""
    images = encoders.exported.profiles("spatial.onnx")["images"]
    low, most = images["min"][0], images["max"][0]
    yield min(max(2, low), most), images["min"][2], images["min"][3]
    _, _, height, width = images["opt"]
    cheap = MOST_TOKENS * encoders.exported.patch**2 // (height * width)
    yield min(max(low, cheap, 1), images["opt"][0]), height, width
