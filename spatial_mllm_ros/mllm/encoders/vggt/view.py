"""Depth and cameras of a clip, from the spatial encoder alone."""

from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch import Tensor

from ....geometry.window import WindowGeometry
from ...images import Frames, check_frames
from ..base import Geometry
from . import VGGT, VGGTConfig, decode_poses


def see_with(vggt: VGGT, frames: Tensor) -> Geometry:
    """What the heads of a VGGT say about one clip, [S, 3, H, W] RGB in [0, 1]."""
    seen = vggt(frames[None], heads=("camera", "depth"))
    return Geometry(seen.depth[0, ..., 0], seen.depth_conf[0], seen.pose_enc[0])


@torch.inference_mode()
def window(
    geometry: Callable[[Tensor], Geometry], config: VGGTConfig, images: Frames, device: torch.device | str
) -> WindowGeometry:
    """What a VGGT sees in a clip (Wang et al., CVPR 2025, section 3.3: depth and cameras, not the point head).

    Args:
        geometry: the encoder, see ``Encoders``; config: its sizes; device: where it takes frames.
        images: RGB uint8 [H, W, 3]; brought to the first one's shape, its longest side at most the model's image size.
    Returns:
        Depth maps [S, h, w], h and w multiples of the model's patch size; the window is the first frame's camera.
    Raises:
        SpatialError: no frames, or frames that are no images.
    """
    frames = check_frames(images)
    height, width = fit(frames[0].shape[:2], config.img_size, config.patch_size)
    clip = np.stack([cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in frames])
    seen = geometry(torch.from_numpy(clip).to(device).permute(0, 3, 1, 2).float() / 255)
    window_from_camera, intrinsics = decode_poses(seen.pose_enc.double(), (height, width))
    return WindowGeometry(
        depth=seen.depth.cpu().numpy(),
        confidence=seen.confidence.cpu().numpy(),
        window_from_camera=window_from_camera.cpu().numpy(),
        intrinsics=intrinsics.cpu().numpy(),
    )


def fit(size: tuple[int, ...], longest: int, patch: int) -> tuple[int, int]:
    """Height and width nearest to that shape, multiples of ``patch``, the longest side at most ``longest`` pixels."""
    scale = min(1.0, longest / max(size))
    height, width = (max(1, round(scale * side / patch)) * patch for side in size)
    return min(height, longest // patch * patch), min(width, longest // patch * patch)
