"""A smooth walk around the room: a closed curve for the position, a spline of aims for the view."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from ..geometry.poses import rigid
from .layout import Layout
from .models import Rng
from .pushes import Push

SPEED = 0.42  # m/s, never exceeded
TURN_RATE = np.radians(48)  # rad/s, bound of yaw and of pitch rate together
CLEARANCE = 0.3  # m to the walls and furniture
LOWEST, HIGHEST = 1.2, 1.7
PITCH = np.radians(14)  # base_link tilts by no more than this
MOUNT_PITCH = np.radians(17)  # cameras look down by this from base_link
KNOT = 1.8  # s between aims

# base_link from optical frame of a camera that looks along +x: x forward, y left, z up.
OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


@dataclass(frozen=True)
class CameraPath:
    """Pose of base_link over time; twice continuously differentiable, at rest at both ends.

    Attributes:
        base_ns, duration: start in nanoseconds and length in seconds.
    """

    base_ns: int
    duration: float
    ring: CubicSpline
    angles: CubicSpline
    start: float
    rate: float

    def world_from_base(self, stamp_ns: int) -> NDArray[np.float64]:
        """World from base_link (x forward, y left, z up), float64 [4, 4]; constant outside its time."""
        t = min(self.duration, max(0.0, (stamp_ns - self.base_ns) / 1e9))
        yaw, pitch = self.angles(t)
        cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
        rotation = np.array([[cy * cp, -sy, cy * sp], [sy * cp, cy, sy * sp], [-sp, 0, cp]])
        return rigid(rotation, self.ring((self.start + self.rate * eased(t, self.duration)) % 1.0))


def eased(t: float, duration: float) -> float:
    """Seconds travelled at full speed after t seconds, starting and stopping softly."""
    ramp = min(1.5, duration / 2)
    t = min(max(t, 0.0), duration)

    def soft(x: float) -> float:  # integral of the smoothstep 3 x^2 - 2 x^3
        return ramp * (x**3 - x**4 / 2)

    if t < ramp:
        return soft(t / ramp)
    if t > duration - ramp:
        return duration - ramp - soft((duration - t) / ramp)
    return t - ramp / 2


def plan_path(
    rng: Rng, room: Layout, pushes: list[Push], base_ns: int, duration: float, seen: Callable[[CameraPath, Push], float]
) -> CameraPath:
    """The best of some random walks: one that sees a push all the time, or else the one that sees most of them.

    Args:
        seen: part of a push, 0 to 1, during which a path's camera sees the thing well.
    """

    def score(path: CameraPath) -> float:
        parts = [seen(path, p) for p in pushes]
        return max(parts, default=1.0) + 0.5 * sum(parts) / max(len(parts), 1)

    best, best_score = None, -1.0
    for _ in range(24):
        path = _aimed(rng, room, pushes, base_ns, duration, _ring(rng, room))
        if (found := score(path)) > best_score:
            best, best_score = path, found
        if best_score > 1.2:
            break
    assert best is not None
    return best


def _ring(rng: Rng, room: Layout) -> CubicSpline:
    """A closed curve [3] over 0..1 around the room's centre, clear of everything as high as the camera."""
    half = room.size[:2] / 2
    tall = [(p.low - CLEARANCE, p.high + CLEARANCE) for p in room.placed if p.high[2] > LOWEST - CLEARANCE]
    knots = np.linspace(0, 1, 8)
    curve = CubicSpline(knots, np.tile([0.0, 0.0, HIGHEST - 0.1], (8, 1)), bc_type="periodic")  # stays where it is
    for shrink in np.linspace(1, 0.1, 200):
        angle = 2 * np.pi * knots[:-1] + rng.uniform(0, 0.5)
        radius = rng.uniform(0.25, 0.45 + 0.25 * shrink, len(angle)) * shrink
        xy = np.stack([np.cos(angle), np.sin(angle)], 1) * radius[:, None] * half + rng.uniform(-0.15, 0.15, 2) * half
        points = np.column_stack([xy, rng.uniform(LOWEST + 0.05, HIGHEST - 0.05, len(angle))])
        tried = CubicSpline(knots, np.vstack([points, points[:1]]), bc_type="periodic")
        dense = tried(np.linspace(0, 1, 160))
        inside = (
            (np.abs(dense[:, :2]) < half - CLEARANCE).all()
            and dense[:, 2].min() >= LOWEST
            and dense[:, 2].max() <= HIGHEST
        )
        if inside and not any(((dense > low) & (dense < high)).all(axis=1).any() for low, high in tall):
            return tried
    return curve


def _aimed(rng: Rng, room: Layout, pushes: list[Push], base_ns: int, duration: float, ring: CubicSpline) -> CameraPath:
    """A walk along the ring that looks at furniture, and at pushes while they last."""
    fastest = float(np.linalg.norm(ring(np.linspace(0, 1, 200), 1), axis=1).max())
    rate = float(rng.choice([-1, 1])) * SPEED * rng.uniform(0.6, 1.0) / max(fastest, 1e-9)
    start = rng.random()
    times = np.linspace(0, duration, max(2, int(np.ceil(duration / KNOT)) + 1))
    flat = ("rug", "picture", "shelf", "window", "door")
    targets = [p.world_from_object[:3, 3] for p in room.placed if p.model.label not in flat and p.support < 0]
    angles, yaw = [], None
    for t in times:
        eye = ring((start + rate * eased(t, duration)) % 1.0)
        stamp = base_ns + t * 1e9
        active = [p for p in pushes if p.start_ns - 0.9e9 <= stamp <= p.end_ns + 0.9e9]
        if active:
            nearest = min(active, key=lambda p: abs(p.start_ns + p.end_ns - 2 * stamp))
            away = nearest.at(0.5)[:3, 3] - eye
        else:
            away = _pick_target(rng, eye, targets, yaw) - eye
        wanted = float(np.arctan2(away[1], away[0]))
        yaw = wanted if yaw is None else yaw + (wanted - yaw + np.pi) % (2 * np.pi) - np.pi
        down = float(np.arctan2(-away[2], np.hypot(away[0], away[1])))
        angles.append((yaw, float(np.clip(down - MOUNT_PITCH, -PITCH, PITCH))))
    return CameraPath(base_ns, duration, ring, _gentle(times, np.array(angles)), start, rate)


def _pick_target(rng: Rng, eye: NDArray, targets: list[NDArray], yaw: float | None) -> NDArray:
    """Something 1.6 to 5 m away, preferably to the side of where the camera looks now."""
    far = [t for t in targets if 1.6 < np.linalg.norm((t - eye)[:2]) < 5] or [np.array([0.0, 0.0, 0.8])]
    if yaw is not None:
        turn = [abs((np.arctan2(t[1] - eye[1], t[0] - eye[0]) - yaw + np.pi) % (2 * np.pi) - np.pi) for t in far]
        aside = [t for t, a in zip(far, turn, strict=True) if np.radians(20) < a < np.radians(75)]
        far = aside or [far[int(np.argmin(turn))]]
    return far[int(rng.integers(len(far)))]


def _gentle(times: NDArray, angles: NDArray) -> CubicSpline:
    """Spline of (yaw, pitch) through aims [n, 2], averaged until it turns no faster than TURN_RATE."""
    dense = np.linspace(times[0], times[-1], 20 * len(times))
    for _ in range(200):
        spline = CubicSpline(times, angles, bc_type="clamped")
        if np.linalg.norm(spline(dense, 1), axis=1).max() <= TURN_RATE:
            return spline
        padded = np.vstack([angles[:1], angles, angles[-1:]])
        angles = 0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:]
    return CubicSpline(times, np.repeat(angles.mean(axis=0, keepdims=True), len(times), axis=0), bc_type="clamped")
