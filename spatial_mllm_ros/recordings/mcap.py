"""MCAP files (https://mcap.dev/spec): their records from the front, and their index."""

from itertools import pairwise
from struct import Struct, iter_unpack
from typing import NamedTuple

from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat, Qos

from .foreign import NO_TYPE, foreign_topic
from .indexed import Chunk, Index
from .limits import NAME
from .qos import offered
from .source import FOREVER, Cut, Kept, Names, Records, Source, Work, chunk, record
from .topic import Topic, ros_type

MAGIC = b"\x89MCAP0\r\n"
FOOTER = 1 + 8 + 20 + len(MAGIC)  # bytes
HEAD, MESSAGE = Struct("<BQ"), Struct("<HIQQ")
DEFINITION_FORMATS = {
    "ros1msg": MessageDefinitionFormat.MSG,
    "ros2msg": MessageDefinitionFormat.MSG,
    "ros2idl": MessageDefinitionFormat.IDL,
    "omgidl": MessageDefinitionFormat.IDL,
}


class Schema(NamedTuple):
    """Name, encoding and text of a type, and what that means where it is one of ROS."""

    kind: str
    written: str
    text: bytes
    definition: MessageDefinition


def scan(source: Source, kept: Kept, work: Work, names: Names) -> Records:
    """Messages of these topics, or of all, in the order of the file. Raises Cut where it breaks off."""
    source.go(len(MAGIC))
    yield from _records(source, kept, work, names)
    if not source.left:
        raise Cut


def read_chunk(source: Source, at: int, kept: Kept, work: Work, names: Names) -> Records:
    """Messages of these topics, of the chunk at a place of the file."""
    source.go(at)
    op, _ = HEAD.unpack(source.take(HEAD.size))
    if op != 0x06:
        raise Cut("its index names a chunk where there is none")
    return _chunk(source, kept, work, names)


def index(source: Source, kept: Kept) -> Index:
    """Where its messages are. Raises Cut, or whatever broken bytes lead to, where it has no index that can be used."""
    source.go(source.size - FOOTER)
    op, length, start, _, _ = source.unpack("<BQQQI")
    if (op, length) != (0x02, 20) or not start or source.take(len(MAGIC)) != MAGIC:
        raise Cut
    source.go(start)
    chunks, told = list[Chunk](), None
    while (head := HEAD.unpack(source.take(HEAD.size)))[0] not in (0x02, 0x0E):
        op, length = head
        body = source.take(length)
        if op in (0x03, 0x04):
            _keep(op, body, kept)
        elif op == 0x08:
            chunks.append(_chunk_index(record(body)))
        elif op == 0x0B:
            told = record(body)
    if told is None or not chunks:
        raise Cut
    total, _, _, _, _, count, first, last = told.unpack("<QHIIIIQQ")
    counts = dict(iter_unpack("<HQ", told.blob()))
    if count != len(chunks) or sum(counts.values()) != total or not counts.keys() <= kept.topics.keys():
        raise Cut
    ends = sorted((c.at, c.at + c.length) for c in chunks)
    if ends[-1][1] > start or any(end > after for (_, end), (after, _) in pairwise(ends)):
        raise Cut
    return Index(chunks, counts, *((first, last) if total else (FOREVER, -1)))


def _chunk_index(body: Source) -> Chunk:
    first, last, at, length = body.unpack("<QQQQ")
    channels = frozenset(key for key, _ in iter_unpack("<HQ", body.blob()))
    body.take(8)
    body.text()
    return Chunk(first, last, at, length, body.unpack("<QQ")[1], channels)


def _records(source: Source, kept: Kept, work: Work, names: Names, inside: bool = False) -> Records:
    topics = kept.topics
    while source.left:
        op, length = HEAD.unpack(source.take(HEAD.size))
        work.record()
        if op == 0x05:
            end = source.at + length
            key, _, stamp, _ = MESSAGE.unpack(source.take(MESSAGE.size))
            if stamp > FOREVER:
                raise Cut("a message is stamped beyond the year 2262")
            topic = topics.get(key)
            if topic is not None and (names is None or topic.name in names):
                yield topic, stamp, source.take(end - source.at)
            else:
                source.go(end)
        elif op == 0x06 and not inside:
            end = source.at + length
            yield from _chunk(source, kept, work, names)
            source.go(end)
        elif op in (0x03, 0x04):
            _keep(op, source.take(length), kept)
        elif op == 0x0F:  # data end
            return
        else:
            source.go(source.at + length)


def _chunk(source: Source, kept: Kept, work: Work, names: Names) -> Records:
    _, _, size, crc = source.unpack("<QQQI")
    compression = source.text()
    records, whole = chunk(source, compression, source.unpack("<Q")[0], size, work, crc)
    yield from _records(records, kept, work, names, inside=True)
    if not whole:
        raise Cut


def _keep(op: int, body: bytes, kept: Kept) -> None:
    """Note a schema or a channel."""
    fields = record(body)
    (key,) = fields.unpack("<H")
    if not kept.is_new(op, key, body):
        return
    if op == 0x03:
        kind, written, text = NAME.checked(fields.text()), fields.text(), fields.blob()
        form = DEFINITION_FORMATS.get(written, MessageDefinitionFormat.NONE)
        kept.schemas[key] = Schema(kind, written, text, MessageDefinition(form, text.decode(errors="replace")))
        return
    (schema,) = fields.unpack("<H")
    name, encoding, metadata, qos = fields.text(), fields.text(), record(fields.blob()), ()
    while metadata.left:
        entry, value = metadata.text(), metadata.text()
        qos = offered(value) if entry == "offered_qos_profiles" else qos
    kept.topics[key] = _topic(NAME.checked(name), encoding, kept.schemas.get(schema), qos, kept)


def _topic(name: str, encoding: str, schema: Schema | None, qos: tuple[Qos, ...], kept: Kept) -> Topic:
    if schema is None:
        return Topic(name, "", unread=NO_TYPE)
    if encoding in ("cdr", "ros1", ""):  # some writers leave it empty
        ros1 = encoding == "ros1" or schema.written == "ros1msg"
        return Topic(name, ros_type(schema.kind), schema.definition, qos, ros1)
    key = encoding, schema.kind, schema.text
    if key not in kept.foreign:
        kept.foreign[key] = foreign_topic(name, *key)
    return Topic(name, kept.foreign[key].type, convert=kept.foreign[key].convert, unread=kept.foreign[key].unread)
