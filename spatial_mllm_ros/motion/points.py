"""Points of the world followed through the images of one camera."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..config import MotionParams
from ..geometry.poses import inverse, transform
from .depth import depth_noise, lift, lift_surface
from .flow import follow
from .patches import Patches
from .posed import PosedFrame
from .still import StillWorld

DRIFT = 2.0  # pixels by which the first sight of a point may correct its track
NEAR = 2.0  # pixels from where it should be, within which a point that looks right is believed against its track
SPEED = 2.0  # m/s along the line of sight up to which a change of depth is motion, not another surface
REACH = 0.2  # m, the most that such a change may be


@dataclass(frozen=True, eq=False)
class Tracks:
    """Where points are in one frame.

    Attributes:
        pixels: float64 [N, 2], NaN where a point is not found.
        world: float64 [N, 3] metres, world frame, NaN where a point is not visible.
        visible: bool [N]: found in the image, with depth of the surface it belongs to.
        sigma: float64 [N] metres, standard deviation of the sensor at that depth, NaN where not visible.
    """

    pixels: NDArray[np.float64]
    world: NDArray[np.float64]
    visible: NDArray[np.bool_]
    sigma: NDArray[np.float64]


class PointTracker:
    """Follows points from frame to frame and lifts them into the world by depth and pose.

    Flow runs from the previous image, checked forward and backward; then each point is pulled to what it looked like at
    the start, seen from the present side, so errors do not add up. A point that is hidden (another depth than
    expected), out of view or without depth is not visible; it is looked for where it should be, and returns when look
    and depth agree.

    Attributes:
        reference: float64 [N, 3] metres, where the points were at the start.
    """

    _tolerance: float
    _still: StillWorld
    _patches: Patches
    _gray: NDArray[np.uint8]
    _pixels: NDArray[np.float64]
    _world: NDArray[np.float64]
    _seen_ns: NDArray[np.int64]

    def __init__(self, params: MotionParams):
        self._tolerance = params.forward_backward
        self._still = StillWorld(params)
        self._patches = Patches()
        self._gray = np.zeros((0, 0), np.uint8)
        self._pixels, self._world, self._seen_ns = np.zeros((0, 2)), np.zeros((0, 3)), np.zeros(0, np.int64)

    @property
    def reference(self) -> NDArray[np.float64]:
        return self._patches.points

    @property
    def pixels(self) -> NDArray[np.float64]:
        """Where the points are in the newest image, [N, 2]; NaN where they are not visible."""
        return self._pixels

    def start(self, frame: PosedFrame, pixels: NDArray) -> Tracks:
        """Begin with points at pixels [N, 2] of a frame that has image, depth and pose."""
        self._still.update(frame)
        self._gray = frame.gray
        return self.add(frame, pixels, np.eye(4))

    def add(self, frame: PosedFrame, pixels: NDArray, motion: NDArray) -> Tracks:
        """Follow more points from pixels [N, 2] of the newest frame on.

        Args:
            motion: [4, 4], the rigid motion of their body since the start.
        Returns:
            Tracks of these points alone.
        """
        pixels = np.array(pixels, np.float64).reshape(-1, 2)
        world, right, down = lift_surface(frame, self._still.correct(frame, pixels))
        back = inverse(motion)
        turn = back[:3, :3].T
        self._patches.add(frame.gray, pixels, transform(back, world), right @ turn, down @ turn)
        self._pixels, self._world = np.concatenate([self._pixels, pixels]), np.concatenate([self._world, world])
        self._seen_ns = np.concatenate([self._seen_ns, np.full(len(pixels), frame.stamp_ns)])
        return _tracks(frame, pixels, world)

    def lose(self, which: NDArray[np.bool_]) -> None:
        """Take points, bool [N], for lost: they return where they look and lie as expected."""
        self._pixels[which] = np.nan

    def keep(self, which: NDArray[np.bool_]) -> None:
        """Go on with some of the points only, bool [N]."""
        self._patches.keep(which)
        self._pixels, self._world, self._seen_ns = self._pixels[which], self._world[which], self._seen_ns[which]

    def restart(self, motion: NDArray, body: NDArray[np.bool_]) -> None:
        """What is now is the start: points in ``body``, bool [N], lie where their rigid motion [4, 4] since the start
        has put them, others where they were last seen."""
        patches, chosen, turn = self._patches, body[:, None], motion[:3, :3].T
        patches.points = np.where(chosen, transform(motion, patches.points), self._world)
        patches.right = np.where(chosen, patches.right @ turn, patches.right)
        patches.down = np.where(chosen, patches.down @ turn, patches.down)

    def step(self, frame: PosedFrame, motion: NDArray, body: NDArray[np.bool_]) -> Tracks:
        """Follow into the next frame, which has image, depth and pose and the image size of the first.

        Args:
            motion: [4, 4], the rigid motion since the start of the points in ``body``, bool [N], as far as it is known;
                other points are looked for where they were at the start, and where they were last seen.
        """
        self._still.update(frame)
        patches, chosen, turn = self._patches, body[:, None], motion[:3, :3].T
        expected = np.where(chosen, transform(motion, patches.points), patches.points)
        right, down = (np.where(chosen, along @ turn, along) for along in (patches.right, patches.down))
        middle, steps = self._still.appear(frame, expected, right, down)
        last, _ = self._still.appear(frame, self._world, right, down)
        begin = np.where(np.isfinite(last), last, self._pixels)
        pixels, found = follow(self._gray, frame.gray, self._pixels, begin, self._tolerance)
        same = np.zeros(len(pixels), bool)
        for start, near in ((middle, NEAR), (pixels, -1.0)):  # where it should be, else where flow has led
            guess = np.where(same[:, None], np.nan, start)
            first, again = patches.find(frame.gray, middle, steps, guess, self._tolerance)
            again &= ~found | (_distance(first, pixels) < DRIFT) | (_distance(first, middle) < near)
            pixels = np.where(again[:, None], first, pixels)
            same |= again
        world = lift(frame, self._still.correct(frame, pixels))
        depth, *known = (transform(inverse(frame.world_from_camera), p)[:, 2] for p in (world, self._world, expected))
        allowed = 3 * depth_noise(depth) + np.minimum(SPEED * np.abs(frame.stamp_ns - self._seen_ns) / 1e9, REACH)
        hidden = np.minimum(*(np.abs(depth - k) for k in known)) > allowed
        pixels[hidden], world[hidden] = np.nan, np.nan
        seen = np.isfinite(world[:, 0])
        self._gray, self._pixels = frame.gray, pixels
        self._world = np.where(seen[:, None], world, self._world)
        self._seen_ns = np.where(seen, frame.stamp_ns, self._seen_ns)
        return _tracks(frame, pixels, world)


def _distance(a: NDArray, b: NDArray) -> NDArray[np.float64]:
    return np.linalg.norm(a - b, axis=1)


def _tracks(frame: PosedFrame, pixels: NDArray, world: NDArray) -> Tracks:
    depth = transform(inverse(frame.world_from_camera), world)[:, 2]
    return Tracks(pixels.copy(), world, np.isfinite(depth), depth_noise(depth))
