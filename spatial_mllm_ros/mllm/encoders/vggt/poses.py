"""Pose encodings of the camera head, read as transforms and intrinsics."""

import torch
from torch import Tensor
from torch.nn import functional as F

FOV_LIMITS = (0.01, 3.1)  # radians; outside of it a pinhole has no use


def decode_poses(pose_enc: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Poses and intrinsics of encoded cameras (VGGT section 3.1).

    Args:
        pose_enc: [..., 9]: translation of camera_from_world (3), its rotation as quaternion x y z w of any length (4; a
            zero one is no rotation), vertical and horizontal field of view in radians (2, kept within ``FOV_LIMITS``).
        size: height and width of the image, pixels.
    Returns:
        world_from_camera [..., 4, 4], optical frame (x right, y down, z forward) to the first frame's camera, lengths
        in the clip's unit; intrinsics [..., 3, 3] in pixels with the principal point at (W/2, H/2), where VGGT
        unprojects pixel (u, v) = (0, 0), (1, 0), ... Both of the type of ``pose_enc``: give float64 for exact
        rotations.
    """
    height, width = size
    rotation = _world_from_camera_rotation(pose_enc[..., 3:7])
    top = torch.cat([rotation, -rotation @ pose_enc[..., :3, None]], dim=-1)
    bottom = top.new_tensor([0, 0, 0, 1]).expand(*top.shape[:-2], 1, 4)

    half = 0.5 * pose_enc[..., 7:].clamp(*FOV_LIMITS)
    focal = 0.5 * half.new_tensor([height, width]) / half.tan()  # fy, fx
    intrinsics = torch.zeros(*pose_enc.shape[:-1], 3, 3, dtype=pose_enc.dtype, device=pose_enc.device)
    intrinsics[..., 0, 0], intrinsics[..., 1, 1] = focal[..., 1], focal[..., 0]
    intrinsics[..., 0, 2], intrinsics[..., 1, 2], intrinsics[..., 2, 2] = width / 2, height / 2, 1
    return torch.cat([top, bottom], dim=-2), intrinsics


def _world_from_camera_rotation(quaternion: Tensor) -> Tensor:
    """Inverse of the rotation of quaternions x y z w [..., 4], [..., 3, 3]."""
    x, y, z, w = F.normalize(quaternion, dim=-1).unbind(-1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y + z * w), 2 * (x * z - y * w)],
        [2 * (x * y - z * w), 1 - 2 * (x * x + z * z), 2 * (y * z + x * w)],
        [2 * (x * z + y * w), 2 * (y * z - x * w), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
