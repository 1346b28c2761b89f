"""Depth and cameras of a clip, whoever computes them. Needs no torch."""

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ...geometry.window import WindowGeometry
from ..images import Frames, check_frames

FOV_LIMITS = (0.01, 3.1)  # radians; outside of it a pinhole has no use
TINY = 1e-12  # length of a quaternion that is no rotation


class HeadsOutput(NamedTuple):
    """What the depth head and the camera head say of a clip: see ``base.Geometry``, here as float32 arrays."""

    depth: NDArray[np.float32]
    confidence: NDArray[np.float32]
    pose_enc: NDArray[np.float32]


def window(
    heads: Callable[[NDArray[np.uint8]], HeadsOutput], longest: int, patch: int, images: Frames
) -> WindowGeometry:
    """What a VGGT sees in a clip (Wang et al., CVPR 2025, section 3.3: depth and cameras, not the point head).

    Args:
        heads: sees a clip, RGB uint8 [S, h, w, 3].
        longest: most pixels of a side. patch: of which sides are multiples.
        images: RGB uint8 [H, W, 3]; brought to the first one's shape, its longest side at most ``longest``.
    Returns:
        Depth maps [S, h, w]; the window is the first frame's camera.
    Raises:
        SpatialError: no frames, or frames that are no images.
    """
    frames = check_frames(images)
    height, width = fit(frames[0].shape[:2], longest, patch)
    resized = [cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in frames]
    clip = np.stack(resized, dtype=np.uint8)
    depth, confidence, pose_enc = heads(clip)
    window_from_camera, intrinsics = decode_poses(pose_enc, (height, width))
    return WindowGeometry(depth, confidence, window_from_camera, intrinsics)


def fit(size: tuple[int, ...], longest: int, patch: int) -> tuple[int, int]:
    """Height and width nearest to that shape, multiples of ``patch``, the longest side at most ``longest`` pixels."""
    scale = min(1.0, longest / max(size))
    height, width = (max(1, round(scale * side / patch)) * patch for side in size)
    return min(height, longest // patch * patch), min(width, longest // patch * patch)


def decode_poses(pose_enc: NDArray, size: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Poses and intrinsics of encoded cameras (VGGT section 3.1).

    Args:
        pose_enc: [..., 9]: translation of camera_from_world (3), its rotation as quaternion x y z w of any length (4; a
            zero one is no rotation), vertical and horizontal field of view in radians (2, kept within ``FOV_LIMITS``).
        size: height and width of the image, pixels.
    Returns:
        world_from_camera [..., 4, 4], optical frame (x right, y down, z forward) to the first frame's camera, lengths
        in the clip's unit; intrinsics [..., 3, 3] in pixels with the principal point at (W/2, H/2), where VGGT
        unprojects pixel (u, v) = (0, 0), (1, 0), ...
    """
    encoded = np.asarray(pose_enc, np.float64)
    rotation = _world_from_camera_rotation(encoded[..., 3:7])
    poses = np.zeros((*encoded.shape[:-1], 4, 4))
    poses[..., :3, :3] = rotation
    poses[..., :3, 3:] = -rotation @ encoded[..., :3, None]
    poses[..., 3, 3] = 1

    height, width = size
    focal = 0.5 * np.array([height, width]) / np.tan(0.5 * encoded[..., 7:].clip(*FOV_LIMITS))  # fy, fx
    intrinsics = np.zeros((*encoded.shape[:-1], 3, 3))
    intrinsics[..., 0, 0], intrinsics[..., 1, 1] = focal[..., 1], focal[..., 0]
    intrinsics[..., 0, 2], intrinsics[..., 1, 2], intrinsics[..., 2, 2] = width / 2, height / 2, 1
    return poses, intrinsics


def _world_from_camera_rotation(quaternion: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverse of the rotation of quaternions x y z w [..., 4], [..., 3, 3]; not finite where they are not."""
    length = np.maximum(np.linalg.norm(quaternion, axis=-1, keepdims=True), TINY)
    with np.errstate(invalid="ignore"):
        x, y, z, w = np.moveaxis(quaternion / length, -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y + z * w), 2 * (x * z - y * w)],
        [2 * (x * y - z * w), 1 - 2 * (x * x + z * z), 2 * (y * z + x * w)],
        [2 * (x * z + y * w), 2 * (y * z - x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
