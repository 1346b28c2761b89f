"""ROS 1 bags (https://wiki.ros.org/Bags/Format/2.0): their records from the front, and their index."""

from struct import Struct, iter_unpack

from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat

from .indexed import Chunk, Index
from .limits import HEADER, NAME
from .source import FOREVER, Cut, Kept, Names, Records, Source, Work, chunk
from .topic import LATCHED, Topic, ros_type

MAGIC = b"#ROSBAG V2.0\n"
U32, U64, TIME = Struct("<I"), Struct("<Q"), Struct("<II")
MESSAGE, CHUNK, CHUNK_INFO, CONNECTION = b"\x02", b"\x05", b"\x06", b"\x07"


def scan(source: Source, kept: Kept, work: Work, names: Names) -> Records:
    """Messages of these topics, or of all, in the order of the file. Raises Cut where it breaks off."""
    source.go(len(MAGIC))
    header = _fields(source.blob())
    source.blob()
    yield from _records(source, kept, work, names)
    if not 0 < int.from_bytes(header.get(b"index_pos", b""), "little") <= source.size:
        raise Cut


def read_chunk(source: Source, at: int, kept: Kept, work: Work, names: Names) -> Records:
    """Messages of these topics, of the chunk at a place of the file."""
    source.go(at)
    header = _fields(source.blob())
    if header.get(b"op") != CHUNK:
        raise Cut("its index names a chunk where there is none")
    return _chunk(source, header, kept, work, names)


def index(source: Source, kept: Kept) -> Index:
    """Where its messages are. Raises Cut, or whatever broken bytes lead to, where it has no index that can be used."""
    source.go(len(MAGIC))
    bag = _fields(source.blob())
    (start,), (topics,), (count,) = (
        U64.unpack(bag[b"index_pos"]),
        *(U32.unpack(bag[name]) for name in (b"conn_count", b"chunk_count")),
    )
    if not start or not count or bag.get(b"encryptor"):
        raise Cut
    source.go(start)
    for _ in range(topics):
        _keep(_fields(source.blob()), source.blob(), kept)
    chunks, counts = list[Chunk](), dict.fromkeys(kept.topics, 0)
    for _ in range(count):
        info = _fields(source.blob())
        numbers = dict(iter_unpack("<II", source.blob()))
        if info[b"op"] != CHUNK_INFO or len(numbers) != U32.unpack(info[b"count"])[0]:
            raise Cut
        for key, number in numbers.items():
            counts[key] += number
        if numbers:
            first, last = (_stamp(info[name]) for name in (b"start_time", b"end_time"))
            (at,) = U64.unpack(info[b"chunk_pos"])
            chunks.append(Chunk(first, last, at, 0, 0, frozenset(numbers)))
    places = {c.at for c in chunks}
    if len(places) != len(chunks) or max(places, default=0) > start:
        raise Cut
    first, last = min((c.start_ns for c in chunks), default=FOREVER), max((c.end_ns for c in chunks), default=-1)
    return Index(chunks, counts, first, last)


def _fields(header: bytes) -> dict[bytes, bytes]:
    at, fields = 0, {}
    while at < len(header):
        HEADER.check(len(fields))
        end = at + 4 + U32.unpack_from(header, at)[0]
        name, equals, value = header[at + 4 : end].partition(b"=")
        if end > len(header) or not equals or name in fields:
            raise Cut
        fields[name], at = value, end
    return fields


def _stamp(time: bytes) -> int:
    seconds, nanoseconds = TIME.unpack(time)
    return seconds * 10**9 + nanoseconds


def _records(source: Source, kept: Kept, work: Work, names: Names, inside: bool = False) -> Records:
    topics = kept.topics
    while source.left:
        header = _fields(source.blob())
        op = header.get(b"op", b"")
        work.record()
        if op == CHUNK and not inside:
            yield from _chunk(source, header, kept, work, names)
            continue
        (length,) = source.unpack("<I")
        topic = topics.get(*U32.unpack(header[b"conn"])) if op == MESSAGE else None
        if topic is not None and (names is None or topic.name in names):
            yield topic, _stamp(header[b"time"]), source.take(length)
        elif op == CONNECTION:
            _keep(header, source.take(length), kept)
        else:
            source.go(source.at + length)


def _chunk(source: Source, header: dict[bytes, bytes], kept: Kept, work: Work, names: Names) -> Records:
    ((packed,), (size,)), compression = (source.unpack("<I"), U32.unpack(header[b"size"])), header[b"compression"]
    records, whole = chunk(source, compression.decode(errors="replace"), packed, size, work)
    yield from _records(records, kept, work, names, inside=True)
    if not whole:
        raise Cut


def _keep(header: dict[bytes, bytes], data: bytes, kept: Kept) -> None:
    """Note a connection."""
    (key,) = U32.unpack(header[b"conn"])
    written = header[b"topic"]
    if not kept.is_new(written, key, data):
        return
    fields = _fields(data)
    name = "/" * written.startswith(b"/") + "/".join(part for part in written.decode().split("/") if part)
    definition = MessageDefinition(MessageDefinitionFormat.MSG, fields[b"message_definition"].decode())
    qos = LATCHED if fields.get(b"latching") == b"1" else ()
    kind = ros_type(NAME.checked(fields[b"type"].decode()))
    kept.topics[key] = Topic(NAME.checked(name), kind, definition, qos, ros1=True)
