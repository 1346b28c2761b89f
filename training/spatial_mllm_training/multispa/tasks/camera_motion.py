"""How the camera moved and turned between two images (Xu et al., 2025, section 3.1: camera movement perception).

Everything is told in the first camera's axes: right, down, forward. Yaw is the turn of the line of sight about the axis
that points down, to the right positive; pitch its turn upwards. A camera that looks down sees these axes tilted: what
people would judge otherwise, by the room's own vertical, is not asked.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..covisibility import SceneIndex
from ..item import CAMERA_MOTION, Candidate
from ..scene import Scene
from ..spread import spread

TYPES = CAMERA_MOTION
NEEDS = ("depth", "pose")
PLACES = {  # question type -> axis, words for less and more of it
    "camera_left_right": (0, ("left", "right")),
    "camera_up_down": (1, ("up", "down")),
    "camera_forward_back": (2, ("backward", "forward")),
}
TURNS = {"camera_yaw": ("left", "right"), "camera_pitch": ("down", "up")}
LEAST_MOVED, LEAST_SHARE = 0.05, 0.2  # metres, and of the whole way
LEAST_TURNED = 5.0  # degrees
STEEPEST = 60.0  # degrees of pitch, beyond which yaw means little
AGREE, AGREE_SHARE = 2.0, 0.1  # degrees, and of the turn, that people and the first camera may differ by
MOST_OTHER = 15.0  # degrees of yaw in a question of pitch, and the reverse, where the vertical is not known
DISTANCE_BIN, DEGREES_BIN = 0.1, 5.0  # metres, degrees


def propose(scene: Scene, index: SceneIndex, rng: np.random.Generator, count: int) -> Iterator[Candidate]:
    """Up to ``count`` candidates of each type, pairs in either order; mm and degrees are whole."""
    pairs, overlaps = index.pairs()
    if not len(pairs):
        return
    poses = np.stack([index.pose(i) for i in index.numbers.tolist()])
    for kind in TYPES:
        ordered = np.where(rng.random((len(pairs), 1)) < 0.5, pairs, pairs[:, ::-1])
        first, second = np.searchsorted(index.numbers, ordered.T)
        asked, bins, candidate = _asked(kind, poses[first], poses[second], scene.world_up)
        bins["overlap"] = overlaps
        codes = [np.unique(values[asked], return_inverse=True)[1].reshape(-1) for values in bins.values()]
        for k in asked[spread(np.stack(codes, axis=1), count, rng)].tolist():
            i, j = ordered[k].tolist()
            yield candidate(k, (i, j))


def between(
    kind: str, first: NDArray[np.float64], second: NDArray[np.float64], up: NDArray[np.float64] | None
) -> Iterator[Candidate]:
    """The candidate of a type for each pair of poses [P, 4, 4] that gives a clear answer; frames are 0 and 1."""
    asked, _, candidate = _asked(kind, first, second, up)
    for k in asked.tolist():
        yield candidate(k, (0, 1))


def _asked(kind: str, first: NDArray[np.float64], second: NDArray[np.float64], up: NDArray[np.float64] | None):
    """Which of P pairs have a clear answer, their bins, each [P], and the candidate of a pair about two frames."""
    place, yaw, pitch = relative(first, second)
    asked, bins, truth, output, words = _question(kind, place, yaw, pitch)
    asked &= _as_people_say(kind, first, second, up, place, yaw, pitch)

    def candidate(k: int, frames: tuple[int, int]) -> Candidate:
        chosen = {name: values[k].item() for name, values in bins.items()}
        facts = {"direction": chosen["direction"]} if kind.endswith("degrees") else {}
        return Candidate(kind, frames, truth[k].tolist(), output, options=words, bins=chosen, facts=facts)

    return np.flatnonzero(asked), bins, candidate


def relative(
    first: NDArray[np.float64], second: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Of cameras' poses [P, 4, 4], world_from_camera: where the second stands and looks, seen from the first.

    Returns:
        Place, float64 [P, 3] metres, right, down, forward; yaw and pitch, float64 [P] degrees, right and up positive.
    """
    axes = first[:, :3, :3].transpose(0, 2, 1)
    place = (axes @ (second[:, :3, 3:] - first[:, :3, 3:]))[..., 0]
    right, down, forward = (axes @ second[:, :3, 2:3])[..., 0].T
    return place, np.degrees(np.arctan2(right, forward)), np.degrees(np.arcsin(np.clip(-down, -1, 1)))


def _as_people_say(
    kind: str,
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    up: NDArray[np.float64] | None,
    place: NDArray[np.float64],
    yaw: NDArray[np.float64],
    pitch: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Where the vertical of the room tells the same as the axes of the first camera, bool [P]."""
    if kind == "camera_up_down" and up is not None:
        risen = (second[:, :3, 3] - first[:, :3, 3]) @ up
        return (risen * place[:, 1] < 0) & (np.abs(risen) >= LEAST_MOVED)
    if not kind.startswith(("camera_yaw", "camera_pitch")):
        return np.ones(len(first), bool)
    turn, other = (yaw, pitch) if kind.startswith("camera_yaw") else (pitch, yaw)
    if up is None:
        return np.abs(other) <= MOST_OTHER
    looks = np.stack([first[:, :3, 2], second[:, :3, 2]])
    heights = looks @ up
    if turn is pitch:
        elevation = np.degrees(np.arcsin(heights.clip(-1, 1)))
        by_room = elevation[1] - elevation[0]
    else:
        level = looks - heights[..., None] * up
        by_room = np.degrees(np.arctan2(np.cross(level[1], level[0]) @ up, (level[0] * level[1]).sum(axis=1)))
    return np.abs(by_room - turn) <= np.maximum(AGREE, AGREE_SHARE * np.abs(turn))


def _question(kind: str, place: NDArray, yaw: NDArray, pitch: NDArray):
    """For which pairs the question has a clear answer, bool [P], their bins and answers, each [P]; output, options."""
    distance = np.linalg.norm(place, axis=1)
    far = (distance / DISTANCE_BIN).astype(np.int64)
    if kind in PLACES:
        axis, words = PLACES[kind]
        along = place[:, axis]
        clear = (np.abs(along) >= LEAST_MOVED) & (np.abs(along) >= LEAST_SHARE * distance)
        said = np.where(along > 0, words[1], words[0])
        return clear, {"answer": said, "distance": far}, said, "text", words
    if kind in ("camera_distance", "camera_vector"):
        main = np.abs(place).argmax(axis=1)
        more = np.take_along_axis(place, main[:, None], axis=1)[:, 0] > 0
        directions = np.array([words for _, words in PLACES.values()])[main, more.astype(int)]
        whole, output = (distance, "scalar") if kind == "camera_distance" else (place, "vector")
        bins = {"direction": directions, "distance": far}
        return distance >= LEAST_MOVED, bins, np.rint(1000 * whole) + 0.0, output, ()
    about, _, asks = kind.rpartition("_")
    turn, words = yaw if about == "camera_yaw" else pitch, TURNS[about]
    clear = (np.abs(turn) >= LEAST_TURNED) & ((about != "camera_yaw") | (np.abs(pitch) <= STEEPEST))
    said, degrees = np.where(turn > 0, words[1], words[0]), (np.abs(turn) / DEGREES_BIN).astype(np.int64)
    if asks == "direction":
        return clear, {"answer": said, "degrees": degrees}, said, "text", words
    return clear, {"direction": said, "degrees": degrees}, np.rint(np.abs(turn)), "scalar", ()
