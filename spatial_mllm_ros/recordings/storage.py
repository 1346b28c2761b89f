"""The files of a recording: through their index where they have one, else scanned from the front."""

import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from errno import ENOSPC
from functools import partial
from pathlib import Path
from shutil import disk_usage
from tempfile import TemporaryDirectory, gettempdir
from typing import Any, BinaryIO, TypeAlias

from . import bag1, mcap, sqlite
from .errors import BagError
from .folder import METADATA, files_of, is_part, unpacked
from .indexed import Format, Indexed, Scanned
from .limits import FILE, FREE
from .source import BLOCK, FOREVER, ZSTD_MAGIC, Work, frames, opened
from .sqlite import SqliteFile

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdDecompressor, ZstdError
else:
    from backports.zstd import ZstdDecompressor, ZstdError

Part: TypeAlias = Indexed | Scanned | SqliteFile


def _chunked(module: Any) -> Callable[[Path, Work], Part]:
    form = Format(module.scan, module.read_chunk, module.index)

    def read(path: Path, work: Work) -> Part:
        with suppress(Exception):  # no index, or a broken one; broken bytes have many words for it
            return Indexed(path, form, work)
        return Scanned(path, form, work)

    return read


READERS: dict[bytes, Callable[[Path, Work], Part]] = {
    mcap.MAGIC: _chunked(mcap),
    bag1.MAGIC: _chunked(bag1),
    sqlite.MAGIC: SqliteFile,
}
"""What a file begins with, and what reads it."""


@dataclass
class Files:
    """The open files of a recording, in order of time.

    Attributes:
        parts: those that are read. problems: what is wrong with the others, and with metadata.yaml.
        size: of all, as they lie on the disk, bytes.
    """

    parts: list[Part] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    size: int = 0
    _work: Work = field(default_factory=Work)
    _unpacked: int = 0  # bytes of files that are packed as a whole
    _open: ExitStack = field(default_factory=ExitStack)

    def add(self, path: Path) -> Part:
        """Open one. A file that is compressed as a whole is unpacked to where temporary files go, until it is closed.

        Raises:
            BagError: it is no recording. OSError: it cannot be read, or there is no room to unpack it.
        """
        self.size += path.stat().st_size
        self._work.size = self.size
        try:
            part = self._unpack(path) if _magic(path) == ZSTD_MAGIC else _open_file(path, self._work)
        except BagError as error:
            raise BagError(f"{path}: {error}" if str(path) not in str(error) else str(error)) from None
        self._open.callback(part.close)
        self.parts.append(part)
        return part

    def close(self) -> None:
        self._open.close()
        self.parts = []

    def _unpack(self, path: Path) -> Part:
        folder = Path(self._open.enter_context(TemporaryDirectory(prefix="recording-")))
        plain = folder / unpacked(path)
        with opened(path) as packed, plain.open("wb") as file:
            whole = self._decompress(packed, file, disk_usage(folder).free - FREE.most)
        if _magic(plain) in (None, ZSTD_MAGIC):
            raise BagError(f"{path} is packed with zstd, but holds no recording that can be unpacked")
        part = _open_file(plain, self._work)
        part.cut = part.cut or not whole
        return part

    def _decompress(self, packed: BinaryIO, file: BinaryIO, free: int) -> bool:
        """Unpack zstd as far as it goes; whether it is whole.

        Raises:
            TooMuch: files of this size may not be so large. OSError: it does not fit into ``free`` bytes.
        """
        try:
            for part in frames(ZstdDecompressor, iter(partial(packed.read, BLOCK), b"")):
                self._unpacked += file.write(part)
                free -= len(part)
                FILE.check(self._unpacked, self.size)
                if free < 0:
                    raise OSError(ENOSPC, f"no room to unpack it in {gettempdir()}")
        except (ZstdError, EOFError):
            return False
        return True


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
    opened, read = dict[Path, Part](), []
    for path in paths:
        try:
            part = files.add(path)
        except BagError as error:
            if len(paths) == 1:
                raise
            files.problems.append(f"{path.name} is not read: {str(error).removeprefix(str(path)).strip(': ')}")
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


def _is_copy(part: Part, other: Part, unnamed: bool) -> bool:
    """Whether two files hold the same topics for most of the shorter one's time; of an unnamed one some are enough."""
    length = min(part.end_ns - part.start_ns, other.end_ns - other.start_ns)
    overlap = min(part.end_ns, other.end_ns) - max(part.start_ns, other.start_ns)
    if length <= 0 or 2 * overlap <= length:
        return False
    names, others = {t.name for t in part.topics}, {t.name for t in other.topics}
    return bool(names & others) if unnamed else names == others


def _open_file(path: Path, work: Work) -> Part:
    magic = _magic(path)
    if magic is None or magic == ZSTD_MAGIC:
        what = "is no recording" if path.stat().st_size else "is empty"
        raise BagError(f"{path} {what}: expected a ROS 1 .bag, or a ROS 2 .mcap or .db3 file")
    return READERS[magic](path, work)


def _magic(path: Path) -> bytes | None:
    with opened(path) as file:
        head = file.read(16)
    return next((magic for magic in (*READERS, ZSTD_MAGIC) if head.startswith(magic)), None)
