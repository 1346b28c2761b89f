"""Depth and cameras of a clip, from the spatial encoder alone."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from ....geometry.window import WindowGeometry
from ...images import check_frames
from . import VGGT, decode_poses


@torch.inference_mode()
def see(vggt: VGGT, images: Sequence[NDArray[np.uint8]]) -> WindowGeometry:
    """What a VGGT sees in a clip (Wang et al., CVPR 2025, section 3.3: depth and cameras, not the point head).

    Args:
        images: RGB uint8 [H, W, 3]; brought to the first one's shape, its longest side at most the model's image size.
    Returns:
        Depth maps [S, h, w], h and w multiples of the model's patch size; the window is the first frame's camera.
    Raises:
        SpatialError: no frames, or frames that are no images.
    """
    frames = check_frames(images)
    height, width = fit(frames[0].shape[:2], vggt.config.img_size, vggt.config.patch_size)
    clip = np.stack([cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in frames])
    device = vggt.aggregator.camera_token.device
    pixels = torch.from_numpy(clip).to(device).permute(0, 3, 1, 2)[None].float() / 255
    seen = vggt(pixels, heads=("camera", "depth"))
    world_from_camera, intrinsics = decode_poses(seen.pose_enc[0].double(), (height, width))
    return WindowGeometry(
        depth=seen.depth[0, ..., 0].cpu().numpy(),
        confidence=seen.depth_conf[0].cpu().numpy(),
        window_from_camera=world_from_camera.cpu().numpy(),
        intrinsics=intrinsics.cpu().numpy(),
    )


def fit(size: tuple[int, ...], longest: int, patch: int) -> tuple[int, int]:
    """Height and width nearest to that shape, multiples of ``patch``, the longest side at most ``longest`` pixels."""
    scale = min(1.0, longest / max(size))
    height, width = (max(1, round(scale * side / patch)) * patch for side in size)
    return min(height, longest // patch * patch), min(width, longest // patch * patch)
