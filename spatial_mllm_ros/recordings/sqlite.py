"""SQLite files of rosbag2, whole or cut off: plain tables alone are read, and a file cannot make SQLite do more."""

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import apsw
from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat

from .errors import BagError
from .foreign import foreign_topic
from .limits import NAME, RECORDS, TooMuch
from .mcap import DEFINITION_FORMATS
from .qos import offered
from .source import FOREVER, Cut, Kept, Records, Work, opened
from .topic import NO_DEFINITION, Topic, ros_type

MAGIC = b"SQLite format 3\0"
SAFE = (  # what is turned off
    apsw.SQLITE_DBCONFIG_ENABLE_VIEW,
    apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER,
    apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA,
)
EVERY = 10_000  # steps of SQLite's machine between two looks at their number


class SqliteFile:
    """A file, read in order of time where it is whole and has an index for that, else in its own order.

    Args:
        work: what opening files has taken so far.

    Attributes: as those of :class:`Scanned`.

    Raises:
        BagError: a table that is needed is something else.
    """

    def __init__(self, path: Path, work: Work):
        self._path, self._bytes = path, path.stat().st_size
        self._topics: dict[int, Topic] = {}
        self._index = ""  # of messages by time
        self.cut, self.why = False, ""
        self.start_ns, self.end_ns = FOREVER, -1
        self.counts = Counter[str]()
        try:
            with self._open(work) as db:
                self._learn(db, work)
        except Exception as error:  # the library has many words for damage
            if isinstance(error, BagError) and not isinstance(error, TooMuch):
                raise
            self._cut(error)
            for topic, stamp, _ in self.messages(
                {topic.name for topic in self._topics.values()}, -FOREVER, FOREVER, work
            ):
                self._note(topic, stamp, stamp, 1)
        named = self._topics.values()
        self.topics = [topic for topic in named if self.counts[topic.name]] if self.cut else list(named)

    def messages(self, names: Collection[str], start_ns: int, stop_ns: int, work: Work) -> Records:
        """Messages of these topics, stamped from ``start_ns`` to before ``stop_ns``."""
        try:
            with self._open(work) as db:
                keys = [key for key, topic in self._topics.items() if topic.name in names]
                yield from self._rows(db, keys, start_ns, stop_ns, work)
        except Exception as error:
            if not self.cut:
                raise
            self._cut(error)

    def close(self) -> None:
        pass

    def _rows(self, db: apsw.Connection, keys: list[int], start_ns: int, stop_ns: int, work: Work) -> Records:
        by, order = (f"INDEXED BY {self._index}", "timestamp") if self._index else ("NOT INDEXED", "rowid")
        where = f"topic_id IN ({','.join(map(str, keys))}) AND timestamp >= ? AND timestamp < ?"
        rows = db.execute(
            f"SELECT topic_id, timestamp, data FROM messages {by} WHERE {where} ORDER BY {order}", (start_ns, stop_ns)
        )
        left = self._bytes
        for key, stamp, data in rows:
            work.record()
            if not isinstance(stamp, int) or not isinstance(data, bytes):
                raise Cut
            left -= len(data)
            if left < 0:
                raise Cut("its messages are longer than the file: they share their bytes")
            yield self._topics[key], stamp, data

    def _learn(self, db: apsw.Connection, work: Work) -> None:
        """Its topics, and how many messages they have."""
        kept, definitions = Kept(), {}
        columns = {name: _columns(db, name) for name in ("messages", "topics", "message_definitions")}
        if columns["message_definitions"]:
            rows = db.execute("SELECT topic_type, encoding, encoded_message_definition FROM message_definitions")
            for i, (kind, encoding, text) in enumerate(rows):
                kept.is_new("type", i, f"{kind}{encoding}{text}".encode())
                form = DEFINITION_FORMATS.get(encoding, MessageDefinitionFormat.NONE)
                definitions[kind] = MessageDefinition(form, text)
        qos = "offered_qos_profiles" if "offered_qos_profiles" in columns["topics"] else "''"
        for key, name, kind, encoding, offer in db.execute(
            f"SELECT id, name, type, serialization_format, {qos} FROM topics ORDER BY rowid"
        ):
            kept.is_new("topic", key, f"{name}{kind}{encoding}{offer}".encode())
            NAME.check(max(len(name), len(kind)))
            cdr = Topic(name, ros_type(kind), definitions.get(kind, NO_DEFINITION), offered(offer))
            self._topics[int(key)] = cdr if encoding in ("cdr", "") else foreign_topic(name, encoding, kind, b"")
        known = f"WHERE topic_id IN ({','.join(map(str, self._topics))}) GROUP BY topic_id"
        query = f"SELECT topic_id, count(*), min(timestamp), max(timestamp) FROM messages NOT INDEXED {known}"
        found = list(db.execute(query))
        if self._is_short():
            raise Cut
        for key, count, first, last in found:
            RECORDS.check(count, work.size)
            self._note(self._topics[key], first + 0, last + 0, count)
        self._index = _index(db)

    def _note(self, topic: Topic, first: int, last: int, count: int) -> None:
        self.counts[topic.name] += count
        self.start_ns, self.end_ns = min(self.start_ns, first), max(self.end_ns, last)

    def _cut(self, error: Exception) -> None:
        self.cut = True
        self.why = str(error) if isinstance(error, (Cut, TooMuch)) else ""

    def _is_short(self) -> bool:
        """Whether it ends within a page, or before the number of pages that it says."""
        with opened(self._path) as file:
            head = file.read(100)
        page = int.from_bytes(head[16:18], "big")
        page = 65536 if page == 1 else page
        told = int.from_bytes(head[28:32], "big") if head[24:28] == head[92:96] else 0
        return page < 512 or self._bytes % page != 0 or told * page > self._bytes

    @contextmanager
    def _open(self, work: Work) -> Iterator[apsw.Connection]:
        """The database for one reading. Raises TooMuch where SQLite has more to do for it than its size can ask for."""
        opened(self._path).close()
        flags, vfs = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI, _whole_pages().vfs_name
        db = apsw.Connection(f"{self._path.absolute().as_uri()}?immutable=1", flags, vfs=vfs)
        try:
            for option in SAFE:
                db.config(option, 0)
            db.limit(apsw.SQLITE_LIMIT_LENGTH, max(min(self._bytes, 2**31 - 1), 2**16))
            db.set_progress_handler(lambda: work.step(EVERY) or False, EVERY)
            db.execute("PRAGMA writable_schema = ON")  # without it SQLite refuses a file shorter than its header says
            yield db
        finally:
            db.close(True)


def _columns(db: apsw.Connection, table: str) -> set[str]:
    """Names of the columns of a table; none where it is not there. Raises BagError where it is no plain table."""
    rows = list(db.execute("SELECT type, rootpage FROM sqlite_schema WHERE name = ? COLLATE NOCASE", (table,)))
    if not rows:
        return set()
    columns = list(db.execute(f"PRAGMA table_xinfo({table})"))
    if any(kind != "table" or not page for kind, page in rows) or any(hidden for *_, hidden in columns):
        what = "/".join(sorted({str(kind) for kind, _ in rows}))
        raise BagError(f"'{table}' is computed ({what}), expected a table of which every value is in the file")
    return {name for _, name, *_ in columns}


def _index(db: apsw.Connection) -> str:
    """The index of messages by time, quoted; empty where there is none."""
    for _, name, _, _, partial in list(db.execute("PRAGMA index_list(messages)")):
        quoted = '"' + name.replace('"', '""') + '"'
        (_, _, column, descends, *_), *_ = db.execute(f"PRAGMA index_xinfo({quoted})")
        if column == "timestamp" and not partial and not descends:
            return quoted
    return ""


class _WholePagesFile(apsw.VFSFile):
    """A database file without the torn page at its end, which SQLite would fill up with zeros."""

    def __init__(self, name: Any, flags: list[int]):
        super().__init__("", name, flags)

    def xFileSize(self) -> int:
        size = super().xFileSize()
        page = int.from_bytes(self.xRead(2, 16), "big") if size >= 100 else 100
        return size - size % (65536 if page == 1 else page or 100)


class _WholePages(apsw.VFS):
    vfs_name = "whole-pages"

    def __init__(self):
        super().__init__(self.vfs_name, "")

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        return _WholePagesFile(name, flags)


@cache
def _whole_pages() -> _WholePages:
    return _WholePages()
