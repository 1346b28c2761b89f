"""What sees a clip, as four functions: whoever computes them can take the place of the others."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


class Geometry(NamedTuple):
    """Depth and cameras of one clip, float32, in the clip's own unit of length.

    Attributes:
        depth, confidence: [S, H, W] along the optical axis, and from 1 (none) upwards.
        pose_enc: [S, 9], see ``view.decode_poses``; the world is the first frame's camera.
    """

    depth: Tensor
    confidence: Tensor
    pose_enc: Tensor


@dataclass(frozen=True)
class Encoders:
    """The encoders of a Spatial-MLLM.

    Attributes:
        visual: 2D encoder: patches [N, 1176] and their grids int64 [n, 3] -> tokens [N / 4, hidden].
        spatial: aggregator: RGB in [0, 1], [B, S, 3, H, W] -> tokens of the patches, [B, S, H/14 * W/14, spatial_dim].
        geometry: with its heads: one clip, [S, 3, H, W] -> depth and cameras.
        connect: the connector: tokens of one clip as the encoders give them, [N, hidden] and [M, spatial_dim], and its
            grid (pairs of frames, rows and columns of patches) -> fused tokens [N, hidden].
    """

    visual: Callable[[Tensor, Tensor], Tensor]
    spatial: Callable[[Tensor], Tensor]
    geometry: Callable[[Tensor], Geometry]
    connect: Callable[[Tensor, Tensor, tuple[int, int, int]], Tensor]
