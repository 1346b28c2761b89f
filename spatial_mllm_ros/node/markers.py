"""What RViz and Foxglove show: covered voxels as cubes, selected cameras as frusta."""

from collections.abc import Mapping, Sequence

import numpy as np
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from ..frames import Camera
from ..geometry.poses import Matrix
from ..motion.record import Series, State
from ..motion.rewards import Seen
from ..scene.memory import Selected
from .convert import header, point

MOST_VOXELS = 10_000  # a cube is a Python object of the message: this many take about 20 ms
FRUSTUM_DEPTH = 0.3  # m
VOXEL_COLOR = (0.16, 0.63, 0.60, 0.55)
TARGET_COLOR, LOST_COLOR = (1.0, 0.84, 0.04, 1.0), (0.9, 0.22, 0.27, 1.0)
ARROW_WIDTH, TEXT_HEIGHT = 0.02, 0.08  # m
FRUSTUM_COLOR = (0.95, 0.55, 0.15, 1.0)
EDGES = ((0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (2, 3), (3, 4), (4, 1))


def coverage_markers(
    centers: np.ndarray, voxel_size: float, selected: list[Selected], stamp_ns: int, world_frame: str
) -> MarkerArray:
    """Two markers: the covered voxels, thinned evenly to MOST_VOXELS, and the frusta of the selected cameras.

    Args:
        centers: covered voxels, float64 [V, 3] metres in the world frame.
    """
    if len(centers) > MOST_VOXELS:
        centers = centers[np.linspace(0, len(centers) - 1, MOST_VOXELS).astype(np.int64)]
    voxels = _marker(0, "voxels", Marker.CUBE_LIST, centers, VOXEL_COLOR, voxel_size * 0.9, stamp_ns, world_frame)
    lines = [frustum(s.frame.camera, s.world_from_camera) for s in selected]
    ends = np.concatenate(lines) if lines else np.zeros((0, 3))
    frusta = _marker(1, "frusta", Marker.LINE_LIST, ends, FRUSTUM_COLOR, 0.01, stamp_ns, world_frame)
    return MarkerArray(markers=[voxels, frusta])


def target_markers(seen: Mapping[str, Seen], series: Sequence[Series], stamp_ns: int, world_frame: str) -> MarkerArray:
    """For each reward target an arrow from its reference to where it is, and its label; lost ones in red.

    The first marker takes those away that were there before.
    """
    lost = {s.target.label for s in series if s.state in (State.LOST, State.GIVEN_UP)}
    markers = [Marker(header=header(stamp_ns, world_frame), ns="targets", action=Marker.DELETEALL)]
    for i, (label, place) in enumerate(seen.items()):
        if not np.isfinite([place.start, place.now]).all():
            continue
        colour, ends = LOST_COLOR if label in lost else TARGET_COLOR, np.stack([place.start, place.now])
        arrow = _marker(2 * i, "targets", Marker.ARROW, ends, colour, ARROW_WIDTH, stamp_ns, world_frame)
        arrow.scale = Vector3(x=ARROW_WIDTH, y=2 * ARROW_WIDTH, z=0.0)
        text = _marker(2 * i + 1, "targets", Marker.TEXT_VIEW_FACING, ends[1:], colour, 0.0, stamp_ns, world_frame)
        moved = np.linalg.norm(place.now - place.start)
        text.text, text.scale, text.points = f"{label}: {moved:.2f} m", Vector3(z=TEXT_HEIGHT), []
        text.pose.position = point(place.now + np.array([0.0, 0.0, TEXT_HEIGHT]))
        markers += [arrow, text]
    return MarkerArray(markers=markers)


def frustum(camera: Camera, world_from_camera: Matrix) -> np.ndarray:
    """Ends of the 8 edges of a camera's view pyramid, float64 [16, 3] metres in the world frame."""
    w, h = camera.width - 0.5, camera.height - 0.5
    pixels = np.array([[-0.5, -0.5, 1], [w, -0.5, 1], [w, h, 1], [-0.5, h, 1]])
    corners = pixels @ np.linalg.inv(camera.intrinsics).T * FRUSTUM_DEPTH
    points = np.vstack([np.zeros(3), corners]) @ world_from_camera[:3, :3].T + world_from_camera[:3, 3]
    return points[np.array(EDGES).ravel()]


def _marker(id_: int, ns: str, type_: int, points: np.ndarray, rgba, size: float, stamp_ns: int, frame: str) -> Marker:
    r, g, b, a = rgba
    return Marker(
        header=header(stamp_ns, frame),
        ns=ns,
        id=id_,
        type=type_,
        action=Marker.ADD if len(points) else Marker.DELETE,
        pose=Pose(orientation=Quaternion(w=1.0)),
        scale=Vector3(x=size, y=size, z=size),
        color=ColorRGBA(r=r, g=g, b=b, a=a),
        points=[Point(x=x, y=y, z=z) for x, y, z in points.tolist()],
    )
