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
from typing import IO, Any

from ..files import write_whole
from ..recordings.errors import BagError, BagWarning, writing
from .state import MAX_BYTES, Codec

RECORD = struct.Struct("<qI")  # stamp, length of what follows
LONGEST = 1_000_000  # bytes of a record, and of what a state begins with
LOCK = "lock"
TRIES = 100  # to claim a folder that others remove at that moment
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
            self._lock = claimed(self.folder, out)
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
        self._close_records()
        removed(self.folder)
        self._lock.close()

    def close(self) -> None:
        """Leave what is finished for a later run."""
        self._close_records()
        self._lock.close()

    def _close_records(self) -> None:
        with suppress(OSError):  # what could not be written before cannot be flushed now
            self._records.close()

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


def claimed(folder: Path, out: Path) -> IO[bytes]:
    """Make the folder of work on ``out``, or take up the one that is there, and lock it.

    Returns:
        The lock, which holds until it is closed.

    Raises:
        BagError: others could have written to the folder, or another process has it. OSError: it cannot be written.
    """
    for _ in range(TRIES):
        try:
            folder.mkdir(0o700)
        except FileExistsError:
            _refuse_others(folder, out)
        with suppress(FileNotFoundError):  # whoever had it is removing it
            lock = open(os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "rb")  # noqa: SIM115
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(lock.fileno()), (folder / LOCK).lstat()):
                    return lock
            except BlockingIOError:
                lock.close()
                break
            except FileNotFoundError:
                pass
            lock.close()
    raise BagError(f"another process is writing {out}")


def removed(folder: Path) -> None:
    """Remove a folder that is :func:`claimed`; its lock goes last, so that nobody else has it before all is gone."""
    with suppress(OSError):
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != LOCK:
                path.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _refuse_others(folder: Path, out: Path) -> None:
    """Raises BagError unless the folder and what is in it are this user's alone."""
    found = folder.lstat()
    closed = not found.st_mode & 0o077  # then the modes of the files in it do not matter
    inside = [*folder.iterdir()] if stat.S_ISDIR(found.st_mode) else []
    for path in (folder, *inside):
        with suppress(FileNotFoundError):
            found = path.lstat()
            is_right = stat.S_ISDIR(found.st_mode) or (path != folder and stat.S_ISREG(found.st_mode))
            if is_right and found.st_uid == os.geteuid() and (closed or not found.st_mode & OTHERS):
                continue
            raise BagError(
                f"{path} could have been written by others: expected earlier progress on {out.name}, yours"
                f" and not writable by anybody else; remove {folder} to start anew"
            )


def progress_folder(out: Path) -> Path:
    """Where progress on an output is kept."""
    return out.absolute().parent / f".{out.name}.progress"


def fingerprint(path: Path, times: bool = True) -> str:
    """What tells a recording from all others without reading it whole: sizes, times and ends of its files.

    Without ``times`` a copy of it is the same, and a single file may have any name.
    """
    digest = hashlib.sha256()
    single = path.is_file()
    for file in [path] if single else sorted(f for f in path.iterdir() if f.is_file()):
        stat = file.stat()
        name = "" if single and not times else file.name
        digest.update(f"{name} {stat.st_size} {stat.st_mtime_ns if times else ''}".encode())
        with file.open("rb") as data:
            digest.update(data.read(ENDS))
            data.seek(max(stat.st_size - ENDS, 0))
            digest.update(data.read(ENDS))
    return digest.hexdigest()
