"""What a model saw in one window of frames: depth and cameras in a gauge of their own."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .poses import transform

LEAST_CONFIDENCE = 0.1


@dataclass(frozen=True, eq=False)
class WindowGeometry:
    """Depth maps and cameras of S frames, as VGGT's depth and camera heads give them (Wang et al., 2025, section 3).

    All of a window lies in one frame of coordinates, usually that of its first camera, in one unit of length; both are
    the window's own. Values are as the model gave them and may be anything; only shapes are checked.

    Attributes:
        depth: float32 [S, h, w] along the optical axis, in the window's unit; 0, negative or not finite is no reading.
        confidence: float32 [S, h, w], higher is surer; VGGT's is at least 1.
        window_from_camera: float64 [S, 4, 4], optical frames, in the window's unit.
        intrinsics: float64 [S, 3, 3], pixels of the h x w depth map; the centre of the first pixel is (0, 0).

    Raises:
        ValueError: shapes that do not belong together, or no frame.
    """

    depth: NDArray[np.float32]
    confidence: NDArray[np.float32]
    window_from_camera: NDArray[np.float64]
    intrinsics: NDArray[np.float64]

    def __post_init__(self):
        floats = {"depth": np.float32, "confidence": np.float32, "window_from_camera": float, "intrinsics": float}
        for name, dtype in floats.items():
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype))
        if self.depth.ndim != 3 or not self.depth.size:
            raise ValueError(f"depth of shape {self.depth.shape}: expected [S, h, w], none of them 0")
        frames, height, width = self.depth.shape
        expected = {
            "confidence": (frames, height, width),
            "window_from_camera": (frames, 4, 4),
            "intrinsics": (frames, 3, 3),
        }
        for name, shape in expected.items():
            if (found := getattr(self, name).shape) != shape:
                raise ValueError(f"{name} of shape {found}: expected {shape} with depth of {self.depth.shape}")

    def __len__(self) -> int:
        return len(self.depth)

    def sparse(self, stride: int) -> "WindowGeometry":
        """Every ``stride``-th pixel of every ``stride``-th row, as depth maps of that smaller size."""
        intrinsics = self.intrinsics.copy()
        intrinsics[:, :2] /= stride  # pixel u becomes u / stride: the first pixel stays the first
        rows = slice(None), slice(None, None, stride), slice(None, None, stride)
        return WindowGeometry(self.depth[rows], self.confidence[rows], self.window_from_camera, intrinsics)

    def confident(self) -> NDArray[np.bool_]:
        """Which pixels are to be believed, [S, h, w].

        Those with a depth whose confidence is at least the median of the window's and above 0.1 (Spatial-MLLM, Wu et
        al., 2025, space-aware frame sampling).
        """
        usable = np.isfinite(self.depth) & (self.depth > 0) & np.isfinite(self.confidence)
        if not usable.any():
            return usable
        return usable & (self.confidence >= np.median(self.confidence[usable])) & (self.confidence > LEAST_CONFIDENCE)

    def points(self) -> NDArray[np.float32]:
        """Points of every pixel in the window's frame, float32 [S, h, w, 3]; NaN without a reading."""
        out = np.empty((*self.depth.shape, 3), np.float32)
        for i, depth in enumerate(self.depth):
            depth = np.where(np.isfinite(depth) & (depth > 0), depth, np.nan)
            rays = pinhole_rays(self.intrinsics[i], *depth.shape)
            out[i] = transform(self.window_from_camera[i], rays * depth[..., None])
        return out


def pinhole_rays(intrinsics: NDArray[np.float64], height: int, width: int) -> NDArray[np.float32]:
    """The viewing ray of every pixel of a camera without distortion, float32 [height, width, 3], scaled to z = 1."""
    (fx, skew, cx), (_, fy, cy), _ = intrinsics
    v, u = np.mgrid[0:height, 0:width]
    with np.errstate(divide="ignore", invalid="ignore"):
        y = (v - cy) / fy
        x = (u - cx - skew * y) / fx
    return np.stack([x, y, np.ones_like(x)], axis=-1, dtype=np.float32)
