"""What the node and the model's process say to each other: small pickled messages, pixels in memory that both map.

Arrays of a message travel as one anonymous memory file (``memfd_create``) whose descriptor is passed along: it has no
name, so nothing can be left behind, however a process ends. Needs no torch.
"""

import mmap
import os
import pickle
from collections.abc import Iterable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

ALIGNMENT = 64  # bytes
Layout = list[tuple[tuple[int, ...], str, int]]  # shape, dtype and offset of each array


class Message(NamedTuple):
    """One message: what it is, its values, and the arrays that came with it (read-only, mapped)."""

    kind: str
    values: tuple[Any, ...]
    arrays: list[NDArray]


class Packed:
    """Arrays written one after the other into a memory file; a context that closes this side's descriptor.

    Args:
        arrays: of any shape and simple dtype; taken one at a time, so that a generator never holds them all.
    """

    def __init__(self, arrays: Iterable[NDArray]):
        self.fd = os.memfd_create("arrays", os.MFD_CLOEXEC)
        self.layout: Layout = []
        try:
            with open(self.fd, "wb", closefd=False) as file:
                for array in arrays:
                    file.seek(-file.tell() % ALIGNMENT, os.SEEK_CUR)
                    self.layout.append((array.shape, array.dtype.str, file.tell()))
                    file.write(np.ascontiguousarray(array).data)
        except BaseException:
            os.close(self.fd)
            raise

    def __enter__(self) -> "Packed":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)


class Channel:
    """One end of the conversation. Any thread may send; one thread receives."""

    def __init__(self, connection: Connection):
        self._connection = connection
        self._sending = Lock()

    @classmethod
    def pair(cls) -> tuple["Channel", "Channel"]:
        """Two ends that are connected."""
        a, b = Pipe()
        return cls(a), cls(b)

    @classmethod
    def inherited(cls, fd: int) -> "Channel":
        """The end whose file descriptor was passed to this process."""
        return cls(Connection(fd))

    def fileno(self) -> int:
        return self._connection.fileno()

    def close(self) -> None:
        """Close this end, once nobody sends; the other process should have ended."""
        with self._sending:
            self._connection.close()

    def send(self, kind: str, *values: Any, packed: Packed | None = None) -> None:
        """Send a message; raises OSError where the other process has ended."""
        body = pickle.dumps((kind, values, packed.layout if packed else []))
        with self._sending:
            self._connection.send_bytes(body)
            if packed and packed.layout:
                send_handle(self._connection, packed.fd, 0)

    def receive(self) -> Message | None:
        """Wait for the next message; None once the other process has ended, or cannot be understood any more."""
        try:
            kind, values, layout = pickle.loads(self._connection.recv_bytes())
            return Message(kind, values, _mapped(recv_handle(self._connection), layout) if layout else [])
        except Exception:  # besides its end: no descriptors left, no memory to map, bytes that are no message
            return None


def _mapped(fd: int, layout: Layout) -> list[NDArray]:
    """The arrays of a memory file; it is unmapped when the last of them is gone."""
    try:
        size = os.fstat(fd).st_size
        pages = mmap.mmap(fd, size, access=mmap.ACCESS_READ) if size else b""
    finally:
        os.close(fd)
    return [np.frombuffer(pages, dtype, int(np.prod(shape)), offset).reshape(shape) for shape, dtype, offset in layout]
