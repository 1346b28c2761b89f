"""Motion of the camera between two moments, from its poses."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..geometry.poses import inverse, rotation_angle


@dataclass(frozen=True, eq=False)
class CameraMotion:
    """How a camera moved from a to b.

    Attributes:
        distance: metres between the two positions.
        displacement: [3] metres, world frame.
        displacement_camera: [3] metres, camera frame at a.
        rotation: angle between the two orientations, radians, 0 to pi.
    """

    distance: float
    displacement: NDArray[np.float64]
    displacement_camera: NDArray[np.float64]
    rotation: float


def camera_motion(world_from_camera_a: NDArray, world_from_camera_b: NDArray) -> CameraMotion:
    """Motion between two poses [4, 4] of one camera."""
    a, b = np.asarray(world_from_camera_a, np.float64), np.asarray(world_from_camera_b, np.float64)
    a_from_b = inverse(a) @ b
    displacement = b[:3, 3] - a[:3, 3]
    return CameraMotion(float(np.linalg.norm(displacement)), displacement, a_from_b[:3, 3], rotation_angle(a_from_b))
