"""Rigid transforms as 4x4 matrices; ``a_from_b`` maps coordinates in b to coordinates in a."""

from collections.abc import Iterable, Sequence
from math import hypot, isfinite

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

Matrix = NDArray[np.float64]
FARTHEST = 1e8  # m, more than anything on Earth is from anything else


def rigid(rotation: NDArray, translation: NDArray) -> Matrix:
    """The transform of a rotation [3, 3] and a translation [3]."""
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = rotation, translation
    return out


def pose_matrix(translation: Iterable[float], quaternion_xyzw: Iterable[float]) -> Matrix:
    """Transform from a translation [3] in metres and a quaternion [4].

    Raises:
        ValueError: a value is not finite, or farther than ``FARTHEST``, or the quaternion is more than 1 % away from
            unit length.
    """
    t, q = [float(v) for v in translation], [float(v) for v in quaternion_xyzw]  # thousands a second: not by arrays
    if not all(map(isfinite, (*t, *q))):
        raise ValueError("pose with NaN or infinite values")
    if (far := max(map(abs, t))) > FARTHEST:
        raise ValueError(f"pose {far:.3g} m away: expected metres, {FARTHEST:g} at most")
    if abs((length := hypot(*q)) - 1) > 0.01:
        raise ValueError(f"quaternion of length {length:.3g}: expected 1")
    x, y, z, w = (v / length for v in q)
    xx, yy, zz, ww = x * x, y * y, z * z, w * w
    return np.array(
        [
            [xx - yy - zz + ww, 2 * (x * y - z * w), 2 * (x * z + y * w), t[0]],
            [2 * (x * y + z * w), -xx + yy - zz + ww, 2 * (y * z - x * w), t[1]],
            [2 * (x * z - y * w), 2 * (y * z + x * w), -xx - yy + zz + ww, t[2]],
            [0.0, 0.0, 0.0, 1.0],
        ]
    )


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
    if matrix.shape != (4, 4) or matrix[3].tolist() != [0, 0, 0, 1]:
        return False
    rows = matrix[:3].tolist()
    if not all(abs(value) <= FARTHEST for row in rows for value in row):
        return False
    x, y, z = (row[:3] for row in rows)
    squares, mixed = (_dot(x, x), _dot(y, y), _dot(z, z)), (_dot(x, y), _dot(y, z), _dot(z, x))
    orthonormal = all(abs(v - 1) <= tolerance for v in squares) and all(abs(v) <= tolerance for v in mixed)
    normal = y[1] * z[2] - y[2] * z[1], y[2] * z[0] - y[0] * z[2], y[0] * z[1] - y[1] * z[0]
    return orthonormal and _dot(x, normal) > 0


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
