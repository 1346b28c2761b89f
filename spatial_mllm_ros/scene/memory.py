"""FrameMemory: frames go in without end, a bounded number stays: the latest, and those that cover the scene best."""

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from threading import RLock

import numpy as np
from numpy.typing import NDArray

from ..config import Config, CoverageParams
from ..coverage import StreamingCoverageSampler, Update, depth_voxel_keys
from ..errors import ErrorCode, SpatialError, bad, check_cameras
from ..evenly import evenly
from ..frames import Frame
from ..geometry.cameras import ray_grid
from ..geometry.poses import Matrix
from ..mapping.placed import WORLD, WORLD_GAUGE, Gauge, Placed
from ..mapping.window_map import Aligned

NEAREST_NS = 500_000_000  # how far the nearest frame may be from a moment that was asked for
FrameKey = tuple[int, str]
NOTHING = Update(accepted=False, evicted=None, gain=0)


@dataclass(frozen=True)
class Selected:
    """A frame that now covers the scene: voxels it sees, and those that no other selected frame sees.

    ``world_from_camera`` is the frame's own pose, else that of the map; without poses that is no place in the world.
    """

    frame: Frame
    voxels: int
    unique_voxels: int
    world_from_camera: Matrix


@dataclass(frozen=True)
class CoverageState:
    """What has been seen and what is covered; the fields of ``CoverageStatus.msg`` that memory knows.

    ``geometry_source`` says what the frames at hand are placed by: depth, vggt, both, or nothing yet; ``unscaled``
    where some of it has no metres, so that a voxel there is no length.
    """

    stamp_ns: int
    frames_seen: int
    frames_selected: int
    voxels_seen: int
    voxels_covered: int
    voxel_size: float
    geometry_source: str
    frames_recent: int
    nbytes: int


def frame_voxels(frame: Frame, params: CoverageParams) -> NDArray[np.int64] | None:
    """Voxels that a frame sees, sorted distinct int64 [V]; None without depth or pose.

    Raises:
        BadMessage: the depth bytes turn out to be broken.
    """
    seen = None if frame.world_from_camera is None else frame.measured
    if seen is None or seen.world_from_camera is None:
        return None
    return depth_voxel_keys(
        seen.depth,
        ray_grid(seen.camera),
        seen.world_from_camera,
        params.voxel_size,
        params.min_depth,
        params.max_depth,
        params.stride,
    )


class FrameMemory:
    """The one owner of frames. Thread safe: one thread adds, others ask.

    Recent frames are kept for ``memory.seconds``; those that the sampler holds, selected ones and its small reserve,
    for as long as it holds them; all within ``memory.megabytes``. Pixels are kept as they arrived and never copied; a
    frame that is both recent and held is kept once.

    Geometry comes with the frame, or later, by :meth:`add_geometry`, for frames that may be forgotten by then.

    Attributes:
        cleared: how often everything was forgotten.
    """

    def __init__(self, config: Config):
        self.config = config
        self._lock = RLock()
        self._sampler = StreamingCoverageSampler(
            config.coverage.frames, config.coverage.voxel_size, config.coverage.max_voxels
        )
        self._limit = config.memory.megabytes * 1_000_000
        self._seen = 0
        self.cleared = -1
        self.clear()

    def clear(self, count: bool = True) -> None:
        """Forget everything; the number of frames seen goes on where ``count`` is false."""
        with self._lock:
            self.cleared += 1
            self._sampler.reset()
            self._recent: deque[Frame] = deque()
            self._held: dict[FrameKey, Frame] = {}
            self._placed: dict[FrameKey, Placed] = {}  # of the held frames, those that have their geometry from a map
            self._gauges = {WORLD: WORLD_GAUGE}
            self._nbytes = 0
            self._seen = 0 if count else self._seen

    def add(self, frame: Frame) -> Update:
        """Remember a frame; with depth and pose it competes for a place among the selected ones.

        Returns:
            What the sampler did: whether it holds the frame, which one it let go (a ``Frame.key``), growth of coverage.
        Raises:
            BadMessage: depth bytes turn out to be broken; the frame is not remembered.
        """
        wanted = self.config.coverage.source != "vggt"
        keys = frame_voxels(frame, self.config.coverage) if wanted else None
        with self._lock:
            self._seen += 1
            self._nbytes += frame.nbytes
            self._recent.append(frame)
            update = self._offer(frame, keys) if keys is not None else NOTHING
            self._forget()
            return update

    def add_geometry(self, aligned: Aligned, cleared: int) -> None:
        """Let frames compete for a place among the selected ones by the geometry that a map gave them.

        They may be forgotten by now; one that is held already stays as it is. Where their section lies elsewhere than
        before, the frames held from it get their voxels anew, and ``voxels_seen`` starts again from what all held
        frames see. Frames that are added meanwhile wait for one of these at a time, not for all.

        Args:
            cleared: the value of :attr:`cleared` when the frames were taken; nothing is done once it is another.
        """
        self._move(aligned.section, aligned.gauge, cleared)
        for p, keys in zip(aligned.placed, aligned.voxels, strict=True):
            with self._lock:
                if self.cleared == cleared and p.frame.key not in self._held:
                    update = self._offer(p.frame, keys)
                    if update.accepted:
                        self._placed[p.frame.key] = p
                        self._nbytes += p.nbytes
                    self._forget()

    def placed(self, camera: str) -> list[Placed]:
        """The held frames of a camera that have their geometry from a map, in no order."""
        with self._lock:
            return [p for p in self._placed.values() if p.frame.camera.name == camera]

    def _move(self, section: int, gauge: Gauge, cleared: int) -> None:
        """Note where a section lies and, where it lay elsewhere, build the sampler from the held frames again."""
        with self._lock:
            if self.cleared != cleared:
                return
            known = self._gauges.get(section, gauge)
            used = {WORLD, *(p.section for p in self._placed.values())}
            self._gauges = {key: old for key, old in self._gauges.items() if key in used} | {section: gauge}
            if known is not gauge:
                self._index_again(section)

    def _offer(self, frame: Frame, keys: NDArray[np.int64]) -> Update:
        update = self._sampler.add_voxels(frame.key, keys)
        if update.accepted:
            self._held[frame.key] = frame
            if not any(f is frame for f in self._recent):
                self._nbytes += frame.nbytes
        if update.evicted is not None:
            self._let_go(update.evicted)
        return update

    def _index_again(self, section: int) -> None:
        """Build the sampler from the held frames, those of a section by the voxels that they have now."""
        voxels = {key: self._sampler.voxels(key) for key in self._sampler.held}
        for key, p in self._placed.items():
            if p.section == section:
                voxels[key] = p.voxels(self._gauges[section], self.config.coverage)
        self._sampler.reset()
        for key, keys in voxels.items():
            if not self._sampler.add_voxels(key, keys).accepted:
                self._let_go(key)

    def frames(
        self, start_ns: int = 0, end_ns: int = 0, cameras: Collection[str] = (), max_frames: int = 0
    ) -> list[Frame]:
        """The frames that show best what was seen, in order of time.

        Selected frames come first, by greedy coverage. Where a time or camera filter leaves too few of them, or there
        is no geometry at all, recent frames spread evenly over time fill up the number.

        Args:
            start_ns, end_ns: closed interval of stamps; 0 is the beginning of memory, and now.
            cameras: names; empty means all.
            max_frames: 0 means ``coverage.frames``.
        Raises:
            SpatialError: BAD_REQUEST for an unknown camera or start after end, NO_FRAMES where nothing is left.
        """
        check_cameras(cameras, self.config.cameras)
        end_ns = end_ns or 2**63
        if start_ns > end_ns:
            raise bad("start is after end")
        most = max_frames or self.config.coverage.frames

        def wanted(key: FrameKey) -> bool:
            return start_ns <= key[0] <= end_ns and (not cameras or key[1] in cameras)

        with self._lock:
            chosen = {key: self._held[key] for key in self._sampler.select(most, wanted)}
            rest = [f for f in self._recent if wanted(f.key) and f.key not in chosen]
            newest = max((f.stamp_ns for f in (*self._recent, *self._held.values())), default=0)
            filtered = bool(start_ns or cameras or end_ns < newest)
            span = self._span()
        if (filtered or not chosen) and rest and len(chosen) < most:
            for i in evenly(len(rest), most - len(chosen)):
                chosen[rest[i].key] = rest[i]
        if not chosen:
            raise SpatialError(ErrorCode.NO_FRAMES, f"no frame matches; {span}")
        return [chosen[key] for key in sorted(chosen)]

    def frame_at(self, camera: str, stamp_ns: int = 0) -> Frame:
        """The remembered frame of a camera nearest to a moment; 0 means the latest.

        Raises:
            SpatialError: BAD_REQUEST for an unknown camera, NO_FRAMES where none lies within half a second.
        """
        check_cameras([camera], self.config.cameras)
        with self._lock:
            held = [f for f in (*self._recent, *self._held.values()) if f.camera.name == camera]
            span = self._span()
        if not held:
            raise SpatialError(ErrorCode.NO_FRAMES, f"no frame of camera '{camera}' is remembered")
        if not stamp_ns:
            return max(held, key=lambda f: f.stamp_ns)
        nearest = min(held, key=lambda f: abs(f.stamp_ns - stamp_ns))
        off = abs(nearest.stamp_ns - stamp_ns)
        if off > NEAREST_NS:
            text = f"no frame near {stamp_ns / 1e9:.3f} s, the nearest is {off / 1e9:.1f} s away; {span}"
            raise SpatialError(ErrorCode.NO_FRAMES, text)
        return nearest

    def recent(self, camera: str = "", after_ns: int = 0, until_ns: int = 0) -> list[Frame]:
        """Recent frames of one camera (or all) with after_ns < stamp <= until_ns (0: no end), in order of arrival."""
        until_ns = until_ns or 2**63
        with self._lock:
            within = [f for f in self._recent if after_ns < f.stamp_ns <= until_ns]
        return [f for f in within if camera in ("", f.camera.name)]

    @property
    def selected(self) -> list[Selected]:
        """The frames that cover the scene now, in order of time."""
        with self._lock:
            gains = self._sampler.gains()
            return [Selected(self._held[key], *gains[key], self._pose(key)) for key in sorted(gains)]

    def covered_voxels(self) -> np.ndarray:
        """Centres of the covered voxels, float64 [V, 3] metres in the world frame."""
        with self._lock:
            return self._sampler.covered_centers()

    def state(self) -> CoverageState:
        """Counts and sizes at this moment."""
        with self._lock:
            return CoverageState(
                stamp_ns=self._recent[-1].stamp_ns if self._recent else 0,
                frames_seen=self._seen,
                frames_selected=len(self._sampler.selected),
                voxels_seen=self._sampler.voxels_seen,
                voxels_covered=self._sampler.voxels_covered,
                voxel_size=self.config.coverage.voxel_size,
                geometry_source=self._source(),
                frames_recent=len(self._recent),
                nbytes=self._nbytes + self._sampler.nbytes,
            )

    def _pose(self, key: FrameKey) -> Matrix:
        if (p := self._placed.get(key)) is not None:
            return p.world_from_camera(self._gauges[p.section])
        pose = self._held[key].world_from_camera
        assert pose is not None
        return pose

    def _source(self) -> str:
        sources = ["depth"] if len(self._held) > len(self._placed) else []
        if self._placed:
            metric = all(self._gauges[p.section].metric for p in self._placed.values())
            sources.append("vggt" if metric else "vggt (unscaled)")
        return " + ".join(sources)

    def _forget(self) -> None:
        """Drop recent frames that are too old; beyond the memory limit the oldest, then the reserve, then the least."""
        newest = self._recent[-1].stamp_ns if self._recent else 0
        oldest = newest - int(self.config.memory.seconds * 1e9)
        while len(self._recent) > 1 and (self._recent[0].stamp_ns < oldest or self._nbytes > self._limit):
            gone = self._recent.popleft()
            if gone.key not in self._held:
                self._nbytes -= gone.nbytes
        while self._nbytes > self._limit and len(self._held) > 1:
            gains = self._sampler.gains()
            least = min(self._held, key=lambda key: (gains.get(key, (0, -1))[1], key))
            self._sampler.remove(least)
            self._let_go(least)

    def _let_go(self, key: FrameKey) -> None:
        frame = self._held.pop(key)
        if (placed := self._placed.pop(key, None)) is not None:
            self._nbytes -= placed.nbytes
        if not any(f is frame for f in self._recent):
            self._nbytes -= frame.nbytes

    def _span(self) -> str:
        held = [f.stamp_ns for f in (*self._recent, *self._held.values())]
        if not held:
            return "nothing is remembered yet"
        return f"remembered are {min(held) / 1e9:.3f} to {max(held) / 1e9:.3f} s"
