"""MCAP files as other writers make them, record by record (https://mcap.dev/spec)."""

import struct
from typing import NamedTuple

from tests.recordings.recordings import JAZZY, NOETIC

MAGIC = b"\x89MCAP0\r\n"


class Raw(NamedTuple):
    """A message of another kind than the rest of a file."""

    schema: tuple[str, str, bytes] | None
    encoding: str
    data: bytes


def record(op, body):
    return struct.pack("<BQ", op, len(body)) + body


def text(value):
    value = value.encode() if isinstance(value, str) else value
    return struct.pack("<I", len(value)) + value


def cdr(message):
    return bytes(JAZZY.serialize_cdr(message, message.__msgtype__))


def ros1(message):
    kind = message.__msgtype__
    return bytes(JAZZY.cdr_to_ros1(JAZZY.serialize_cdr(message, kind), kind))


def ros2_schema(kind):
    return kind, "ros2msg", JAZZY.generate_msgdef(kind, ros_version=2)[0]


def ros1_schema(kind):
    return kind.replace("/msg/", "/"), "ros1msg", NOETIC.generate_msgdef(kind, ros_version=1)[0]


def write(path, messages, schema=ros2_schema, encoding="cdr", pack=cdr, profile="ros2", chunk_without_index=False):
    """A file without index.

    Args:
        messages: (topic, stamp, message); the latter a Raw, or what these take:
        schema: (name, encoding, text) of a message's type, or None for a channel without. pack: its bytes.
        chunk_without_index: in one chunk that a summary names, but whose messages it does not.
    """
    body, channels = b"", {}
    for topic, ns, message in messages:
        if topic not in channels:
            number = channels[topic] = len(channels) + 1
            made = message.schema if isinstance(message, Raw) else schema(getattr(message, "__msgtype__", message))
            if made:
                body += record(0x03, struct.pack("<H", number) + b"".join(map(text, made)))
            channel = struct.pack("<HH", number, number if made else 0)
            written = message.encoding if isinstance(message, Raw) else encoding
            body += record(
                0x04,
                channel + text(topic) + text(written) + struct.pack("<I", 0),
            )
        data = message.data if isinstance(message, Raw) else pack(message)
        body += record(0x05, struct.pack("<HIQQ", channels[topic], 0, ns, ns) + data)
    head, end, summary, start = record(0x01, text(profile) + text("test")), record(0x0F, bytes(4)), b"", 0
    if chunk_without_index:
        stamps = [ns for _, ns, _ in messages]
        span = struct.pack("<QQ", min(stamps), max(stamps))
        packed = record(0x06, span + struct.pack("<QI", len(body), 0) + text("") + struct.pack("<Q", len(body)) + body)
        place = len(MAGIC) + len(head)
        index = (
            span + struct.pack("<QQIQ", place, len(packed), 0, 0) + text("") + struct.pack("<QQ", len(body), len(body))
        )
        at = 0
        while at < len(body):  # schemas and channels are repeated
            op, length = struct.unpack_from("<BQ", body, at)
            summary += body[at : at + 9 + length] if op in (0x03, 0x04) else b""
            at += 9 + length
        numbers = [channels[topic] for topic, _, _ in messages]
        counts = b"".join(struct.pack("<HQ", n, numbers.count(n)) for n in sorted(set(numbers)))
        whole = struct.pack("<QHIIIIQQ", len(messages), len(channels), len(channels), 0, 0, 1, min(stamps), max(stamps))
        summary += record(0x08, index) + record(0x0B, whole + struct.pack("<I", len(counts)) + counts)
        body, start = packed, place + len(packed) + len(end)
    footer = record(0x02, struct.pack("<QQI", start, 0, 0))
    path.write_bytes(MAGIC + head + body + end + summary + footer + MAGIC)
    return path
