"""New stamps for serialised messages, without taking them apart."""

import struct
from collections.abc import Callable, Iterator

from rosbags.interfaces import Nodetype

from .types import TRANSFORMS, Typestore

ENCAPSULATION = 4  # bytes before a CDR message; alignment counts from its end


def restamper(kind: str, types: Typestore) -> Callable[[bytes, Callable[[int], int]], bytes] | None:
    """A function (message in CDR, new stamp of an old one in ns) -> message; None for types without a leading header.

    A stamp of zero stays zero.
    """
    if kind == TRANSFORMS:
        return lambda data, change: _patched(data, change, _transform_stamps(data))
    fields = types.fielddefs[kind][1]
    if fields and fields[0][1] == (Nodetype.NAME, "std_msgs/msg/Header"):
        return lambda data, change: _patched(data, change, [ENCAPSULATION])
    return None


def leading_stamp(data: bytes) -> int:
    """Stamp of a message in CDR that begins with a header, nanoseconds; 0 where it is too short for one."""
    if len(data) < ENCAPSULATION + 8:
        return 0
    seconds, nanoseconds = struct.unpack_from(_order(data) + "iI", data, ENCAPSULATION)
    return seconds * 10**9 + nanoseconds


def _patched(data: bytes, change: Callable[[int], int], offsets: Iterator[int] | list[int]) -> bytes:
    layout = _order(data) + "iI"
    patched = bytearray(data)
    for offset in offsets:
        seconds, nanoseconds = struct.unpack_from(layout, data, offset)
        if seconds or nanoseconds:
            struct.pack_into(layout, patched, offset, *divmod(change(seconds * 10**9 + nanoseconds), 10**9))
    return bytes(patched)


def _transform_stamps(data: bytes) -> Iterator[int]:
    """Offsets of the stamps in a TFMessage: each transform is a header, a frame name and seven doubles."""
    order = _order(data)
    (count,) = struct.unpack_from(order + "I", data, ENCAPSULATION)
    at = ENCAPSULATION + 4
    for _ in range(count):
        at = _aligned(at, 4)
        yield at
        at += 8
        for _ in range(2):
            at = _aligned(at, 4)
            (length,) = struct.unpack_from(order + "I", data, at)
            at += 4 + length
        at = _aligned(at, 8) + 56


def _aligned(at: int, size: int) -> int:
    return at + (ENCAPSULATION - at) % size


def _order(data: bytes) -> str:
    return "<" if data[1] & 1 else ">"
