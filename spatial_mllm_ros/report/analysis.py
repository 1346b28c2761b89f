"""One pass over a recording that gathers everything the report shows."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..config import Config
from ..coverage import greedy_cover
from ..errors import BadMessage, SpatialError
from ..evenly import Thinned, evenly
from ..frames import Frame
from ..motion.asked import SOURCE as MODEL
from ..motion.asked import judge_of
from ..motion.rewards import Reward
from ..motion.targets import Target, Targets
from ..scene.asking import Asked
from ..scene.cover import Cover, why_unusable
from ..scene.memory import FrameKey
from .floor import FloorMap
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
    """A selected frame with the voxels it adds in greedy order, and those that it alone sees."""

    frame: Frame
    gain: int
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
    """Everything the page shows. Times in nanoseconds, timings in milliseconds; ``shown`` are the frames of answers.

    ``stamps_ns`` are those of the first and the last frame, ``cameras`` the number of frames of each.
    """

    config: Config
    floor: FloorMap
    asked: Sequence[Asked]
    stamps_ns: tuple[int, int] = (0, 0)
    cameras: Counter[str] = field(default_factory=Counter)
    world_frame: str = ""
    coverage: Coverage = field(default_factory=Coverage)
    selected: list[Selected] = field(default_factory=list)
    series: list[Series] = field(default_factory=list)
    timing: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    shown: dict[FrameKey, Frame] = field(default_factory=dict)

    @property
    def frames(self) -> int:
        return self.cameras.total()

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
        self._engine = judge_of(engine, config.motion.source)
        self._analysis = Analysis(config, FloorMap(config.coverage.voxel_size), asked)
        self._wanted = {key for question in asked for key in question.evidence}
        self._cover = Cover(config.coverage)
        self._history: Thinned[tuple[FrameKey, NDArray[np.int64]]] = Thinned(2048)
        motion = replace(config.motion, source="both" if self._engine else "geometry")  # the page has both curves
        self._targets = Targets(replace(config, motion=motion), targets, config.cameras)
        self._pushed = [t for t in tracks if t.name not in self._targets.labels]
        self._series: dict[str, Series] = {}
        self._failed: dict[str, str] = {}
        self._timing: dict[str, list[float]] = {stage: [] for stage in STAGES}

    def add(self, frame: Frame) -> None:
        a = self._analysis
        a.stamps_ns = (a.stamps_ns[0] or frame.stamp_ns, frame.stamp_ns)
        a.world_frame = a.world_frame or frame.world_frame
        a.cameras[frame.camera.name] += 1
        if frame.key in self._wanted:
            a.shown[frame.key] = frame
        spent: dict[str, float] = defaultdict(float)
        try:
            with measured(spent, "decode"):
                _ = frame.depth, frame.gray  # here, so that the other stages do not pay for it
        except BadMessage as error:
            self._cover.skipped[f"broken pixels ({error})"] += 1
            return
        self._look(frame, spent)
        with measured(spent, "motion"):
            self._follow(frame)
        if self._engine is not None and self._targets.asked.wants(frame):
            with measured(spent, "model"):
                for reward in self._targets.judge(frame, self._engine):
                    self._series[reward.target].judged.append(reward)
        for stage, seconds in spent.items():
            self._timing[stage].append(seconds * 1e3)
        frame.release()

    def _look(self, frame: Frame, spent: dict[str, float]) -> None:
        with measured(spent, "voxelise"):
            voxels = self._cover.voxels(frame)
        if voxels is None:
            return
        with measured(spent, "select"):
            self._cover.offer(frame, voxels)
        self._history.add((frame.key, voxels))
        self._analysis.floor.add(frame, voxels)
        sampler, coverage = self._cover.sampler, self._analysis.coverage
        coverage.stamps_ns.append(frame.stamp_ns)
        coverage.seen.append(int(sampler.voxels_seen))
        coverage.streaming.append(int(sampler.voxels_covered))

    def _follow(self, frame: Frame) -> None:
        """Rewards of the frame, and a series for each target that begins in it."""
        waited = self._targets.waiting
        rewards = self._targets.update(frame, self._give_up)
        self._targets.warn()
        began: list[tuple[Target, ObjectTrack | None]] = [
            *((target, None) for target in waited if target not in self._targets.waiting),
            *self._begin_pushed(frame),
        ]
        for target, track in began:
            series = Series(replace(target, stamp_ns=frame.stamp_ns), frame, track)
            self._series.setdefault(target.label, series)
        for reward in rewards:
            if reward.source != MODEL:  # of a target that was given up; the model was not asked
                self._series[reward.target].rewards.append(reward)

    def _begin_pushed(self, frame: Frame) -> Iterator[tuple[Target, ObjectTrack]]:
        for track in list(self._pushed):
            start = push_start(track)
            if frame.stamp_ns < start or why_unusable(frame):
                continue
            roi = visible_roi(track, frame)
            if roi is not None:
                target = Target(track.name, frame.camera.name, roi)
                self._targets.begin(target, frame, self._give_up)
                yield target, track
            if roi is not None or frame.stamp_ns > start + GIVE_UP_NS:
                self._pushed.remove(track)

    def _give_up(self, target: Target, error: Exception) -> None:
        if not isinstance(error, (SpatialError, ValueError)):
            raise error
        self._failed[target.label] = str(error)

    def result(self, notes: Iterable[str] = ()) -> Analysis:
        a = self._analysis
        a.selected = self._selected()
        best = [s.frame for s in a.selected]
        a.floor.finish(best, [self._cover.sampler.voxels(frame.key) for frame in best])
        for label, why in self._failed.items():
            self._series[label].failed = why
        add_baselines(a.coverage, self._history.items, a.config.coverage.frames)
        a.series = list(self._series.values())
        a.timing = {stage: np.array(values) for stage, values in self._timing.items() if values}
        a.notes = [*self._notes(), *notes]
        return a

    def _selected(self) -> list[Selected]:
        frames, gains = self._cover.best()
        if not frames:
            return []
        voxels = [self._cover.sampler.voxels(frame.key) for frame in frames]
        keys, counts = np.unique(np.concatenate(voxels), return_counts=True)
        alone = keys[counts == 1]
        return [
            Selected(frame, gain, int(np.isin(seen, alone, assume_unique=True).sum()))
            for frame, gain, seen in zip(frames, gains, voxels, strict=True)
        ]

    def _notes(self) -> Iterator[str]:
        for reason, count in self._cover.skipped.most_common():
            yield f"{count} of {self._analysis.frames} frames added nothing to coverage: {reason}."
        if self._history.every > 1:
            yield f"Offline greedy and uniform sampling were given 1 of {self._history.every} frames."
        for series in self._series.values():
            if series.failed:
                yield f"Target “{series.target.label}” could not be followed: {series.failed}"
        for question in self._analysis.asked:
            if gone := sum(key not in self._analysis.shown for key in question.evidence):
                yield f"{gone} frames of the answer to “{question.question.text}” are not in this recording."
        for name in [*(t.label for t in self._targets.waiting if t.roi), *(t.name for t in self._pushed)]:
            yield f"Target “{name}” was never started: no frame at or after its time."


def add_baselines(
    coverage: Coverage, history: Sequence[tuple[FrameKey, NDArray[np.int64]]], k: int, checkpoints: int = 24
) -> None:
    """What uniform sampling and offline greedy of the same k would cover at some moments of the recording.

    Args:
        history: keys and voxels of frames, in order of time.
    """
    total, voxels = len(history), [seen for _, seen in history]
    if not total:
        return
    counts = np.concatenate([np.linspace(1, total, checkpoints), np.geomspace(1, total, checkpoints // 2)])
    for count in np.unique(counts.round().astype(int)).tolist():
        thin = max(1, count // 512) if count < total else 1
        coverage.baseline_ns.append(history[count - 1][0][0])
        coverage.uniform.append(int(np.unique(np.concatenate([voxels[i] for i in evenly(count, k)])).size))
        coverage.greedy.append(int(sum(greedy_cover(voxels[:count:thin], k)[1])))


@contextmanager
def measured(spent: dict[str, float], stage: str) -> Iterator[None]:
    start = perf_counter()
    try:
        yield
    finally:
        spent[stage] += perf_counter() - start
