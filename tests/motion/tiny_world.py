"""A small analytic renderer: a textured floor, wall and boxes; the independent twin that motion is checked against."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

import cv2
import numpy as np

from spatial_mllm_ros.frames import Camera, Frame

SIZE, FOCAL = (320, 240), 280.0
RAYS = np.stack(
    [*np.meshgrid((np.arange(320) - 159.5) / FOCAL, (np.arange(240) - 119.5) / FOCAL), np.ones((240, 320))], axis=2
)
CAMERA = Camera("camera", "optical", *SIZE, np.array([[FOCAL, 0, 159.5], [0, FOCAL, 119.5], [0, 0, 1.0]]))
GRAIN = 0.012  # metres per texel; textures are smooth over a few of them


@lru_cache
def texture(seed: int) -> np.ndarray:
    """Band-limited noise, float32 [512, 512], 0 to 255; it repeats without a seam."""
    noise = np.random.default_rng(seed).random((512, 512)).astype(np.float32)
    noise = cv2.GaussianBlur(np.tile(noise, (3, 3)), (0, 0), 1.6)[512:1024, 512:1024]
    return np.clip(128 + 45 * (noise - noise.mean()) / noise.std(), 0, 255)


def look_at(eye, target) -> np.ndarray:
    """world_from_camera of a camera at ``eye`` looking at ``target``; world z is up."""
    eye, target = np.asarray(eye, float), np.asarray(target, float)
    z = (target - eye) / np.linalg.norm(target - eye)
    x = np.cross(z, [0, 0, 1.0])
    x /= np.linalg.norm(x)
    out = np.eye(4)
    out[:3, :3] = np.stack([x, np.cross(z, x), z], axis=1)
    out[:3, 3] = eye
    return out


def moved(x=0.0, y=0.0, z=0.0, yaw=0.0) -> np.ndarray:
    out = np.eye(4)
    out[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    out[:3, 3] = x, y, z
    return out


@dataclass
class Box:
    """Size [3] metres, and its pose world_from_box (origin in its middle) as a function of time in seconds."""

    size: tuple[float, float, float]
    pose: Callable[[float], np.ndarray]
    seed: int = 1
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(0))


@dataclass
class World:
    """Floor z = 0, wall y = 2, boxes, a camera track and a depth sensor."""

    boxes: list[Box]
    camera: Callable[[float], np.ndarray] = lambda t: look_at([0.3 * np.sin(t), -1.0, 1.1], [0, 0.9, 0.3])
    noise: float = 1.0  # times 1.4 mm z^2, with readings in whole millimetres
    plain: bool = False  # no texture at all
    fps: float = 30.0

    def frame(self, index: int) -> Frame:
        t = index / self.fps
        pose = self.camera(t)
        eye, rays = pose[:3, 3], RAYS @ pose[:3, :3].T
        depth = np.full(rays.shape[:2], np.inf)
        shade = np.zeros(rays.shape[:2], np.float32)
        with np.errstate(divide="ignore", invalid="ignore"):
            for axis, offset, seed in ((2, 0.0, 10), (1, 2.0, 11)):
                s = (offset - eye[axis]) / rays[..., axis]
                self._paint((s > 0.05) & (s < depth), s, eye + s[..., None] * rays, axis, seed, depth, shade)
            for box in self.boxes:
                half, now = np.array(box.size) / 2, box.pose(t)
                origin, local = (eye - now[:3, 3]) @ now[:3, :3], rays @ now[:3, :3]
                near, far = (-half - origin) / local, (half - origin) / local
                enter = np.minimum(near, far)
                face, s = enter.argmax(axis=2), enter.max(axis=2)
                box.pixels = (s < np.maximum(near, far).min(axis=2)) & (s > 0.05) & (s < depth)
                for axis in range(3):
                    self._paint(
                        box.pixels & (face == axis),
                        s,
                        origin + s[..., None] * local,
                        axis,
                        box.seed + axis,
                        depth,
                        shade,
                    )
        rng = np.random.default_rng([index, 77])
        readings = np.where(depth < 8, depth, 0)
        if self.noise:
            readings = np.round(
                readings + self.noise * 0.0014 * readings**2 * rng.standard_normal(depth.shape, np.float32), 3
            )
        gray = np.full(shade.shape, 128.0) if self.plain else shade + 1.5 * rng.standard_normal(shade.shape, np.float32)
        image = np.repeat(np.clip(gray, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
        stamp = round(t * 1e9) + 10**9
        return Frame(
            stamp, CAMERA, image=image, depth=readings.astype(np.float32), world_from_camera=pose, world_frame="odom"
        )

    def frames(self, count: int) -> list[Frame]:
        return [self.frame(i) for i in range(count)]

    @staticmethod
    def _paint(where, distance, points, axis, seed, depth, shade):
        a, b = (i for i in range(3) if i != axis)
        at = np.nan_to_num(np.mod(points[..., [a, b]] / GRAIN, 512), nan=0.0).astype(np.float32)
        color = cv2.remap(texture(seed), at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        np.copyto(shade, color, where=where)
        np.copyto(depth, distance, where=where)


def project_point(world: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """Pixel (u, v) of a world point, by the pinhole equation written out."""
    x, y, z = (np.asarray(world) - pose[:3, 3]) @ pose[:3, :3]
    return np.array([FOCAL * x / z + 159.5, FOCAL * y / z + 119.5])
