"""Work on a recording that survives being killed: what is finished stays in a folder beside the output."""

import fcntl
import hashlib
import pickle
import shutil
import struct
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..files import write_whole
from ..recordings.errors import BagError, BagWarning, writing

RECORD = struct.Struct("<qI")  # stamp, length of what follows
ENDS = 65536  # bytes at both ends of a file that tell it from others


class Progress:
    """Finished records and the state to go on from, beside an output.

    Each checkpoint replaces the last at once. Records that were written after it do not count.

    Args:
        out: the output; the folder is ``.<name>.progress`` beside it.
        key: what the work depends on, by name. Progress made under another key is given up, with a BagWarning.

    Attributes:
        done: number of steps finished by an earlier run.
        state: what that run gave to :meth:`checkpoint`, or None.

    Raises:
        BagError: the folder cannot be written, or another process works on this output.
    """

    def __init__(self, out: Path, key: dict[str, str]):
        self.folder = progress_folder(out)
        self._key, self._out = key, out
        with writing(out):
            self.folder.mkdir(exist_ok=True)
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
        frozen = pickle.dumps(state)
        with writing(self._out):
            self._records.flush()
            write_whole(self.folder / "state", pickle.dumps((self._key, done, self._records.tell(), frozen)))
        return pickle.loads(frozen)

    def records(self) -> Iterator[tuple[int, bytes]]:
        """(stamp, data) of all records."""
        self._records.flush()
        with (self.folder / "records").open("rb") as file:
            while head := file.read(RECORD.size):
                stamp, length = RECORD.unpack(head)
                yield stamp, file.read(length)

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
            key, done, length, frozen = pickle.loads((self.folder / "state").read_bytes())
            if changed := [name for name in self._key if key.get(name) != self._key[name]]:
                reason = f"{' and '.join(changed)} changed"
            elif (self.folder / "records").stat().st_size < length:
                reason = "it is damaged"
            else:
                return done, pickle.loads(frozen), length
        except FileNotFoundError:
            return nothing
        except Exception:  # whatever unpickling broken bytes leads to
            reason = "it is damaged"
        warnings.warn(
            f"earlier progress on {self._out.name} is not used, {reason}; starting anew", BagWarning, stacklevel=3
        )
        return nothing


def progress_folder(out: Path) -> Path:
    """Where progress on an output is kept."""
    return out.absolute().parent / f".{out.name}.progress"


def fingerprint(path: Path) -> str:
    """What tells a recording from all others without reading it whole: sizes, times and ends of its files."""
    digest = hashlib.sha256()
    for file in [path] if path.is_file() else sorted(f for f in path.iterdir() if f.is_file()):
        stat = file.stat()
        digest.update(f"{file.name} {stat.st_size} {stat.st_mtime_ns}".encode())
        with file.open("rb") as data:
            digest.update(data.read(ENDS))
            data.seek(max(stat.st_size - ENDS, 0))
            digest.update(data.read(ENDS))
    return digest.hexdigest()
