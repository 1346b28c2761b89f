"""Known motion of things: smooth pushes along straight or curved tracks, some of them turning."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .layout import Layout, bounds, pose
from .models import Rng

MOST = 5  # of one room
SHORTEST, LONGEST = 0.05, 0.5
PEAK_SPEED = 0.6  # m/s


@dataclass(frozen=True)
class Push:
    """One push of one thing, upright all the way.

    Attributes:
        object: index of the thing.
        start_ns, end_ns: it is at rest before and after.
        world_from_start: its pose before, float64 [4, 4].
        heading: direction of the track at its start, radians about z from x.
        length: length of the track, metres.
        bend: by how much the track's direction turns along it, radians; 0 is straight.
        spin: by how much the thing itself turns, radians.
    """

    object: int
    start_ns: int
    end_ns: int
    world_from_start: NDArray[np.float64]
    heading: float
    length: float
    bend: float
    spin: float

    def pose(self, stamp_ns: int) -> NDArray[np.float64]:
        """World from thing at a time, float64 [4, 4]; minimum-jerk along the track (Flash & Hogan 1985)."""
        s = min(1.0, max(0.0, (stamp_ns - self.start_ns) / (self.end_ns - self.start_ns)))
        return self.at(s**3 * (10 - 15 * s + 6 * s * s))

    def at(self, s: float) -> NDArray[np.float64]:
        """World from thing at a part s of the track, 0 to 1."""
        angle = self.bend * s
        chord = self.length * s * np.sinc(angle / 2 / np.pi)
        out = self.world_from_start.copy()
        out[:3, :3] = pose(0, 0, 0, self.spin * s)[:3, :3] @ out[:3, :3]
        out[:2, 3] += chord * np.array([np.cos(self.heading + angle / 2), np.sin(self.heading + angle / 2)])
        return out


def plan_pushes(rng: Rng, room: Layout, count: int, base_ns: int, duration: float) -> list[Push]:
    """Up to count pushes of different things, one after another, that touch nothing on their way.

    Their swept boxes are added to what the room keeps free.
    """
    slot = 0.8 * duration / max(count, 1)
    pushes: list[Push] = []
    ended = 0.0
    for index in _candidates(rng, room):
        if len(pushes) == count:
            break
        start = max(ended, (0.12 * duration + len(pushes) * slot) * (1 + 0.1 * rng.random()))
        seconds = min(3.0, 0.75 * slot)
        times = base_ns + round(start * 1e9), base_ns + round((start + seconds) * 1e9)
        push = _find_track(rng, room, index, times, seconds, turning=len(pushes) == 1)
        if push is not None:
            pushes.append(push)
            ended = start + seconds
            swept = _swept(room, push)
            room.kept_free.append((np.min([b[0] for b in swept], axis=0), np.max([b[1] for b in swept], axis=0)))
    return pushes


def _candidates(rng: Rng, room: Layout) -> list[int]:
    """Things that can be pushed, in random order, those that are easily seen first, chairs last."""
    order = {}
    for i, placed in enumerate(room.placed):
        model = placed.model
        loose = placed.support >= 0 or model.label in ("box", "ball", "toy car", "chair")
        if loose and model.label not in ("television", "laptop"):
            seen = min(0.2, float(np.sort(model.size)[1]))
            order[i] = seen * rng.uniform(0.6, 1.4) * (0.5 if model.label == "chair" else 1.0)
    return sorted(order, key=lambda i: -order[i])


def _find_track(
    rng: Rng, room: Layout, index: int, times: tuple[int, int], seconds: float, turning: bool
) -> Push | None:
    thing = room.placed[index]
    longest = min(LONGEST, max(SHORTEST, PEAK_SPEED / 1.875 * seconds))
    for attempt in range(60):
        length = rng.uniform(SHORTEST, longest) if attempt > 30 else rng.uniform(0.5 * longest, longest)
        bend = 0.0 if rng.random() < 0.5 else float(rng.choice([-1, 1])) * rng.uniform(0.4, 1.4)
        spin = float(rng.choice([-1, 1])) * rng.uniform(0.6, 1.5) if turning else 0.0
        push = Push(index, *times, thing.world_from_object, rng.uniform(0, 2 * np.pi), length, bend, spin)
        if all(_clear(room, push, box) for box in _swept(room, push)):
            return push
    return None


def _swept(room: Layout, push: Push) -> list[tuple[NDArray, NDArray]]:
    return [bounds(room.placed[push.object].model, push.at(s)) for s in np.linspace(0, 1, 15)]


def _clear(room: Layout, push: Push, box: tuple[NDArray, NDArray]) -> bool:
    """Whether a thing's box on its way meets nothing and stays on its support."""
    thing = room.placed[push.object]
    if not room.free(*box, ignore=push.object):
        return False
    if thing.support < 0:
        return True
    below = room.placed[thing.support]
    assert below.model.top is not None
    half = np.abs(below.world_from_object[:2, :2]) @ (np.array(below.model.top) / 2) - 0.01
    middle = below.world_from_object[:2, 3]
    return bool((box[0][:2] >= middle - half).all() and (box[1][:2] <= middle + half).all())
