"""Rigid transforms as 4x4 matrices; ``a_from_b`` maps coordinates in b to coordinates in a."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

Matrix = NDArray[np.float64]
FARTHEST = 1e8  # m, more than anything on Earth is from anything else


def rigid(rotation: NDArray, translation: NDArray) -> Matrix:
    """The transform of a rotation [3, 3] and a translation [3]."""
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = rotation, translation
    return out


def pose_matrix(translation: ArrayLike, quaternion_xyzw: ArrayLike) -> Matrix:
    """Transform from a translation [3] in metres and a quaternion [4].

    Raises:
        ValueError: a value is not finite, or farther than ``FARTHEST``, or the quaternion is more than 1 % away from
            unit length.
    """
    t, q = np.asarray(translation, np.float64), np.asarray(quaternion_xyzw, np.float64)
    if not np.isfinite(t).all() or not np.isfinite(q).all():
        raise ValueError("pose with NaN or infinite values")
    if np.abs(t).max() > FARTHEST:
        raise ValueError(f"pose {np.abs(t).max():.3g} m away: expected metres, {FARTHEST:g} at most")
    if abs(np.linalg.norm(q) - 1) > 0.01:
        raise ValueError(f"quaternion of length {np.linalg.norm(q):.3g}: expected 1")
    return rigid(Rotation.from_quat(q).as_matrix(), t)


def quaternion_xyzw(matrix: Matrix) -> NDArray[np.float64]:
    """Unit quaternion [4] of a transform's rotation, w >= 0."""
    return Rotation.from_matrix(matrix[:3, :3]).as_quat(canonical=True)


def inverse(matrix: Matrix) -> Matrix:
    """The inverse of a rigid transform."""
    return rigid(matrix[:3, :3].T, -matrix[:3, :3].T @ matrix[:3, 3])


def transform(matrix: Matrix, points: NDArray) -> NDArray:
    """Points [..., 3] mapped by a rigid transform; NaN in, NaN out."""
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def interpolate(first: Matrix, second: Matrix, alpha: float) -> Matrix:
    """Between two transforms: linear in translation, slerp in rotation; alpha 0 gives the first, 1 the second."""
    turn = Rotation.from_matrix(first[:3, :3].T @ second[:3, :3]).as_rotvec()
    turned = first[:3, :3] @ Rotation.from_rotvec(alpha * turn).as_matrix()
    return rigid(turned, (1 - alpha) * first[:3, 3] + alpha * second[:3, 3])


def rotation_angle(matrix: Matrix) -> float:
    """Angle of a transform's rotation, radians, 0 to pi."""
    return float(Rotation.from_matrix(matrix[:3, :3]).magnitude())


def is_rigid(matrix: Matrix, tolerance: float = 1e-4) -> bool:
    """Whether a 4x4 matrix is a finite proper rotation with a translation of ``FARTHEST`` at most."""
    matrix = np.asarray(matrix)
    if matrix.shape != (4, 4) or not (np.abs(matrix) <= FARTHEST).all():
        return False
    r = matrix[:3, :3]
    orthonormal = np.abs(r @ r.T - np.eye(3)).max() <= tolerance and np.linalg.det(r) > 0
    return bool(orthonormal and np.array_equal(matrix[3], [0, 0, 0, 1]))
