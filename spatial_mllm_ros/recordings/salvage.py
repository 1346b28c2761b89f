"""Recordings that were never closed or are cut off: read from the front, record by record, as far as they are whole.

Formats: https://mcap.dev/spec, https://wiki.ros.org/Bags/Format/2.0 and the SQLite schema of rosbag2. The scanners
yield messages in file order. Where a file breaks off they raise Cut, or whatever error the broken bytes lead to: to
their caller every exception means that the recording ends there.
"""

import bz2
import struct
import sys
from collections.abc import Callable, Iterator
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO
from zlib import crc32

import apsw
from lz4.frame import LZ4FrameDecompressor
from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat

from .foreign import NO_TYPE, foreign_topic
from .topic import LATCHED, NO_DEFINITION, Topic, ros_type

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdDecompressor
else:
    from backports.zstd import ZstdDecompressor

MCAP_MAGIC = b"\x89MCAP0\r\n"
BAG1_MAGIC = b"#ROSBAG V2.0\n"
SQLITE_MAGIC = b"SQLite format 3\0"

DECOMPRESSORS = {"lz4": LZ4FrameDecompressor, "zstd": ZstdDecompressor, "bz2": bz2.BZ2Decompressor}
DEFINITION_FORMATS = {
    "ros1msg": MessageDefinitionFormat.MSG,
    "ros2msg": MessageDefinitionFormat.MSG,
    "ros2idl": MessageDefinitionFormat.IDL,
    "omgidl": MessageDefinitionFormat.IDL,
}


Records = Iterator[tuple[Topic, int, bytes]]
Schemas = dict[int, tuple[str, str, bytes]]  # name, encoding, definition


class Cut(Exception):
    """The recording cannot be read beyond this point."""


class _Source:
    """Bytes that may end before their time."""

    def __init__(self, file: BinaryIO):
        self.file = file
        start = file.tell()
        self.size = file.seek(0, 2)
        file.seek(start)

    @property
    def left(self) -> int:
        return self.size - self.file.tell()

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise Cut
        return self.file.read(count)

    def unpack(self, layout: str) -> tuple:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))

    def blob(self) -> bytes:
        return self.take(self.unpack("<I")[0])

    def text(self) -> str:
        return self.blob().decode(errors="replace")


def _definition(encoding: str, text: str) -> MessageDefinition:
    return MessageDefinition(DEFINITION_FORMATS.get(encoding, MessageDefinitionFormat.NONE), text)


def _chunk(source: _Source, compression: str, packed: int, size: int, crc: int = 0) -> tuple[_Source, bool]:
    """As much as can be had of so many packed bytes, which may be cut off, and whether they are whole."""
    whole = packed <= source.left
    data = source.take(min(packed, source.left))
    if compression not in ("", "none"):
        data = DECOMPRESSORS[compression]().decompress(data, size)
    if whole and (len(data) != size or (crc and crc32(data) != crc)):
        raise Cut
    return _Source(BytesIO(data)), whole


def scan_mcap(path: Path) -> Records:
    """Messages of an MCAP file."""
    with path.open("rb") as file:
        source = _Source(file)
        source.take(len(MCAP_MAGIC))
        yield from _mcap_records(source, {}, {})
        if not source.left:
            raise Cut


def _mcap_records(source: _Source, schemas: Schemas, topics: dict[int, Topic]) -> Records:
    while source.left:
        op, length = source.unpack("<BQ")
        if op == 0x0F:  # data end
            return
        if op == 0x06:
            yield from _mcap_chunk(source, length, schemas, topics)
        elif op in (0x03, 0x04, 0x05):
            record = _Source(BytesIO(source.take(length)))
            if op == 0x03:
                (key,) = record.unpack("<H")
                schemas[key] = record.text(), record.text(), record.blob()
            elif op == 0x04:
                key, schema = record.unpack("<HH")
                topics[key] = _channel(record.text(), record.text(), schemas.get(schema))
            else:
                key, _, stamp, _ = record.unpack("<HIQQ")
                if key in topics:
                    yield topics[key], stamp, record.take(record.left)
        else:
            source.file.seek(length, 1)
            if source.left < 0:
                raise Cut


def _channel(name: str, encoding: str, schema: tuple[str, str, bytes] | None) -> Topic:
    """The topic of a channel of an MCAP file."""
    if schema is None:
        return Topic(name, "", unread=NO_TYPE)
    kind, written, text = schema
    if encoding in ("cdr", "ros1", ""):  # some writers leave it empty
        definition = _definition(written, text.decode(errors="replace"))
        return Topic(name, ros_type(kind), definition, ros1=encoding == "ros1" or written == "ros1msg")
    return foreign_topic(name, encoding, kind, text)


def _mcap_chunk(source: _Source, length: int, schemas: Schemas, topics: dict[int, Topic]) -> Records:
    end = source.file.tell() + length
    _, _, size, crc = source.unpack("<QQQI")
    compression = source.text()
    chunk, whole = _chunk(source, compression, source.unpack("<Q")[0], size, crc)
    yield from _mcap_records(chunk, schemas, topics)
    if not whole:
        raise Cut
    source.file.seek(end)


def scan_bag1(path: Path) -> Records:
    """Messages of a ROS 1 bag."""
    with path.open("rb") as file:
        source = _Source(file)
        source.take(len(BAG1_MAGIC))
        header = _bag1_header(source)
        source.take(source.unpack("<I")[0])
        yield from _bag1_records(source, {})
        index = int.from_bytes(header.get("index_pos", b""), "little")
        if not 0 < index <= source.size:
            raise Cut


def _bag1_header(source: _Source) -> dict[str, bytes]:
    fields = _Source(BytesIO(source.blob()))
    header = {}
    while fields.left:
        name, _, value = fields.blob().partition(b"=")
        header[name.decode(errors="replace")] = value
    return header


def _bag1_records(source: _Source, topics: dict[bytes, Topic]) -> Records:
    while source.left:
        header = _bag1_header(source)
        op, (length,) = header.get("op", b"")[:1], source.unpack("<I")
        if op == b"\x05":
            (size,) = struct.unpack("<I", header.get("size", b"\xff" * 4)[:4])
            chunk, whole = _chunk(source, header.get("compression", b"").decode(errors="replace"), length, size)
            yield from _bag1_records(chunk, topics)
            if not whole:
                raise Cut
            continue
        data = source.take(length)
        if op == b"\x07":
            inner = _bag1_header(_Source(BytesIO(struct.pack("<I", len(data)) + data)))
            name = "/" * (header["topic"][:1] == b"/") + "/".join(p for p in header["topic"].decode().split("/") if p)
            definition = MessageDefinition(MessageDefinitionFormat.MSG, inner["message_definition"].decode())
            qos = LATCHED if inner.get("latching") == b"1" else ()
            topics[header["conn"]] = Topic(name, ros_type(inner["type"].decode()), definition, qos, ros1=True)
        elif op == b"\x02" and header.get("conn") in topics:
            seconds, nanoseconds = struct.unpack("<II", header["time"])
            yield topics[header["conn"]], seconds * 10**9 + nanoseconds, data


class _WholePagesFile(apsw.VFSFile):
    """A database file without the torn page at its end, which SQLite would fill up with zeros."""

    def __init__(self, name: Any, flags: list[int]):
        super().__init__("", name, flags)

    def xFileSize(self) -> int:
        size = super().xFileSize()
        page = int.from_bytes(self.xRead(2, 16), "big") if size >= 100 else 100
        return size - size % (65536 if page == 1 else page)


class _WholePages(apsw.VFS):
    vfs_name = "whole-pages"

    def __init__(self):
        super().__init__(self.vfs_name, "")

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        return _WholePagesFile(name, flags)


@cache
def _whole_pages() -> _WholePages:
    return _WholePages()


def scan_sqlite(path: Path) -> Records:
    """Messages of a rosbag2 SQLite file."""
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    db = apsw.Connection(f"{path.absolute().as_uri()}?immutable=1", flags, vfs=_whole_pages().vfs_name)
    try:
        db.execute("PRAGMA writable_schema = ON")  # without it SQLite refuses a file shorter than its header says
        definitions = {}
        if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'message_definitions'").fetchone():
            rows = db.execute("SELECT topic_type, encoding, encoded_message_definition FROM message_definitions")
            for name, encoding, text in rows:
                definitions[name] = _definition(encoding, text)
        topics = {}
        for key, name, kind, encoding in db.execute("SELECT id, name, type, serialization_format FROM topics"):
            cdr = Topic(name, ros_type(kind), definitions.get(kind, NO_DEFINITION))
            topics[key] = cdr if encoding == "cdr" else foreign_topic(name, encoding, kind, b"")
        for key, stamp, data in db.execute("SELECT topic_id, timestamp, data FROM messages ORDER BY id"):
            if not isinstance(stamp, int) or not isinstance(data, bytes):
                raise Cut
            if key in topics:
                yield topics[key], stamp, data
    finally:
        db.close()


SCANNERS: dict[bytes, Callable[[Path], Records]] = {
    MCAP_MAGIC: scan_mcap,
    BAG1_MAGIC: scan_bag1,
    SQLITE_MAGIC: scan_sqlite,
}
