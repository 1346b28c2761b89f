"""A simulated room: what is in it, where the camera goes, and what it sees."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..frames import Camera, Frame
from ..geometry.cameras import project
from ..geometry.poses import inverse, transform
from .camera_path import MOUNT_PITCH, OPTICAL, CameraPath, plan_path
from .layout import Layout, furnish, pose
from .light import Lamps, bake
from .materials import Texture
from .noise import sensor_depth, sensor_image
from .pushes import MOST, Push, plan_pushes
from .render import render
from .textures import surface_color
from .triangles import Caster, flatten

BASE_NS = 1_700_000_000_000_000_000
WORLD_FRAME, BASE_FRAME = "odom", "base_link"
FOCAL = 525.0  # px at 640 columns
CAMERA_NAMES = ("front", "left", "right", "rear")
CAMERA_YAWS = {"camera": 0.0, "front": 0.0, "left": np.pi / 2, "right": -np.pi / 2, "rear": np.pi}


@dataclass(frozen=True)
class SimObject:
    """A thing in the room.

    Attributes:
        name: unique, like ``mug_1``; label: what it is, like ``mug``; color: name of its colour or empty.
        size: extent of its bounding box, float64 [3] metres; the object frame is at its centre, z up.
        world_from_rest: where it stands at the start, float64 [4, 4].
        push: its motion, or None for a thing that stays.
    """

    name: str
    label: str
    color: str
    size: NDArray[np.float64]
    world_from_rest: NDArray[np.float64]
    push: Push | None = None

    @property
    def moving(self) -> bool:
        return self.push is not None

    def world_from_object(self, stamp_ns: int) -> NDArray[np.float64]:
        """Pose at a time, float64 [4, 4]."""
        return self.world_from_rest if self.push is None else self.push.pose(stamp_ns)


@dataclass(frozen=True, eq=False)
class SimFrame:
    """One rendered view.

    Attributes:
        frame: what the sensors give: image, noisy depth, exact pose.
        exact_depth: float32 [H, W] metres.
        object_ids: int32 [H, W]: index into Room.objects, -1 for walls, floor and ceiling.
    """

    frame: Frame
    exact_depth: NDArray[np.float32]
    object_ids: NDArray[np.int32]


class Room:
    """A furnished room with a camera that walks through it and things that are pushed.

    Args:
        seed: the same seed is the same room, walk and noise on every machine.
        size: (width, height) of the images, pixels, 16 to 4096.
        fps: frames a second, up to 240; duration: seconds, up to 3600; at least two frames.
        cameras: 1 (``camera``) to 4 (``front``, ``left``, ``right``, ``rear``, fixed to base_link).
        pushes: things pushed one after another, 0 to 5; None chooses by the duration. Fewer where there is no room.
        noise: multiple of the sensors' noise; 0 gives exact depth without holes and clean images.

    Attributes:
        objects: list of SimObject; camera_path: CameraPath of base_link; cameras: list of Camera;
        base_from_camera: fixed mounts, float64 [4, 4] by camera name; stamps: int64 [T] nanoseconds.

    Raises:
        ValueError: an argument out of range; the message says what would be right.
    """

    def __init__(
        self,
        seed: int = 0,
        size: tuple[int, int] = (640, 480),
        fps: float = 30,
        duration: float = 10,
        cameras: int = 1,
        pushes: int | None = None,
        noise: float = 1.0,
    ):
        _check("seed", seed, int, 0, 2**63 - 1)
        if not (isinstance(size, (tuple, list)) and len(size) == 2):
            raise ValueError(f"size = {size!r}: expected (width, height) in pixels")
        for side in size:
            _check("size", side, int, 16, 4096)
        _check("fps", fps, float, 0.1, 240)
        _check("duration", duration, float, 0.01, 3600)
        if round(duration * fps) < 2:
            raise ValueError(f"duration = {duration} s at {fps} frames a second: expected at least two frames")
        _check("cameras", cameras, int, 1, len(CAMERA_NAMES))
        if pushes is not None:
            _check("pushes", pushes, int, 0, MOST)
        _check("noise", noise, float, 0, 100)
        self.seed, self.noise = int(seed), float(noise)
        fps, duration = float(fps), float(duration)
        rng = np.random.default_rng(self.seed)
        self.layout = furnish(rng)
        count = int(np.clip(duration / 3, 1, 3)) if pushes is None else pushes
        planned = plan_pushes(rng, self.layout, count, BASE_NS, duration)
        by_object = {p.object: p for p in planned}
        self.objects = [
            SimObject(p.name, p.model.label, p.model.color, p.model.size, p.world_from_object, by_object.get(i))
            for i, p in enumerate(self.layout.placed)
        ]
        self.stamps = BASE_NS + np.round(np.arange(round(duration * fps)) * 1e9 / fps).astype(np.int64)
        names = ("camera",) if cameras == 1 else CAMERA_NAMES[:cameras]
        self.cameras = [_camera(name, *map(int, size)) for name in names]
        self.base_from_camera = {c.name: _mount(CAMERA_YAWS[c.name], cameras > 1) for c in self.cameras}
        self.camera_path: CameraPath = plan_path(rng, self.layout, planned, BASE_NS, duration, self._seen)
        self._lamps = _lamps(rng, self.layout)

    @property
    def pushes(self) -> list[Push]:
        """The motions, in order of time."""
        return sorted((o.push for o in self.objects if o.push), key=lambda p: p.start_ns)

    def __len__(self) -> int:
        """Number of frames of each camera."""
        return len(self.stamps)

    def world_from_camera(self, index: int, camera: str | None = None) -> NDArray[np.float64]:
        """Exact pose of a camera's optical frame at a frame, float64 [4, 4]."""
        name = camera or self.cameras[0].name
        return self.camera_path.world_from_base(int(self.stamps[index])) @ self.base_from_camera[name]

    def frames(self) -> Iterator[SimFrame]:
        """Every frame of every camera, in order of time."""
        for index in range(len(self)):
            for camera in self.cameras:
                yield self.render(index, camera.name)

    def render(self, index: int, camera: str | None = None) -> SimFrame:
        """One view.

        Raises:
            IndexError: no such frame.
            KeyError: no such camera; the message lists them.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"frame {index}: the room has {len(self)}")
        index %= len(self)
        name = camera or self.cameras[0].name
        number = next((i for i, c in enumerate(self.cameras) if c.name == name), -1)
        if number < 0:
            raise KeyError(f"camera '{name}': known are {', '.join(c.name for c in self.cameras)}")
        cam, stamp = self.cameras[number], int(self.stamps[index])
        moving = [(i, o, o.world_from_object(stamp)) for i, o in enumerate(self.objects) if o.moving]
        self._caster.place({i: now @ inverse(o.world_from_rest) for i, o, now in moving})
        # Balls about as large as the things that move: their soft shadow goes with them.
        rows = [[i, *now[:3, 3], 0.45 * float(np.cbrt(o.size.prod()))] for i, o, now in moving]
        shades = np.array(rows).reshape(-1, 5)
        world_from_camera = self.world_from_camera(index, name)
        image, exact, ids = render(self._caster, self._light, self._lamps, cam, world_from_camera, shades)
        rng = np.random.default_rng([self.seed, number, index])
        depth = sensor_depth(exact, cam, rng, self.noise).astype(np.float32) * np.float32(0.001)
        frame = Frame(
            stamp, cam, image=sensor_image(image, rng, self.noise), depth=depth,
            world_from_camera=world_from_camera, world_frame=WORLD_FRAME,
        )  # fmt: skip
        return SimFrame(frame, exact, ids)

    @cached_property
    def _caster(self) -> Caster:
        parts = [(-1, self.layout.shell)]
        for i, p in enumerate(self.layout.placed):
            rotation, translation = p.world_from_object[:3, :3], p.world_from_object[:3, 3]
            parts.append((i, [m.transformed(rotation, translation) for m in p.model.meshes]))
        return Caster(flatten(parts, {i for i, o in enumerate(self.objects) if o.moving}))

    @cached_property
    def _light(self) -> NDArray[np.float64]:
        t = self._caster.triangles
        albedo = np.array([_mean_color(int(k), row) for k, row in zip(t.textures, t.rows, strict=True)])
        return bake(self._caster, self._lamps, albedo, samples=64 if self.cameras[0].width > 320 else 12)

    def _seen(self, path: CameraPath, push: Push) -> float:
        """Part of a push during which the first camera sees the thing near, well inside its image and in the open."""
        thing, camera, hits = self.objects[push.object], self.cameras[0], 0
        steps = np.linspace(0.05, 0.95, 7)
        for s in steps:
            stamp = int(push.start_ns + s * (push.end_ns - push.start_ns))
            centre = push.pose(stamp)[:3, 3] + [0, 0, 0.3 * thing.size[2]]
            world_from_camera = path.world_from_base(stamp) @ self.base_from_camera[camera.name]
            eye, local = world_from_camera[:3, 3], transform(inverse(world_from_camera), centre[None])
            pixel, far = project(camera, local)[0][0], float(np.linalg.norm(local))
            margin = 0.1 * camera.width
            if far < 2.8 and (pixel > margin).all() and (pixel < [camera.width - margin, camera.height - margin]).all():
                towards = (centre - eye)[None]
                face = self._caster.cast(eye, towards, moving=False)
                hits += bool(self._caster.distance(face, eye, towards)[0] > 1 - 0.1 / far)
        return hits / len(steps)


make_room = Room


def _check(name: str, value: object, kind: type, low: float, high: float) -> None:
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    number = whole or (kind is float and isinstance(value, (float, np.floating)))
    if not number or not low <= value <= high:  # type: ignore[operator]
        what = "a whole number" if kind is int else "a number"
        raise ValueError(f"{name} = {value!r}: expected {what} from {low} to {high}")


def _camera(name: str, width: int, height: int) -> Camera:
    focal = FOCAL * width / 640
    intrinsics = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    return Camera(name, f"{name}_color_optical_frame", width, height, intrinsics)


def _mount(yaw: float, apart: bool) -> NDArray[np.float64]:
    """base_link from a camera that looks outwards at a yaw and down; several sit on a circle."""
    tilt = np.array(
        [[np.cos(MOUNT_PITCH), 0, np.sin(MOUNT_PITCH)], [0, 1, 0], [-np.sin(MOUNT_PITCH), 0, np.cos(MOUNT_PITCH)]]
    )
    out = pose(0.1 * np.cos(yaw) * apart, 0.1 * np.sin(yaw) * apart, 0, yaw)
    out[:3, :3] = out[:3, :3] @ tilt @ OPTICAL
    return out


def _lamps(rng: np.random.Generator, room: Layout) -> Lamps:
    height = room.size[2]
    window = next(p for p in room.placed if p.model.label == "window")
    pane = next(m for m in window.model.meshes if m.material.texture == Texture.VIEW)
    low, high = transform(window.world_from_object, pane.vertices[[0, -1]])
    inwards = window.world_from_object[:3, 1]
    sun = -inwards + np.cross(inwards, [0, 0, 1.0]) * rng.uniform(-0.7, 0.7) + np.array([0, 0, rng.uniform(0.55, 1.0)])
    return Lamps(
        lamp=np.array([0, 0, height - 0.2]),
        lamp_power=rng.uniform(1.0, 2.0),
        window=low,
        window_u=np.array([*(high - low)[:2], 0.0]),
        window_v=np.array([0, 0, high[2] - low[2]]),
        window_power=rng.uniform(0.9, 1.6),
        sun=sun / np.linalg.norm(sun),
        sun_power=rng.uniform(1.4, 2.2) if rng.random() < 0.7 else 0.0,
    )


def _mean_color(texture: int, row: NDArray[np.float64]) -> NDArray[np.float64]:
    grid = np.linspace(0.013, 0.987, 6)
    return np.mean([surface_color(texture, u, v, 0.05, row, 1.0, 1.0) for u in grid for v in grid], axis=0)
