"""Bytes of recordings: files that are files, records that may end before their time, packed data of bounded size."""

import bz2
import stat
import struct
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias
from zlib import crc32

from lz4.frame import LZ4FrameDecompressor

from .errors import BagError
from .limits import CHUNK, LARGEST_CHUNK, MESSAGE, MIB, PASS, RECORDS, STEPS, TEXTS, TOPICS, TRANSFORMS
from .topic import Topic

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdDecompressor
else:
    from backports.zstd import ZstdDecompressor

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
BLOCK = 2**16  # bytes of packed data that are looked at in one go
FOREVER = 2**63 - 1  # the last stamp, ns
DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    "lz4": LZ4FrameDecompressor,
    "zstd": ZstdDecompressor,
    "bz2": bz2.BZ2Decompressor,
}
KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}

Records = Iterator[tuple[Topic, int, bytes]]
Names: TypeAlias = Collection[str] | None  # of topics; None is all


class Cut(Exception):
    """The recording cannot be read beyond this point; the text, if any, says why."""


def opened(path: Path) -> BinaryIO:
    """A file, open for reading.

    Raises:
        BagError: it is something else, which may never end. OSError: it cannot be opened.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        raise BagError(f"{path} is {KINDS.get(stat.S_IFMT(mode), 'no file')}: expected a file")
    return path.open("rb")


@dataclass
class Work:
    """What one reading of a recording has taken so far.

    Args:
        size: bytes of its files, as they lie on the disk.
    """

    size: int = 0
    _unpacked: int = 0
    _records: int = 0
    _transforms: int = 0
    _steps: int = 0

    def unpack(self, count: int) -> None:
        """So many more bytes. Raises Spent."""
        self._unpacked += count
        PASS.check(self._unpacked, self.size)

    def record(self) -> None:
        """One more message or other record. Raises Spent, now and then."""
        self._records += 1
        if not self._records % 1024:
            RECORDS.check(self._records, self.size)

    def transforms(self, count: int) -> None:
        """So many more bytes of transforms. Raises Spent."""
        self._transforms += count
        TRANSFORMS.check(self._transforms, self.size)

    def step(self, count: int) -> None:
        """So many more steps of SQLite's machine. Raises Spent."""
        self._steps += count
        STEPS.check(self._steps, self.size)


class Kept:
    """Types and topics of a file by their numbers; what is kept of them is bounded."""

    def __init__(self):
        self.schemas: dict[int, Any] = {}
        self.foreign: dict[Any, Topic] = {}  # by schema and encoding, whose decoders are large
        self.topics: dict[Any, Topic] = {}
        self._records: dict[tuple[Any, Any], bytes] = {}
        self._size = 0

    def is_new(self, kind: Any, key: Any, record: bytes) -> bool:
        """Whether a record of this kind and number was not there before, as it is. Raises TooMuch."""
        if self._records.get((kind, key)) == record:
            return False
        self._records[kind, key] = record
        self._size += len(record)
        TEXTS.check(self._size)
        TOPICS.check(len(self._records))
        return True


class Source:
    """Bytes of a file, or of a chunk, of which no more are asked for than there are.

    Attributes:
        at: position. size: of all.
    """

    def __init__(self, file: BinaryIO, size: int):
        self._file, self.at, self.size = file, 0, size

    @property
    def left(self) -> int:
        return self.size - self.at

    def take(self, count: int) -> bytes:
        """The next bytes. Raises Cut where there are fewer, or more than any record has."""
        if not 0 <= count <= min(self.size - self.at, LARGEST_CHUNK.most):
            raise Cut
        data = self._file.read(count)
        if len(data) != count:  # it has become shorter meanwhile
            raise Cut
        self.at += count
        return data

    def go(self, at: int) -> None:
        """Go on at a position. Raises Cut where there is none."""
        if not 0 <= at <= self.size:
            raise Cut
        self._file.seek(at)
        self.at = at

    def unpack(self, layout: str) -> tuple:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))

    def blob(self) -> bytes:
        return self.take(self.unpack("<I")[0])

    def text(self) -> str:
        return self.blob().decode(errors="replace")

    def close(self) -> None:
        self._file.close()


def record(data: bytes) -> Source:
    """The bytes of a record, which is in memory."""
    return Source(BytesIO(data), len(data))


def chunk(source: Source, compression: str, packed: int, size: int, work: Work, crc: int = 0) -> tuple[Source, bool]:
    """As much as can be had of so many packed bytes, which may be cut off, and whether they are whole.

    Raises:
        TooMuch: they say that they are more than a chunk may be. Cut: they are broken.
    """
    LARGEST_CHUNK.check(max(size, min(packed, source.left)))
    work.unpack(max(size, min(packed, source.left)))
    whole = packed <= source.left
    data = source.take(min(packed, source.left))
    if compression not in ("", "none"):
        CHUNK.check(size, packed)
        if compression not in DECOMPRESSORS:
            raise Cut(f"a chunk is packed with '{compression[:20]}', expected one of {', '.join(DECOMPRESSORS)}")
        data = _unpacked(DECOMPRESSORS[compression], data, size)
    if whole and (len(data) != size or (crc and crc32(data) != crc)):
        raise Cut
    return record(data), whole


def message(data: bytes, work: Work) -> bytes:
    """A message that is packed with zstd.

    Raises:
        TooMuch: it is larger than a message may be. ZstdError, EOFError: it is broken.
    """
    plain = _unpacked(ZstdDecompressor, data, MESSAGE.most + int(MESSAGE.per_byte * len(data)) + 1)
    work.unpack(len(plain))
    MESSAGE.check(len(plain), len(data))
    return plain


def frames(decompressor: Callable[[], Any], blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Unpack by the MiB what may be several frames, one after the other. Raises EOFError where the last is cut off."""
    unpacker = decompressor()
    for block in blocks:
        while block or not (unpacker.eof or unpacker.needs_input):
            if unpacker.eof:  # another frame follows
                unpacker = decompressor()
            yield unpacker.decompress(block, MIB)
            block = unpacker.unused_data or b""
    if not unpacker.eof:
        raise EOFError("it is cut off")


def _unpacked(decompressor: Callable[[], Any], data: bytes, most: int) -> bytes:
    """As much as can be had, up to so many bytes; mostly one frame."""
    unpacker = decompressor()
    plain = unpacker.decompress(data, most)
    rest = unpacker.unused_data or b""
    if not rest or len(plain) == most:
        return plain
    parts, left = [plain], most - len(plain)
    with suppress(EOFError):
        for part in frames(decompressor, (rest[i : i + BLOCK] for i in range(0, len(rest), BLOCK))):
            parts.append(part[:left])
            left -= len(parts[-1])
            if not left:
                break
    return b"".join(parts)
