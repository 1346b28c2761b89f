"""The files of a recording: through their index where they have one, else scanned from the front."""

import sys
from collections import Counter
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from rosbags.interfaces import Connection, ConnectionExtRosbag1
from rosbags.rosbag1 import Reader as Reader1
from rosbags.rosbag2 import Reader as Reader2

from .errors import BagError
from .folder import METADATA, files_of, is_part, unpacked
from .foreign import NO_TYPE, foreign_topic
from .salvage import BAG1_MAGIC, MCAP_MAGIC, SCANNERS, SQLITE_MAGIC, Records
from .topic import LATCHED, Topic, ros_type

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdDecompressor, ZstdError
else:
    from backports.zstd import ZstdDecompressor, ZstdError

FOREVER = 2**63 - 1
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
SCHEMALESS = "__schemaless__"  # what rosbags calls the type of a channel without schema


class Indexed:
    """A whole file, read by rosbags in order of time.

    Attributes:
        topics, counts: what it holds, and how many messages of each topic name.
        start_ns, end_ns: stamps of its first and last message.
        cut: False; nothing is missing at the end.
    """

    cut = False

    def __init__(self, path: Path, ros1: bool):
        if _is_torn(path):
            raise BagError("a database that ends within a page, which SQLite would fill up with zeros")
        self._reader = Reader1(path) if ros1 else Reader2(path)
        self._reader.open()
        chunks = getattr(getattr(self._reader, "storage", None), "chunks", None)
        if chunks is not None and not (chunks and all(chunk.message_index_offsets for chunk in chunks)):
            self._reader.close()  # without chunks it demands order of time, without offsets it finds no messages
            raise BagError("an MCAP file without index")
        self._connections = {c.id: (c, _topic(c)) for c in self._reader.connections}
        self.topics = [topic for _, topic in self._connections.values()]
        self.counts = Counter[str]()
        for connection, topic in self._connections.values():
            self.counts[topic.name] += connection.msgcount
        self.start_ns, self.end_ns = self._reader.start_time, self._reader.end_time - 1

    def messages(self, names: Collection[str], start_ns: int = 0, stop_ns: int = FOREVER) -> Records:
        """Messages of these topics, stamped from ``start_ns`` to before ``stop_ns``."""
        wanted = [c for c, topic in self._connections.values() if topic.name in names]
        if wanted:
            for connection, stamp, data in self._reader.messages(wanted, start_ns, stop_ns):
                yield self._connections[connection.id][1], stamp, data

    def close(self) -> None:
        self._reader.close()


class Scanned:
    """A file without a usable index, read in file order as far as it goes; attributes as those of :class:`Indexed`."""

    def __init__(self, path: Path, magic: bytes):
        self._path, self._scan = path, SCANNERS[magic]
        self.cut = False
        self.start_ns, self.end_ns = FOREVER, -1
        self.counts = Counter[str]()
        found: dict[str, Topic] = {}
        for topic, stamp, _ in self._until_cut():
            found.setdefault(topic.name, topic)
            self.counts[topic.name] += 1
            self.start_ns, self.end_ns = min(self.start_ns, stamp), max(self.end_ns, stamp)
        self.topics = list(found.values())

    def messages(self, names: Collection[str], start_ns: int = 0, stop_ns: int = FOREVER) -> Records:
        """Messages of these topics, stamped from ``start_ns`` to before ``stop_ns``."""
        return (m for m in self._until_cut() if m[0].name in names and start_ns <= m[1] < stop_ns)

    def _until_cut(self) -> Records:
        try:
            yield from self._scan(self._path)
        except Exception:  # see salvage: whatever broken bytes lead to
            self.cut = True

    def close(self) -> None:
        pass


@dataclass
class Files:
    """The open files of a recording, in order of time.

    Attributes:
        parts: those that are read. problems: what is wrong with the others, and with metadata.yaml.
    """

    parts: list[Indexed | Scanned] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    _open: ExitStack = field(default_factory=ExitStack)

    def add(self, path: Path) -> Indexed | Scanned:
        """Open one. A file that is compressed as a whole is unpacked to where temporary files go, until it is closed.

        Raises:
            BagError: it is no recording. OSError: it cannot be read, or there is no room to unpack it.
        """
        part = _open_file(path) if _magic(path) != ZSTD_MAGIC else self._unpack(path)
        self._open.callback(part.close)
        self.parts.append(part)
        return part

    def close(self) -> None:
        self._open.close()
        self.parts = []

    def _unpack(self, path: Path) -> Indexed | Scanned:
        plain = Path(self._open.enter_context(TemporaryDirectory(prefix="recording-")), unpacked(path))
        with path.open("rb") as packed, plain.open("wb") as file:
            whole = _decompress(packed, file)
        if _magic(plain) in (None, ZSTD_MAGIC):
            raise BagError(f"{path} is packed with zstd, but holds no recording that can be unpacked")
        part = _open_file(plain)
        part.cut = part.cut or not whole
        return part


def _decompress(packed: BinaryIO, file: BinaryIO) -> bool:
    """Unpack zstd as far as it goes; whether it is whole."""
    unpacker = ZstdDecompressor()
    while data := packed.read(2**20):
        try:
            while data:
                if unpacker.eof:  # another frame follows
                    unpacker = ZstdDecompressor()
                file.write(unpacker.decompress(data))
                data = unpacker.unused_data
        except ZstdError:
            return False
    return unpacker.eof


def open_storages(path: Path) -> Files:
    """Everything that belongs to a recording.

    Raises:
        BagError: nothing there, not a recording, or not readable for this user.
    """
    files = Files()
    try:
        if path.is_dir():
            _open_folder(path, files)
        else:
            files.add(path)
        return files
    except BaseException as error:
        files.close()
        if isinstance(error, FileNotFoundError):
            expected = "a .bag, .mcap or .db3 file, or the folder of a ROS 2 bag"
            raise BagError(f"{path} does not exist: expected {expected}") from None
        if isinstance(error, OSError):
            raise BagError(f"{path} cannot be read: {error.strerror or error}") from None
        raise


def is_recording(path: Path) -> bool:
    """Whether there is a file or folder that begins like a recording."""
    if path.is_dir():
        return (path / METADATA).exists() or any(map(is_part, path.iterdir()))
    return path.is_file() and _magic(path) is not None and (is_part(path) or _magic(path) != ZSTD_MAGIC)


def _open_folder(folder: Path, files: Files) -> None:
    """Open the files of a folder; one that says the same as another is left out."""
    paths, unnamed, problems = files_of(folder)
    files.problems += problems
    if not paths:
        missing = f"; {'; '.join(problems)}" if problems else ""
        raise BagError(f"{folder} holds no recording: expected a folder with .mcap, .db3 or .bag files{missing}")
    opened, read = dict[Path, Indexed | Scanned](), []
    for path in paths:
        try:
            part = files.add(path)
        except BagError as error:
            if len(paths) == 1:
                raise
            files.problems.append(f"{path.name} is not read: {str(error).removeprefix(str(path)).strip()}")
            continue
        twin = next((other for other, known in opened.items() if _is_copy(part, known, path in unnamed)), None)
        if twin is not None:
            files.problems.append(f"{path.name} is not read: {twin.name} has the same topics over the same time")
            files.parts.remove(part)
            continue
        opened[path] = part
        if path in unnamed:
            read.append(path.name)
    if read:
        what = f"{', '.join(read)}: not named in {METADATA}, but read"
        files.problems.append(f"{what}; ros2 bag reindex would mend it")
    if not files.parts:
        raise BagError(f"{folder} holds no recording that can be read: {'; '.join(files.problems)}")
    files.parts.sort(key=lambda part: part.start_ns if part.counts.total() else FOREVER)


def _is_copy(part: Indexed | Scanned, other: Indexed | Scanned, unnamed: bool) -> bool:
    """Whether two files hold the same topics for most of the shorter one's time; of an unnamed one some are enough."""
    length = min(part.end_ns - part.start_ns, other.end_ns - other.start_ns)
    overlap = min(part.end_ns, other.end_ns) - max(part.start_ns, other.start_ns)
    if length <= 0 or 2 * overlap <= length:
        return False
    names, others = {t.name for t in part.topics}, {t.name for t in other.topics}
    return bool(names & others) if unnamed else names == others


def _open_file(path: Path) -> Indexed | Scanned:
    magic = _magic(path)
    if magic is None or magic == ZSTD_MAGIC:
        what = "is no recording" if path.stat().st_size else "is empty"
        raise BagError(f"{path} {what}: expected a ROS 1 .bag, or a ROS 2 .mcap or .db3 file")
    if path.suffix == {BAG1_MAGIC: path.suffix, MCAP_MAGIC: ".mcap", SQLITE_MAGIC: ".db3"}[magic]:
        try:
            return Indexed(path, ros1=magic == BAG1_MAGIC)
        except Exception:  # no index, or a broken one; rosbags and its libraries have many words for it
            pass
    return Scanned(path, magic)


def _magic(path: Path) -> bytes | None:
    with path.open("rb") as file:
        head = file.read(16)
    return next((magic for magic in (*SCANNERS, ZSTD_MAGIC) if head.startswith(magic)), None)


def _is_torn(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(18)
    page = int.from_bytes(head[16:18], "big")
    return head.startswith(SQLITE_MAGIC) and path.stat().st_size % (page if page > 1 else 65536) != 0


def _topic(c: Connection) -> Topic:
    if isinstance(c.ext, ConnectionExtRosbag1):
        return Topic(c.topic, ros_type(c.msgtype), c.msgdef, LATCHED if c.ext.latching else (), ros1=True)
    if c.msgtype == SCHEMALESS:
        return Topic(c.topic, "", unread=NO_TYPE)
    if (encoding := c.ext.serialization_format) not in ("cdr", ""):
        return foreign_topic(c.topic, encoding, c.msgtype, c.msgdef.data.encode())
    return Topic(c.topic, ros_type(c.msgtype), c.msgdef, tuple(c.ext.offered_qos_profiles))
