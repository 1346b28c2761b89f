"""Motion against what is known: recorded poses, a static kitchen, simulated objects; and the time it takes."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import cv2
import numpy as np

from benchmarks.common import RECORDING, Row, show, timed
from spatial_mllm_ros.errors import SpatialError
from spatial_mllm_ros.frames import Frame
from spatial_mllm_ros.motion.camera import camera_motion
from spatial_mllm_ros.motion.measure import measure_point
from spatial_mllm_ros.motion.posed import posed
from spatial_mllm_ros.motion.rewards import RegionTarget, Reward
from spatial_mllm_ros.recordings import read_frames
from spatial_mllm_ros.simulation import Room, make_room
from spatial_mllm_ros.simulation.pushes import Push

ROOMS = range(4)
STEP = 2  # every second rendered frame: 15 Hz, half the time of a run
SEEN = 500  # pixels that an object has to show
SECOND = 30  # frames


def run() -> Iterator[Row]:
    if RECORDING.exists():
        frames = list(read_frames(RECORDING))
        yield camera(frames)
        yield from still_points(frames)
        yield from speed(frames)
    yield from objects()


def camera(frames: Sequence[Frame]) -> Row:
    poses = [posed(f).world_from_camera for f in frames]
    first = poses[0]
    errors = [abs(camera_motion(first, p).distance - np.linalg.norm(p[:3, 3] - first[:3, 3])) for p in poses]
    return Row("camera distance on the recording: largest error", f"{1000 * max(errors):.6f} mm", "1 mm")


def still_points(frames: Sequence[Frame]) -> Iterator[Row]:
    """Points on a grid over windows of one second; nothing moves in that kitchen."""
    found, refused = [], 0
    for start in range(0, len(frames) - SECOND, SECOND):
        for u in range(40, 640, 80):
            for v in range(40, 480, 80):
                try:
                    found.append(measure_point(frames[start : start + SECOND + 1], (u, v)).distance)
                except SpatialError:
                    refused += 1
    median, most = 1000 * np.percentile(found, (50, 90))
    name = f"still points of the recording over 1 s: {len(found)} measured, {refused} refused"
    yield Row(name, f"median {median:.1f} mm, p90 {most:.1f} mm", "20 mm", f"{median / 20:.2f}")


def speed(frames: Sequence[Frame]) -> Iterator[Row]:
    """A region target, per frame, beside flow over whole images as a plain tracker runs it: there and back."""
    target = RegionTarget("region", frames[0], (270, 190, 100, 100))
    ours, plain = [], []

    def flow(first: np.ndarray, second: np.ndarray) -> None:
        moved, _, _ = cv2.calcOpticalFlowPyrLK(first, second, grid, grid.copy(), winSize=(31, 31), maxLevel=4)
        cv2.calcOpticalFlowPyrLK(second, first, moved, moved.copy(), winSize=(31, 31), maxLevel=4)

    grid = np.array([[x, y] for x in range(270, 370, 12) for y in range(190, 290, 12)], np.float32)[:, None]
    for before, frame in pairwise(frames[:61]):
        first, second, _ = posed(before).gray, posed(frame).gray, frame.depth
        ours.append(timed(target.update, frame)[0])
        plain.append(timed(flow, first, second)[0])
        before.release()
    mine, theirs = 1000 * np.median(ours), 1000 * np.median(plain)
    baseline = f"{theirs:.1f} ms plain flow alone"
    yield Row(
        "region target per frame, decoded pixels to reward", f"median {mine:.1f} ms", baseline, f"{mine / theirs:.2f}"
    )


def objects() -> Iterator[Row]:
    """Objects of simulated rooms as regions: what was pushed, and for each room the best seen thing that was not."""
    still = []
    for seed in ROOMS:
        room = make_room(seed)
        for number, thing in enumerate(room.objects):
            if thing.push is not None:
                yield from pushed(room, number, f"room {seed}, {thing.name}", thing.push)
        still += still_things(room)
    median, most = 1000 * np.median(still), 1000 * max(still)
    name = f"still objects of {len(ROOMS)} rooms over 1 s, {len(still)} of them"
    yield Row(name, f"median {median:.1f} mm, largest {most:.1f} mm", "5 mm", f"{median / 5:.2f}")


def pushed(room: Room, number: int, name: str, push: Push) -> Iterator[Row]:
    start = max(int(np.searchsorted(room.stamps, push.start_ns)) - 6, 0)
    end = min(int(np.searchsorted(room.stamps, push.end_ns)) + 3, len(room.stamps) - 1)
    rewards, anchor = followed(room, number, range(start, end + 1, STEP))
    if not rewards:
        return
    if not rewards[-1].valid:
        yield Row(f"{name}: leaves the view or is hidden during its push", "not valid", "")
        return
    true = travelled(room, number, anchor, room.stamps[start], rewards[-1].stamp_ns)
    error, allowed = abs(rewards[-1].distance - true), max(0.005, 0.03 * true)
    yield Row(
        f"{name}: pushed {true:.3f} m",
        f"off by {1000 * error:.1f} mm",
        f"{1000 * allowed:.1f} mm",
        f"{error / allowed:.2f}",
    )


def still_things(room: Room) -> list[float]:
    for index in range(30, len(room.stamps) - SECOND, 60):
        ids = room.render(index).object_ids
        counts = np.bincount(ids[ids >= 0], minlength=len(room.objects))
        for number in np.argsort(-counts, kind="stable"):
            thing = room.objects[number]
            if not thing.moving and max(thing.size) < 0.5 and counts[number] > SEEN:
                rewards, _ = followed(room, int(number), range(index, index + SECOND + 1, STEP))
                distances = [r.distance for r in rewards if r.valid]
                if distances:
                    return [float(np.median(distances))]
    return []


def followed(room: Room, number: int, indices: range) -> tuple[list[Reward], np.ndarray]:
    """Rewards of a region set around an object in the first frame, and the world point [3] that it stands for."""
    first = room.render(indices[0])
    v, u = np.nonzero(first.object_ids == number)
    if len(u) < SEEN:
        return [], np.zeros(3)
    roi = int(u.min()), int(v.min()), int(np.ptp(u)) + 1, int(np.ptp(v)) + 1
    try:
        target = RegionTarget(room.objects[number].name, first.frame, roi)
    except SpatialError:
        return [], np.zeros(3)
    rewards = [target.update(room.render(i).frame) for i in indices[1:]]
    return rewards, target.anchor


def travelled(room: Room, number: int, point: np.ndarray, start_ns: int, end_ns: int) -> float:
    """How far a point of an object has truly gone, metres."""
    thing = room.objects[number]
    motion = thing.world_from_object(end_ns) @ np.linalg.inv(thing.world_from_object(start_ns))
    return float(np.linalg.norm(motion[:3, :3] @ point + motion[:3, 3] - point))


if __name__ == "__main__":
    show(run())
