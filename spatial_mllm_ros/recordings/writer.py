"""New recordings: written beside their place and put there whole, or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import TypesysError

from .errors import BagError, exists_already, writing
from .topic import Topic, offered_qos
from .types import Typestore, typestore


class BagWriter(AbstractContextManager["BagWriter"]):
    """A new MCAP recording; use it with ``with``, or end it with :meth:`close` or :meth:`abort`.

    Args:
        path: a name that ends in ``.mcap`` becomes one file, any other name the folder of a ROS 2 bag.
        overwrite: whether what is at ``path`` may be replaced.

    Raises:
        BagError: ``path`` exists or cannot be written. Writing and closing raise it too, for instance when the disk is
            full; nothing is left behind then, and what was at ``path`` before is still there.
    """

    def __init__(self, path: str | Path, overwrite: bool = False):
        self.path = Path(path)
        if self.path.exists() and not overwrite:
            raise exists_already(self.path)
        if self.path.is_dir() and not (self.path / "metadata.yaml").exists() and any(self.path.iterdir()):
            raise BagError(f"{self.path} is a folder but no recording: it will not be overwritten")
        self._topics: dict[str, tuple[str, Any]] = {}
        self._name = self.path.stem if self.path.suffix == ".mcap" else self.path.name
        self._beside: Path | None = None
        with self._writing():
            self._beside = Path(mkdtemp(".partial", f".{self.path.name}.", self.path.absolute().parent))
            self._writer = Writer(self._beside / self._name, version=9, storage_plugin=StoragePlugin.MCAP)
            self._writer.open()

    def write(self, topic: str, msg: Any, stamp_ns: int) -> None:
        """Add a message object of rosbags; its type is the topic's from the first message on."""
        kind = msg.__msgtype__
        if topic not in self._topics:
            self.add_topic(Topic(topic, kind, qos=offered_qos(topic)))
        if self._topics[topic][0] != kind:
            raise BagError(f"{topic} carries {self._topics[topic][0]}; a {kind} does not go there")
        self.write_cdr(topic, typestore().serialize_cdr(msg, kind), stamp_ns)

    def add_topic(self, topic: Topic, types: Typestore | None = None) -> None:
        """Announce a topic whose messages come as CDR; ``types`` knows its type, :func:`typestore` unless given."""
        store = types or typestore()
        try:
            connection = self._writer.add_connection(
                topic.name, topic.type, typestore=store, offered_qos_profiles=topic.qos
            )
        except (KeyError, TypesysError):
            raise BagError(f"{topic.name}: the type {topic.type} is not known") from None
        self._topics[topic.name] = topic.type, connection

    def write_cdr(self, topic: str, data: bytes | memoryview, stamp_ns: int) -> None:
        """Add a serialised message of a topic that was added before."""
        with self._writing():
            self._writer.write(self._topics[topic][1], stamp_ns, data)

    def close(self) -> None:
        """Finish, and put the recording in its place."""
        assert self._beside is not None
        with self._writing():
            self._writer.close()
            made = self._beside / self._name
            (data,) = made.glob("*.mcap")
            with data.open("rb") as file:
                os.fsync(file.fileno())
            if self.path.is_dir():
                self.path.replace(self._beside / "replaced")
            (data if self.path.suffix == ".mcap" else made).replace(self.path)
        shutil.rmtree(self._beside, ignore_errors=True)

    def abort(self) -> None:
        """Leave nothing behind."""
        with suppress(OSError):  # what could not be written before cannot be flushed now
            self._writer.abort()
        if self._beside is not None:
            shutil.rmtree(self._beside, ignore_errors=True)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with writing(self.path):
            try:
                yield
            except OSError:
                if self._beside is not None:
                    self.abort()
                raise
