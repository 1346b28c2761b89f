"""The files of a recording: through their index where they have one, else scanned from the front."""

import re
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from rosbags.interfaces import Connection, ConnectionExtRosbag1
from rosbags.rosbag1 import Reader as Reader1
from rosbags.rosbag2 import Reader as Reader2

from .errors import BagError
from .salvage import BAG1_MAGIC, MCAP_MAGIC, SCANNERS, SQLITE_MAGIC, Records
from .topic import LATCHED, Topic, bag1_type

SUFFIXES = (".mcap", ".db3", ".bag", ".active")
FOREVER = 2**63 - 1


class Indexed:
    """A whole file or folder, read by rosbags in order of time.

    Attributes:
        topics, counts: what it holds, and how many messages of each topic name.
        start_ns, end_ns: stamps of its first and last message.
        cut: False; nothing is missing at the end.
    """

    cut = False

    def __init__(self, path: Path, ros1: bool):
        if any(_is_torn(file) for file in (path.glob("*.db3") if path.is_dir() else [path])):
            raise BagError("a database that ends within a page, which SQLite would fill up with zeros")
        self._reader = Reader1(path) if ros1 else Reader2(path)
        self._reader.open()
        storage = getattr(self._reader, "storage", None)
        for part in getattr(storage, "storages", [storage]):
            if getattr(part, "chunks", None) == []:  # then rosbags demands file order to be order of time
                self._reader.close()
                raise BagError("an MCAP file without index")
        self._connections = {c.id: (c, _topic(c)) for c in self._reader.connections if _is_cdr(c)}
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


def open_storages(path: Path) -> list[Indexed | Scanned]:
    """Everything that belongs to a recording, in order of time.

    Raises:
        BagError: nothing there, not a recording, or not readable for this user.
    """
    try:
        if not path.is_dir():
            return [_open_file(path)]
        if (path / "metadata.yaml").exists():
            try:
                return [Indexed(path, ros1=False)]
            except PermissionError:
                raise
            except Exception:  # a broken file or metadata.yaml: read the files one by one
                pass
        files = sorted((f for f in path.iterdir() if f.suffix in SUFFIXES), key=natural_order)
        if not files:
            raise BagError(f"{path} holds no recording: expected a folder with .mcap, .db3 or .bag files")
        return [_open_file(file) for file in files]
    except FileNotFoundError:
        expected = "a .bag, .mcap or .db3 file, or the folder of a ROS 2 bag"
        raise BagError(f"{path} does not exist: expected {expected}") from None
    except OSError as error:
        raise BagError(f"{path} cannot be read: {error.strerror}") from None


def is_recording(path: Path) -> bool:
    """Whether there is a file or folder that begins like a recording."""
    if path.is_dir():
        return (path / "metadata.yaml").exists() or any(f.suffix in SUFFIXES for f in path.iterdir())
    return path.is_file() and _magic(path) is not None


def natural_order(path: Path) -> list:
    """Sort key that puts ``bag_10`` after ``bag_9``."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]


def _open_file(path: Path) -> Indexed | Scanned:
    magic = _magic(path)
    if magic is None:
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
    return next((magic for magic in SCANNERS if head.startswith(magic)), None)


def _is_torn(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(18)
    page = int.from_bytes(head[16:18], "big")
    return head.startswith(SQLITE_MAGIC) and path.stat().st_size % (page if page > 1 else 65536) != 0


def _topic(c: Connection) -> Topic:
    if isinstance(c.ext, ConnectionExtRosbag1):
        return Topic(c.topic, bag1_type(c.msgtype), c.msgdef, LATCHED if c.ext.latching else (), ros1=True)
    return Topic(c.topic, c.msgtype, c.msgdef, tuple(c.ext.offered_qos_profiles))


def _is_cdr(c: Connection) -> bool:
    return isinstance(c.ext, ConnectionExtRosbag1) or c.ext.serialization_format == "cdr"
