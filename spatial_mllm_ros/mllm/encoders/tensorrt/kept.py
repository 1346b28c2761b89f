"""Engines that are kept: by which key, and where. An engine is code, so only those that this user built are run.

They lie in the user's cache (``$XDG_CACHE_HOME/spatial_mllm_ros/engines``), never in the folder of the export, which
may come from anyone: one folder there for each folder of encoders, in it NAME.KEY.engine and NAME.KEY.json for each
file, and for each GPU that shares the cache.
"""

import fcntl
import json
import mmap
import os
import platform
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from ....files import left_behind, whole, write_whole
from ..exported import EncodersError, Exported
from .gpu import Gpu

BUILDER = 1  # of build.py: engines of another one are built again
CHUNK = 1 << 24  # bytes read at once
LONGEST = 1_000_000  # bytes of a note
BUILDING = 7200.0  # s that another process may take to build
LOOK = 0.2  # s between two looks whether it has
TRIES = 2  # times that an engine may end the process before it is refused
OTHERS = stat.S_IWGRP | stat.S_IWOTH
MACHINE = ("gpu", "sm", "processors", "memory", "machine")
WORDS = {"onnx": "the weights or the graph", "tensorrt": "TensorRT", "gpu": "the GPU", "sm": "its architecture"}

Key = Mapping[str, Any]


def folder_of(exported: Exported) -> Path:
    """Where engines of a folder of encoders are kept; it need not be there. Raises RuntimeError: nobody's home."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    cache = given if given.is_absolute() else Path.home() / ".cache"
    name = sha256(os.fsencode(exported.folder.resolve())).hexdigest()[:16]
    return cache / "spatial_mllm_ros" / "engines" / name


def key_of(exported: Exported, file: str, version: str, gpu: Gpu) -> Key:
    """What an engine depends on. Several GPUs of one name differ in processors and memory, as those of Jetson Orin do.

    Args:
        file: name of the ONNX file. version: of TensorRT.
    Raises:
        EncodersError: the file cannot be read.
    """
    content, path = sha256(), exported.file(file)
    try:
        for part in (path, path.with_name(f"{file}.data")):
            with suppress(FileNotFoundError), part.open("rb") as stream:
                while some := stream.read(CHUNK):
                    content.update(some)
    except OSError as error:
        raise EncodersError(f"{file} cannot be read: {error.strerror}") from None
    profiles = {name: {point: list(shape) for point, shape in p.items()} for name, p in exported.profiles(file).items()}
    return {
        "onnx": content.hexdigest(),
        "precision": exported.precision,
        "profiles": profiles,
        "tensorrt": version,
        "builder": BUILDER,
        "gpu": gpu.name,
        "sm": gpu.sm,
        "processors": gpu.processors,
        "memory": gpu.memory,
        "machine": platform.machine(),
    }


class Kept:
    """The place of one file's engine.

    Args:
        folder: see :func:`folder_of`. file: name of the ONNX file. key: what the engine has to be of.
    Attributes:
        name: of the engine, for people. id: short name of the key.
    Raises:
        EncodersError: the folder cannot be made, or others could write to it.
    """

    def __init__(self, folder: Path, file: str, key: Key):
        self.folder, self.key, self._stem = folder, json.loads(json.dumps(key)), Path(file).stem
        self.id = sha256(json.dumps(self.key, sort_keys=True).encode()).hexdigest()[:12]
        self.name = f"{self._stem}.engine"
        self.engine, self._note = folder / f"{self._stem}.{self.id}.engine", folder / f"{self._stem}.{self.id}.json"
        self._read = ""  # SHA-256 of the engine that was read or written
        try:
            folder.mkdir(0o700, parents=True, exist_ok=True)
            found = folder.lstat()
        except OSError as error:
            raise EncodersError(f"engines cannot be kept in {folder}: {error.strerror}") from None
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & OTHERS:
            raise EncodersError(f"engines in {folder} are not used: others could have written them, remove them")

    def about(self) -> dict[str, Any]:
        """What is noted of the engine that is there; empty: nothing."""
        about = _noted(self._note)
        return about if about.get("key") == self.key else {}

    def there(self) -> bool:
        """Whether there is an engine of this key, whole or not."""
        return bool(self.about().get("engine")) and self.engine.is_file()

    def why_not(self) -> str:
        """What is another in the engine that was built here last; empty: there is none."""
        with suppress(OSError):
            others = sorted(self._others(), key=lambda note: note.stat().st_mtime)
            for theirs in [_noted(note)["key"] for note in others if _noted(note)][-1:]:
                odd = [WORDS.get(name, f"the {name}") for name in self.key if theirs.get(name) != self.key[name]]
                return f"{' and '.join(odd)} changed since it was built" if odd else ""
        return ""

    @contextmanager
    def read(self) -> Iterator[memoryview]:
        """The engine. Raises EncodersError where it is damaged."""
        with ExitStack() as opened:
            view = None
            try:
                file = opened.enter_context(self.engine.open("rb"))
                if os.fstat(file.fileno()).st_size:
                    plan = opened.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
                    view = opened.enter_context(memoryview(plan))
            except OSError as error:
                raise EncodersError(f"{self.name} cannot be read: {error.strerror}") from None
            self._read = sha256(view or b"").hexdigest()
            if view is None or self._read != self.about().get("engine"):
                raise EncodersError(f"{self.name} is damaged: spatial-mllm export --tensorrt builds it again")
            yield view

    def write(self, plan: Any) -> None:
        """Keep an engine of this key, in the place of others for this machine. Raises EncodersError: no space."""
        with memoryview(plan) as view:
            try:
                self._note.unlink(missing_ok=True)  # first: an engine without it is none
                with whole(self.engine) as beside, beside.open("wb") as file:
                    file.write(view)
                    file.flush()
                    os.fsync(file.fileno())  # or a power cut leaves one that is damaged
                self._read = sha256(view).hexdigest()
                write_whole(self._note, _text({"key": self.key, "engine": self._read}))
                for note in self._others():
                    if all(_noted(note).get("key", {}).get(name) == self.key[name] for name in MACHINE):
                        note.unlink(missing_ok=True)
                        note.with_suffix(".engine").unlink(missing_ok=True)
            except OSError as error:
                size = view.nbytes / 1e6
                raise EncodersError(f"{self.name} of {size:.0f} MB cannot be kept: {error.strerror}") from None

    def note(self, **more: Any) -> None:
        """Says more of the engine that was read, if it is still there and there is space for it."""
        if (about := self.about()).get("engine") == self._read:
            with suppress(OSError):
                write_whole(self._note, _text({**about, **more}))

    def fail(self, why: str) -> None:
        """Says that none of this key can be built."""
        with suppress(OSError):
            write_whole(self._note, _text({"key": self.key, "failed": why}))

    @contextmanager
    def alone(self, waiting: Callable[[], None]) -> Iterator[None]:
        """One process at a time; the others wait, and are asked now and then to say so. A killed one keeps nobody.

        Raises:
            EncodersError: it takes too long, or the folder cannot be written to.
        """
        try:
            lock = (self.folder / f".{self._stem}.lock").open("w")
        except OSError as error:
            raise EncodersError(f"{self.name} cannot be kept: {error.strerror}") from None
        with lock:
            end = monotonic() + BUILDING
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if monotonic() > end:
                        raise EncodersError(f"another process builds {self.name} for {BUILDING:.0f} s") from None
                    waiting()
                    sleep(LOOK)
                except OSError as error:
                    raise EncodersError(f"{self.name} cannot be locked: {error.strerror}") from None
            for left in (*left_behind(self.engine), *left_behind(self._note)):
                with suppress(OSError):
                    left.unlink()  # of a killed process: nobody else is here
            yield

    def _others(self) -> list[Path]:
        """Notes of engines of this file with another key."""
        return [note for note in self.folder.glob(f"{self._stem}.*.json") if note != self._note]


def _noted(note: Path) -> dict[str, Any]:
    """What a note says, if it is one."""
    try:
        with note.open("rb") as file:
            found = json.loads(file.read(LONGEST))
    except (OSError, ValueError, RecursionError):
        return {}
    if not (isinstance(found, dict) and isinstance(found.get("key"), dict)):
        return {}
    kinds = {"engine": str, "failed": str, "difference": float, "tries": int}
    return found if all(isinstance(found.get(name, kind()), kind) for name, kind in kinds.items()) else {}


def _text(about: Mapping[str, Any]) -> str:
    return json.dumps(about, indent=2) + "\n"
