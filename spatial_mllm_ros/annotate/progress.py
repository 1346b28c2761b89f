"""Work on a recording that survives being killed: what is finished stays in a folder beside the output."""

import fcntl
import hashlib
import json
import os
import shutil
import stat
import struct
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..files import write_whole
from ..recordings.errors import BagError, BagWarning, writing
from .state import MAX_BYTES, Codec

RECORD = struct.Struct("<qI")  # stamp, length of what follows
LONGEST = 1_000_000  # bytes of a record, and of what a state begins with
FILES = ("lock", "state", "records")
OTHERS = stat.S_IWGRP | stat.S_IWOTH
ENDS = 65536  # bytes at both ends of a file that tell it from others


class Progress:
    """Finished records and the state to go on from, beside an output.

    Each checkpoint replaces the last at once. Records that were written after it do not count.

    What is found is data, and only where this user has made it and nobody else may write: others could have it say what
    was never measured.

    Args:
        out: the output; the folder is ``.<name>.progress`` beside it.
        key: what the work depends on, by name. Progress made under another key is given up, with a BagWarning.
        codec: of the state.

    Attributes:
        done: number of steps finished by an earlier run.
        state: what that run gave to :meth:`checkpoint`, or None.

    Raises:
        BagError: the folder cannot be written, others could have written to it, or another process works on this
            output.
    """

    def __init__(self, out: Path, key: dict[str, str], codec: Codec):
        self.folder = progress_folder(out)
        self._key, self._out, self._codec = key, out, codec
        with writing(out):
            try:
                self.folder.mkdir(0o700)
            except FileExistsError:
                self._refuse_others()
            self._lock = (self.folder / "lock").open("w")
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BagError(f"another process is writing {out}") from None
            self.done, self.state, length = self._load()
            self._records = (self.folder / "records").open("r+b" if length else "w+b")
            self._records.truncate(length)
            self._records.seek(length)

    def add(self, stamp_ns: int, data: bytes | memoryview) -> None:
        """One more finished record."""
        with writing(self._out):
            self._records.write(RECORD.pack(stamp_ns, len(data)))
            self._records.write(data)

    def checkpoint(self, done: int, state: Any) -> Any:
        """All records so far count, and work can go on from this state.

        Returns:
            The state as a later run would find it; whoever goes on with that copy does exactly what that run would do.
        """
        frozen = self._codec.dump(state)
        with writing(self._out):
            self._records.flush()
            head = {"key": self._key, "done": done, "records": self._records.tell()}
            write_whole(self.folder / "state", json.dumps(head).encode() + b"\n" + frozen)
        return self._codec.load(frozen)

    def records(self) -> Iterator[tuple[int, bytes]]:
        """(stamp, data) of all records. Raises BagError where they are damaged."""
        self._records.flush()
        with (self.folder / "records").open("rb") as file:
            while head := file.read(RECORD.size):
                stamp, length = RECORD.unpack(head.ljust(RECORD.size))
                data = file.read(length) if length <= LONGEST else b""
                if len(data) < max(length, 1):
                    raise BagError(f"{self.folder / 'records'} is damaged, and is removed: run it again")
                yield stamp, data

    def place(self) -> None:
        """Put the output, made in the folder under its own name, in its place; it may be there already."""
        made = self.folder / self._out.name
        with writing(self._out):
            if made.exists():
                if self._out.is_dir():
                    self._out.replace(self.folder / "replaced")
                made.replace(self._out)

    def finish(self) -> None:
        """Forget everything."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def close(self) -> None:
        """Leave what is finished for a later run."""
        with suppress(OSError):  # what could not be written before cannot be flushed now
            self._records.close()
        self._lock.close()

    def _load(self) -> tuple[int, Any, int]:
        nothing = 0, None, 0
        try:
            with (self.folder / "state").open("rb") as file:
                head, frozen = json.loads(file.readline(LONGEST)), file.read(MAX_BYTES)
            key, done, length = head["key"], head["done"], head["records"]
            if changed := [name for name in self._key if key.get(name) != self._key[name]]:
                reason = f"{' and '.join(changed)} changed"
            elif not (type(done) is type(length) is int and done > 0 <= length <= self._size()):
                reason = "it is damaged"
            else:
                return done, self._codec.load(frozen), length
        except FileNotFoundError:
            return nothing
        except (ValueError, LookupError, AttributeError, TypeError, RecursionError):  # of JSON that is something else
            reason = "it is damaged"
        warnings.warn(
            f"earlier progress on {self._out.name} is not used, {reason}; starting anew", BagWarning, stacklevel=3
        )
        return nothing

    def _size(self) -> int:
        return (self.folder / "records").stat().st_size

    def _refuse_others(self) -> None:
        """Raises BagError unless the folder and the files in it are this user's alone."""
        closed = not self.folder.lstat().st_mode & 0o077  # then the modes of the files in it do not matter
        for path, is_right in ((self.folder, stat.S_ISDIR), *((self.folder / name, stat.S_ISREG) for name in FILES)):
            with suppress(FileNotFoundError):
                found = path.lstat()
                alone = found.st_uid == os.geteuid() and (closed or not found.st_mode & OTHERS)
                if is_right(found.st_mode) and alone:
                    continue
                raise BagError(
                    f"{path} could have been written by others: expected earlier progress on {self._out.name}, yours"
                    f" and not writable by anybody else; remove {self.folder} to start anew"
                )


def progress_folder(out: Path) -> Path:
    """Where progress on an output is kept."""
    return out.absolute().parent / f".{out.name}.progress"


def fingerprint(path: Path, times: bool = True) -> str:
    """What tells a recording from all others without reading it whole: sizes, times and ends of its files.

    Without ``times`` a copy of it is the same.
    """
    digest = hashlib.sha256()
    for file in [path] if path.is_file() else sorted(f for f in path.iterdir() if f.is_file()):
        stat = file.stat()
        digest.update(f"{file.name} {stat.st_size} {stat.st_mtime_ns if times else ''}".encode())
        with file.open("rb") as data:
            digest.update(data.read(ENDS))
            data.seek(max(stat.st_size - ENDS, 0))
            digest.update(data.read(ENDS))
    return digest.hexdigest()
