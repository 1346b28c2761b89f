"""WindowMap: windows of frames, each with geometry in a gauge of its own, become one map."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import hypot

import numpy as np
from numpy.typing import NDArray

from ..config import Config
from ..coverage.select import VOXELS_ON_SHORTEST_SIDE
from ..frames import Frame
from ..geometry.alignment import Fit, Sim3, robust_similarity, scale_from_depth, scale_from_poses
from ..geometry.poses import is_rigid, transform
from ..geometry.window import WindowGeometry
from .placed import WORLD, WORLD_GAUGE, Gauge, Placed

RESTART_AFTER = 3  # windows refused in a row, then the next one starts anew
LEAST_USABLE = 0.1  # of the pixels of a window must have a depth
LEAST_SHARED = 30  # pixels that both windows believe
SHARED_PIXELS = 1000  # of each shared frame, that alignment looks at
LINK_ERROR = 0.005  # of scale, each time it is handed on from window to window
SETTLED = 0.01  # error of scale from which on frames are placed for good
CHANGED = 0.03  # change of scale that moves what was placed before it was settled
JUMP = 0.2  # disagreement of poses and shared depth about scale, beyond their errors, that refuses a window
APART = 10_000  # voxels between places of sections that are not connected


class Refused(ValueError):
    """A window that is not believed: ``kind`` is one of few, to be counted, the text says how far off it was."""

    def __init__(self, kind: str, text: str):
        super().__init__(text)
        self.kind = kind


@dataclass(frozen=True, eq=False)
class Aligned:
    """What a window brought.

    Attributes:
        placed: its new frames in the map; those shared with earlier windows were placed before.
        voxels: what each of these sees, sorted distinct int64 [V].
        section: the section that they are in.
        gauge: where that lies in the world. Another object than last time: all frames in the section have moved.
        residual: disagreement with the map and the known poses, of depth.
    """

    placed: list[Placed]
    voxels: list[NDArray[np.int64]]
    section: int
    gauge: Gauge
    residual: float


@dataclass(frozen=True, eq=False)
class _Anchor:
    """A frame that the next window sees again: its believed pixels, NaN elsewhere, in the section."""

    frame: Frame
    points: NDArray[np.float64]
    depth: NDArray[np.float32]


@dataclass(eq=False)
class _Track:
    """The map of one camera: the section it is in now, and how well its scale is known."""

    section: int = WORLD
    gauge: Gauge = WORLD_GAUGE
    scale: float = 1.0  # the best estimate, where that of the gauge may lag behind
    error: float = np.inf
    anchors: dict[tuple[int, str], _Anchor] = field(default_factory=dict)
    refused: int = 0


class WindowMap:
    """Aligns windows of frames to one map.

    Known poses give scale by comparing baselines; their points are then known pose times scaled depth, so that errors
    of the model's poses do not matter. Where baselines are short, scale comes from the depth of shared frames, or, for
    the first windows, waits: they form a provisional section, which moves as a whole when the scale becomes known.
    Without poses, windows are joined by a similarity transform on the points of shared frames.

    A section whose poses are unknown has no metres: the shortest side of its first window's box of believed points is
    taken for 20 voxels, as in the paper's sampler. It is placed apart from all else, so that coverage still counts.

    Found and refused: geometry that is not finite, too few believed pixels, disagreement with the map or with known
    poses beyond ``vggt.max_residual``, and a jump of scale. Not found: slow drift where no poses are known, and a place
    seen again after such drift. One thread calls :meth:`add`; :meth:`reset` may come from another.
    """

    def __init__(self, config: Config):
        self._params = config.vggt
        self._coverage = config.coverage
        self._tracks: dict[str, _Track] = {}
        self.world_known = False
        self.reset()

    def reset(self) -> None:
        """Forget the map."""
        self._tracks = {}
        self._sections = WORLD
        self._islands = 0
        self.world_known = False

    def shared(self, camera: str) -> list[Frame]:
        """The frames that the next window of a camera should begin with; none where it starts anew."""
        track = self._tracks.get(camera)
        return [anchor.frame for anchor in track.anchors.values()] if track else []

    def add(self, frames: Sequence[Frame], geometry: WindowGeometry | None) -> Aligned:
        """Align a window of one camera.

        Args:
            frames: [S] in order of time; which have known poses, and which were in the last window, is looked up.
            geometry: of these frames, or None where the model failed.
        Raises:
            Refused: it is not believed. The map stays as it was; after three that were not believed in a row the next
                window starts anew. A model that failed says nothing about the map.
        """
        if geometry is None:
            raise Refused("no geometry", "the model gave no geometry")
        track = self._tracks.setdefault(frames[0].camera.name, _Track())
        try:
            aligned = self._align(track, frames, geometry)
        except Refused:
            track.refused += 1
            if track.refused >= RESTART_AFTER:
                track.anchors, track.refused = {}, 0
            raise
        track.refused = 0
        return aligned

    def _align(self, track: _Track, frames: Sequence[Frame], geometry: WindowGeometry) -> Aligned:
        believed = self._believed(frames, geometry)
        sparse = believed.sparse(max(1, int(np.sqrt(believed.depth[0].size / SHARED_PIXELS))))
        self.world_known |= any(f.world_from_camera is not None for f in frames)
        link = self._linked(track, frames, sparse)
        posed = self._posed(frames, sparse)
        if link and track.section == WORLD:
            to_section = self._in_world(track, link, posed)
        elif link:
            to_section = link.transform
            self._refine(track, link, posed)
        else:
            to_section = self._start(track, sparse, posed)
        fresh = [i for i, frame in enumerate(frames) if frame.key not in track.anchors]
        poses = [to_section.pose(pose) for pose in believed.window_from_camera]
        depth = [each * np.float32(to_section.scale) for each in believed.depth]
        placed = [Placed(frames[i], track.section, depth[i], believed.intrinsics[i], poses[i]) for i in fresh]
        voxels = [p.voxels(track.gauge, self._coverage) for p in placed]
        track.anchors = self._anchors(track, frames, sparse, to_section)
        residual = max((fit.residual for fit in (link, posed) if fit), default=0.0)
        aligned = Aligned(placed, voxels, track.section, track.gauge, residual)
        if track.gauge.metric and track.error < SETTLED:
            self._settle(track)
        return aligned

    def _believed(self, frames: Sequence[Frame], geometry: WindowGeometry) -> WindowGeometry:
        """The pixels that coverage uses, with a depth of NaN where it is not to be believed."""
        if len(frames) != len(geometry):
            raise Refused("wrong size", f"geometry of {len(geometry)} frames for a window of {len(frames)}")
        geometry = geometry.sparse(self._coverage.stride)
        k = geometry.intrinsics
        finite = all(is_rigid(pose, 1e-2) for pose in geometry.window_from_camera) and np.isfinite(k).all()
        if not finite or (k[:, [0, 1], [0, 1]] <= 0).any() or (k[:, 2] != [0, 0, 1]).any():
            raise Refused("not finite", "the model's cameras are not finite, or are no cameras")
        believed = geometry.confident()
        usable = 2 * believed.mean()
        if usable < LEAST_USABLE:
            raise Refused("few points", f"only {usable:.1%} of the pixels have a depth: expected {LEAST_USABLE:.0%}")
        depth = np.where(believed, geometry.depth, np.float32(np.nan))
        return WindowGeometry(depth, geometry.confidence, geometry.window_from_camera, k)

    def _linked(self, track: _Track, frames: Sequence[Frame], sparse: WindowGeometry) -> Fit | None:
        """section_from_window by the points of frames that were placed before; None where there is none."""
        points = sparse.points()
        source, target, near, far, weights = [], [], [], [], []
        known = [(i, track.anchors[f.key]) for i, f in enumerate(frames) if f.key in track.anchors]
        for i, anchor in known:
            if anchor.depth.shape != sparse.depth.shape[1:]:
                raise Refused("wrong size", "depth maps of another size than in the last window")
            both = np.isfinite(anchor.depth) & np.isfinite(sparse.depth[i])
            source.append(points[i][both])
            target.append(anchor.points[both])
            near.append(sparse.depth[i][both])
            far.append(anchor.depth[both])
            weights.append(sparse.confidence[i][both])
        if not known:
            return None
        if (count := sum(map(len, source))) < LEAST_SHARED:
            raise Refused("few points", f"{count} pixels of shared frames are believed: expected {LEAST_SHARED}")
        far_all, weight = np.concatenate(far), np.concatenate(weights)
        scale, disagreement = scale_from_depth(np.concatenate(near), far_all)
        trust = np.clip(weight / np.median(weight), 0.1, 10)
        try:
            fit = robust_similarity(np.concatenate(source), np.concatenate(target), far_all, trust, scale)
        except ValueError as error:
            raise Refused("degenerate", f"shared frames: {error}") from None
        fit = Fit(fit.transform, max(fit.residual, disagreement), LINK_ERROR)
        self._check_residual(fit, "the map on shared frames")
        return fit

    def _posed(self, frames: Sequence[Frame], sparse: WindowGeometry) -> Fit | None:
        """world_from_window by known poses; None where they are too few, or their baselines too short."""
        known = [(i, f.world_from_camera) for i, f in enumerate(frames) if f.world_from_camera is not None]
        if len(known) < 2:
            return None
        indices, poses = zip(*known, strict=True)
        depth = float(np.nanmedian(sparse.depth))
        fit = scale_from_poses(np.stack(poses), sparse.window_from_camera[list(indices)], depth)
        if fit is not None:
            self._check_residual(fit, "known poses")
        return fit

    def _check_residual(self, fit: Fit, what: str) -> None:
        if not fit.residual <= self._params.max_residual:
            most = f"at most {self._params.max_residual:.1%} is allowed"
            raise Refused("residual", f"disagrees with {what} by {fit.residual:.1%} of depth; {most}")

    def _in_world(self, track: _Track, link: Fit, posed: Fit | None) -> Sim3:
        """world_from_window of a window that continues a map whose scale is known."""
        handed_on = hypot(track.error, link.error)
        if posed is None:
            track.error = handed_on
            return link.transform
        scale, track.error = _fused(link.transform.scale, handed_on, posed.transform.scale, posed.error)
        return Sim3(scale, posed.transform.rotation, posed.transform.translation)

    def _refine(self, track: _Track, link: Fit, posed: Fit | None) -> None:
        """Move a provisional section where this window's poses say so."""
        if posed is None:
            return
        found = posed.transform @ link.transform.inverse()
        if track.gauge.metric:
            track.scale, track.error = _fused(track.scale, track.error, found.scale, hypot(posed.error, link.error))
        else:
            track.scale, track.error = found.scale, hypot(posed.error, link.error)
        lag = abs(np.log(track.scale / track.gauge.world_from_section.scale))
        if not track.gauge.metric or lag > (CHANGED if track.error > SETTLED else SETTLED / 2):
            track.gauge = Gauge(Sim3(track.scale, found.rotation, found.translation), True)

    def _start(self, track: _Track, sparse: WindowGeometry, posed: Fit | None) -> Sim3:
        """section_from_window of a window that nothing came before."""
        track.anchors = {}
        if posed is not None and posed.error < SETTLED:
            track.section, track.gauge, track.error = WORLD, WORLD_GAUGE, posed.error
            return posed.transform
        self._sections += 1
        track.section = self._sections
        if posed is not None:
            track.gauge, track.scale, track.error = Gauge(posed.transform, True), posed.transform.scale, posed.error
        else:
            track.gauge, track.error = Gauge(self._island(sparse), False), np.inf
        return Sim3()

    def _island(self, sparse: WindowGeometry) -> Sim3:
        """A place for a section without poses, in which a voxel is its shortest side / 20."""
        points = sparse.points()
        points = points[np.isfinite(points[..., 0])]
        sides = np.sort(np.diff(np.percentile(points, (2, 98), axis=0), axis=0)[0])  # wrong points lie far out
        side = next((s for s in sides if s > 1e-5 * sides[2]), 1.0)
        scale = self._coverage.voxel_size * VOXELS_ON_SHORTEST_SIDE / float(side)
        apart = APART * self._coverage.voxel_size * (self._islands + self.world_known)
        self._islands += 1
        return Sim3(scale, np.eye(3), np.array([apart % (64 * APART * self._coverage.voxel_size), 0.0, 0.0]))

    def _anchors(
        self, track: _Track, frames: Sequence[Frame], sparse: WindowGeometry, to_section: Sim3
    ) -> dict[tuple[int, str], _Anchor]:
        """The last frames of a window, in the section: at their known poses where that is the world."""
        out = {}
        for i in range(max(0, len(frames) - self._params.shared), len(frames)):
            known = frames[i].world_from_camera if track.section == WORLD else None
            pose = to_section.pose(sparse.window_from_camera[i]) if known is None else known
            depth = sparse.depth[i] * np.float32(to_section.scale)
            out[frames[i].key] = _Anchor(frames[i], transform(pose, sparse.rays(i) * depth[..., None]), depth)
        return out

    def _settle(self, track: _Track) -> None:
        """The section's scale is known for good: what comes next is placed in the world."""
        if track.section == WORLD:
            return
        to_world = track.gauge.world_from_section
        track.anchors = {
            key: _Anchor(a.frame, to_world.apply(a.points), a.depth * np.float32(to_world.scale))
            for key, a in track.anchors.items()
        }
        track.section, track.gauge = WORLD, WORLD_GAUGE


def _fused(a: float, error_a: float, b: float, error_b: float) -> tuple[float, float]:
    """Two estimates of a scale as one, and its error; each counts by its certainty."""
    jump = abs(np.log(b / a))
    if jump > JUMP and jump > 4 * hypot(error_a, error_b):
        raise Refused("scale jump", f"known poses say a scale {b / a:.2f} times that of the map")
    weight_a, weight_b = error_a**-2, error_b**-2
    scale = np.exp((weight_a * np.log(a) + weight_b * np.log(b)) / (weight_a + weight_b))
    return float(scale), float((weight_a + weight_b) ** -0.5)
