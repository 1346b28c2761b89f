"""What the frames of a scene see of it, and how much two of them share.

Xu et al., "Multi-SpatialMLLM", 2025, section 3.2, choose pairs of images by the overlap of the points that they see.
Here this means exactly:

- The points of a scene are its occupied voxels of 50 mm, each at its first reading: frames in order, then rows; of
  every s-th pixel of every s-th row, with s the least that leaves at most 160 columns.
- A frame sees a point that lies in front of it, projects into its image, and whose depth differs from the reading at
  the nearest of those pixels by at most 20 mm or 3 % of the reading, whichever is more. No reading: not seen.
- The overlap of two frames is the number of points that both see by the number that either sees.

All else uses every pixel. What moves is taken for still, except where the scene says which pixels do.
"""

from collections import Counter, OrderedDict
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from spatial_mllm_ros.assembler import NO_DEPTH, NO_POSE
from spatial_mllm_ros.coverage.voxels import AXIS_BITS, HALF_RANGE
from spatial_mllm_ros.errors import BadMessage
from spatial_mllm_ros.evenly import evenly
from spatial_mllm_ros.frames import Camera
from spatial_mllm_ros.geometry.cameras import project, ray_grid, unproject
from spatial_mllm_ros.geometry.poses import inverse, is_rigid, transform

from .overlap import overlap_of
from .scene import NOT_RIGID, Scene

VOXEL = 0.05  # metres
COLUMNS = 160
MOST_FRAMES = 400  # more of a recording look like those beside them
CACHE_BYTES = 512 << 20  # of decoded depth: 400 frames of 640 x 480
NEAREST, FARTHEST = 0.1, 20.0  # metres, of readings that are believed
TOLERANCE, RELATIVE_TOLERANCE = 0.02, 0.03  # metres, and of the reading
OVERLAPS = range(6, 35)  # whole percent, of pairs that questions are asked about
MARGIN = 0.02  # of the width, at least 2 pixels: what is around a point, and how near the border it may be
BENT = 0.015  # most that inverse depth may differ from its mean at two opposite pixels around it, of its own


class SceneIndex:
    """See the module. Everything is worked out when it is first asked for; frames go by their number in the scene.

    Attributes:
        left_out: why frames are not used -> how many; known once any frame is.
    """

    def __init__(self, scene: Scene):
        self.scene = scene
        self.left_out: Counter[str] = Counter()
        self._depths: OrderedDict[int, NDArray[np.float32]] = OrderedDict()
        self._moving: dict[int, NDArray[np.bool_]] = {}

    @cached_property
    def readable(self) -> dict[int, NDArray[np.float32]]:
        """Frames with a whole image and depth -> that depth, thinned, float32 [h, w] metres, NaN where not believed.

        At most 400, evenly spread over the scene.
        """
        out = {}
        for i in evenly(len(self.scene.frames), MOST_FRAMES):
            frame = self.scene.frames[i]
            try:
                image, depth = frame.decoded(), self.depth(i) if frame.has_depth else None
            except BadMessage:
                self.left_out["broken pixels"] += 1
                continue
            if image is None or depth is None:
                self.left_out["no image" if image is None else NO_DEPTH] += 1
            elif image.shape[:2] != depth.shape or depth.shape != (frame.camera.height, frame.camera.width):
                self.left_out["image, depth and camera of different sizes"] += 1
            else:
                step = self._step(i)
                out[i] = depth[::step, ::step].copy()
        return out

    @cached_property
    def numbers(self) -> NDArray[np.int64]:
        """Readable frames that have a pose too, int64 [N], ascending."""
        used = []
        for i in self.readable:
            pose = self.scene.frames[i].world_from_camera
            if pose is not None and is_rigid(pose):
                used.append(i)
            else:
                self.left_out[NO_POSE if pose is None else NOT_RIGID] += 1
        return np.array(used, np.int64)

    @cached_property
    def points(self) -> NDArray[np.float64]:
        """Points of the scene, float64 [V, 3] metres in the world."""
        keys, points = [np.zeros(0, np.int64)], [np.zeros((0, 3))]
        middle = np.floor(self.pose(self.numbers[0])[:3, 3:] / VOXEL) if len(self.numbers) else 0
        for i in self.numbers.tolist():
            depth, step = self.readable[i], self._step(i)
            known = np.isfinite(depth)
            rays = ray_grid(self.scene.frames[i].camera)[::step, ::step][known]
            world = transform(self.pose(i), rays * depth[known].astype(np.float64)[:, None])
            cells = np.floor(np.ascontiguousarray(world.T) / VOXEL) - middle
            near = (np.abs(cells) < HALF_RANGE).all(axis=0)
            x, y, z = cells[:, near].astype(np.int64) + HALF_RANGE
            key = x << 2 * AXIS_BITS | y << AXIS_BITS | z
            new = np.flatnonzero(np.diff(key, prepend=-1))  # neighbours are mostly equal
            key, first = np.unique(key[new], return_index=True)
            keys.append(key)
            points.append(world[near][new[first]])
        _, first = np.unique(np.concatenate(keys), return_index=True)
        return np.concatenate(points)[first]

    @cached_property
    def seen(self) -> NDArray[np.uint64]:
        """Which points each of ``numbers`` sees, uint64 [N, ceil(V / 64)]: point p is bit p % 8 of byte p // 8."""
        out = np.zeros((len(self.numbers), 8 * -(-len(self.points) // 64)), np.uint8)
        for row, i in enumerate(self.numbers.tolist()):
            _, visible = self._test(i, self.points, self.readable[i], self._step(i))
            bits = np.packbits(visible, bitorder="little")
            out[row, : len(bits)] = bits
        return out.view(np.uint64)

    @cached_property
    def overlap(self) -> NDArray[np.float32]:
        """Overlap of each two of ``numbers``, float32 [N, N], 0 to 1."""
        return overlap_of(self.seen)

    def pairs(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Pairs of frames whose overlap is from 6 to below 35 %.

        Returns:
            Their numbers, int64 [P, 2], the lower first, and the overlap in whole percent, int64 [P], rounded down.
        """
        first, second = np.triu_indices(len(self.numbers), 1)
        percent = np.floor(100 * self.overlap[first, second]).astype(np.int64)
        used = (percent >= OVERLAPS.start) & (percent < OVERLAPS.stop)
        return self.numbers[np.stack([first, second], axis=1)[used]], percent[used]

    def pose(self, i: int) -> NDArray[np.float64]:
        """world_from_camera of one of ``numbers``, float64 [4, 4]."""
        pose = self.scene.frames[i].world_from_camera
        assert pose is not None
        return pose

    def depth(self, i: int) -> NDArray[np.float32]:
        """Depth of a frame that has any, float32 [H, W] metres, NaN where it is not believed. Recent ones are kept."""
        if i not in self._depths:
            frame = self.scene.frames[i]
            depth = frame.depth
            assert depth is not None
            self._depths[i] = believed(depth)
            frame.release()
            while len(self._depths) > 2 and sum(d.nbytes for d in self._depths.values()) > CACHE_BYTES:
                self._depths.popitem(last=False)
        self._depths.move_to_end(i)
        return self._depths[i]

    def world(self, i: int, pixels: NDArray[np.int64]) -> NDArray[np.float64]:
        """Points of pixels [N, 2] of a frame, float64 [N, 3] metres in the world; NaN where there is no reading."""
        depth = self.depth(i)[pixels[:, 1], pixels[:, 0]]
        return transform(self.pose(i), unproject(self.scene.frames[i].camera, pixels, depth))

    def visible_in(self, j: int, points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Where frame j would see points of the world [N, 3], float64 [N, 2] or NaN, and whether it does, bool [N]."""
        return self._test(j, points, self.depth(j), 1)

    def samples(self, i: int, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Up to ``n`` random pixels of a frame, int64 [m, 2] as (u, v), whose place in space is :meth:`sure`."""
        camera = self.scene.frames[i].camera
        pixels = rng.integers(0, (camera.width, camera.height), (4 * n, 2))
        return pixels[self.sure(i, pixels)][:n]

    def sure(self, i: int, pixels: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which pixels [N, 2] lie on one surface with all that is around them, every reading there: bool [N].

        Inverse depth is linear in the image on any plane, so it is the mean of that at opposite pixels around. Around
        is 2 % of the width: at edges, a sensor's depth is that far off from colour.
        """
        camera, depth = self.scene.frames[i].camera, self.depth(i)
        margin = max(2, round(MARGIN * camera.width))
        inner = (pixels >= margin) & (pixels < np.array([camera.width, camera.height]) - margin)
        sure: NDArray[np.bool_] = np.logical_and(inner[:, 0], inner[:, 1])
        inverse_depth = 1 / patches(depth, pixels[sure], margin)
        middle = inverse_depth[:, inverse_depth.shape[1] // 2, None]
        bent = np.abs((inverse_depth + inverse_depth[:, ::-1]) / 2 - middle).max(axis=1)
        sure[sure] = bent < BENT * middle[:, 0]
        return sure

    def still(self, i: int, pixels: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which pixels [N, 2] of a frame show nothing that the scene says moves."""
        scene = self.scene
        moving = [k for k, thing in enumerate(scene.things) if thing.moving]
        if not moving or scene.instance_map is None:
            return np.ones(len(pixels), bool)
        if i not in self._moving:
            if len(self._moving) >= 8:
                self._moving.pop(next(iter(self._moving)))
            self._moving[i] = np.isin(scene.instance_map(i), moving)
        return ~self._moving[i][pixels[:, 1], pixels[:, 0]]

    def co_visible(
        self, i: int, j: int, n: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Up to ``n`` random pixels of frame i, and the nearest pixels of the same points in frame j.

        Both int64 [m, 2] as (u, v); sure in either image as of :meth:`samples`, and of nothing that moves.
        """
        pixels = self.samples(i, 8 * n, rng)
        places, visible = self.visible_in(j, self.world(i, pixels))
        visible &= self.still(i, pixels)
        pixels, there = pixels[visible], np.rint(places[visible]).astype(np.int64)
        visible = self.sure(j, there)
        visible[visible] = self.still(j, there[visible])
        return pixels[visible][:n], there[visible][:n]

    def _step(self, i: int) -> int:
        return -(-self.scene.frames[i].camera.width // COLUMNS)

    def _test(self, i: int, points: NDArray[np.float64], depth: NDArray[np.float32], step: int):
        """Pixels of world points in frame i, and the depth test against every ``step``-th of its readings."""
        frame = self.scene.frames[i]
        inside = transform(inverse(self.pose(i)), points)
        low, high = field_of_view(frame.camera)
        x, y, z = inside.T
        at = np.flatnonzero((z > 0) & (x > low[0] * z) & (x < high[0] * z) & (y > low[1] * z) & (y < high[1] * z))
        pixels, visible = np.full((len(points), 2), np.nan), np.zeros(len(points), bool)
        pixels[at], in_view = project(frame.camera, inside[at])
        at = at[in_view]
        u, v = np.rint(pixels[at] / step).astype(np.int64).T
        there = depth[v.clip(0, depth.shape[0] - 1), u.clip(0, depth.shape[1] - 1)].astype(np.float64)
        visible[at] = np.abs(z[at] - there) <= np.maximum(TOLERANCE, RELATIVE_TOLERANCE * there)
        return pixels, visible


@lru_cache(maxsize=16)
def field_of_view(camera: Camera) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Bounds of x / z and y / z, each float32 [2], of what projects into an image; lens models are wrong beyond."""
    rays = ray_grid(camera)[..., :2].reshape(-1, 2)
    low, high = np.nanmin(rays, axis=0), np.nanmax(rays, axis=0)
    pixel = 2 * (high - low) / max(min(camera.width, camera.height) - 1, 1)
    return low - pixel, high + pixel


def believed(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """A copy of depth in metres, NaN where it is no reading from 0.1 to 20 m."""
    return np.where((depth >= NEAREST) & (depth <= FARTHEST), depth, np.float32(np.nan))


def patches(image: NDArray, pixels: NDArray[np.int64], radius: int) -> NDArray:
    """Values around pixels [N, 2], [N, K]: of the square of that radius or of a grid of 9 x 9 across it.

    The middle one is the pixel's own, and k from either end are opposite. Beyond the border it is the value at it.
    """
    steps = np.unique(np.linspace(-radius, radius, min(2 * radius + 1, 9)).round().astype(int))
    v = (pixels[:, 1, None, None] + steps[:, None]).clip(0, image.shape[0] - 1)
    u = (pixels[:, 0, None, None] + steps).clip(0, image.shape[1] - 1)
    return image[v, u].reshape(len(pixels), len(steps) ** 2)
