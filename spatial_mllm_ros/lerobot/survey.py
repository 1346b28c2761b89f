"""One pass over a recording before anything is written: when each source has values, what the tasks are, what cuts."""

import struct
import warnings
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..recordings.errors import BagError, BagWarning
from ..recordings.recording import Recording
from ..recordings.topic import Topic
from .fields import VectorReader, joints_of, twice, walk
from .guess import SERVICE, named
from .map import DatasetMap, Vector

SAME_CLOCK_NS = 1_000_000_000  # between a message's own stamp and when it was logged
MOST_TEXTS = 100_000
LONGEST_TEXT = 10_000  # characters
ACTION = "action"
HEADER = "std_msgs/msg/Header"
REQUESTED = (0, 1)  # event types of a service: a call was sent, was received
Stamps = NDArray[np.int64]


@dataclass
class Source:
    """One part of an observation or action.

    Attributes:
        name: of it, for people: the topic. feature: what it is a part of. topic: where it comes from.
        reader: takes its vector out of a message; None: it is an image. coding: of its video then, see ENCODINGS.
        stamps: when it has values, nanoseconds, sorted.
    """

    name: str
    feature: str
    topic: Topic
    reader: VectorReader | None = None
    coding: str = ""
    stamps: Stamps = field(default_factory=lambda: np.zeros(0, np.int64))


@dataclass
class Survey:
    """What a recording has for a data set.

    Attributes:
        sources: in the order of the map.
        by_log: stamps are those of logging: the messages' own are of another clock, or there are none.
        clocks: of each camera, or of each source where there is none, the messages' own stamps, sorted, and when they
            were logged; where the clocks are two.
        start_ns, end_ns: of all values.
        tasks: (stamp, text) in order of time.
        begins, ends: stamps of what cuts episodes; ``signal``: (stamp, whether it is on).
    """

    sources: list[Source]
    by_log: bool = False
    clocks: list[tuple[Stamps, Stamps]] = field(default_factory=list)
    start_ns: int = 0
    end_ns: int = 0
    tasks: list[tuple[int, str]] = field(default_factory=list)
    begins: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    signal: list[tuple[int, bool]] = field(default_factory=list)

    def on_this_clock(self, stamps: Stamps) -> Stamps:
        """Stamps of messages that are no source, as the sources are stamped.

        They are of the clock that has most of them among its own stamps; of none, of the one that is farthest off.
        """
        if not self.clocks or not stamps.size:
            return stamps
        own, logged = max(self.clocks, key=lambda c: (np.isin(stamps, c[0]).sum(), abs(np.median(c[1] - c[0]))))
        return stamps + np.interp(stamps, own, logged - own).astype(np.int64)

    def stamp(self, recording: Recording) -> Callable[[Topic, int, bytes], int]:
        """Gives the stamp of a message: (topic, when it was logged, its bytes) -> nanoseconds."""
        own = {s.topic.name: own_stamp(recording, s.topic) for s in self.sources}

        def stamp(topic: Topic, logged: int, data: bytes) -> int:
            return logged if self.by_log else own[topic.name](data) or logged

        return stamp


def survey(recording: Recording, found: DatasetMap) -> Survey:
    """Go through a recording once. The map is complete.

    Raises:
        BagError: a field is not there, a vector changes its length, a source has no values at all, or there is no task.
    """
    sources = [
        *(_vector(recording, v, "observation.state") for v in found.state or ()),
        *(_vector(recording, v, ACTION) for v in found.action or ()),
        *(_video(recording, t, n, found.codec) for n, t in (found.images or {}).items()),
        *(_video(recording, t, f"{n}_depth", "depth") for n, t in found.depth.items()),
    ]
    if not sources:
        raise BagError(
            f"{recording.path.name} has nothing for a data set: name topics of state, action or images in a map"
        )
    known = Survey(sources)
    takers: dict[str, list[Callable[[int, bytes], None]]] = {}
    skipped: Counter[str] = Counter()
    times = [_Times(recording, source, skipped) for source in sources]
    for source, taker in zip(sources, times):
        takers.setdefault(source.topic.name, []).append(taker.take)
    for name, taker in _others(recording, found, known):
        takers.setdefault(name, []).append(taker)
    for topic, logged, data in recording.messages(takers):
        for take in takers[topic.name]:
            take(logged, data)
    known.by_log = any(taker.apart().mean() > 0.5 for taker in times if taker.logged)
    if known.by_log:
        _say(f"{recording.path.name}: stamps of messages are of another clock than the recording's, which is taken")
        cameras = [taker for source, taker in zip(sources, times) if source.reader is None]
        known.clocks = [taker.clock() for taker in cameras or times if taker.logged]
    else:
        for name, count in {source.name: int(taker.apart().sum()) for source, taker in zip(sources, times)}.items():
            if count:
                _say(f"{name}: {count} messages stamped more than 1 s from when they were logged are left out")
    for source, taker in zip(sources, times):
        own = np.frombuffer(taker.own, np.int64)[~taker.apart()]
        source.stamps = np.unique(np.frombuffer(taker.logged, np.int64) if known.by_log else own)
        if not source.stamps.size:
            raise BagError(f"{source.name} has no value for {source.feature} in {recording.path.name}")
    for name, count in skipped.items():
        _say(f"{name}: {count} messages have no such vector or not all of its numbers, and are left out")
    if not known.tasks and not found.task.text:
        none = f": there is no text on {found.task.topic}" if found.task.topic else ""
        raise BagError(f"{recording.path.name} has no task{none}; name it with --task, or as task in the map")
    known.tasks.sort(key=lambda said: said[0])
    known.signal.sort(key=lambda said: said[0])
    known.start_ns = int(min(s.stamps[0] for s in sources))
    known.end_ns = int(max(s.stamps[-1] for s in sources))
    return known


def names_of(feature: str, sources: Sequence[Source]) -> tuple[str, ...]:
    """Names of the numbers of a feature; where two are the same all have their field, their topic or both before.

    Raises:
        BagError: a number is taken twice.
    """
    parts = [(source.topic.name, source.reader) for source in sources if source.feature == feature and source.reader]
    apart = [(topic.strip("/").replace("/", "."), reader) for topic, reader in parts]
    for before in ("", "{field}.", "{topic}.", "{topic}.{field}."):
        names = [before.format(topic=topic, field=read.field) + name for topic, read in apart for name in read.names]
        if twice(names) is None:
            return tuple(names)
    raise BagError(f"{feature} takes {twice(names)} twice")


def own_stamp(recording: Recording, topic: Topic) -> Callable[[bytes], int]:
    """Reads the stamp out of a message's bytes; 0 where it has none."""
    parts = recording.types(topic).fielddefs.get(topic.type, ((), ()))[1]
    if not parts or parts[0][1][1] != HEADER:
        return lambda data: 0

    def read(data: bytes) -> int:
        if len(data) < 12:
            return 0
        seconds, nanoseconds = struct.unpack_from("<iI" if data[1] & 1 else ">iI", data, 4)
        return seconds * 10**9 + nanoseconds

    return read


class _Times:
    """Collects when a source has values."""

    def __init__(self, recording: Recording, source: Source, skipped: Counter[str]):
        self._recording, self._source, self._skipped = recording, source, skipped
        self._own = own_stamp(recording, source.topic)
        self.own, self.logged = array("q"), array("q")

    def take(self, logged: int, data: bytes) -> None:
        reader = self._source.reader
        if reader is not None:
            message = self._recording.decoded_or_none(self._source.topic, data)
            if message is None or reader(message) is None:
                self._skipped[self._source.name] += 1
                return
        self.own.append(self._own(data) or logged)
        self.logged.append(logged)

    def clock(self) -> tuple[Stamps, Stamps]:
        """The messages' own stamps, sorted, and when the first of each was logged."""
        own, first = np.unique(np.frombuffer(self.own, np.int64), return_index=True)
        return own, np.frombuffer(self.logged, np.int64)[first]

    def apart(self) -> NDArray[np.bool_]:
        """Which messages, [N], were stamped long before or after they were logged."""
        own, logged = np.frombuffer(self.own, np.int64), np.frombuffer(self.logged, np.int64)
        return abs(own - logged) > SAME_CLOCK_NS


def _vector(recording: Recording, vector: Vector, feature: str) -> Source:
    topic = named(recording, vector.topic)
    first = recording.first(topic.name)
    if vector.joints:  # several may publish there, each of its joints
        sent = (message for _, _, message in recording.decoded([topic.name]))
        first = next((message for message in sent if set(vector.joints) <= set(joints_of(message))), first)
    if first is None:
        raise BagError(f"{recording.path.name} has no message on {topic.name} that can be read")
    return Source(vector.topic, feature, topic, VectorReader(vector, first))


def _video(recording: Recording, topic: str, name: str, coding: str) -> Source:
    return Source(topic, f"observation.images.{name}", named(recording, topic), coding=coding)


def _others(recording: Recording, found: DatasetMap, known: Survey) -> list[tuple[str, Callable[[int, bytes], None]]]:
    """What takes messages of tasks and of cuts, by topic."""
    cuts, takers = found.episodes, []

    def value(topic: Topic, field: str, data: bytes) -> Any:
        message = recording.decoded_or_none(topic, data)
        return None if message is None else walk(message, field, topic.name)

    if found.task.topic:
        task, named_by = named(recording, found.task.topic), found.task.field

        def say(logged: int, data: bytes) -> None:
            text = value(task, named_by, data)
            if not isinstance(text, str | None):
                raise BagError(f"{task.name}: its field {named_by} is no text")
            if text and len(known.tasks) < MOST_TEXTS:
                known.tasks.append((logged, text[:LONGEST_TEXT]))

        takers.append((task.name, say))
    if cuts.signal:
        signal = named(recording, cuts.signal)

        def switch(logged: int, data: bytes) -> None:
            now = value(signal, cuts.field, data)
            if not isinstance(now, (bool, int, float, np.generic)):
                raise BagError(f"{signal.name}: its field {cuts.field} is neither a number nor true or false")
            known.signal.append((logged, bool(now)))

        takers.append((signal.name, switch))
    for name, stamps in ((cuts.start, known.begins), (cuts.stop, known.ends)):
        if name:
            topic = named(recording, name)
            takers.append((topic.name, _edge(topic, stamps)))
    return takers


def _edge(topic: Topic, stamps: list[int]) -> Callable[[int, bytes], None]:
    """Notes when a message comes, or a service is called: of its events those of the first kind that is there."""
    kind: list[int] = []

    def note(logged: int, data: bytes) -> None:
        if topic.name.endswith(SERVICE):
            if len(data) < 5 or data[4] not in (kind or REQUESTED):
                return
            kind[:] = [data[4]]
        stamps.append(logged)

    return note


def _say(text: str) -> None:
    warnings.warn(text, BagWarning, stacklevel=4)
