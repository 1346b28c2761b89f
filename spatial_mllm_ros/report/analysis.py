"""One pass over a recording that gathers everything the report shows."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..annotate.follow import Target
from ..config import Config
from ..coverage import StreamingCoverageSampler, greedy_cover
from ..errors import BadMessage, SpatialError
from ..frames import Frame
from ..motion.rewards import CameraTarget, RegionTarget, Reward
from ..scene.asking import Asked
from ..scene.memory import FrameKey
from ..scene.pipeline import CAMERA
from ..scene.selection import REPEATED, VoxelHistory, voxels_or_reason, why_unusable
from .floor import SceneMap
from .judged import JudgedMotion
from .objects import ObjectTrack, push_start, visible_roi

if TYPE_CHECKING:
    from ..mllm.answering.engine import Engine

STAGES = ("decode", "voxelise", "select", "motion", "model")
GIVE_UP_NS = 250_000_000  # an object that is hidden for so long from the start of its push on is not followed


@dataclass
class Series:
    """Rewards of one target over time.

    Attributes:
        target: what was followed; its camera, region and stamp are those it was really started with.
        frame: where it was first seen.
        track: the truth, for an object of a simulated recording.
        judged: rewards of the model, for the frames that it was asked about.
        failed: why there are no rewards.
    """

    target: Target
    frame: Frame
    track: ObjectTrack | None = None
    rewards: list[Reward] = field(default_factory=list)
    judged: list[Reward] = field(default_factory=list)
    failed: str = ""


@dataclass(frozen=True)
class Selected:
    """A selected frame with the voxels it adds in greedy order, those it sees, and those that it alone sees."""

    frame: Frame
    gain: int
    voxels: int
    unique: int


@dataclass
class Coverage:
    """Voxels over time, one value a stamp; ``uniform`` and ``greedy`` at fewer stamps, their own."""

    stamps_ns: list[int] = field(default_factory=list)
    seen: list[int] = field(default_factory=list)
    streaming: list[int] = field(default_factory=list)
    baseline_ns: list[int] = field(default_factory=list)
    uniform: list[int] = field(default_factory=list)
    greedy: list[int] = field(default_factory=list)


@dataclass
class Analysis:
    """Everything the page shows. Times in nanoseconds, timings in milliseconds; ``shown`` are the frames of answers."""

    config: Config
    frames: int
    stamps_ns: tuple[int, int]
    cameras: dict[str, int]
    world_frame: str
    coverage: Coverage
    selected: list[Selected]
    scene: SceneMap
    series: list[Series]
    timing: dict[str, NDArray[np.float64]]
    notes: list[str]
    asked: Sequence[Asked] = ()
    shown: dict[FrameKey, Frame] = field(default_factory=dict)

    @property
    def voxels_seen(self) -> int:
        return self.coverage.seen[-1] if self.coverage.seen else 0

    @property
    def voxels_covered(self) -> int:
        return sum(s.gain for s in self.selected)


class Recorder:
    """Feed frames in time order with :meth:`add`, then ask for the :meth:`result`.

    Every camera is followed from its first frame, a target from the first frame at or after its stamp. The tracks of a
    simulated recording become regions half a second before their objects are first pushed, if a camera sees them then.

    Args:
        engine: the model that is asked how far targets moved, where ``motion.source`` is not geometry.
    Raises:
        SpatialError: BAD_REQUEST where that is missing, or was not calibrated for motion.
    """

    def __init__(
        self,
        config: Config,
        targets: Sequence[Target] = (),
        tracks: Sequence[ObjectTrack] = (),
        asked: Sequence[Asked] = (),
        engine: "Engine | None" = None,
    ):
        self.config = config
        self._judged = JudgedMotion(engine, config.motion)
        self._asked = asked
        self._wanted = {key for question in asked for key in question.evidence}
        self._shown: dict[FrameKey, Frame] = {}
        params = config.coverage
        self._sampler = StreamingCoverageSampler(params.frames, params.voxel_size, params.max_voxels)
        self._held: dict[Any, tuple[Frame, NDArray[np.int64]]] = {}
        self._history = VoxelHistory(2048)
        self._scene = SceneMap(params.voxel_size)
        self._coverage = Coverage()
        self._goals = {t.label: t.goal for t in targets if t.roi is None}
        self._waiting: list[tuple[Target, ObjectTrack | None]] = [
            *((replace(t, camera=t.camera or config.cameras[0]), None) for t in targets if t.roi is not None),
            *((Target(t.name, stamp_ns=push_start(t)), t) for t in tracks),
        ]
        self._following: list[tuple[Series, Any]] = []
        self._series: list[Series] = []
        self._timing: dict[str, list[float]] = {stage: [] for stage in STAGES}
        self._cameras: Counter[str] = Counter()
        self._skipped: Counter[str] = Counter()
        self._first_ns = self._last_ns = 0
        self._world = ""

    def add(self, frame: Frame) -> None:
        self._first_ns = self._first_ns or frame.stamp_ns
        self._last_ns = frame.stamp_ns
        self._world = self._world or frame.world_frame
        self._cameras[frame.camera.name] += 1
        if frame.key in self._wanted:
            self._shown[frame.key] = frame
        if self._cameras[frame.camera.name] == 1:
            label = CAMERA if len(self.config.cameras) == 1 else f"{CAMERA} {frame.camera.name}"
            series = Series(Target(label, frame.camera.name), frame)
            self._follow(series, CameraTarget(CAMERA, goal_of(self._goals.get(CAMERA)), self.config.motion))
            if CAMERA not in self._goals:
                self._judged.follow(series.judged, label, frame)
        spent: dict[str, float] = defaultdict(float)
        try:
            with measured(spent, "decode"):
                _ = frame.depth, frame.gray  # here, so that the other stages do not pay for it
        except BadMessage as error:
            self._skipped[f"broken pixels ({error})"] += 1
            return
        self._cover(frame, spent)
        with measured(spent, "motion"):
            for series, follower in self._following:
                if series.target.camera == frame.camera.name:
                    series.rewards.append(follower.update(frame))
            self._start_targets(frame)
        self._judged.look(frame)
        if self._judged.wants(frame):
            with measured(spent, "model"):
                self._judged.judge(frame)
        for stage, seconds in spent.items():
            self._timing[stage].append(seconds * 1e3)
        frame.release()

    def _follow(self, series: Series, follower: Any) -> None:
        self._series.append(series)
        self._following.append((series, follower))

    def _cover(self, frame: Frame, spent: dict[str, float]) -> None:
        with measured(spent, "voxelise"):
            voxels, reason = voxels_or_reason(frame, self.config.coverage)
        if voxels is None or frame.key in self._held:
            self._skipped[reason or REPEATED] += 1
            return
        with measured(spent, "select"):
            update = self._sampler.add_voxels(frame.key, voxels)
        if update.accepted:
            self._held[frame.key] = frame, voxels
            self._held.pop(update.evicted, None)
        self._history.add(frame.key, voxels)
        self._scene.add(frame, voxels)
        self._coverage.stamps_ns.append(frame.stamp_ns)
        self._coverage.seen.append(int(self._sampler.voxels_seen))
        self._coverage.streaming.append(int(self._sampler.voxels_covered))

    def _start_targets(self, frame: Frame) -> None:
        for target, track in list(self._waiting):
            if frame.stamp_ns < target.stamp_ns or target.camera not in ("", frame.camera.name) or why_unusable(frame):
                continue
            roi = visible_roi(track, frame) if track else target.roi
            if roi is None:
                if frame.stamp_ns > target.stamp_ns + GIVE_UP_NS:
                    self._waiting.remove((target, track))
                continue
            self._waiting.remove((target, track))
            series = Series(replace(target, camera=frame.camera.name, roi=roi, stamp_ns=frame.stamp_ns), frame, track)
            x, y, width, height = (int(v) for v in roi)
            try:
                self._follow(
                    series,
                    RegionTarget(target.label, frame, (x, y, width, height), goal_of(target.goal), self.config.motion),
                )
            except (SpatialError, ValueError) as error:
                series.failed = str(error)
                self._series.append(series)
            else:
                if target.goal is None:
                    self._judged.follow(series.judged, target.label, frame, roi)

    def result(self, notes: Iterable[str] = ()) -> Analysis:
        selected = self._selected()
        self._scene.finish([s.frame for s in selected], [self._held[s.frame.key][1] for s in selected])
        add_baselines(self._coverage, self._history, self.config.coverage.frames)
        total = self._cameras.total()
        return Analysis(
            config=self.config,
            frames=total,
            stamps_ns=(self._first_ns, self._last_ns),
            cameras=dict(self._cameras),
            world_frame=self._world,
            coverage=self._coverage,
            selected=selected,
            scene=self._scene,
            series=self._series,
            timing={stage: np.array(values) for stage, values in self._timing.items() if values},
            notes=[*self._notes(total), *notes],
            asked=self._asked,
            shown=self._shown,
        )

    def _selected(self) -> list[Selected]:
        frames = [self._held[key][0] for key in self._sampler.selected]
        voxels = [self._held[key][1] for key in self._sampler.selected]
        order, gains = greedy_cover(voxels, self.config.coverage.frames)
        if not order:
            return []
        keys, counts = np.unique(np.concatenate([voxels[i] for i in order]), return_counts=True)
        alone = keys[counts == 1]
        return [
            Selected(frames[i], int(gain), voxels[i].size, int(np.isin(voxels[i], alone, assume_unique=True).sum()))
            for i, gain in zip(order, gains, strict=True)
        ]

    def _notes(self, total: int) -> Iterator[str]:
        for reason, count in self._skipped.most_common():
            yield f"{count} of {total} frames added nothing to coverage: {reason}."
        if self._history.every > 1:
            yield f"Offline greedy and uniform sampling were given 1 of {self._history.every} frames."
        for series in self._series:
            if series.failed:
                yield f"Target “{series.target.label}” could not be followed: {series.failed}"
        for question in self._asked:
            if gone := sum(key not in self._shown for key in question.evidence):
                yield f"{gone} frames of the answer to “{question.question.text}” are not in this recording."
        for target, _ in self._waiting:
            yield f"Target “{target.label}” was never started: no frame at or after its time."


def add_baselines(coverage: Coverage, history: VoxelHistory, k: int, checkpoints: int = 24) -> None:
    """What uniform sampling and offline greedy of the same k would cover at some moments of the recording."""
    total = len(history.frames)
    if not total:
        return
    counts = np.concatenate([np.linspace(1, total, checkpoints), np.geomspace(1, total, checkpoints // 2)])
    for count in np.unique(counts.round().astype(int)):
        thin = max(1, count // 512) if count < total else 1
        past = history.voxels[:count:thin]
        coverage.baseline_ns.append(history.frames[count - 1][0])
        coverage.uniform.append(union_size([history.voxels[i] for i in uniform_indices(count, k)]))
        coverage.greedy.append(int(sum(greedy_cover(past, k)[1])))


def goal_of(goal: tuple[float, float, float] | None) -> NDArray[np.float64] | None:
    return None if goal is None else np.array(goal)


def uniform_indices(count: int, k: int) -> list[int]:
    """Indices of k frames spread evenly over ``count``, first and last included."""
    return sorted(set(np.linspace(0, count - 1, min(k, count)).round().astype(int).tolist()))


def union_size(voxels: Sequence[NDArray[np.int64]]) -> int:
    return int(np.unique(np.concatenate(voxels)).size)


@contextmanager
def measured(spent: dict[str, float], stage: str) -> Iterator[None]:
    start = perf_counter()
    try:
        yield
    finally:
        spent[stage] += perf_counter() - start
