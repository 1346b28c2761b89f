"""Engines that are kept: by which key, and where. An engine is code, so only those that this user built are run.

They lie in the user's cache (``$XDG_CACHE_HOME/spatial_mllm_ros/engines``), never in the folder of the export, which
may come from anyone: one folder there for each folder of encoders, with FILE.engine and FILE.json for each file.
"""

import fcntl
import json
import mmap
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from ....files import left_behind, whole, write_whole
from ..exported import EncodersError, Exported

CHUNK = 1 << 24  # bytes read at once
LONGEST = 1_000_000  # bytes of a key
BUILDING = 7200.0  # s that another process may take to build
LOOK = 0.2  # s between two looks whether it has
OTHERS = stat.S_IWGRP | stat.S_IWOTH
WORDS = {"onnx": "the weights or the graph", "tensorrt": "TensorRT", "gpu": "the GPU", "sm": "the GPU's architecture"}

Key = Mapping[str, Any]


def folder_of(exported: Exported) -> Path:
    """Where engines of a folder of encoders are kept; it need not be there."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    cache = given if given.is_absolute() else Path.home() / ".cache"
    name = sha256(os.fsencode(exported.folder.resolve())).hexdigest()[:16]
    return cache / "spatial_mllm_ros" / "engines" / name


def key_of(exported: Exported, file: str, version: str, gpu: str, sm: str) -> Key:
    """What an engine depends on.

    Args:
        file: name of the ONNX file. version: of TensorRT. gpu, sm: its name and compute capability.
    """
    content, path = sha256(), exported.file(file)
    for part in (path, path.with_name(f"{file}.data")):
        with suppress(FileNotFoundError), part.open("rb") as stream:
            while some := stream.read(CHUNK):
                content.update(some)
    profiles = {name: {point: list(shape) for point, shape in p.items()} for name, p in exported.profiles(file).items()}
    return {
        "onnx": content.hexdigest(),
        "tensorrt": version,
        "gpu": gpu,
        "sm": sm,
        "precision": exported.precision,
        "profiles": profiles,
    }


class Kept:
    """The place of one file's engine.

    Args:
        folder: see :func:`folder_of`. file: name of the ONNX file. key: what the engine has to be of.
    Raises:
        EncodersError: the folder cannot be made, or others could write to it.
    """

    def __init__(self, folder: Path, file: str, key: Key):
        self.folder, self.key, self.name = folder, json.loads(json.dumps(key)), f"{Path(file).stem}.engine"
        self.engine, self._about = folder / self.name, folder / f"{Path(file).stem}.json"
        try:
            folder.mkdir(0o700, parents=True, exist_ok=True)
            found = folder.lstat()
        except OSError as error:
            raise EncodersError(f"engines cannot be kept: {error.strerror} ({folder.name})") from None
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & OTHERS:
            raise EncodersError(f"engines in {folder.name} are not used: others could have written them")

    @property
    def id(self) -> str:
        """Short name of the key."""
        return sha256(json.dumps(self.key, sort_keys=True).encode()).hexdigest()[:12]

    def about(self) -> dict[str, Any]:
        """What is noted of the engine that is there; empty: nothing."""
        try:
            with self._about.open("rb") as file:
                found = json.loads(file.read(LONGEST))
        except (OSError, ValueError, RecursionError):
            return {}
        good = isinstance(found, dict) and isinstance(found.get("key"), dict)
        return found if good and isinstance(found.get("difference", 0.0), float) else {}

    def why_not(self) -> str:
        """Why the engine that is there is not of this key; empty: it is, or there is none."""
        if not (about := self.about()) or not self.engine.is_file():
            return ""
        theirs = about["key"]
        odd = [WORDS.get(name, f"the {name}") for name in self.key if theirs.get(name) != self.key[name]]
        return f"{' and '.join(odd)} changed since it was built" if odd else ""

    @contextmanager
    def read(self) -> Iterator[memoryview | None]:
        """The engine of this key, or None where there is none. Raises EncodersError where it is damaged."""
        about = self.about()
        if about.get("key") != self.key or not self.engine.is_file():
            yield None
            return
        with self.engine.open("rb") as file:
            if os.fstat(file.fileno()).st_size:
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as plan, memoryview(plan) as view:
                    if sha256(view).hexdigest() == about.get("engine"):
                        yield view
                        return
        raise EncodersError(f"{self.name} is damaged: spatial-mllm export --tensorrt builds it again")

    def write(self, plan: Any) -> None:
        """Keep an engine of this key. Raises EncodersError: no space."""
        with memoryview(plan) as view:
            try:
                self._about.unlink(missing_ok=True)  # first: an engine without it is none
                with whole(self.engine) as beside:
                    beside.write_bytes(view)
                self.note({"key": self.key, "engine": sha256(view).hexdigest()})
            except OSError as error:
                size = view.nbytes / 1e6
                raise EncodersError(f"{self.name} of {size:.0f} MB cannot be kept: {error.strerror}") from None

    def note(self, about: Mapping[str, Any]) -> None:
        """Says something else of the engine that is there. Raises OSError."""
        write_whole(self._about, json.dumps(about, indent=2) + "\n")

    @contextmanager
    def alone(self, waiting: Callable[[], None]) -> Iterator[None]:
        """One process at a time; the others wait, and are asked now and then to say so. A killed one keeps nobody.

        Raises:
            EncodersError: it takes too long.
        """
        with (self.folder / f".{self.name}.lock").open("w") as lock:
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
            for left in left_behind(self.engine):
                left.unlink(missing_ok=True)  # of a killed process: nobody else is here
            yield
