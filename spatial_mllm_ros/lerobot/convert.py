"""From recordings to a data set: what each becomes is decided, then written episode by episode."""

import warnings
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..annotate.progress import fingerprint
from ..recordings.errors import BagError, BagWarning, writing
from ..recordings.recording import Recording
from . import features as f
from .dataset import DataSet, Episode, Origin, cleared
from .episodes import spans
from .guess import completed
from .map import DatasetMap
from .resample import Gap, Piece, next_piece
from .rewards import Rewarding, Rewards, digest, reward_columns, rewards_of, targets_there
from .sinks import ImageSink, Sink, Unusable, VectorSink, video_size
from .survey import ACTION, SAME_CLOCK_NS, Survey, names_of, survey
from .video import needed
from .work import work_folder

SHORTEST = 2  # frames of an episode
LONGEST = 1_000_000  # frames of an episode; what comes after is another one
MOST_BROKEN = 1000  # images of a recording


@dataclass
class DatasetReport:
    """What was done.

    Attributes:
        episodes, frames: that are there in all. resumed: episodes that an earlier run had written.
    """

    episodes: int = 0
    frames: int = 0
    resumed: int = 0


def write_dataset(
    recordings: Sequence[str | Path],
    out: str | Path,
    wanted: DatasetMap | None = None,
    rewarding: Rewarding | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> DatasetReport:
    """Add the episodes of recordings to a LeRobot data set v3.0, which is made where it is not there.

    The same recordings and map give the same bytes, but for videos. Killed at any moment and called again it goes on
    with the episode that it was at. What of a recording is left out is told by BagWarnings.

    Args:
        wanted: what becomes what; by default it is guessed.
        rewarding: how rewards are measured; recorded ones are taken where there are some and no targets are named.
        progress: called with the number of recordings done, and of all.

    Raises:
        BagError: a recording, the map or ``out`` cannot be used, or nothing is left of all recordings.
        SpatialError: see :func:`annotate`.
    """
    needed()
    out, wanted, rewarding = Path(out), wanted or DatasetMap(), rewarding or Rewarding()
    report = DatasetReport()
    with work_folder(out) as beside:
        made = DataSet(out, beside)
        first = made.fps == 0
        try:
            for number, path in enumerate(recordings):
                _Conversion(Path(path), made, wanted, rewarding, beside, report).run()
                if progress:
                    progress(number + 1, len(recordings))
        finally:
            made.finish()
        if first and not made.lengths:
            raise BagError(f"nothing of {', '.join(str(path) for path in recordings)} makes an episode")
        report.episodes, report.frames = len(made.lengths), sum(made.lengths)
    return report


class _Conversion:
    """Of one recording."""

    def __init__(
        self, path: Path, made: DataSet, wanted: DatasetMap, rewarding: Rewarding, beside: Path, report: DatasetReport
    ):
        self._path, self._made, self._wanted, self._rewarding = path, made, wanted, rewarding
        self._beside, self._report = beside, report
        self._settings = digest(repr(wanted), rewarding.told())
        self._rewards: Rewards | None = None

    def run(self) -> None:
        """Add its episodes."""
        with Recording(self._path) as recording:
            self._recording = recording
            self._map = completed(recording, self._wanted, **self._rewarding.sources)
            self._known = survey(recording, self._map)
            if not self._map.action and self._wanted.action is None:
                self._say("no action was found, and policies need one: name its topic in a map, or write action: []")
            self._fps = self._map.fps or self._made.fps or _rate(self._known)
            self._map = replace(self._map, fps=self._fps)
            self._sizes: dict[str, tuple[int, int]] = {}
            self._stamp = self._known.stamp(recording)
            self._begun = False
            self._broken = part = until = 0
            told, itself = set[Gap](), fingerprint(self._path, times=False)
            sources = self._known.sources
            actions = {number for number, source in enumerate(sources) if source.feature == ACTION}
            for start, stop in spans(self._map.episodes, self._known):
                until = max(until, start)
                while piece := next_piece(
                    [s.stamps for s in sources], until, stop, self._fps, self._max_age_ns, LONGEST, actions
                ):
                    origin = Origin(self._path.name, itself, part, self._settings, piece.until_ns)
                    if (done := self._made.find(origin)) is not None:
                        until, part = max(done, until + 1), part + 1
                        self._report.resumed += 1
                    elif len(piece.ticks) < SHORTEST:
                        self._say(f"a single frame {self._at(piece.ticks[0])} is left out")
                        until = piece.until_ns
                    elif self._write(piece, origin):
                        until, part = piece.until_ns, part + 1
                    if piece.gap and piece.gap not in told:
                        told.add(piece.gap)
                        self._say(f"a gap: {self._gap(piece.gap)}; an episode ends there")

    def _write(self, piece: Piece, origin: Origin) -> bool:
        """Whether the episode was written; where not, what it could not use is gone from its source."""
        try:
            with writing(self._made.path):
                self._made.add(self._episode(piece, origin))
        except Unusable as error:
            source = error.source
            source.stamps = source.stamps[source.stamps != error.stamp]
            self._broken += 1
            if self._broken > MOST_BROKEN:
                raise BagError(f"{self._path.name} has more than {MOST_BROKEN} values that cannot be used") from None
            self._say(f"{source.name} {self._at(error.stamp)} is left out: {error}")
            return False
        return True

    def _episode(self, piece: Piece, origin: Origin) -> Episode:
        self._begin()
        folder = cleared(self._beside / "episode")
        vectors: dict[str, list[VectorSink]] = {}
        images: dict[str, ImageSink] = {}
        sinks: dict[str, list[Sink]] = {}
        with self._closing(images):
            for source, chosen in zip(self._known.sources, piece.chosen):
                if source.reader is not None:
                    sink = VectorSink(source, chosen)
                    vectors.setdefault(source.feature, []).append(sink)
                else:
                    path, size = folder / f"{source.feature}.mp4", self._sizes[source.feature]
                    sink = ImageSink(source, chosen, path, self._fps, size)
                    images[source.feature] = sink
                sinks.setdefault(source.topic.name, []).append(sink)
            self._pass(piece, sinks)
            for sink in (sink for some in sinks.values() for sink in some):
                sink.finish()
        columns = {feature: np.hstack([sink.rows for sink in some]) for feature, some in vectors.items()}
        if self._rewards is not None:
            gained, stddev, valid = reward_columns(self._rewards, piece)
            columns |= {f.REWARD: gained, f.STDDEV: stddev, f.VALID: valid}
            origin = replace(origin, target=self._rewards.target, way=self._map.reward.way)
        columns[f.DONE] = np.arange(len(piece.ticks)) == len(piece.ticks) - 1
        videos = {feature: folder / f"{feature}.mp4" for feature in images}
        return Episode(origin, columns, self._tasks(piece), videos, {n: sink.stats for n, sink in images.items()})

    def _pass(self, piece: Piece, sinks: dict[str, list[Sink]]) -> None:
        """Give all messages of a piece to what takes them."""
        around = SAME_CLOCK_NS + self._max_age_ns
        start = min(int(chosen.min()) for chosen in piece.chosen) - around
        stop = max(int(piece.ticks[-1]), *(int(chosen.max()) for chosen in piece.chosen)) + around
        messages = self._recording.messages(sinks, start, stop)
        for topic, logged, data in messages:
            stamp = self._stamp(topic, logged, data)
            for sink in sinks[topic.name]:
                sink.take(stamp, lambda t=topic, d=data: self._recording.decoded_or_none(t, d))

    @contextmanager
    def _closing(self, images: dict[str, ImageSink]) -> Iterator[None]:
        try:
            yield
        except BaseException:
            for sink in images.values():
                sink.close(False)
            raise
        with ExitStack() as stack:
            for sink in images.values():
                stack.callback(sink.close, True)

    def _begin(self) -> None:
        """Decide what columns there are, once it is known that something is to be written."""
        if self._begun:
            return
        if not self._map.reward.off:
            rewards = rewards_of(self._recording, self._map.reward, self._rewarding, self._beside)
            if rewards is not None:
                self._same_target(rewards.target)
                self._rewards = replace(rewards, stamps=self._known.on_this_clock(rewards.stamps))
        features: f.Features = {}
        for source in self._known.sources:
            if source.reader is not None:
                if source.feature not in features:
                    features[source.feature] = f.numbers("float32", names_of(source.feature, self._known.sources))
            else:
                size = self._sizes[source.feature] = video_size(self._recording, source)
                features[source.feature] = f.images(size, self._fps, source.coding)
        if self._rewards is not None:
            there = self._made.features
            if self._rewards.sure and f.REWARD in there and f.STDDEV not in there:
                self._say(f"{self._made.path} has no {f.STDDEV}: how sure these rewards are is left out")
            features |= f.rewarded(f.STDDEV in there if f.REWARD in there else self._rewards.sure)
        features[f.DONE] = f.numbers("bool")
        self._made.begin(features, self._fps, self._map.robot)
        self._begun = True

    def _same_target(self, target: str) -> None:
        """Raises BagError where no target is named and episodes have rewards of another one."""
        if not self._map.reward.target and (others := targets_there(self._made.path) - {target}):
            raise BagError(
                f"{self._path.name} has rewards of {target}, and episodes of {self._made.path} those of"
                f" {', '.join(sorted(others))}: name reward.target in a map"
            )

    def _tasks(self, piece: Piece) -> list[str]:
        """Of each frame, the newest text; before the first one, that."""
        if not self._map.task.topic:
            return [self._map.task.text] * len(piece.ticks)
        stamps = [stamp for stamp, _ in self._known.tasks]
        newest = (bisect_right(stamps, int(tick)) - 1 for tick in piece.ticks)
        return [self._known.tasks[max(number, 0)][1] for number in newest]

    def _gap(self, gap: Gap) -> str:
        source = self._known.sources[gap.source]
        pause = ((gap.next_ns or 0) - gap.last_ns) / 1e9
        later = "none follows" if gap.next_ns is None else f"the next comes {pause:.3f} s later"
        return f"{source.name} ({source.feature}) has its last value {self._at(gap.last_ns)}, {later}"

    @property
    def _max_age_ns(self) -> int:
        return round(self._map.max_age * 1e9)

    def _at(self, stamp: int) -> str:
        return f"{(int(stamp) - self._known.start_ns) / 1e9:.3f} s after the start"

    def _say(self, text: str) -> None:
        warnings.warn(f"{self._path.name}: {text}", BagWarning, stacklevel=2)


def _rate(known: Survey) -> int:
    """Frames a second where nothing is said: of the slowest camera, or of the slowest source where there is none."""
    images = [source for source in known.sources if source.reader is None]
    steps = [np.median(np.diff(s.stamps)) for s in images or known.sources if s.stamps.size > 1]
    return int(np.clip(round(1e9 / max(steps)), 1, 1000)) if steps else 1
