"""Files that hold messages in chunks: through their index in order of time, or from the front as far as they go."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from pathlib import Path
from typing import NamedTuple

from .limits import OVERLAP, PASS, RECORDS, TooMuch
from .source import FOREVER, Cut, Kept, Names, Records, Source, Work, opened
from .topic import Topic


class Chunk(NamedTuple):
    """Stamps of the first and last message of a chunk, its place and its length in the file, bytes of it when unpacked
    (0 where the index does not tell), and the numbers of topics in it (none: not known)."""

    start_ns: int
    end_ns: int
    at: int
    length: int
    size: int
    topics: frozenset[int]


@dataclass(frozen=True)
class Index:
    """The chunks of a file, how many messages each topic has by its number, and stamps of the first and last one."""

    chunks: list[Chunk]
    counts: dict[int, int]
    start_ns: int
    end_ns: int


@dataclass(frozen=True)
class Format:
    """How a kind of file is read; see the functions of these names in mcap.py and bag1.py."""

    scan: Callable[[Source, Kept, Work, Names], Records]
    read_chunk: Callable[[Source, int, Kept, Work, Names], Records]
    index: Callable[[Source, Kept], Index]


class Indexed:
    """A whole file, read in order of time; closed with :meth:`close`.

    Args:
        work: what opening files has taken so far.

    Attributes:
        topics, counts: what it holds, and how many messages of each topic name.
        start_ns, end_ns: stamps of its first and last message; FOREVER and -1 where it has none.
        cut, why: False and ""; nothing is missing at the end.

    Raises:
        Cut, TooMuch, and whatever broken bytes lead to: it has no index, or one that cannot be right.
    """

    cut, why = False, ""

    def __init__(self, path: Path, form: Format, work: Work):
        self._form, self._kept = form, Kept()
        file = opened(path)
        try:
            self._source = Source(file, path.stat().st_size)
            index = form.index(self._source, self._kept)
            _check(index, work)
        except BaseException:
            file.close()
            raise
        self._chunks = sorted(index.chunks)
        self.start_ns, self.end_ns = index.start_ns, index.end_ns
        self.topics = list(self._kept.topics.values())
        self.counts = Counter[str]()
        for key, topic in self._kept.topics.items():
            self.counts[topic.name] += index.counts.get(key, 0)

    def messages(self, names: Collection[str], start_ns: int, stop_ns: int, work: Work) -> Records:
        """Messages of these topics, stamped from ``start_ns`` to before ``stop_ns``."""
        wanted = {k for k, topic in self._kept.topics.items() if topic.name in names}
        waiting = _Waiting()
        for one in self._chunks:
            if one.end_ns < start_ns or one.start_ns >= stop_ns or (one.topics and not one.topics & wanted):
                continue
            yield from waiting.before((one.start_ns, one.at))
            read = self._form.read_chunk(self._source, one.at, self._kept, work, names)
            waiting.add(one.at, [m for m in read if start_ns <= m[1] < stop_ns])
        yield from waiting.before((FOREVER + 1, 0))

    def close(self) -> None:
        self._source.close()


def _check(index: Index, work: Work) -> None:
    """Whether an index can be right. Raises Cut, TooMuch."""
    if not all(0 <= c.start_ns <= c.end_ns <= FOREVER for c in index.chunks) or index.end_ns > FOREVER:
        raise Cut
    RECORDS.check(sum(index.counts.values()), work.size)
    PASS.check(sum(c.size for c in index.chunks), work.size)


class _Waiting:
    """Messages of chunks that are loaded, of which another that is not may hold an earlier one."""

    def __init__(self):
        self._chunks: list[tuple[int, int, list[tuple[Topic, int, bytes]]]] = []  # next stamp, place, its latest first
        self._size = 0

    def add(self, at: int, messages: list[tuple[Topic, int, bytes]]) -> None:
        """The messages of the chunk at a place of the file."""
        if messages:
            messages.sort(key=lambda m: m[1])
            heappush(self._chunks, (messages[0][1], at, messages[::-1]))
            self._size += sum(len(data) for _, _, data in messages)

    def before(self, moment: tuple[int, int]) -> Records:
        """Those that come before a chunk with such a stamp and place, in order; and more, where too many wait."""
        while self._chunks and (self._chunks[0][:2] < moment or self._size > OVERLAP.most):
            _, at, messages = heappop(self._chunks)
            message = messages.pop()
            self._size -= len(message[2])
            if messages:
                heappush(self._chunks, (messages[-1][1], at, messages))
            yield message


class Scanned:
    """A file without a usable index, read in file order as far as it goes; as :class:`Indexed`.

    Attributes:
        cut: whether it breaks off. why: in words, where they are known.
    """

    def __init__(self, path: Path, form: Format, work: Work):
        self._path, self._form = path, form
        self.cut, self.why = False, ""
        self.start_ns, self.end_ns = FOREVER, -1
        self.counts = Counter[str]()
        found: dict[str, Topic] = {}
        for topic, stamp, _ in self._until_cut(work):
            found.setdefault(topic.name, topic)
            self.counts[topic.name] += 1
            self.start_ns, self.end_ns = min(self.start_ns, stamp), max(self.end_ns, stamp)
        self.topics = list(found.values())

    def messages(self, names: Collection[str], start_ns: int, stop_ns: int, work: Work) -> Records:
        """Messages of these topics, stamped from ``start_ns`` to before ``stop_ns``."""
        return (m for m in self._until_cut(work, names) if start_ns <= m[1] < stop_ns)

    def _until_cut(self, work: Work, names: Names = None) -> Iterator[tuple[Topic, int, bytes]]:
        try:
            with opened(self._path) as file:
                source = Source(file, self._path.stat().st_size)
                yield from self._form.scan(source, Kept(), work, names)
        except Exception as error:  # whatever broken bytes lead to
            self.cut = True
            self.why = str(error) if isinstance(error, (Cut, TooMuch)) else ""

    def close(self) -> None:
        pass
