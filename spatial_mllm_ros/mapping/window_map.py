"""WindowMap: windows of frames, each with geometry in a gauge of its own, become one map."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import hypot

import numpy as np
from numpy.typing import NDArray

from ..config import Config
from ..coverage.select import VOXELS_ON_SHORTEST_SIDE
from ..frames import Frame
from ..geometry.alignment import Fit, Sim3, scale_from_poses, similarity
from ..geometry.poses import is_rigid
from ..geometry.window import WindowGeometry
from .anchors import LINK_ERROR, Anchor, Anchors, Pairs, Refused, seen_before
from .placed import WORLD, WORLD_GAUGE, Gauge, Placed

RESTART_AFTER = 3  # windows refused in a row, then the next one starts anew
LEAST_USABLE = 0.1  # of the pixels of a window must have a depth
LEAST_SHARED = 30  # pixels that both windows believe
SHARED_PIXELS = 1000  # of each shared frame, that alignment looks at
SETTLED = 0.01  # error of scale from which on frames are placed for good
CHANGED = 0.03  # change of scale that moves what was placed before it was settled
JUMP = 0.2  # disagreement of poses and shared depth about scale, beyond their errors, that refuses a window
LOST = 0.5  # of depth: a map that is off by so much does not know what is near any more
APART = 10_000  # voxels between places of sections that are not connected


@dataclass(frozen=True, eq=False)
class Aligned:
    """What a window brought.

    Attributes:
        placed: its new frames in the map; those shared with earlier windows were placed before.
        voxels: what each of these sees, sorted distinct int64 [V].
        section: the section that they are in.
        gauge: where that lies in the world. Another object than last time: all frames in the section have moved.
        residual: disagreement with the map and the known poses, of depth. Beyond ``vggt.max_residual`` it is drift: a
            place seen before was off by so much, and the window was moved back to it.
    """

    placed: list[Placed]
    voxels: list[NDArray[np.int64]]
    section: int
    gauge: Gauge
    residual: float


@dataclass(eq=False)
class _Track:
    """The map of one camera: the section it is in now, and how well its scale is known."""

    section: int = WORLD
    gauge: Gauge = WORLD_GAUGE
    scale: float = 1.0  # the best estimate, where that of the gauge may lag behind
    error: float = np.inf
    anchors: Anchors = field(default_factory=dict)
    old: Anchors = field(default_factory=dict)  # one at most: it shows drift
    begun: tuple[int, str] = (0, "")  # the first frame of the last window that is no old one
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
    poses beyond ``vggt.max_residual``, and a jump of scale. Drift does not show between one window and the next. Where
    poses are not known, a window therefore begins with an old frame that should see the same as the newest: small
    drift is shared out between old and new, larger drift moves the window back to where the place was before, and a
    map that is lost starts anew. What was mapped on the way there stays as it is.

    One thread calls :meth:`add` and :meth:`shared`; :meth:`reset` may come from another.
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

    def shared(self, camera: str, placed: Iterable[Placed] = ()) -> list[Frame]:
        """The frames that the next window of a camera should begin with; none where it starts anew.

        Args:
            placed: frames of the camera at hand, of which one may come first, to find drift.
        """
        track = self._tracks.get(camera)
        if track is None or not track.anchors:
            return []
        newest = list(track.anchors.values())[-1]
        room = 2 * (len(track.anchors) + 1) <= self._params.window  # at least half of the window is new
        wanted = room and newest.frame.world_from_camera is None  # known poses leave no drift
        earlier = (p for p in placed if p.section == track.section and p.frame.key < track.begun)
        old = seen_before(newest, earlier) if wanted else None
        track.old = {old.frame.key: old} if old else {}
        return [anchor.frame for anchor in (*track.old.values(), *track.anchors.values())]

    def add(self, frames: Sequence[Frame], geometry: WindowGeometry | None) -> Aligned:
        """Align a window of one camera.

        Args:
            frames: [S] in order of time; which have known poses, and which were in the last window, is looked up.
            geometry: of these frames, or None where the model failed.
        Raises:
            Refused: it is not believed. The map stays as it was; after three that were not believed in a row, or where
                the map has drifted too far, the next starts anew. A model that failed says nothing about the map.
        """
        if geometry is None:
            raise Refused("no geometry", "the model gave no geometry")
        track = self._tracks.setdefault(frames[0].camera.name, _Track())
        try:
            aligned = self._align(track, frames, geometry)
        except Refused as refused:
            track.refused += 1
            if track.refused >= RESTART_AFTER or refused.kind == "drift":
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
        places = sparse.window_from_camera[[f.world_from_camera is not None for f in frames], :3, 3]
        if link and track.section == WORLD:
            to_section = self._in_world(track, link, posed, places)
        elif link:
            to_section = link.transform
            self._refine(track, link, posed, places)
        else:
            to_section = self._start(track, sparse, posed)
        fresh = [i for i, frame in enumerate(frames) if frame.key not in track.anchors | track.old]
        poses = [to_section.pose(pose) for pose in believed.window_from_camera]
        depth = [each * np.float32(to_section.scale) for each in believed.depth]
        placed = [Placed(frames[i], track.section, depth[i], believed.intrinsics[i], poses[i]) for i in fresh]
        voxels = [p.voxels(track.gauge, self._coverage) for p in placed]
        track.begun = next(frame.key for frame in frames if frame.key not in track.old)
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
        recent = Pairs.of(track.anchors, frames, sparse)
        if recent is None:
            return None
        if len(recent) < LEAST_SHARED:
            raise Refused("few points", f"{len(recent)} pixels of shared frames are believed: expected {LEAST_SHARED}")
        try:
            fit = recent.fit()
        except ValueError as error:
            raise Refused("degenerate", f"shared frames: {error}") from None
        self._check_residual(fit, "the map on shared frames")
        old = Pairs.of(track.old, frames, sparse)
        return fit if old is None or len(old) < LEAST_SHARED else self._without_drift(fit, recent, old)

    def _without_drift(self, link: Fit, recent: Pairs, old: Pairs) -> Fit:
        """The fit halfway between where recent frames and an old one place the window; beyond the limit the old one's.

        An old frame that no longer looks as it did says nothing.
        """
        try:
            back = old.fit()
        except ValueError:
            return link
        drift = float(np.median(np.linalg.norm(link.transform.apply(old.source) - old.target, axis=1) / old.far))
        if not back.residual <= self._params.max_residual:
            return link
        if drift > LOST:
            raise Refused("drift", f"a place seen before is off by {drift:.0%} of depth: the map is lost")
        if drift > self._params.max_residual:
            return Fit(back.transform, drift, LINK_ERROR)
        source = np.concatenate([recent.source, old.source])
        between = (link.transform.apply(source) + back.transform.apply(source)) / 2
        return Fit(similarity(source, between), max(link.residual, back.residual), LINK_ERROR)

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

    def _in_world(self, track: _Track, link: Fit, posed: Fit | None, places: NDArray[np.float64]) -> Sim3:
        """world_from_window of a window that continues a map whose scale is known.

        Args:
            places: of the cameras with known poses, [N, 3] in the window.
        """
        handed_on = hypot(track.error, link.error)
        if posed is None:
            track.error = handed_on
            return link.transform
        scale, track.error = _fused(link.transform.scale, handed_on, posed.transform.scale, posed.error)
        return posed.transform.rescaled(scale, places.mean(axis=0))

    def _refine(self, track: _Track, link: Fit, posed: Fit | None, places: NDArray[np.float64]) -> None:
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
            track.gauge = Gauge(found.rescaled(track.scale, link.transform.apply(places).mean(axis=0)), True)

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

    def _anchors(self, track: _Track, frames: Sequence[Frame], sparse: WindowGeometry, to_section: Sim3) -> Anchors:
        """The last frames of a window, in the section: at their known poses where that is the world."""
        out = {}
        for i in range(max(0, len(frames) - self._params.shared), len(frames)):
            known = frames[i].world_from_camera if track.section == WORLD else None
            pose = to_section.pose(sparse.window_from_camera[i]) if known is None else known
            depth = sparse.depth[i] * np.float32(to_section.scale)
            out[frames[i].key] = Anchor.of(frames[i], pose, depth, sparse.intrinsics[i])
        return out

    def _settle(self, track: _Track) -> None:
        """The section's scale is known for good: what comes next is placed in the world."""
        if track.section == WORLD:
            return
        to_world = track.gauge.world_from_section
        track.anchors = {
            key: Anchor(a.frame, to_world.pose(a.pose), to_world.apply(a.points), a.depth * np.float32(to_world.scale))
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
