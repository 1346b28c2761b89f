"""Any recording behind one face: ROS 1 bags, rosbag2 folders and files with SQLite or MCAP, whole or cut off."""

import warnings
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

from .definitions import has_lists, missing, recorded_types
from .errors import BagError, BagWarning
from .limits import DEFINITIONS, FIRSTS, NESTED, NESTED_RECORDED, Limit, Spent
from .source import FOREVER, ZSTD_MAGIC, Work, message
from .storage import open_storages
from .topic import Topic
from .types import TRANSFORMS, Typestore, typestore

MOST_PROBLEMS = 100  # that are told; each broken message may have a text of its own


class _Layout(NamedTuple):
    """Types to read messages with, what of theirs is missing, and a bound where their parts become objects."""

    types: Typestore
    missing: str
    bound: Limit | None


class Recording(AbstractContextManager["Recording"]):
    """A recording, open for reading; use it with ``with``.

    Args:
        path: a ``.bag``, ``.mcap`` or ``.db3`` file, also packed with zstd, or the folder of a ROS 2 bag, with or
            without ``metadata.yaml``: all files in it are read, also those that are not named there.

    Attributes:
        topics: name -> Topic, of those that can be read.
        unread: name -> Topic, of those that cannot.
        counts: name -> number of messages.
        start_ns, end_ns: stamps of the first and last message; 0 where there is none.
        problems: what is wrong with it; each was also said by ``warnings.warn`` as a BagWarning.

    Raises:
        BagError: there is nothing at ``path``, or it is not a recording.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.problems: list[str] = []
        self._files = open_storages(self.path)
        self._firsts: dict[str, Any] = {}
        self._kept = 0  # bytes of them
        self._layouts: dict[Any, _Layout] = {}
        self._defined = 0  # characters of definitions that were parsed
        self._parts = self._files.parts
        self.topics: dict[str, Topic] = {}
        self.unread: dict[str, Topic] = {}
        self.counts: Counter[str] = Counter()
        for problem in self._files.problems:
            self._warn(problem)
        for part in self._parts:
            self.counts.update(part.counts)
            for topic in part.topics:
                known = (self.unread if topic.unread else self.topics).setdefault(topic.name, topic)
                if known.type != topic.type:
                    self._warn(f"{topic.name} is recorded as {known.type} and as {topic.type}; only the first is read")
        filled = [p for p in self._parts if p.end_ns >= 0 and p.counts.total()]
        self.start_ns = min((p.start_ns for p in filled), default=0)
        self.end_ns = max((p.end_ns for p in filled), default=0)
        for why in dict.fromkeys(topic.unread for topic in self.unread.values()):
            names = [name for name, topic in self.unread.items() if topic.unread == why]
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            self._warn(f"{', '.join(names[:3])}{more}: not read, {why}")
        for part in self._parts:
            if part.cut:
                why = f" ({part.why})" if part.why else ""
                self._warn(f"{self.path.name} is cut off or damaged {self._at(part.end_ns)}{why}; read up to there")
        for wal in self._unmerged_logs():
            self._warn(f"{wal.name} was never merged into its bag and is not read: open the .db3 with sqlite3 once")

    def messages(
        self, topics: Collection[str] | None = None, start_ns: int = 0, stop_ns: int = FOREVER
    ) -> Iterator[tuple[Topic, int, bytes]]:
        """(topic, stamp in nanoseconds, message in CDR) in the order of recording; all topics where none are named.

        Reading ends with a BagWarning where the recording is damaged.
        """
        names, work = set(self.topics if topics is None else topics) & self.topics.keys(), Work(self._files.size)
        stamp = -1
        try:
            for part in self._parts:
                for topic, stamp, data in part.messages(names, start_ns, stop_ns, work):
                    if topic.type == TRANSFORMS:
                        work.transforms(len(data))
                    if topic.type == self.topics[topic.name].type and (cdr := self._cdr(topic, data, work)) is not None:
                        yield topic, stamp, cdr
        except Exception as error:  # the storage libraries have many words for damage
            self._warn(f"{self.path.name} is damaged {self._at(stamp)} ({error}); read up to there")

    def _cdr(self, topic: Topic, data: bytes, work: Work) -> bytes | None:
        """A message in CDR; None, with a BagWarning, for one that cannot be converted."""
        try:
            if topic.convert is not None:
                return bytes(typestore().serialize_cdr(topic.convert(data), topic.type, little_endian=True))
            if data[:4] == ZSTD_MAGIC:  # packed one by one; no message begins so
                data = message(data, work)
            return bytes(self.types(topic).ros1_to_cdr(data, topic.type)) if topic.ros1 else data
        except Spent:
            raise
        except Exception as error:  # what is missing, of another kind or broken
            self._warn(f"a message on {topic.name} cannot be read: {error}")
            return None

    def decoded(self, topics: Collection[str] | None = None) -> Iterator[tuple[Topic, int, Any]]:
        """As :meth:`messages`, each decoded; one that does not fit its type is skipped with a BagWarning."""
        for topic, stamp, data in self.messages(topics):
            if (message := self.decoded_or_none(topic, data)) is not None:
                yield topic, stamp, message

    def decoded_or_none(self, topic: Topic, data: bytes) -> Any:
        """As :meth:`decode`; None, with a BagWarning, for a message that does not fit its type."""
        try:
            return self.decode(topic, data)
        except BagError as error:
            self._warn(str(error))
            return None

    def first(self, name: str) -> Any:
        """The first message of a topic that can be read, or None where there is none."""
        return next(message for _, message in self.firsts([name]))

    def firsts(self, names: Collection[str]) -> Iterator[tuple[str, Any]]:
        """(name, as :meth:`first`) of each of these topics, in one reading; they are kept as far as they are small."""
        known = [name for name in names if name in self._firsts or not self.counts[name]]
        yield from ((name, self._firsts.get(name)) for name in known)
        wanted = dict.fromkeys(set(names).difference(known))
        for topic, _, data in self.messages(wanted) if wanted else ():
            if topic.name in wanted and (message := self.decoded_or_none(topic, data)) is not None:
                wanted.pop(topic.name)
                if (kept := self._kept + len(data)) <= FIRSTS.most:
                    self._firsts[topic.name], self._kept = message, kept
                yield topic.name, message
            if not wanted:
                break
        self._firsts |= wanted
        yield from wanted.items()

    def decode(self, topic: Topic, data: bytes) -> Any:
        """The message in CDR bytes, as rosbags makes it.

        Raises:
            BagError: the bytes do not fit the type, or nobody knows the type.
        """
        try:
            layout = self._layout(topic)
            if layout.missing:
                raise BagError(f"its recorded definition has {layout.missing}")
            if layout.bound is not None:
                layout.bound.check(len(data))
            return layout.types.deserialize_cdr(data, topic.type)
        except Exception as error:
            raise BagError(f"a message on {topic.name} cannot be read as {topic.type}: {error}") from None

    def types(self, topic: Topic) -> Typestore:
        """Types to read messages of a topic with, by its definition in the recording.

        Jazzy's where it has none or an empty one, where it cannot be used, or where they differ only in names.
        """
        return self._layout(topic).types

    def _layout(self, topic: Topic) -> "_Layout":
        key = topic.type, topic.definition
        if key not in self._layouts:
            types = self._recorded_types(topic) if topic.definition.data else typestore()
            bound = NESTED if types is typestore() else NESTED_RECORDED
            lists = topic.type in types.fielddefs and has_lists(types, topic.type)
            self._layouts[key] = _Layout(types, missing(types, topic.type), bound if lists else None)
        return self._layouts[key]

    def _recorded_types(self, topic: Topic) -> Typestore:
        try:
            self._defined += len(topic.definition.data)
            DEFINITIONS.check(self._defined, self._files.size)
            return recorded_types(topic.definition, topic.type)
        except Exception as error:  # a parser of broken text has many words for it
            if topic.type not in typestore().fielddefs or isinstance(error, BagError):
                why = " ".join(str(error).split())[:120]
                self._warn(f"{topic.name}: the recorded definition of {topic.type} cannot be used ({why})")
            return typestore()

    def close(self) -> None:
        self._files.close()
        self._parts = []

    def __exit__(self, *_: object) -> None:
        self.close()

    def _at(self, stamp_ns: int) -> str:
        if stamp_ns < 0:
            return "before its first message"
        return f"{(stamp_ns - self.start_ns) / 1e9:.3f} s after its start (stamp {stamp_ns / 1e9:.3f})"

    def _unmerged_logs(self) -> list[Path]:
        beside = self.path.glob("*.db3-wal") if self.path.is_dir() else [self.path.with_name(self.path.name + "-wal")]
        return [wal for wal in beside if wal.exists() and wal.stat().st_size]

    def _warn(self, text: str) -> None:
        if text not in self.problems and len(self.problems) < MOST_PROBLEMS:
            self.problems.append(text)
            warnings.warn(text, BagWarning, stacklevel=3)


def messages(path: str | Path, topics: Collection[str] | None = None) -> Iterator[tuple[str, int, Any]]:
    """(topic, stamp in nanoseconds, message) of a recording, in the order of recording.

    A message that does not fit its type is skipped with a BagWarning, as is all that follows a cut.

    Raises:
        BagError: not a recording, or a topic it does not have.
    """
    with Recording(path) as recording:
        for name in topics or ():
            require(recording, name)
        for topic, stamp, message in recording.decoded(topics):
            yield topic.name, stamp, message


def require(recording: Recording, name: str, types: Collection[str] = ()) -> Topic:
    """The topic of that name, of one of these types where given.

    Raises:
        BagError: there is none; the text lists those that would do. Or its type is another.
    """
    fitting = sorted(t.name for t in recording.topics.values() if not types or t.type in types)
    there = f"topics of type {' or '.join(types)}" if types else "topics"
    would_do = f"{there} in {recording.path.name}: {', '.join(fitting) or 'none'}"
    if name not in recording.topics:
        raise BagError(f"{recording.path.name} has no topic {name}; {would_do}")
    topic = recording.topics[name]
    if types and topic.type not in types:
        raise BagError(f"{name} is of type {topic.type}, expected {' or '.join(types)}; {would_do}")
    return topic
