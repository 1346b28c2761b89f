"""True tracks of objects, as simulated bags carry them, and the image regions where such an object is seen."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..frames import Frame
from ..geometry.cameras import back_project
from ..geometry.poses import interpolate, inverse, transform
from ..messages import pose_from_pose, stamp_ns
from ..recordings.recording import Recording

MARKERS = "/objects/markers"


@dataclass(frozen=True, eq=False)
class ObjectTrack:
    """Where an object truly was: stamps int64 [T], world_from_object float64 [T, 4, 4], size of its box [3], metres."""

    name: str
    size: NDArray[np.float64]
    stamps_ns: NDArray[np.int64]
    world_from_object: NDArray[np.float64]

    def pose(self, stamp_ns: int) -> NDArray[np.float64]:
        """Pose at a time, float64 [4, 4]; the first or last one outside the track."""
        after = min(int(np.searchsorted(self.stamps_ns, stamp_ns)), len(self.stamps_ns) - 1)
        before = max(after - 1, 0)
        t0, t1 = self.stamps_ns[before], self.stamps_ns[after]
        alpha = float(np.clip((stamp_ns - t0) / max(1, t1 - t0), 0, 1))
        return interpolate(self.world_from_object[before], self.world_from_object[after], alpha)

    def distance_since(self, stamp_ns: int, stamps_ns: NDArray[np.int64]) -> NDArray[np.float64]:
        """How far the object's origin is from where it was at ``stamp_ns``, metres [N]."""
        origins = np.array([self.pose(int(t))[:3, 3] for t in stamps_ns])
        return np.linalg.norm(origins - self.pose(stamp_ns)[:3, 3], axis=1)


def read_tracks(path: str | Path) -> list[ObjectTrack]:
    """Tracks of the objects that are pushed in a simulated recording, in order of their pushes; empty for any other.

    Poses are on ``/objects/<name>/pose``; sizes are the scales of ``/objects/markers``, whose namespaces are the names.
    """
    with Recording(path) as recording:
        if MARKERS not in recording.topics:
            return []
        poses = [t for t in recording.topics if t.startswith("/objects/") and t.endswith("/pose")]
        sizes: dict[str, NDArray[np.float64]] = {}
        stamps: dict[str, list[int]] = defaultdict(list)
        matrices: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
        for topic, _, message in recording.decoded([MARKERS, *poses]):
            if topic.name == MARKERS:
                sizes.update({m.ns: np.array([m.scale.x, m.scale.y, m.scale.z]) for m in message.markers})
            else:
                name = topic.name.split("/")[2]
                stamps[name].append(stamp_ns(message.header.stamp))
                matrices[name].append(pose_from_pose(message.pose))
    tracks = [ObjectTrack(n, sizes[n], np.array(stamps[n]), np.array(matrices[n])) for n in stamps if n in sizes]
    return sorted((t for t in tracks if push_start(t)), key=push_start)


def push_start(track: ObjectTrack, moved: float = 0.01, before_ns: int = 500_000_000) -> int:
    """Half a second before an object first moves by a centimetre, or 0 for one that never does."""
    origins = track.world_from_object[:, :3, 3]
    moving = np.flatnonzero(np.linalg.norm(origins - origins[0], axis=1) > moved)
    return max(int(track.stamps_ns[0]), int(track.stamps_ns[moving[0]]) - before_ns) if moving.size else 0


def visible_roi(track: ObjectTrack, frame: Frame, margin: float = 0.02) -> tuple[int, int, int, int] | None:
    """Region (x, y, width, height) in pixels of the colour image around an object's surface, or None where hidden.

    The surface is what depth shows inside the object's box, ``margin`` metres wider; a region needs 12 pixels each way.
    """
    if frame.depth is None or frame.world_from_camera is None:
        return None
    camera = frame.depth_camera
    object_from_camera = inverse(track.pose(frame.stamp_ns)) @ frame.world_from_camera
    points = transform(object_from_camera, back_project(camera, frame.depth))
    with np.errstate(invalid="ignore"):
        rows, columns = np.nonzero((np.abs(points) <= track.size / 2 + margin).all(axis=2))
    if rows.size < 100:
        return None
    (left, right), (top, bottom) = (np.percentile(v, (1, 99)) for v in (columns, rows))
    sx, sy = frame.camera.width / camera.width, frame.camera.height / camera.height
    x, y, width, height = (
        round(float(v)) for v in (left * sx, top * sy, (right - left + 1) * sx, (bottom - top + 1) * sy)
    )
    return (x, y, width, height) if min(width, height) >= 12 else None
