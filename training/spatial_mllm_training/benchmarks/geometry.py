"""Answers of MultiSPA records from the depth, poses, tracks and boxes of their scenes, in formulas of its own.

Nothing here is shared with what makes the questions: where the two disagree, one of them is wrong.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from spatial_mllm_ros.errors import ErrorCode, SpatialError
from spatial_mllm_ros.frames import Frame
from spatial_mllm_ros.geometry.cameras import back_project, project, unproject
from spatial_mllm_ros.geometry.poses import inverse, transform

from ..multispa.scene import Scene, Thing, Tracks

REFUSAL = "not observed"
SLACK, RELATIVE_SLACK = 0.02, 0.03  # of the depth test: metres, and part of the depth
FOLLOWED = 1.0  # px; a followed point lies in the pixel that a question names
AT_REST = 10.0  # mm; what moves less stays where it is
ENOUGH = 20  # depth readings inside a box that is seen


@dataclass(frozen=True, eq=False)
class Shown:
    """What a record shows of a scene.

    Attributes:
        numbers: frames of the scene, in the order of the images.
        points: (image, u, v) of every pixel that is named, in the order of the record.
        kind: form of the question; a question type. label: as in ``meta``, or empty.
    """

    scene: Scene
    numbers: Sequence[int]
    points: Sequence[tuple[int, int, int]]
    kind: str
    label: str

    @cached_property
    def frames(self) -> list[Frame]:
        return [self.scene.frames[i] for i in self.numbers]

    @property
    def tracks(self) -> Tracks | None:
        return None if self.scene.tracks is None else self.scene.tracks()

    @cached_property
    def first_from_second(self) -> NDArray[np.float64]:
        """Pose of the second camera in the first one's optical frame, float64 [4, 4]."""
        first, second = (frame.world_from_camera for frame in self.frames[:2])
        if first is None or second is None:
            raise SpatialError(ErrorCode.NO_GEOMETRY, f"scene '{self.scene.name}': a frame has no pose")
        return inverse(first) @ second

    @property
    def moved(self) -> NDArray[np.float64]:
        """Second camera's place in the first one's axes, float64 [3] millimetres."""
        return 1000 * self.first_from_second[:3, 3]

    @property
    def turned(self) -> tuple[float, float]:
        """Yaw to the right and pitch up from the first viewing direction to the second, degrees."""
        x, y, z = self.first_from_second[:3, 2]
        return float(np.degrees(np.arctan2(x, z))), float(np.degrees(np.arcsin(np.clip(-y, -1, 1))))

    def depth(self, point: int) -> float:
        """Depth of a named pixel, metres; NaN where there is no reading."""
        image, u, v = self.points[point]
        return reading(self.frames[image], u, v)

    @cached_property
    def place_in_second(self) -> tuple[NDArray[np.float64], bool]:
        """(u, v) in the second image of the first named pixel, if it is of something that stays; and if it is seen."""
        (_, u, v), (first, second) = self.points[0], self.frames[:2]
        local = unproject(first.camera, np.array([[u, v]]), np.array([self.depth(0)]))
        moved = transform(inverse(self.first_from_second), local)
        pixel, inside = project(second.camera, moved)
        if not inside[0]:
            return pixel[0], False
        far = float(moved[0, 2])
        there = reading(second, *np.rint(pixel[0]).astype(int))
        return pixel[0], bool(abs(there - far) <= max(SLACK, RELATIVE_SLACK * there))

    @cached_property
    def followed(self) -> int | None:
        """Which track is at the first named pixel, and at the next one where that is named too; None for none."""
        tracks = self.tracks
        if tracks is None or not self.points:
            return None
        ends = {image: (u, v) for image, u, v in reversed(self.points)}
        numbers = [self.numbers[image] for image in ends]
        off = np.linalg.norm(tracks.pixels[numbers] - np.array([*ends.values()])[:, None], axis=-1).max(axis=0)
        off[~tracks.visible[self.numbers[0]] | np.isnan(off)] = np.inf
        return int(off.argmin()) if off.min(initial=np.inf) <= FOLLOWED else None

    @property
    def way(self) -> NDArray[np.float64]:
        """How the followed point moved, in the first camera's axes, float64 [3] millimetres; 0 where it is at rest."""
        pose = self.frames[0].world_from_camera
        if self.tracks is None or self.followed is None or pose is None:
            raise SpatialError(ErrorCode.NO_GEOMETRY, f"scene '{self.scene.name}': no point was followed there")
        start, end = self.tracks.points[list(self.numbers[:2]), self.followed]
        way = 1000 * pose[:3, :3].T @ (end - start)
        return way if np.linalg.norm(way) >= AT_REST else np.zeros(3)

    @property
    def thing(self) -> Thing:
        """The one that the label speaks of."""
        found = [thing for thing in self.scene.things if thing.label == self.label]
        if len(found) != 1:
            raise SpatialError(ErrorCode.NO_GEOMETRY, f"scene '{self.scene.name}' has {len(found)} of '{self.label}'")
        return found[0]

    @property
    def extent(self) -> dict[str, float]:
        """Millimetres of the thing along the world's up, and of its two other sides."""
        up = np.array([0, 0, 1]) if self.scene.world_up is None else self.scene.world_up
        upright = int(np.abs(self.thing.world_from_thing[:3, :3].T @ up).argmax())
        width, length = sorted(np.delete(self.thing.size, upright))
        return {"height": 1000 * self.thing.size[upright], "width": 1000 * width, "length": 1000 * length}

    @property
    def sees_label(self) -> bool:
        """Whether one of the images shows a thing of that label."""
        wanted = [i for i, thing in enumerate(self.scene.things) if thing.label == self.label]
        if self.scene.instance_map is not None:
            return any(np.isin(self.scene.instance_map(i), wanted).any() for i in self.numbers)
        return any(readings_inside(frame, self.scene.things[i]) >= ENOUGH for frame in self.frames for i in wanted)

    @property
    def is_observed(self) -> bool:
        """Whether the images show what the question speaks of."""
        if self.label:
            return self.sees_label
        if not self.points or len(self.numbers) < 2:
            return True
        if self.kind.startswith("object_") and self.tracks is not None and self.followed is not None:
            return bool(self.tracks.visible[self.numbers[1], self.followed])
        return self.place_in_second[1]


def reading(frame: Frame, u: int, v: int) -> float:
    """Depth at a pixel, metres; NaN where there is none."""
    depth = frame.depth
    return float(depth[v, u]) if depth is not None and depth[v, u] > 0 else float("nan")


def readings_inside(frame: Frame, thing: Thing) -> int:
    """How many depth readings lie in a thing's box."""
    if frame.depth is None or frame.world_from_camera is None:
        return 0
    thing_from_camera = inverse(thing.world_from_thing) @ frame.world_from_camera
    local = transform(thing_from_camera, back_project(frame.depth_camera, frame.depth))
    return int((np.abs(local) <= thing.size / 2).all(axis=-1).sum())


def answer(shown: Shown) -> str:
    """What is true of it, as a record's ``gt_value`` would be written."""
    if not shown.is_observed:
        return REFUSAL
    form = shown.kind if shown.kind in ANSWERS else shown.kind.rpartition("_")[0]  # without the way of referring
    return ANSWERS[form](shown)


def _millimetres(value: float) -> str:
    return f"{value:.0f} mm" if np.isfinite(value) else REFUSAL


def _vector(values: NDArray[np.float64]) -> str:
    return str([round(float(value)) for value in values])


def _thousandths(shown: Shown) -> str:
    """Of the nearest pixel."""
    (u, v), camera = np.rint(shown.place_in_second[0]).astype(int).tolist(), shown.frames[1].camera
    return str([1000 * u // camera.width, 1000 * v // camera.height])


def _choice(shown: Shown) -> str:
    choices = np.array([(u, v) for image, u, v in shown.points if image == 1])
    return "ABCD"[int(np.linalg.norm(choices - shown.place_in_second[0], axis=1).argmin())]


def _side(axis: int, positive: str, negative: str) -> Callable[[Shown], str]:
    return lambda shown: positive if shown.moved[axis] > 0 else negative


ANSWERS: dict[str, Callable[[Shown], str]] = {
    "depth_estimation": lambda shown: _millimetres(1000 * shown.depth(0)),
    "depth_comparison": lambda shown: "A" if shown.depth(0) < shown.depth(1) else "B",
    "correspondence_coordinate": _thousandths,
    "correspondence_choice": _choice,
    "camera_left_right": _side(0, "right", "left"),
    "camera_up_down": _side(1, "down", "up"),
    "camera_forward_back": _side(2, "forward", "backward"),
    "camera_yaw_direction": lambda shown: "right" if shown.turned[0] > 0 else "left",
    "camera_pitch_direction": lambda shown: "up" if shown.turned[1] > 0 else "down",
    "camera_yaw_degrees": lambda shown: f"{abs(shown.turned[0]):.0f} degrees",
    "camera_pitch_degrees": lambda shown: f"{abs(shown.turned[1]):.0f} degrees",
    "camera_distance": lambda shown: _millimetres(float(np.linalg.norm(shown.moved))),
    "camera_vector": lambda shown: _vector(shown.moved),
    "object_distance": lambda shown: _millimetres(float(np.linalg.norm(shown.way))),
    "object_vector": lambda shown: _vector(shown.way),
    "object_height": lambda shown: _millimetres(shown.extent["height"]),
    "object_width": lambda shown: _millimetres(shown.extent["width"]),
    "object_length": lambda shown: _millimetres(shown.extent["length"]),
    "not_observed": lambda shown: "observed",
}
